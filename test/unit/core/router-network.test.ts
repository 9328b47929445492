// Plans for the namespace of somebody else's router (topology `router`), and the chains that keep its NAT away.
import { describe, expect, test } from "vitest";
import { guardRuleset } from "../../../src/core/guard.ts";
import type { EspBackEnd } from "../../../src/core/guard.ts";
import { planNetwork, planNetworkRemoval, type NetworkStep } from "../../../src/core/network-plan.ts";
import type { RouterConfig } from "../../../src/core/network.ts";
import { routerConfig, routerScope } from "../../../src/core/router-network.ts";
import { unsupported } from "../../../src/core/support.ts";
import { ALL_ALGORITHMS, aRouterWith, aTunnel } from "../../support/builders.ts";
import { FakeNetwork } from "../../support/fake-network.ts";
import { expectGoldenPlan } from "../../support/golden-plan.ts";
import { aRouter, DUAL_STACK, ROUTER, type Pair } from "../../support/network-builders.ts";
import { printNetworkPlan } from "../../support/print-network-plan.ts";

const never = new AbortController().signal;
const NAMESPACE = `qrouter-${ROUTER}`;
const place = { namespace: NAMESPACE, candidates: [NAMESPACE, `snat-${ROUTER}`] };

const aConfig = (pairs: readonly Pair[], espBackEnd: EspBackEnd = "userland"): RouterConfig =>
  routerConfig({ router: aRouter(pairs), place, host: "gw-left", espBackEnd });

async function converge(network: FakeNetwork, config: RouterConfig): Promise<readonly NetworkStep[]> {
  const steps = planNetwork(config, await network.observe(config, never));
  for (const step of steps) await network.apply(step, never);
  return steps;
}

const aWorld = (): FakeNetwork => {
  const network = new FakeNetwork();
  network.addNamespace(NAMESPACE);
  network.addLink(NAMESPACE, "qr-1", { up: true });
  return network;
};

test("plans as text: a namespace that is to come, a new router, more and less of it, and its removal", async () => {
  const network = aWorld();
  const usable = routerConfig({ router: aRouterWith([aTunnel(1)]), place, host: "gw-left", espBackEnd: "userland" });
  const more = aConfig([DUAL_STACK, { local: ["10.1.0.0/24"], peer: ["10.3.0.0/24"] }]);
  const plans: string[] = [];
  const print = (title: string, steps: readonly NetworkStep[]): void =>
    void plans.push(`# ${title}`, printNetworkPlan(steps), "");
  print("the namespace is not there", planNetwork(usable, await new FakeNetwork().observe(usable, never)));
  print("a new router", await converge(network, usable));
  print("the same again", await converge(network, usable));
  print("its connections are switched off", await converge(network, aConfig([DUAL_STACK])));
  print("one more subnet of the peer", await converge(network, more));
  print("one less", await converge(network, aConfig([DUAL_STACK])));
  const observed = await network.observe(usable, never);
  print("torn down, and still listed", planNetworkRemoval(usable, observed, true));
  print("removal", planNetworkRemoval(usable, observed));
  print("removal where nothing is ours", planNetworkRemoval(usable, await aWorld().observe(usable, never)));
  expectGoldenPlan("network-topology-router", plans.join("\n"));
});

test("what charon sends from its IPv4 addresses is tracked apart from all else, and keeps its port", () => {
  const router = aRouterWith([
    aTunnel(1, { localAddress: "203.0.113.10" }),
    aTunnel(2, { localAddress: "2001:db8:ff::10", peerAddress: "2001:db8:ff::20" }),
  ]);
  const config = routerConfig({ router, place, host: "gw-left", espBackEnd: "kernel" });
  const rules = guardRuleset(config.guard)
    .nftables.map((command) => JSON.stringify(command))
    .filter((text) => text.includes('"table":"swanherd"'))
    .filter((text) => text.includes('"port"') || /"field":"[sd]port"/.test(text));
  const of = (chain: string): readonly string[] => rules.filter((text) => text.includes(`"chain":"${chain}"`));
  for (const chain of ["zone", "zone_output", "nat_source"]) {
    expect(of(chain)).toHaveLength(1);
    expect(of(chain)[0]).toContain('{"set":["203.0.113.10"]}');
  }
  expect(of("nat_source")[0]).toContain('"snat"');
});

test.each([
  ["userland", ["addRoute", "addRule", "removeRoute", "removeRule"]],
  ["kernel", ["addPolicy", "removePolicy"]],
] as const)(
  "with ESP in %s no step makes, removes or touches a namespace, link or address, or a route of the router's",
  async (espBackEnd, kinds) => {
    const network = aWorld();
    const route = { namespace: NAMESPACE, table: 254, destination: "0.0.0.0/0", kind: "unicast" as const, metric: 0 };
    network.namespaces.get(NAMESPACE)?.routes.push(
      { ...route, via: "203.0.113.1", link: "qg-1", onlink: false, protocol: 4 },
      {
        ...route,
        table: 215,
        destination: "192.0.2.0/24",
        via: "10.1.0.9",
        link: "qr-1",
        onlink: false,
        protocol: 4,
      },
    );
    const config = aConfig([DUAL_STACK], espBackEnd);
    const steps = [...(await converge(network, config))];
    steps.push(...planNetworkRemoval(config, await network.observe(config, never)));
    expect(new Set(steps.map((step) => step.kind))).toEqual(
      new Set(["applyGuard", "flushIpsec", "removeGuard", ...kinds]),
    );
    expect(new Set(steps.flatMap((step) => ("route" in step ? [step.route.table] : [])))).toEqual(
      new Set(espBackEnd === "userland" ? [215] : []),
    );
    for (const step of steps) await network.apply(step, never);
  },
);

test("what stands in for the packet filter leaves out what a router says to its own networks", () => {
  const pairs = [
    { local: ["10.1.0.0/24"], peer: ["10.0.0.0/8", "192.168.5.0/24"] },
    { local: ["0.0.0.0/0", "::/0"], peer: ["10.2.0.0/24", "fd00:2::/64"] },
  ];
  const { rules, routes } = aConfig(pairs);
  expect(routes.map(({ kind, destination }) => `${kind} ${destination}`)).toEqual(["blackhole 0.0.0.0/0"]);
  expect(rules.flatMap(({ source, destination }) => (source === undefined ? [] : [[source, destination]]))).toEqual([
    ["10.1.0.0/24", "192.168.5.0/24"],
  ]);
  expect(aConfig(pairs, "kernel").policies).toEqual([]);
  const [some] = pairs;
  expect(aConfig(some === undefined ? [] : [some], "kernel").policies).toEqual([
    { kind: "block", namespace: NAMESPACE, source: "10.1.0.0/24", destination: "192.168.5.0/24" },
  ]);
});

test("what stands in is taken away where nobody knows of a guard any more, and kept where a router is only torn down", async () => {
  for (const espBackEnd of ["userland", "kernel"] as const) {
    const network = aWorld();
    const config = aConfig([DUAL_STACK], espBackEnd);
    const scope = routerScope(ROUTER, place, "gw-left");
    await converge(network, config);
    const take = async (isStillListed: boolean): Promise<readonly string[]> => {
      const steps = planNetworkRemoval(scope, await network.observe(scope, never), isStillListed);
      for (const step of steps) await network.apply(step, never);
      return [...new Set(steps.map(({ kind }) => kind))];
    };
    await take(true);
    const own = network.namespaces.get(NAMESPACE);
    expect([own?.rules.length, own?.policies.length]).toEqual(espBackEnd === "userland" ? [6, 0] : [2, 2]);
    if (own !== undefined) own.guard = undefined;
    expect(await take(false)).toEqual(espBackEnd === "userland" ? ["removeRule", "removeRoute"] : ["removePolicy"]);
    expect([own?.rules.length, own?.routes, own?.policies]).toEqual([2, [], []]);
  }
});

test("with ESP in userland nothing is left of policies that ESP in the kernel needed", async () => {
  const network = aWorld();
  await converge(network, aConfig([DUAL_STACK], "kernel"));
  await converge(network, aConfig([DUAL_STACK], "userland"));
  expect(network.namespaces.get(NAMESPACE)?.policies).toEqual([]);
});

describe.each(["userland", "kernel"] as const)("the table with ESP in %s", (espBackEnd) => {
  const { guard } = aConfig([DUAL_STACK], espBackEnd);
  type Added = {
    readonly chain?: { table: string; name: string; type?: string; hook?: string; prio?: number };
    readonly rule?: Rule;
  };
  type Rule = { readonly table: string; readonly chain: string; readonly expr: readonly object[] };
  const both = guardRuleset(guard).nftables.flatMap((command) => {
    const { add } = command as { add?: Added };
    return add === undefined ? [] : [add];
  });
  const added = both.filter(({ chain: one, rule }) => (one ?? rule)?.table === "swanherd");
  const rulesOf = (chain: string): readonly string[] =>
    added.flatMap(({ rule }) => (rule?.chain === chain ? [JSON.stringify(rule.expr)] : []));
  const chain = (name: string) => added.find((one) => one.chain?.name === name)?.chain;

  test("has what drops and what keeps NAT away, and stands twice, once right behind the other", () => {
    const scope = espBackEnd === "userland" ? ["scope"] : [];
    const names = [
      "forward",
      "input",
      "output",
      "egress",
      "mss",
      "zone",
      "zone_output",
      "nat_destination",
      "nat_source",
    ];
    expect(added.flatMap(({ chain: one }) => one?.name ?? [])).toEqual([guard.ownerChain, ...names, ...scope]);
    const asSpare = added.map(({ chain: one, rule, ...rest }) => ({
      ...rest,
      ...(one && { chain: { ...one, table: "swanherd_spare", ...(one.prio !== undefined && { prio: one.prio + 1 }) } }),
      ...(rule && { rule: { ...rule, table: "swanherd_spare" } }),
    }));
    expect(both.filter(({ chain: one, rule }) => (one ?? rule)?.table === "swanherd_spare")).toEqual(asSpare);
  });

  test("translates to itself, before Neutron's NAT, what goes either way, in both families", () => {
    expect(chain("nat_source")).toMatchObject({ type: "nat", hook: "postrouting", prio: 90 });
    expect(chain("nat_destination")).toMatchObject({ type: "nat", hook: "prerouting", prio: -110 });
    for (const name of ["nat_source", "nat_destination", "zone", "zone_output"]) expect(rulesOf(name)).toHaveLength(4);
    expect(rulesOf("nat_source").filter((rule) => rule.includes('"family":"ip6"'))).toHaveLength(2);
  });

  test("drops after NAT what is not protected and leads outside", () => {
    expect(chain("egress")).toMatchObject({ hook: "postrouting", prio: 300 });
    const [ike, esp, ...drops] = rulesOf("egress");
    expect(ike).toMatch(/"set":\[500,4500\].*"accept"/);
    expect(esp).toMatch(/"set":\["esp","ah"\].*"accept"/);
    for (const rule of drops) {
      expect(rule).toContain('"dir":"original"');
      expect(rule).toContain('{"op":"!=","left":{"meta":{"key":"oifname"}},"right":"qr-*"}');
      expect(rule).toContain(espBackEnd === "kernel" ? '{"rt":{"key":"ipsec"}}' : '"right":"ipsec0"');
      expect(rule).toContain('"drop"');
    }
  });

  test("every rule is about guarded pairs, or lets something pass", () => {
    for (const { rule } of added) {
      const text = JSON.stringify(rule?.expr ?? []);
      if (rule === undefined || text.includes('"accept"')) continue;
      expect(text).toMatch(/10\.1\.0\.0.*10\.2\.0\.0|10\.2\.0\.0.*10\.1\.0\.0|fd00:1::.*fd00:2::|fd00:2::.*fd00:1::/);
    }
  });

  test("gives packets of charon's link the mark that Neutron wants to see, where there is such a link", () => {
    expect(rulesOf("scope")).toHaveLength(espBackEnd === "userland" ? 2 : 0);
  });
});

test("a peer whose subnets overlap the local ones cannot be carried there", () => {
  const tunnel = { ...aTunnel(1), localSubnets: ["10.1.0.0/24"], peerSubnets: ["10.0.0.0/8"] };
  const abilities = { espBackEnd: "kernel", kernelEsp: ALL_ALGORITHMS, charon: undefined } as const;
  expect(unsupported(tunnel, abilities)).toBeUndefined();
  expect(unsupported(tunnel, { ...abilities, topology: "router" })).toContain("overlap");
  expect(unsupported(aTunnel(1), { ...abilities, topology: "router" })).toBeUndefined();
});
