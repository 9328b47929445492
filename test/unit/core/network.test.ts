// Plans of the network as text (test/golden/plans), and what a configuration makes of plumbing.
import { describe, expect, test } from "vitest";
import { portId } from "../../../src/core/ids.ts";
import { loopbackAddressOf, networkConfig } from "../../../src/core/network.ts";
import { planNetwork, planNetworkRemoval, type NetworkStep } from "../../../src/core/network-plan.ts";
import { AGENT_NAMESPACE, type TransitConfig, type ObservedNetwork } from "../../../src/core/network.ts";
import { FakeNetwork } from "../../support/fake-network.ts";
import { expectGoldenPlan } from "../../support/golden-plan.ts";
import { aNetworkConfig, aRouter, DUAL_STACK, PLUMBING, type BridgeConfig } from "../../support/network-builders.ts";
import { printNetworkPlan } from "../../support/print-network-plan.ts";

const never = new AbortController().signal;

async function worldOf(
  config: BridgeConfig,
): Promise<{ network: FakeNetwork; converge: (to?: TransitConfig) => Promise<void> }> {
  const network = new FakeNetwork();
  network.addLink(AGENT_NAMESPACE, config.bridge, {});
  network.addNamespace(config.routerNamespace);
  const converge = async (to: TransitConfig = config): Promise<void> => {
    for (const step of planNetwork(to, await network.observe(to, never))) await network.apply(step, never);
  };
  await converge();
  return { network, converge };
}

const NOTHING: ObservedNetwork = {
  namespaceExists: false,
  routerNamespaceExists: true,
  bridgeExists: true,
  links: [],
  addresses: [],
  routes: [],
  rules: [],
  sysctls: [],
  policies: [],
  guard: { kind: "absent" },
};

const expectPlan = (name: string, steps: readonly NetworkStep[]): void =>
  expectGoldenPlan(name, `${printNetworkPlan(steps)}\n`);

describe("plans as text", () => {
  const config = aNetworkConfig({ pairs: [DUAL_STACK] });

  test("a new router", () => {
    expectPlan("network-new-router", planNetwork(config, NOTHING));
  });

  test("a new router with ESP in the kernel", () => {
    expectPlan(
      "network-new-router-kernel",
      planNetwork(aNetworkConfig({ pairs: [DUAL_STACK], espBackEnd: "kernel" }), NOTHING),
    );
  });

  test("one more subnet of the peer", async () => {
    const { network } = await worldOf(config);
    const more = aNetworkConfig({ pairs: [DUAL_STACK, { local: ["10.1.0.0/24"], peer: ["10.3.0.0/24"] }] });
    expectPlan("network-more-subnets", planNetwork(more, await network.observe(more, never)));
  });

  test("one subnet less: the guard shrinks last", async () => {
    const { network, converge } = await worldOf(config);
    await converge(aNetworkConfig({ pairs: [DUAL_STACK, { local: ["10.1.0.0/24"], peer: ["10.3.0.0/24"] }] }));
    expectPlan("network-fewer-subnets", planNetwork(config, await network.observe(config, never)));
  });

  test("another external address", async () => {
    const { network } = await worldOf(config);
    const addresses = [{ address: "203.0.113.44", prefixLength: 24 }];
    const moved = aNetworkConfig({
      pairs: [DUAL_STACK],
      plumbing: { ...PLUMBING, external: { ...PLUMBING.external, addresses } },
    });
    expectPlan("network-another-address", planNetwork(moved, await network.observe(moved, never)));
  });

  test("another external port: the old pair goes before the new one comes", async () => {
    const { network } = await worldOf(config);
    const external = { ...PLUMBING.external, port: portId("22222222-2222-4333-8444-555555555501") };
    const moved = aNetworkConfig({ pairs: [DUAL_STACK], plumbing: { ...PLUMBING, external } });
    expectPlan("network-another-port", planNetwork(moved, await network.observe(moved, never)));
  });

  test("the guard was touched by others and a veth is gone", async () => {
    const { network } = await worldOf(config);
    const own = network.namespaces.get(config.namespace);
    if (own !== undefined) own.guardKnown = false;
    network.deleteLink(config.namespace, config.veths[1]?.inner.name ?? "");
    expectPlan("network-repair", planNetwork(config, await network.observe(config, never)));
  });

  test("removal", async () => {
    const { network } = await worldOf(config);
    expectPlan("network-removal", planNetworkRemoval(config, await network.observe(config, never)));
  });
});

test("removal leaves the namespace, and the routes into it, to another agent that has the router now", async () => {
  const config = aNetworkConfig({ pairs: [DUAL_STACK] });
  const { network } = await worldOf({ ...config, alias: "swanherd:another" });
  expect(planNetworkRemoval(config, await network.observe(config, never))).toEqual([]);
});

test("of a router that is still listed the peers' subnets stay unreachable", async () => {
  const config = aNetworkConfig({ pairs: [DUAL_STACK] });
  const { network } = await worldOf(config);
  for (const step of planNetworkRemoval(config, await network.observe(config, never), true))
    await network.apply(step, never);
  const left = await network.observe(config, never);
  expect(left.namespaceExists).toBe(false);
  expect(left.routes.length).toBeGreaterThan(0);
  expect(left.routes.every((route) => route.kind === "unreachable")).toBe(true);
  expect(planNetworkRemoval(config, left, true)).toEqual([]);
  for (const step of planNetworkRemoval(config, left)) await network.apply(step, never);
  expect((await network.observe(config, never)).routes).toEqual([]);
});

test("what a killed agent's routes still lead into the gateway stays guarded until they are gone", async () => {
  const [kept, gone] = [
    { local: ["10.1.0.0/24"], peer: ["10.2.0.0/24"] },
    { local: ["10.1.9.0/24"], peer: ["10.2.9.0/24"] },
  ];
  const before = aNetworkConfig({ pairs: [kept, gone] });
  const after = aNetworkConfig({ pairs: [kept] });
  const { network } = await worldOf(before);
  const own = network.namespaces.get(before.namespace);
  if (own !== undefined) own.guardKnown = false;
  for (const step of planNetwork(after, await network.observe(after, never))) {
    await network.apply(step, never);
    expect(network.unguarded(after)).toEqual([]);
  }
  expect(own?.guard).toEqual(after.guard);
});

test("removal takes along what a killed run left half made", async () => {
  const config = aNetworkConfig({ pairs: [DUAL_STACK] });
  const network = new FakeNetwork();
  network.addNamespace(config.namespace);
  const steps = planNetworkRemoval(config, await network.observe(config, never));
  expect(printNetworkPlan(steps)).toBe(`deleteNamespace ${config.namespace}`);
});

test("links that the stock agent left under our names are taken over", async () => {
  const config = aNetworkConfig({ pairs: [DUAL_STACK] });
  const { network } = await worldOf(config);
  const own = network.namespaces.get(config.namespace);
  const name = config.veths[0]?.inner.name ?? "";
  const link = own?.links.get(name);
  if (link !== undefined) own?.links.set(name, { ...link, alias: undefined });
  const steps = planNetwork(config, await network.observe(config, never));
  expect(printNetworkPlan(steps)).toBe(`setLink ${name} alias=swanherd:gw-left in ${config.namespace}`);
});

test("what needs the router's namespace comes last when that is missing", () => {
  const config = aNetworkConfig({ pairs: [DUAL_STACK] });
  const steps = planNetwork(config, { ...NOTHING, routerNamespaceExists: false });
  const created = steps.flatMap((step) => (step.kind === "createVeth" ? [step.veth.inner.name] : []));
  expect(created).toEqual(config.veths.map((veth) => veth.inner.name));
});

test("a gateway that no address of the port reaches is on the link all the same", () => {
  const external = { ...PLUMBING.external, gateways: ["192.0.2.1", "fe80::1"] };
  const config = aNetworkConfig({ pairs: [DUAL_STACK], plumbing: { ...PLUMBING, external } });
  const defaults = config.routes.filter(({ destination, via }) => destination.endsWith("/0") && via !== undefined);
  expect(defaults.map((route) => [route.via, route.onlink])).toEqual([
    ["192.0.2.1", true],
    ["fe80::1", false],
  ]);
});

test("no name of a link is longer than the kernel takes, and no outer end has the port's MAC address", () => {
  for (const { inner, outer } of aNetworkConfig({ pairs: [DUAL_STACK] }).veths) {
    expect(Math.max(inner.name.length, outer.name.length)).toBeLessThanOrEqual(15);
    expect(outer.macAddress).not.toBe(inner.macAddress);
  }
});

test("a disabled connection is guarded and routed as any other", () => {
  const router = aRouter([DUAL_STACK]);
  expect(router.connections[0]?.kind).toBe("disabled");
  const attachment = { attachedBy: "bridge", bridge: "br", routerNamespace: "qrouter-x" } as const;
  const config = networkConfig({ router, plumbing: PLUMBING, attachment, host: "h", espBackEnd: "userland" });
  expect(config.guard.pairs).toHaveLength(1);
  const unreachable = config.routes.filter(
    ({ namespace, kind }) => namespace === "qrouter-x" && kind === "unreachable",
  );
  expect(unreachable.map(({ destination, table }) => `${destination} ${table}`)).toEqual([
    "10.2.0.0/24 254",
    "10.2.0.0/24 215",
    "fd00:2::/64 254",
    "fd00:2::/64 215",
  ]);
});

test("a peer's subnet without a local one of its family is not routed into the gateway", () => {
  const config = aNetworkConfig({ pairs: [{ local: ["10.1.0.0/24"], peer: ["10.2.0.0/24", "fd00:2::/64"] }] });
  expect(JSON.stringify(config)).not.toContain("fd00:2::");
});

test.each([
  ["10.1.0.0/24", ["10.1.0.0"]],
  ["10.1.0.4/31", ["10.1.0.4"]],
  ["10.1.0.5/32", ["10.1.0.5"]],
  ["0.0.0.0/0", ["192.0.0.8"]],
  ["0.0.0.0/1", ["1.0.0.0"]],
  ["2001:db8:1:33bc::/64", ["2001:db8:1:33bc:ffff:ffff:ffff:ffff"]],
  ["fd00::2/127", ["fd00::3"]],
  ["fd00::2/128", ["fd00::2"]],
  ["::/0", ["100::1"]],
])("from %s kernel-libipsec borrows %s", (cidr, expected) => {
  expect(loopbackAddressOf(cidr)).toEqual(expected);
});
