// What each command sends and makes of the answer; sessions and sockets are left out.
import { expect, test, vi } from "vitest";
import * as commands from "../../../src/vici-client/commands.ts";
import { MalformedMessageError } from "../../../src/vici-client/errors.ts";
import { decodeEvent } from "../../../src/vici-client/events.ts";
import { decodeMessage, encodeMessage, type Section, type SectionInput } from "../../../src/vici-client/message.ts";
import type { CommandOptions, ViciRequester } from "../../../src/vici-client/session.ts";

type Sent = { command: string; event: string | undefined; args: Section; options: CommandOptions | undefined };

/** Answers every command alike and keeps what was asked, as it would have arrived. */
function aCharon(answer: SectionInput, events: readonly SectionInput[] = []) {
  const sent: Sent[] = [];
  const note = (
    command: string,
    event: string | undefined,
    args: SectionInput,
    options: CommandOptions | undefined,
  ) => {
    sent.push({ command, event, args: decodeMessage(encodeMessage(args)), options });
    return Promise.resolve(decodeMessage(encodeMessage(answer)));
  };
  const vici: ViciRequester = {
    request: (command, args = {}, options) => note(command, undefined, args, options),
    stream: (command, event, args, onEvent, options) => {
      for (const message of events) onEvent(decodeMessage(encodeMessage(message)));
      return note(command, event, args, options);
    },
  };
  return { vici, sent };
}

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

const ikeSa = {
  uniqueid: "3",
  version: "2",
  state: "CONNECTING",
  "local-host": "192.0.2.1",
  "local-port": "500",
  "local-id": "192.0.2.1",
  "remote-host": "192.0.2.2",
  "remote-port": "500",
  "remote-id": "%any",
  "initiator-spi": "0011223344556677",
  "responder-spi": "0000000000000000",
};

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

const event = (name: string, message: SectionInput) => decodeEvent(name, decodeMessage(encodeMessage(message)));

test("an alert may be about an IKE SA or about none", () => {
  expect(event("alert", { type: "parse-error-header" })).toEqual({
    kind: "alert",
    type: "parse-error-header",
    ikeSa: undefined,
  });
  expect(event("alert", { type: "peer-auth-failed", "ike-sa": { "peer-1": ikeSa } })).toMatchObject({
    kind: "alert",
    type: "peer-auth-failed",
    ikeSa: { name: "peer-1", uniqueId: 3 },
  });
});

test("an address update has the new addresses beside the SA with its old ones", () => {
  const moved = { "local-host": "192.0.2.9", "local-port": "4500", "remote-host": "192.0.2.2", "remote-port": "4500" };
  expect(event("ike-update", { ...moved, "peer-1": ikeSa })).toMatchObject({
    kind: "ikeUpdate",
    localHost: "192.0.2.9",
    localPort: 4500,
    ikeSa: { localHost: "192.0.2.1" },
  });
});

test("an event of another name is handed on as it is", () => {
  expect(event("list-policy", { a: "b" })).toEqual({
    kind: "other",
    name: "list-policy",
    message: new Map([["a", "b"]]),
  });
});

test("an event that should be about one SA and is about none is refused", () => {
  expect(() => event("ike-updown", { up: "yes" })).toThrow(/ike-updown holds 0 sections, expected one/);
  expect(() => event("child-updown", { "peer-1": ikeSa })).toThrow(/child-updown without a child/);
});
