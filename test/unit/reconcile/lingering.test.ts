// What is guarded beside what is wanted, by the SAs that an agent finds when it starts.
import { expect, test } from "vitest";
import type { ObservedCharon } from "../../../src/core/observed.ts";
import { lingeringOf } from "../../../src/reconcile/lingering.ts";
import { aChildSa, aConnectionId, anIkeSa, aRouterWith, aRunningCharon, aTunnel } from "../../support/builders.ts";

const GONE = aConnectionId(9);

const charonWith = (name: string, localSubnets: readonly string[], peerSubnets: readonly string[]): ObservedCharon =>
  aRunningCharon(anIkeSa("peer", { children: [aChildSa({ name, localSubnets, peerSubnets })] }));
const guardedBeside = (charon: ObservedCharon) =>
  lingeringOf(aRouterWith([aTunnel(1)]), undefined, charon).map(({ id, guarded }) => ({ id, ...guarded }));

test("an SA of a connection that nobody lists is guarded, one of a listed connection only where it is wider", () => {
  const subnets = [["10.8.0.0/24"], ["10.9.0.0/24"]] as const;
  expect(guardedBeside(charonWith(GONE, ...subnets))).toEqual([
    { id: GONE, localSubnets: subnets[0], peerSubnets: subnets[1] },
  ]);
  expect(guardedBeside(charonWith(aConnectionId(1), ["10.1.1.0/24"], ["10.2.1.0/24"]))).toEqual([]);
  expect(guardedBeside(charonWith(aConnectionId(1), ["10.1.1.0/24"], ["10.2.1.128/25"]))).toEqual([]);
  expect(guardedBeside(charonWith(aConnectionId(1), ["10.1.1.0/24"], ["10.2.0.0/16"]))).toHaveLength(1);
});

test("a selector with a protocol is guarded for all of its subnet; a range, and an SA of others, for nothing", () => {
  expect(guardedBeside(charonWith(`${GONE}-0a1b`, ["10.8.0.0/24[tcp/http]"], ["10.9.0.0/24"]))).toEqual([
    { id: GONE, localSubnets: ["10.8.0.0/24"], peerSubnets: ["10.9.0.0/24"] },
  ]);
  expect(guardedBeside(charonWith(`${GONE}-0a1b`, ["10.8.0.0/24"], ["10.9.0.0..10.9.0.5"]))).toEqual([]);
  expect(guardedBeside(charonWith("theirs", ["10.8.0.0/24"], ["10.9.0.0/24"]))).toEqual([]);
  expect(guardedBeside({ kind: "absent" })).toEqual([]);
});

test("what has left the list, and an SA that came up after it had, are guarded once", () => {
  const before = aRouterWith([aTunnel(1, { peerSubnets: ["10.2.1.0/24", "10.2.2.0/24"] })]);
  const lingering = (applied: typeof before, charon: ObservedCharon) =>
    lingeringOf(aRouterWith([aTunnel(1)]), applied, charon).map(({ guarded }) => guarded.peerSubnets);
  const wide = charonWith(aConnectionId(1), ["10.1.1.0/24"], ["10.2.1.0/24", "10.2.2.0/24"]);
  expect(lingering(before, { kind: "absent" })).toEqual([["10.2.1.0/24", "10.2.2.0/24"]]);
  expect(lingering(before, wide)).toEqual([["10.2.1.0/24", "10.2.2.0/24"]]);
  expect(lingering(aRouterWith([aTunnel(1)]), wide)).toEqual([["10.2.1.0/24", "10.2.2.0/24"]]);
});
