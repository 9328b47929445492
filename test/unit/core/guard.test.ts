// The guard's transaction, rule by rule; what the kernel makes of it is tested in integration/kernel.
import { expect, test } from "vitest";
import {
  guardCovers,
  guardRuleset,
  guardsEqual,
  guardUnion,
  type Guard,
  type GuardPair,
} from "../../../src/core/guard.ts";

const aGuard = (pairs: readonly Partial<GuardPair>[], more: Partial<Guard> = {}): Guard => ({
  pairs: pairs.map((pair) => ({
    localSubnets: ["10.1.0.0/24"],
    peerSubnets: ["10.2.0.0/24"],
    mtuBytes: 1400,
    ...pair,
  })),
  espBackEnd: "userland",
  loopbackAddresses: [],
  transitLink: "vr0",
  ...more,
});

type Json = Readonly<Record<string, unknown>>;
type RuleJson = { readonly table: string; readonly chain: string; readonly expr: readonly Json[] };
type ChainJson = { readonly table: string; readonly name: string; readonly prio: number };

const addedBy = (guard: Guard) =>
  guardRuleset(guard).nftables.flatMap((command) => {
    const { add } = command as { add?: { rule?: RuleJson; chain?: ChainJson } };
    return add ?? [];
  });

const rulesOf = (guard: Guard, chain: string, table = "swanherd"): readonly string[] =>
  addedBy(guard).flatMap(({ rule }) =>
    rule?.chain === chain && rule.table === table ? [JSON.stringify(rule.expr)] : [],
  );
const drops = (guard: Guard, chain: string): readonly string[] =>
  rulesOf(guard, chain).filter((rule) => rule.includes('"drop"'));

test("the transaction makes a table before deleting it, so that it works the first time and every time", () => {
  const table = { table: { family: "inet", name: "swanherd" } };
  expect(guardRuleset(aGuard([])).nftables.slice(0, 3)).toEqual([{ add: table }, { delete: table }, { add: table }]);
});

test("a second table holds the same, right behind the first one", () => {
  const guard = aGuard([{}]);
  const chainsOf = (table: string) => addedBy(guard).flatMap(({ chain }) => (chain?.table === table ? [chain] : []));
  const first = chainsOf("swanherd");
  expect(first.map(({ name }) => name)).toEqual(["forward", "input", "output", "mss"]);
  expect(chainsOf("swanherd_spare")).toEqual(
    first.map((chain) => ({ ...chain, table: "swanherd_spare", prio: chain.prio + 1 })),
  );
  for (const { name } of first) expect(rulesOf(guard, name, "swanherd_spare")).toEqual(rulesOf(guard, name));
});

test("both directions of a pair are dropped where the namespace forwards", () => {
  const [out, back, ...none] = drops(aGuard([{}]), "forward");
  expect(none).toEqual([]);
  expect(out).toContain('"field":"saddr"}},"255.255.255.0"]},"right":"10.1.0.0"}');
  expect(back).toContain('"field":"saddr"}},"255.255.255.0"]},"right":"10.2.0.0"}');
});

test("connections with the same local subnets share one rule, however many peers they have", () => {
  const pairs = Array.from({ length: 500 }, (_, index) => ({
    peerSubnets: [`172.${16 + (index >> 8)}.${index & 255}.0/24`],
  }));
  expect(drops(aGuard(pairs), "forward")).toHaveLength(2);
});

test("a subnet inside another one of the same set is left out, as the kernel refuses overlaps", () => {
  const guard = aGuard([{ peerSubnets: ["10.2.0.0/16", "10.2.3.0/24"] }, { peerSubnets: ["10.2.4.0/24"] }]);
  expect(JSON.stringify(drops(guard, "forward"))).not.toMatch(/10\.2\.[34]\.0/);
});

test("no set is one of intervals: what is in it would be found later than the rules of a new table are in force", () => {
  const peers = [
    "10.2.0.0/24",
    "10.3.0.0/24",
    "10.4.0.0/16",
    "10.5.0.9/32",
    "fd00:2::/64",
    "fd00:3::/64",
    "fd00:4::/48",
  ];
  const guard = aGuard([{ localSubnets: ["10.1.0.0/24", "10.6.0.0/24", "fd00:1::/64"], peerSubnets: peers }]);
  expect(JSON.stringify(guardRuleset(guard))).not.toMatch(/"set":\[\{/);
  const out = drops(guard, "forward").filter((_, at) => at % 2 === 0);
  expect(out).toHaveLength(5);
  expect(out.join()).toContain('"255.255.0.0"]},"right":"10.4.0.0"');
  expect(out.join()).toContain('"field":"daddr"}},"right":"10.5.0.9"');
  expect(out.join()).toContain('"255.255.255.0"]},"right":{"set":["10.2.0.0","10.3.0.0"]}');
  expect(out.join()).toContain('"ffff:ffff:ffff:ffff::"]},"right":{"set":["fd00:2::","fd00:3::"]}');
  expect(out.join()).toContain('"ffff:ffff:ffff::"]},"right":"fd00:4::"');
});

test("subnets of different families make no pair", () => {
  expect(drops(aGuard([{ localSubnets: ["10.1.0.0/24"], peerSubnets: ["fd00:2::/64"] }]), "forward")).toEqual([]);
});

test("everything is matched by its family", () => {
  const [rule] = drops(aGuard([{ localSubnets: ["::/0"], peerSubnets: ["::/0"] }]), "forward");
  expect(rule).toContain('"right":"ipv6"');
  expect(rule).not.toContain("prefix");
});

test("IKE and neighbour discovery are let through before anything of the gateway's own is dropped", () => {
  for (const chain of ["input", "output"]) {
    const rules = rulesOf(aGuard([{ localSubnets: ["0.0.0.0/0"], peerSubnets: ["0.0.0.0/0"] }]), chain);
    const ike = rules.findIndex((rule) => rule.includes("[500,4500]"));
    expect(ike).toBeGreaterThanOrEqual(0);
    expect(ike).toBeLessThan(rules.findIndex((rule) => rule.includes('"drop"')));
    expect(rules.findIndex((rule) => rule.includes("nd-neighbor-solicit"))).toBeGreaterThanOrEqual(0);
  }
});

test("errors are taken in and not sent, since one that we send quotes a packet in clear", () => {
  expect(rulesOf(aGuard([]), "input").join()).toContain("packet-too-big");
  expect(rulesOf(aGuard([]), "output").join()).not.toContain("packet-too-big");
});

test("a borrowed address takes nothing in", () => {
  const [rule] = drops(aGuard([], { loopbackAddresses: ["10.1.0.0"] }), "input");
  expect(rule).toContain('"set":["10.1.0.0"]');
});

test("with ESP in the kernel the packet's transformation decides, not the link", () => {
  const rules = rulesOf(aGuard([{}], { espBackEnd: "kernel" }), "forward").join();
  expect(rules).toContain('{"rt":{"key":"ipsec"}}');
  expect(rules).toContain('"secpath"');
  expect(rules).not.toContain("ipsec0");
});

test("segments leave room for the headers of their family and are only ever lowered", () => {
  const guard = aGuard([{ localSubnets: ["10.1.0.0/24", "fd00:1::/64"], peerSubnets: ["10.2.0.0/24", "fd00:2::/64"] }]);
  const rules = rulesOf(guard, "mss");
  expect(rules).toHaveLength(4);
  expect(rules.every((rule) => rule.includes('"op":">"'))).toBe(true);
  expect(rules.filter((rule) => rule.includes('"right":1360') && rule.includes('"value":1360'))).toHaveLength(2);
  expect(rules.filter((rule) => rule.includes('"right":1340') && rule.includes('"value":1340'))).toHaveLength(2);
  expect(rulesOf(aGuard([{ mtuBytes: undefined }]), "mss")).toEqual([]);
});

test("a guard of more pairs covers one of fewer, and their union covers both", () => {
  const few = aGuard([{}]);
  const other = aGuard([{ peerSubnets: ["10.3.0.0/24"] }]);
  expect(guardCovers(guardUnion(few, other), few)).toBe(true);
  expect(guardCovers(guardUnion(few, other), other)).toBe(true);
  expect(guardCovers(few, other)).toBe(false);
  expect(guardsEqual(few, aGuard([{}, {}]))).toBe(true);
  expect(guardsEqual(few, aGuard([{ mtuBytes: 1300 }]))).toBe(false);
});
