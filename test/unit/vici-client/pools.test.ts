// Pools with made-up answers.
import { expect, test } from "vitest";
import { decodePools, getPoolLeases, getPools, loadPool, unloadPool } from "../../../src/vici-client/pools.ts";
import { decodeMessage, encodeMessage, type SectionInput } from "../../../src/vici-client/message.ts";
import { aCharon } from "./requesters.ts";

const pools = (answer: SectionInput) => decodePools(decodeMessage(encodeMessage(answer)));
const counts = { base: "10.9.0.1", size: "254", online: "0", offline: "0" };

test("attributes go by name or by number, as lists", async () => {
  const { vici, sent } = aCharon({ success: "yes" });
  await loadPool(vici, "road", {
    addrs: "10.9.0.0/24",
    attributes: { dns: ["10.9.0.1"], split_include: ["10.1.0.0/16", "10.2.0.0/16"] },
    numberedAttributes: new Map([[25, ["corp.example", Buffer.from([0xff])]]]),
  });
  expect(sent[0]?.args).toEqual(
    new Map([
      [
        "road",
        new Map<string, unknown>([
          ["addrs", "10.9.0.0/24"],
          ["dns", ["10.9.0.1"]],
          ["split_include", ["10.1.0.0/16", "10.2.0.0/16"]],
          ["25", ["corp.example", Buffer.from([0xff])]],
        ]),
      ],
    ]),
  );
});

test("a pool of a name that is also a number keeps its place", () => {
  const answer = new Map([
    ["road", counts],
    ["10", counts],
  ]);
  expect(pools(answer).map((pool) => pool.name)).toEqual(["road", "10"]);
});

test("leases are asked for only where they are wanted", async () => {
  const { vici, sent } = aCharon({});
  await getPools(vici, { name: "road" });
  await getPoolLeases(vici, { name: "road" });
  expect(sent.map(({ args }) => args.get("leases"))).toEqual([undefined, "yes"]);
});

test.each<[string, SectionInput, RegExp]>([
  ["without a size", { ...counts, size: undefined }, /size is missing/],
  ["whose count is no number", { ...counts, online: "many" }, /online is not an integer/],
])("a pool %s is refused by name", (_case, pool, reason) => {
  expect(() => pools({ road: pool })).toThrow(reason);
});

test("a lease that is neither online nor offline is refused", async () => {
  const lease = { address: "10.9.0.1", identity: "a", status: "asleep" };
  const { vici } = aCharon({ road: { ...counts, leases: { "0": lease } } });
  await expect(getPoolLeases(vici)).rejects.toThrow(/status is "asleep", not online, offline/);
});

test("a name that charon would read as absent is refused", async () => {
  const { vici, sent } = aCharon({ success: "yes" });
  await expect(unloadPool(vici, "größe")).rejects.toThrow(/charon would ignore it/);
  await expect(getPools(vici, { name: "" })).rejects.toThrow(/charon would ignore it/);
  expect(sent).toEqual([]);
});
