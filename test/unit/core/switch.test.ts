// Plans of links that are ports of Open vSwitch, as text (test/golden/plans), and what is told of a port.
import { describe, expect, test } from "vitest";
import { networkFindings } from "../../../src/core/drift.ts";
import { planNetwork, planNetworkRemoval } from "../../../src/core/network-plan.ts";
import { portState, type ObservedSwitch } from "../../../src/core/switch.ts";
import { FakeNetwork } from "../../support/fake-network.ts";
import { expectGoldenPlan } from "../../support/golden-plan.ts";
import { anOvsConfig, DUAL_STACK } from "../../support/network-builders.ts";
import { printNetworkPlan } from "../../support/print-network-plan.ts";

const never = new AbortController().signal;
const config = anOvsConfig({ pairs: [DUAL_STACK], espBackEnd: "kernel" });
const [external] = config.veths;

async function plugged(): Promise<FakeNetwork> {
  const network = new FakeNetwork();
  for (let pass = 0; pass < 2; pass += 1) {
    for (const step of planNetwork(config, await network.observe(config, never))) await network.apply(step, never);
  }
  return network;
}

describe("plans as text", () => {
  test("a new router, and what its gateway's answer brings", async () => {
    const network = new FakeNetwork();
    const first = planNetwork(config, await network.observe(config, never));
    for (const step of first) await network.apply(step, never);
    const second = planNetwork(config, await network.observe(config, never));
    expectGoldenPlan("switch-new-router", `${printNetworkPlan(first)}\n-- it answers\n${printNetworkPlan(second)}\n`);
  });

  test("repairs of a port that was taken out, of another's that is in the way, and of a gateway that moved", async () => {
    const network = await plugged();
    const { ports } = network.switch;
    const [port, other] = [...ports.values()];
    if (port === undefined || other === undefined) throw new Error("not plugged");
    ports.delete(port.name);
    ports.set("vgstock", { ...other, name: "vgstock", type: "internal", owner: undefined, router: undefined });
    network.switch.gatewayMac = "fa:16:3e:00:00:aa";
    expectGoldenPlan(
      "switch-repair",
      `${printNetworkPlan(planNetwork(config, await network.observe(config, never)))}\n`,
    );
  });

  test("removal: ports before links", async () => {
    const network = await plugged();
    const steps = planNetworkRemoval(config, await network.observe(config, never));
    expectGoldenPlan("switch-removal", `${printNetworkPlan(steps)}\n`);
  });
});

test("a link that is made anew has its port let go first, which the switch would go on reading from the old one", async () => {
  const network = await plugged();
  network.deleteLink(config.namespace, external?.inner.name ?? "");
  const steps = planNetwork(config, await network.observe(config, never));
  const kinds = steps.map(({ kind }) => kind);
  expect(kinds.indexOf("unplugPort")).toBeGreaterThanOrEqual(0);
  expect(kinds.indexOf("unplugPort")).toBeLessThan(kinds.indexOf("createVeth"));
  expect(kinds.indexOf("createVeth")).toBeLessThan(kinds.indexOf("plugPort"));
  expect(steps.find(({ kind }) => kind === "unplugPort")).toMatchObject({
    name: external?.outer.name,
    isAwaited: true,
  });
  expect(networkFindings(steps).map(({ kind }) => kind)).toContain("link");
  expect(networkFindings(steps).map(({ kind }) => kind)).not.toContain("port");
  for (const step of steps) await network.apply(step, never);
  expect(planNetwork(config, await network.observe(config, never))).toEqual([]);
});

test("a link that was made anew while the switch did not answer has its port plugged anew when it does", async () => {
  const network = await plugged();
  network.deleteLink(config.namespace, external?.inner.name ?? "");
  network.switch.isReachable = false;
  for (const step of planNetwork(config, await network.observe(config, never))) await network.apply(step, never);
  expect(planNetwork(config, await network.observe(config, never))).toEqual([]);
  network.switch.isReachable = true;
  const steps = planNetwork(config, await network.observe(config, never));
  expect(
    printNetworkPlan(steps)
      .split("\n")
      .map((line) => line.trim()),
  ).toMatchInlineSnapshot(`
    [
      "unplugPort hg11111111-222 from br-int, and waits until it has let go",
      "plugPort hg11111111-222 into br-int as 11111111-2222-4333-8444-555555555501 fa:16:3e:00:00:10 of swanherd:gw-left for 7d3c2a52-4a55-4c1c-9a3b-0d1f6f1a2b01",
      "setLink hg11111111-222 up=true here",
    ]
  `);
  for (const step of steps) await network.apply(step, never);
  expect(planNetwork(config, await network.observe(config, never))).toEqual([]);
});

test("a gateway that falls silent keeps its routes", async () => {
  const network = await plugged();
  network.switch.gatewayMac = undefined;
  expect(planNetwork(config, await network.observe(config, never))).toEqual([]);
});

describe("what is told of a port", () => {
  const wanted = external?.port;
  if (wanted === undefined) throw new Error("no port");
  const held = { ...wanted, type: "", isActive: true, isOpen: true, problem: undefined, isInstalled: true };
  const seen = (more: Partial<typeof held> | { readonly problem: string }): ObservedSwitch => ({
    kind: "read",
    bridgeExists: true,
    isUserland: false,
    ports: [{ ...held, ...more }],
  });

  test.each([
    ["bound", seen({}), undefined],
    ["waiting", seen({ isInstalled: false }), `waiting for OVN to bind port ${wanted.port}`],
    ["waiting", seen({ isOpen: false }), `waiting for ovs-vswitchd to take in ${wanted.name}`],
    ["failed", seen({ problem: "No such device" }), `Open vSwitch cannot use ${wanted.name}: No such device`],
    ["missing", seen({ isActive: false }), "it is not plugged into br-int yet"],
    ["missing", { ...seen({}), bridgeExists: false }, "there is no bridge br-int in Open vSwitch"],
    ["missing", { kind: "unreachable", why: "gone" }, "gone"],
    ["missing", undefined, "Open vSwitch was not looked at yet"],
  ] as const)("%s", (state, of, why) => {
    expect(portState(wanted, of)).toMatchObject({ state, ...(why === undefined ? {} : { why }) });
  });
});
