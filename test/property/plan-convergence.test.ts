// Laws of reconciling a charon, over random connections, random drift and random failures.
import fc from "fast-check";
import { expect, test } from "vitest";
import { peerOfSecretId, isMarkerId } from "../../src/core/fingerprint.ts";
import type { DesiredRouter, Tunnel } from "../../src/core/model.ts";
import { isPeerName } from "../../src/core/names.ts";
import { peerNameOf } from "../../src/core/peers.ts";
import { mayInitiate } from "../../src/core/plan-peer.ts";
import { Secret } from "../../src/core/secret.ts";
import { emptyMemory } from "../../src/reconcile/memory.ts";
import {
  aConnection,
  aDisabledConnection,
  anIkePolicy,
  anIpsecPolicy,
  aRouterWith,
  aTunnel,
} from "../support/builders.ts";
import { ikeOf, ipsecOf, termsOf, type Mishap } from "../support/fake-ike.ts";
import { ROUTER } from "../support/network-builders.ts";
import { ReconcileWorld } from "../support/reconcile-world.ts";

const FOREIGN_SECRET = "ike-by-hand";
const FOREIGN_CONN = "by-hand";

type Spec = {
  readonly number: number;
  readonly peer: number;
  readonly version: 1 | 2;
  readonly psk: string;
  readonly ikeGroup: string;
  readonly espGroup: string;
  readonly peerSubnets: readonly number[];
  readonly isResponder: boolean;
  readonly isDisabled: boolean;
  readonly dpdSeconds: number;
};

const tunnelOf = (spec: Spec): Tunnel =>
  aTunnel(spec.number, {
    peerAddress: `203.0.113.${String(spec.peer)}`,
    peerId: `203.0.113.${String(spec.peer)}`,
    psk: new Secret(spec.psk),
    ike: anIkePolicy({ version: spec.version, dhGroup: spec.ikeGroup }),
    ipsec: anIpsecPolicy({ dhGroup: spec.espGroup }),
    peerSubnets: spec.peerSubnets.map((net) => `10.${String(net)}.${String(spec.number)}.0/24`),
    initiator: spec.isResponder ? "response-only" : "bi-directional",
    dpd: { action: "restart", intervalSeconds: spec.dpdSeconds, timeoutSeconds: 120 },
  });

const desiredOf = (specs: readonly Spec[]): DesiredRouter =>
  aRouterWith(
    specs.map((spec) => (spec.isDisabled ? aDisabledConnection(tunnelOf(spec)) : aConnection(tunnelOf(spec)))),
  );

const rarely = fc.integer({ min: 0, max: 4 }).map((roll) => roll === 0);
const spec = (number: number): fc.Arbitrary<Spec> =>
  fc.record({
    number: fc.constant(number),
    // Below and above our own address.
    peer: fc.constantFrom(5, 20, 30),
    version: rarely.map((isV1) => (isV1 ? 1 : 2)),
    psk: rarely.map((isOther) => (isOther ? "b" : "a")),
    ikeGroup: rarely.map((isOther) => (isOther ? "group19" : "group14")),
    espGroup: rarely.map((isOther) => (isOther ? "group19" : "group14")),
    peerSubnets: fc.subarray([2, 3, 4], { minLength: 1 }),
    isResponder: rarely,
    isDisabled: rarely,
    dpdSeconds: fc.constantFrom(10, 30),
  });
const specs: fc.Arbitrary<readonly Spec[]> = fc
  .tuple(...[1, 2, 3, 4, 5].map((number) => fc.option(spec(number), { nil: undefined, freq: 3 })))
  .map((found) => found.filter((one) => one !== undefined));

const DRIFTS = ["none", "secret", "conn", "markers", "files", "ikeSa", "crash", "agent", "peerInitiates"] as const;
type Drift = (typeof DRIFTS)[number];
const drift = fc.constantFrom(...DRIFTS);
const mishap = fc.option(
  fc.record({
    afterSteps: fc.nat({ max: 20 }),
    kind: fc.constantFrom<Mishap>("refused before", "answer lost", "crash"),
  }),
  { nil: undefined },
);

function disturb(world: ReconcileWorld, what: Drift): void {
  const { ike } = world;
  if (what === "agent") world.memory = emptyMemory(ROUTER);
  if (what === "crash") ike.crash(ROUTER);
  if (!ike.isRunning(ROUTER)) return;
  const charon = ike.charon(ROUTER);
  const first = <T>(found: Iterable<T>, isIt: (one: T) => boolean): T[] => [...found].filter(isIt).slice(0, 1);
  if (what === "secret") for (const id of first(charon.secrets.keys(), isOurs)) charon.secrets.delete(id);
  if (what === "conn") for (const name of first(charon.conns.keys(), isPeerName)) charon.conns.delete(name);
  if (what === "markers") for (const id of [...charon.secrets.keys()]) if (isMarkerId(id)) charon.secrets.delete(id);
  if (what === "files") ike.files.get(ROUTER)?.clear();
  if (what === "ikeSa") for (const sa of first(charon.ikeSas, () => true)) ike.dropIkeSa(ROUTER, sa.uniqueId);
  if (what === "peerInitiates") for (const name of charon.conns.keys()) ike.peerInitiates(ROUTER, name);
}

const isOurs = (id: string): boolean => peerOfSecretId(id) !== undefined;

/** Everything that charon holds is what is wanted, and made with what is wanted. */
function expectWhatIsWanted(world: ReconcileWorld, desired: DesiredRouter): void {
  const tunnels = desired.connections.flatMap((c) => (c.kind === "usable" ? [c.tunnel] : []));
  const files = [...(world.ike.files.get(ROUTER)?.keys() ?? [])];
  if (tunnels.length === 0) {
    expect(world.ike.isRunning(ROUTER)).toBe(false);
    expect(files).toEqual([]);
    return;
  }
  const { grouping, inSync } = world.memory;
  const charon = world.ike.charon(ROUTER);
  const peers = grouping?.peers ?? [];
  const members = peers.flatMap((peer) => peer.members);
  const sorted = (texts: Iterable<string>): string[] => [...texts].sort();
  expect(members.length + (grouping?.conflicts.size ?? 0)).toBe(tunnels.length);
  expect(sorted(inSync)).toEqual(sorted(members.map((member) => member.tunnel.id)));
  expect(sorted(files)).toEqual(sorted(inSync));
  expect(sorted([...charon.conns.keys()].filter(isPeerName))).toEqual(sorted(peers.map((peer) => peer.name)));
  expect([...charon.secrets.keys()].filter(isOurs)).toHaveLength(peers.length);
  expect([...charon.secrets.keys()].filter(isMarkerId)).toHaveLength(members.length);
  for (const sa of charon.ikeSas.filter(({ peer }) => isPeerName(peer))) {
    const peer = peers.find((one) => one.name === sa.peer);
    expect([sa.state, sa.psk, sa.ike]).toEqual([
      "established",
      peer?.leader.psk.reveal(),
      peer === undefined ? "" : ikeOf(peer.leader),
    ]);
    if (peer !== undefined && mayInitiate(peer.leader)) expect(sa.terms).toBe(termsOf(peer));
  }
  for (const { tunnel, children } of members) {
    const sas = charon.ikeSas.filter((sa) => sa.peer === peerNameOf(tunnel)).flatMap((sa) => sa.children);
    for (const child of children) {
      const found = sas.filter((sa) => sa.name === child.name);
      if (mayInitiate(tunnel)) expect(found).toHaveLength(1);
      for (const sa of found) expect([sa.child, sa.ipsec]).toEqual([child, ipsecOf(tunnel)]);
    }
  }
  const known = new Set(members.flatMap((member) => member.children.map((child) => child.name)));
  expect(world.childSas().filter((sa) => !known.has(sa.name))).toEqual([]);
}

test("whatever changes, drifts or fails, passes end in what is wanted, and what is foreign stays", async () => {
  const round = fc.record({ specs, drift, mishap, peerLagsBehind: rarely });
  await fc.assert(
    fc.asyncProperty(fc.array(round, { minLength: 1, maxLength: 4 }), async (rounds) => {
      const world = new ReconcileWorld();
      for (const { specs: wanted, drift: what, mishap: failure, peerLagsBehind } of rounds) {
        const desired = desiredOf(wanted);
        disturb(world, what);
        world.ike.mishap = failure === undefined ? undefined : { ...failure };
        for (const tunnel of wanted.map(tunnelOf)) {
          world.ike.remote(peerNameOf(tunnel)).psk = peerLagsBehind ? "a" : undefined;
        }
        for (let passes = 0; passes < 3; passes += 1) await world.pass(desired);
        for (const remote of world.ike.remotes.values()) remote.psk = undefined;
        if (world.ike.isRunning(ROUTER)) {
          world.ike.charon(ROUTER).conns.set(FOREIGN_CONN, "foreign");
          world.ike.charon(ROUTER).secrets.set(FOREIGN_SECRET, "x");
        }
        world.ike.mishap = undefined;
        const instance = world.ike.isRunning(ROUTER) ? world.ike.charon(ROUTER).instance : "";
        await world.converge(desired);
        expectWhatIsWanted(world, desired);
        if (world.ike.isRunning(ROUTER) && world.ike.charon(ROUTER).instance === instance) {
          expect(world.ike.charon(ROUTER).conns.has(FOREIGN_CONN)).toBe(true);
          expect(world.ike.charon(ROUTER).secrets.has(FOREIGN_SECRET)).toBe(true);
        }
        expect(world.errors).toEqual([]);
      }
    }),
    { numRuns: 60 },
  );
});

test("a connection that comes, goes or changes its own children leaves the SAs of all others alone", async () => {
  const change = fc.constantFrom("remove", "selectors", "esp", "add");
  await fc.assert(
    fc.asyncProperty(specs, spec(9), change, async (found, joining, what) => {
      // The terms of an IKE SA are those of the connection that leads: with others it would be made anew when that one goes.
      const terms = { dpdSeconds: 30, isResponder: false };
      const plain = (one: Spec): Spec => ({
        ...one,
        ...terms,
        version: 2,
        psk: "a",
        ikeGroup: "group14",
        isDisabled: false,
      });
      const before = found.map(plain);
      const world = new ReconcileWorld();
      await world.converge(desiredOf(before));
      const [victim, ...others] = before;
      const changed: Spec[] =
        victim === undefined || what === "add"
          ? [...before, plain(joining)]
          : what === "remove"
            ? others
            : what === "esp"
              ? [{ ...victim, espGroup: "group20" }, ...others]
              : [{ ...victim, peerSubnets: [7] }, ...others];
      const kept = (what === "add" ? before : others).map((one) => String(tunnelOf(one).id));
      const ofKept = (): readonly unknown[] =>
        world.ike.isRunning(ROUTER)
          ? world
              .childSas()
              .filter((sa) => kept.includes(sa.name))
              .map(({ name, uniqueId }) => [name, uniqueId])
          : [];
      const untouched = ofKept();
      await world.converge(desiredOf(changed));
      expect(ofKept()).toEqual(untouched);
    }),
    { numRuns: 40 },
  );
});

test("a new agent touches no SA, in whatever state the last one left", async () => {
  await fc.assert(
    fc.asyncProperty(specs, async (found) => {
      const world = new ReconcileWorld();
      const desired = desiredOf(found);
      await world.converge(desired);
      const sas = () => (world.ike.isRunning(ROUTER) ? structuredClone(world.ike.charon(ROUTER).ikeSas) : []);
      const before = sas();
      world.memory = emptyMemory(ROUTER);
      await world.converge(desired);
      expect(sas()).toEqual(before);
    }),
    { numRuns: 60 },
  );
});
