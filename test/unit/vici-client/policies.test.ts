// Policies with made-up answers.
import { expect, test } from "vitest";
import type { SectionInput } from "../../../src/vici-client/message.ts";
import { install, listPolicies, uninstall } from "../../../src/vici-client/policies.ts";
import { aCharon } from "./requesters.ts";

test("kinds that are not wanted are left out, since charon only looks whether they are there", async () => {
  const { vici, sent } = aCharon({});
  await listPolicies(vici, { kinds: ["drop"], ike: "peer-1", child: "net" });
  await listPolicies(vici, { kinds: [] });
  expect(sent.map(({ args }) => Object.fromEntries(args))).toEqual([{ drop: "yes", ike: "peer-1", child: "net" }, {}]);
});

const list = (policy: SectionInput) => listPolicies(aCharon({}, [{ "peer-1/net": policy }]).vici);

test("a shunt of another plugin has no connection", async () => {
  expect(await list({ child: "Bypass LAN 10.0.0.0/8", mode: "PASS", label: "0a" })).toEqual([
    {
      kind: "pass",
      child: "Bypass LAN 10.0.0.0/8",
      ike: undefined,
      label: "0a",
      localTs: [],
      remoteTs: [],
    },
  ]);
});

test.each<[string, SectionInput, RegExp]>([
  ["a trap without a connection", { child: "net", mode: "TUNNEL" }, /trap policy net without a connection/],
  ["a policy without a mode", { child: "net", ike: "peer-1" }, /mode is missing/],
  ["a policy whose selectors are no list", { child: "net", mode: "DROP", "local-ts": "all" }, /local-ts is not a list/],
])("%s is refused", async (_case, policy, reason) => {
  await expect(list(policy)).rejects.toThrow(reason);
});

test("a name that charon would read as absent is refused: it would widen what is meant", async () => {
  const { vici, sent } = aCharon({ success: "yes" });
  await expect(install(vici, { child: "net", ike: "größe" })).rejects.toThrow(/charon would ignore it/);
  await expect(uninstall(vici, { child: "net", ike: "" })).rejects.toThrow(/charon would ignore it/);
  await expect(listPolicies(vici, { child: "größe" })).rejects.toThrow(/charon would ignore it/);
  expect(sent).toEqual([]);
});
