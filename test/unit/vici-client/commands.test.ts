// What each command sends and makes of the answer; sessions and sockets are left out.
import { expect, test, vi } from "vitest";
import * as commands from "../../../src/vici-client/commands.ts";
import { MalformedMessageError } from "../../../src/vici-client/errors.ts";
import type { SectionInput } from "../../../src/vici-client/message.ts";
import { aCharon, anIkeSa as ikeSa } from "./requesters.ts";

const yes = { success: "yes" };

test("success = no is thrown with charon's own reason", async () => {
  const { vici } = aCharon({ success: "no", errmsg: "unload: connection 'x' not found" });
  await expect(commands.unloadConn(vici, "x")).rejects.toMatchObject({
    name: "ViciCommandError",
    code: "VICI_COMMAND_FAILED",
    command: "unload-conn",
    reason: "unload: connection 'x' not found",
  });
});

test("a connection is loaded as a section of its name", async () => {
  const { vici, sent } = aCharon(yes);
  await commands.loadConn(vici, "peer-1", { version: "2", local_addrs: ["192.0.2.1"] });
  expect(sent[0]?.args).toEqual(
    new Map([
      [
        "peer-1",
        new Map<string, unknown>([
          ["version", "2"],
          ["local_addrs", ["192.0.2.1"]],
        ]),
      ],
    ]),
  );
});

test("a secret is sent whole and never told in an error", async () => {
  const { vici, sent } = aCharon({ success: "no", errmsg: "unknown shared key type" });
  const secret = { type: "NTLM", id: "ntlm-1", data: Buffer.from("hunter2"), owners: ["nobody"] } as const;
  const failure: unknown = await commands.loadShared(vici, secret).catch((error: unknown) => error);
  expect(sent[0]?.args.get("data")).toBe("hunter2");
  expect(JSON.stringify(failure) + String(failure)).not.toContain("hunter2");
});

test("initiate does not wait for the peer unless told to, and never for ever", async () => {
  const { vici, sent } = aCharon(yes);
  await commands.initiate(vici, { ike: "peer-1", child: "net" });
  await commands.initiate(vici, { child: "net" }, { waitMs: 0 });
  await commands.initiate(vici, { child: "net" }, { waitMs: 1500 });
  expect(sent.map(({ args }) => args.get("timeout"))).toEqual(["-1", "1", "1500"]);
});

test("our deadline comes after charon's own", async () => {
  const { vici, sent } = aCharon({ ...yes, matches: "1", terminated: "1" });
  await commands.terminate(vici, { ike: "peer-1" }, { waitMs: 30_000 });
  expect(sent[0]?.options?.timeoutMs).toBeGreaterThan(30_000);
});

test("what charon does meanwhile is told line by line", async () => {
  const line = { group: "IKE", level: "1", "ikesa-name": "peer-1", "ikesa-uniqueid": "7", msg: "peer supports MOBIKE" };
  const { vici, sent } = aCharon(yes, [line]);
  const onLog = vi.fn();
  await commands.initiate(vici, { child: "net" }, { waitMs: 100, logLevel: 2, onLog });
  expect(sent[0]).toMatchObject({ event: "control-log" });
  expect(sent[0]?.args.get("loglevel")).toBe("2");
  expect(onLog).toHaveBeenCalledWith(expect.objectContaining({ text: "peer supports MOBIKE", ikeSaUniqueId: 7 }));
});

test("terminate and rekey tell how many SAs they met", async () => {
  const { vici, sent } = aCharon({ ...yes, matches: "2", terminated: "2" });
  expect(await commands.terminate(vici, { ikeId: 4, force: true })).toEqual({ matchCount: 2, terminatedCount: 2 });
  expect(await commands.rekey(vici, { ike: "peer-1", reauth: true })).toEqual({ matchCount: 2 });
  expect(Object.fromEntries(sent[0]?.args ?? [])).toEqual({ "ike-id": "4", force: "yes", timeout: "-1" });
  expect(Object.fromEntries(sent[1]?.args ?? [])).toEqual({ ike: "peer-1", reauth: "yes" });
});

test("noblock is left out rather than denied, since charon only looks whether it is there", async () => {
  const { vici, sent } = aCharon({});
  await commands.listSas(vici, { isNonBlocking: false });
  await commands.listSas(vici, { isNonBlocking: true });
  expect(sent.map(({ args }) => args.get("noblock"))).toEqual([undefined, "yes"]);
});

test("a name that charon would read as absent is refused: it would widen what is selected", async () => {
  const { vici, sent } = aCharon({ ...yes, matches: "1", terminated: "1" });
  await expect(commands.terminate(vici, { ike: "peer-1", child: "größe" })).rejects.toThrow(MalformedMessageError);
  await expect(commands.listSas(vici, { ike: "größe" })).rejects.toThrow(/charon would ignore it/);
  await expect(commands.unloadShared(vici, "größe")).rejects.toThrow(MalformedMessageError);
  expect(sent).toEqual([]);
});

test("lists that charon leaves out are empty", async () => {
  const { vici } = aCharon({});
  expect(await commands.getConns(vici)).toEqual([]);
  expect(await commands.getShared(vici)).toEqual([]);
});

test("an IKE SA without a proposal, times or children is read", async () => {
  const { vici } = aCharon({}, [{ "peer-1": ikeSa }]);
  const [sa] = await commands.listSas(vici);
  expect(sa).toMatchObject({ state: "CONNECTING", establishedSeconds: undefined, childSas: [] });
  expect(sa?.algorithms.encryption).toBeUndefined();
});

test("a time that has passed is negative, and key exchanges beside the first are listed", async () => {
  const { vici } = aCharon({}, [{ "peer-1": { ...ikeSa, "rekey-time": "-5", ake1: "KYBER_L3", ake2: "KYBER_L5" } }]);
  const [sa] = await commands.listSas(vici);
  expect(sa?.rekeySeconds).toBe(-5);
  expect(sa?.algorithms.additionalKeyExchanges).toEqual(["KYBER_L3", "KYBER_L5"]);
});

test.each<[string, SectionInput, RegExp]>([
  ["is missing", { ...ikeSa, state: undefined }, /state is missing/],
  ["is no number", { ...ikeSa, uniqueid: "many" }, /uniqueid is not an integer: "many"/],
  ["is a list", { ...ikeSa, version: [] }, /version is not a value/],
  ["is a value", { ...ikeSa, "child-sas": "none" }, /child-sas is not a section/],
])("a report whose member %s is refused by name", async (_case, sa, reason) => {
  const { vici } = aCharon({}, [{ "peer-1": sa }]);
  await expect(commands.listSas(vici)).rejects.toThrow(reason);
});

test("a redirect goes to a gateway and selects by all that is given", async () => {
  const { vici, sent } = aCharon({ ...yes, matches: "1" });
  await commands.redirect(vici, { gateway: "gw.example", ikeId: 4, peerIp: "192.0.2.0/24", peerId: "*@example" });
  expect(Object.fromEntries(sent[0]?.args ?? [])).toEqual({
    gateway: "gw.example",
    "ike-id": "4",
    "peer-ip": "192.0.2.0/24",
    "peer-id": "*@example",
  });
});

test("charon's limits may prevent an initiate only where it is told so", async () => {
  const { vici, sent } = aCharon(yes);
  await commands.initiate(vici, { ike: "peer-1", respectsLimits: true });
  await commands.initiate(vici, { ike: "peer-1", respectsLimits: false });
  expect(sent.map(({ args }) => args.get("init-limits"))).toEqual(["yes", undefined]);
});

test("what would select nothing, or more than was meant, does not compile", () => {
  const { vici } = aCharon(yes);
  const never = (): unknown => [
    // @ts-expect-error neither a child nor a connection
    commands.initiate(vici, {}),
    // @ts-expect-error nothing to terminate
    commands.terminate(vici, { force: true }),
    // @ts-expect-error charon would terminate what matches either
    commands.terminate(vici, { ike: "peer-1", ikeId: 4 }),
    // @ts-expect-error nobody to redirect
    commands.redirect(vici, { gateway: "gw.example" }),
    commands.terminate(vici, { ike: "peer-1", ikeId: 4, childId: 5 }),
  ];
  expect(never).toBeTypeOf("function");
});
