// Laws of the network's plan, over random routers, random drift and random failures.
import fc from "fast-check";
import { expect, test } from "vitest";
import { portId } from "../../src/core/ids.ts";
import { AGENT_NAMESPACE } from "../../src/core/network.ts";
import { planNetwork, planNetworkRemoval } from "../../src/core/network-plan.ts";
import { FakeNetwork } from "../support/fake-network.ts";
import { failingPasses, pass } from "../support/network-passes.ts";
import { aNetworkConfig, PLUMBING, type BridgeConfig, type Pair } from "../support/network-builders.ts";

const never = new AbortController().signal;
const locals = ["10.1.0.0/24", "10.1.1.0/31", "10.1.2.3/32", "fd00:1::/64", "fd00:1:1::/127", "0.0.0.0/0", "::/0"];
const peers = ["10.2.0.0/24", "10.2.0.0/16", "10.3.0.0/16", "fd00:2::/64", "fd00:3::/48", "0.0.0.0/0", "::/0"];

const pair: fc.Arbitrary<Pair> = fc.record({
  local: fc.subarray(locals, { minLength: 1 }),
  peer: fc.subarray(peers, { minLength: 1 }),
});

const config: fc.Arbitrary<BridgeConfig> = fc
  .record({
    pairs: fc.array(pair, { minLength: 1, maxLength: 4 }),
    port: fc.constantFrom(PLUMBING.external.port, portId("22222222-2222-4333-8444-555555555501")),
    address: fc.constantFrom("203.0.113.10", "203.0.113.11"),
    prefixLength: fc.constantFrom(24, 25),
    prefixLength6: fc.constantFrom(64, 60),
    mtuBytes: fc.constantFrom(1500, 1400),
    espBackEnd: fc.constantFrom("kernel" as const, "userland" as const),
  })
  .map(({ pairs, port, address, prefixLength, prefixLength6, mtuBytes, espBackEnd }) => {
    const addresses = [
      { address, prefixLength },
      { address: "2001:db8:ff::10", prefixLength: prefixLength6 },
    ];
    const plumbing = { ...PLUMBING, external: { ...PLUMBING.external, port, addresses, mtuBytes } };
    return aNetworkConfig({ pairs, plumbing, espBackEnd });
  });

function world(of: BridgeConfig): FakeNetwork {
  const network = new FakeNetwork();
  network.addLink(AGENT_NAMESPACE, of.bridge, {});
  const router = network.addNamespace(of.routerNamespace);
  network.addLink(of.routerNamespace, "lan", {});
  router.routes.push({
    namespace: of.routerNamespace,
    table: 254,
    destination: "10.2.0.0/24",
    kind: "unicast",
    via: "10.1.0.7",
    link: "lan",
    onlink: false,
    metric: 7,
    protocol: 3,
  });
  return network;
}

const foreign = (network: FakeNetwork, of: BridgeConfig): string => {
  const router = network.namespaces.get(of.routerNamespace);
  return JSON.stringify([
    router?.links.get("lan"),
    router?.routes.filter((route) => route.protocol === 3),
    network.namespaces.get(of.namespace)?.links.get("foreign"),
  ]);
};

type Drift = (network: FakeNetwork, of: BridgeConfig, pick: number) => void;
const drifts: readonly Drift[] = [
  (network, of, pick) => network.namespaces.get(of.namespace)?.addresses.splice(pick % 7, 1),
  (network, of, pick) => network.namespaces.get(of.namespace)?.routes.splice(pick % 7, 2),
  (network, of, pick) => network.namespaces.get(of.routerNamespace)?.routes.splice(1 + (pick % 5), 1),
  (network, of, pick) => network.namespaces.get(of.namespace)?.rules.splice(pick % 4, 1),
  (network, of, pick) => network.namespaces.get(of.routerNamespace)?.rules.splice(2 + (pick % 4), 1),
  (network, of, pick) => {
    const ends = of.veths.flatMap((veth) => [veth.inner, veth.outer]);
    const end = ends[pick % ends.length];
    if (end !== undefined) network.deleteLink(end.namespace, end.name);
  },
  (network, of) => {
    const own = network.namespaces.get(of.namespace);
    if (own !== undefined) own.guardKnown = false;
  },
  (network, of, pick) => {
    const end = of.veths[pick % 2]?.inner;
    const space = network.namespaces.get(of.namespace);
    const link = end === undefined ? undefined : space?.links.get(end.name);
    if (link !== undefined)
      space?.links.set(link.name, { ...link, alias: undefined, mtuBytes: 1300, up: pick % 2 === 0 });
  },
  (network, of) => network.apply({ kind: "deleteNamespace", namespace: of.namespace }, never),
];
const drift = fc.array(fc.tuple(fc.constantFrom(...drifts), fc.nat(20)), { maxLength: 5 });

test("after one pass there is nothing to do, whatever was there before", async () => {
  await fc.assert(
    fc.asyncProperty(config, config, drift, async (before, after, changes) => {
      const network = world(before);
      await pass(network, before);
      network.addLink(before.namespace, "foreign", {});
      for (const [change, pick] of changes) change(network, before, pick);
      const others = foreign(network, before);
      await pass(network, after);
      expect(planNetwork(after, await network.observe(after, never))).toEqual([]);
      expect(foreign(network, after)).toBe(others);
      expect(network.openings).toEqual([]);
    }),
    { numRuns: 200 },
  );
});

test("a failure after any step is healed by the next pass, and nothing is ever open", async () => {
  await fc.assert(
    fc.asyncProperty(config, config, fc.nat(90), async (before, after, failAt) => {
      const network = world(before);
      await failingPasses(network, before, after, failAt);
      await pass(network, after);
      expect(planNetwork(after, await network.observe(after, never))).toEqual([]);
      expect(network.openings).toEqual([]);
    }),
    { numRuns: 200 },
  );
});

test("at no step is there a route into the tunnel that the guard does not know", async () => {
  await fc.assert(
    fc.asyncProperty(config, config, async (before, after) => {
      const network = world(before);
      await pass(network, before);
      for (const step of planNetwork(after, await network.observe(after, never))) {
        await network.apply(step, never);
        expect(network.unguarded(after)).toEqual([]);
      }
    }),
    { numRuns: 100 },
  );
});

test("removal leaves nothing of ours, also when it failed once, and everything of others", async () => {
  await fc.assert(
    fc.asyncProperty(config, drift, fc.nat(8), async (of, changes, failAt) => {
      const network = world(of);
      const others = foreign(network, of);
      await pass(network, of);
      for (const [change, pick] of changes) change(network, of, pick);
      const remove = async (): Promise<void> => {
        for (const step of planNetworkRemoval(of, await network.observe(of, never))) await network.apply(step, never);
      };
      network.stepsUntilFailure = failAt;
      await remove().catch(() => undefined);
      network.stepsUntilFailure = undefined;
      await remove();
      expect(planNetworkRemoval(of, await network.observe(of, never))).toEqual([]);
      expect(network.namespaces.has(of.namespace)).toBe(false);
      expect(foreign(network, of)).toBe(others);
      expect([...(network.namespaces.get(AGENT_NAMESPACE)?.links.keys() ?? [])]).toEqual(["lo", of.bridge]);
    }),
    { numRuns: 100 },
  );
});
