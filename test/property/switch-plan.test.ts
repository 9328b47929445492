// Laws of the network's plan where links are ports of Open vSwitch: over random routers, drift and failures.
import fc from "fast-check";
import { expect, test } from "vitest";
import { portId } from "../../src/core/ids.ts";
import type { NetworkConfig } from "../../src/core/network.ts";
import { planNetwork, planNetworkRemoval } from "../../src/core/network-plan.ts";
import type { ObservedSwitchPort } from "../../src/core/switch.ts";
import { FakeNetwork } from "../support/fake-network.ts";
import { failingPasses, pass } from "../support/network-passes.ts";
import { anOvsConfig, PLUMBING, type Pair } from "../support/network-builders.ts";

const never = new AbortController().signal;

const pair: fc.Arbitrary<Pair> = fc.record({
  local: fc.subarray(["10.1.0.0/24", "fd00:1::/64", "0.0.0.0/0", "::/0"], { minLength: 1 }),
  peer: fc.subarray(["10.2.0.0/24", "fd00:2::/64", "0.0.0.0/0", "::/0"], { minLength: 1 }),
});

const config: fc.Arbitrary<NetworkConfig> = fc
  .record({
    pairs: fc.array(pair, { minLength: 1, maxLength: 3 }),
    port: fc.constantFrom(PLUMBING.external.port, portId("22222222-2222-4333-8444-555555555501")),
    integrationBridge: fc.constantFrom("br-int", "br-other"),
    espBackEnd: fc.constantFrom("kernel" as const, "userland" as const),
  })
  .map(({ pairs, port, integrationBridge, espBackEnd }) =>
    anOvsConfig({
      pairs,
      plumbing: { ...PLUMBING, external: { ...PLUMBING.external, port } },
      integrationBridge,
      espBackEnd,
    }),
  );

const FOREIGN: ObservedSwitchPort = {
  bridge: "br-int",
  name: "tap0123",
  type: "",
  port: "33333333-2222-4333-8444-555555555501",
  macAddress: "fa:16:3e:00:00:77",
  isActive: true,
  router: undefined,
  owner: undefined,
  isOpen: true,
  problem: undefined,
  isInstalled: true,
};

function world(isUserland: boolean): FakeNetwork {
  const network = new FakeNetwork();
  network.switch.isUserland = isUserland;
  network.switch.bridges.add("br-other");
  network.switch.ports.set(FOREIGN.name, FOREIGN);
  return network;
}

type Drift = (network: FakeNetwork, of: NetworkConfig, pick: number) => void;
const drifts: readonly Drift[] = [
  ({ switch: held }, of, pick) => held.ports.delete(of.veths[pick % 2]?.outer.name ?? ""),
  ({ switch: held }, of, pick) => {
    const port = held.ports.get(of.veths[pick % 2]?.outer.name ?? "");
    const changes = [{ port: undefined }, { isActive: false }, { owner: undefined }, { macAddress: "?" }] as const;
    if (port !== undefined) held.ports.set(port.name, { ...port, ...changes[pick % changes.length] });
  },
  // As the stock agent leaves its own.
  ({ switch: held }, of, pick) => {
    const veth = of.veths[pick % 2];
    const name = veth?.inner.name ?? "";
    held.ports.set(name, { ...FOREIGN, name, type: "internal", port: veth?.port?.port });
  },
  (network, of, pick) => {
    const end = of.veths[pick % 2]?.[pick % 3 === 0 ? "inner" : "outer"];
    if (end !== undefined) network.deleteLink(end.namespace, end.name);
  },
  (network, of) => {
    const own = network.namespaces.get(of.namespace);
    if (own !== undefined) own.neighbours = [];
  },
  (network, of) => network.apply({ kind: "deleteNamespace", namespace: of.namespace }, never),
];
const drift = fc.array(fc.tuple(fc.constantFrom(...drifts), fc.nat(20)), { maxLength: 5 });

test("after two passes there is nothing to do, whatever was there before", async () => {
  await fc.assert(
    fc.asyncProperty(config, config, drift, fc.boolean(), async (before, after, changes, isUserland) => {
      const network = world(isUserland);
      await pass(network, before);
      for (const [change, pick] of changes) change(network, before, pick);
      await pass(network, after);
      // What only a neighbour's answer tells, such as its MAC, is used by the pass after it.
      await pass(network, after);
      expect(planNetwork(after, await network.observe(after, never))).toEqual([]);
      const ids = after.veths.map(({ port }) => port?.port as string | undefined);
      const claiming = [...network.switch.ports.values()].filter(
        ({ owner, port }) => owner !== undefined || ids.includes(port),
      );
      expect(claiming.map(({ name }) => name).sort()).toEqual(after.veths.map(({ outer }) => outer.name).sort());
      expect(network.switch.ports.get(FOREIGN.name)).toBe(FOREIGN);
      expect(network.openings).toEqual([]);
    }),
    { numRuns: 200 },
  );
});

test("a failure after any step is healed by the next passes, and nothing is ever open", async () => {
  await fc.assert(
    fc.asyncProperty(config, config, fc.nat(70), async (before, after, failAt) => {
      const network = world(false);
      await failingPasses(network, before, after, failAt);
      await pass(network, after);
      await pass(network, after);
      expect(planNetwork(after, await network.observe(after, never))).toEqual([]);
      expect(network.openings).toEqual([]);
    }),
    { numRuns: 200 },
  );
});

test("removal leaves no port and no link of ours, also when it failed once, and everything of others", async () => {
  await fc.assert(
    fc.asyncProperty(config, drift, fc.nat(6), async (of, changes, failAt) => {
      const network = world(false);
      await pass(network, of);
      for (const [change, pick] of changes) change(network, of, pick);
      await pass(network, of);
      const remove = async (): Promise<void> => {
        for (const step of planNetworkRemoval(of, await network.observe(of, never))) await network.apply(step, never);
      };
      network.stepsUntilFailure = failAt;
      await remove().catch(() => undefined);
      network.stepsUntilFailure = undefined;
      await remove();
      expect(planNetworkRemoval(of, await network.observe(of, never))).toEqual([]);
      expect(network.namespaces.has(of.namespace)).toBe(false);
      expect([...network.switch.ports.values()]).toEqual([FOREIGN]);
    }),
    { numRuns: 100 },
  );
});

test("a switch that does not answer loses no port, and all else goes on", async () => {
  await fc.assert(
    fc.asyncProperty(config, config, async (before, after) => {
      const network = world(false);
      await pass(network, before);
      network.switch.isReachable = false;
      const steps = await pass(network, after);
      expect(steps.filter(({ kind }) => kind === "plugPort" || kind === "unplugPort")).toEqual([]);
      network.switch.isReachable = true;
      await pass(network, after);
      await pass(network, after);
      expect(planNetwork(after, await network.observe(after, never))).toEqual([]);
    }),
    { numRuns: 100 },
  );
});
