// What a charon that was killed has left in the kernel: taken away, unless a tunnel needs it for a moment more.
import { expect, test } from "vitest";
import type { IpsecEntry, PolicyDirection } from "../../../src/core/data-plane.ts";
import { remainsOf } from "../../../src/core/remains.ts";
import { aChildSa, anIkeSa, aTunnel } from "../../support/builders.ts";

const STARTED_MS = 1_000_000;
const OLD_MS = STARTED_MS - 60_000;
const LOCAL = "10.1.1.0/24";
const PEER = "10.2.1.0/24";
const tunnel = aTunnel(1, {
  localAddress: "203.0.113.10",
  peerAddress: "203.0.113.20",
  localSubnets: [LOCAL],
  peerSubnets: [PEER],
});
const called = { ...tunnel, initiator: "response-only" } as const;

const state = (spi: string, addedAtMs = OLD_MS, destination = "203.0.113.20"): IpsecEntry => ({
  ...{ kind: "state", spi, protocol: 50, source: "203.0.113.10", destination, addedAtMs },
});
const policy = (direction: PolicyDirection, addedAtMs = OLD_MS, peer = PEER): IpsecEntry => ({
  kind: "policy",
  direction,
  source: direction === "out" ? LOCAL : peer,
  destination: direction === "out" ? peer : LOCAL,
  addedAtMs,
});
const plane = (...entries: readonly IpsecEntry[]) =>
  ({ kind: "kernel", spis: new Set<string>(), policies: new Set<string>(), entries }) as const;
const charon = (...children: readonly ReturnType<typeof aChildSa>[]) => ({
  startedAtMs: STARTED_MS,
  metAtMs: STARTED_MS,
  ikeSas: children.length === 0 ? [] : [anIkeSa("peer", { children })],
});
const SA = aChildSa({ localSubnets: [LOCAL], peerSubnets: [PEER], spiIn: "c1000001", spiOut: "c2000001" });
const EARLY = STARTED_MS + 1_000;
const LATE = STARTED_MS + 10_000;

test("what is charon's own stays, whenever it came, and so does what is younger than charon", () => {
  const own = plane(state("c1000001"), state("c2000001"), policy("out"), policy("in"), policy("forward"));
  expect(remainsOf(own, charon(SA), [tunnel], LATE)).toEqual({ entries: [], wakeAtMs: undefined });
  expect(remainsOf(own, charon(SA), [], LATE)).toEqual({ entries: [], wakeAtMs: undefined });
  const younger = plane(state("c9000009", STARTED_MS), policy("out", STARTED_MS, "10.9.9.0/24"));
  expect(remainsOf(younger, charon(), [], LATE)).toEqual({ entries: [], wakeAtMs: undefined });
});

test("the trap of a tunnel that is down stays; what one that may not initiate has left goes in time", () => {
  const policies = plane(policy("out"), policy("in"), policy("forward"));
  expect(remainsOf(policies, charon(), [tunnel], LATE).entries).toEqual([]);
  expect(remainsOf(policies, charon(), [called], EARLY)).toEqual({ entries: [], wakeAtMs: LATE });
  expect(remainsOf(policies, charon(), [called], LATE).entries).toEqual(policies.entries);
});

test("what nobody wants any more goes at once", () => {
  const left = plane(state("c9000009"), state("c8000008"), policy("out"), policy("in"), policy("forward"));
  expect(remainsOf(left, charon(), [], EARLY)).toEqual({ entries: left.entries, wakeAtMs: undefined });
});

test("the states between the gateways of a tunnel stay until it is up, or the next charon has had its time", () => {
  const old = state("c9000009");
  expect(remainsOf(plane(old), charon(), [tunnel], EARLY)).toEqual({ entries: [], wakeAtMs: LATE });
  expect(remainsOf(plane(old), charon(SA), [tunnel], EARLY)).toEqual({ entries: [old], wakeAtMs: undefined });
  expect(remainsOf(plane(old), charon(), [tunnel], LATE)).toEqual({ entries: [old], wakeAtMs: undefined });
  const ofOther = state("c7000007", OLD_MS, "203.0.113.30");
  expect(remainsOf(plane(old, ofOther), charon(), [tunnel], EARLY)).toEqual({ entries: [ofOther], wakeAtMs: LATE });
});

test("a charon that was met late has its time from then on", () => {
  const old = state("c9000009");
  const met = { ...charon(), metAtMs: STARTED_MS + 60_000 };
  expect(remainsOf(plane(old), met, [tunnel], LATE)).toEqual({ entries: [], wakeAtMs: STARTED_MS + 70_000 });
  expect(remainsOf(plane(old), met, [tunnel], STARTED_MS + 70_000).entries).toEqual([old]);
});

test("a tunnel is up when all its pairs are", () => {
  const more = { ...tunnel, peerSubnets: [PEER, "10.2.2.0/24"] };
  const old = state("c9000009");
  expect(remainsOf(plane(old), charon(SA), [more], EARLY).entries).toEqual([]);
  const second = aChildSa({ localSubnets: [LOCAL], peerSubnets: ["10.2.2.0/24"], state: "rekeying" });
  expect(remainsOf(plane(old), charon(SA, second), [more], EARLY).entries).toEqual([old]);
});

test("where the clock was put forward, charon's own states are older than charon, and others are no leftovers for that", () => {
  const own = state("c1000001");
  const younger = state("c9000009", OLD_MS + 1_000);
  const older = state("c8000008", OLD_MS - 1_000);
  expect(remainsOf(plane(own, younger, older), charon(SA), [], LATE).entries).toEqual([older]);
});

test("while a peer has narrowed an SA to a range, no policy is taken for a leftover", () => {
  const narrowed = { ...SA, peerSubnets: ["10.2.1.3..10.2.1.9"] };
  const old = state("c9000009");
  expect(remainsOf(plane(old, policy("out", OLD_MS, "10.2.1.0/28")), charon(narrowed), [], LATE).entries).toEqual([
    old,
  ]);
});

test("a peer that is known by name only may have any of them", () => {
  const named = { ...tunnel, peerAddress: "vpn.example" };
  expect(remainsOf(plane(state("c9000009")), charon(), [named], EARLY).entries).toEqual([]);
});

test("while no charon runs wanted tunnels are carried on, and others are not", () => {
  const mine = [state("c9000009"), policy("out"), policy("in"), policy("forward")];
  const others = [state("c7000007", OLD_MS, "203.0.113.30"), policy("out", OLD_MS, "10.9.9.0/24")];
  expect(remainsOf(plane(...mine, ...others), undefined, [tunnel], LATE)).toEqual({
    entries: others,
    wakeAtMs: undefined,
  });
});
