// Routers whose links are ports of Open vSwitch: what a pass tells, and what it leaves alone, while the switch or the gateway
// behind it does not answer.
import { expect, test } from "vitest";
import { connectionStates, FAULT_GRACE_MS } from "../../../src/core/connection-status.ts";
import type { DesiredRouter } from "../../../src/core/model.ts";
import { namespaceName } from "../../../src/core/names.ts";
import { ovsAttachment } from "../../../src/core/network.ts";
import { aRouterWith, aTunnel } from "../../support/builders.ts";
import { ROUTER } from "../../support/network-builders.ts";
import { ReconcileWorld } from "../../support/reconcile-world.ts";

const never = new AbortController().signal;
const FOUR = aTunnel(1);
const SIX = aTunnel(2, { localSubnets: ["fd00:1::/64"], peerSubnets: ["fd00:2::/64"] });

function ovsWorld(): ReconcileWorld {
  const world = new ReconcileWorld();
  world.reconciler.configure({ ...world.options, attachment: () => ovsAttachment("br-int") });
  return world;
}

function statesOf(world: ReconcileWorld, router: DesiredRouter) {
  const { charon, grouping, notes, inSync, fault, learnedFault: ipv6Fault } = world.memory;
  return connectionStates({
    router,
    charon,
    grouping,
    notes,
    inSync,
    fault,
    ipv6Fault,
    isTornDown: false,
    previous: new Map(),
    nowMs: world.clock.nowMs(),
    splitChildren: false,
  });
}

test("a gateway that does not answer stops connections of IPv6 only, which are ERROR after a while", async () => {
  const world = ovsWorld();
  world.network.switch.gatewayMac = undefined;
  const router = aRouterWith([FOUR, SIX]);
  const outcome = await world.pass(router);
  expect(outcome).toMatchObject({ kind: "converged", wakeAtMs: expect.any(Number) as number });
  const [four, six] = statesOf(world, router);
  expect(four?.reason?.code).not.toBe("plumbing-failed");
  expect(six).toMatchObject({ status: "DOWN", reason: { code: "plumbing-failed" } });
  expect(six?.reason?.text).toContain("nothing answers for 169.254.0.1");
  await world.clock.advance(FAULT_GRACE_MS);
  await world.pass(router);
  expect(statesOf(world, router)[1]?.status).toBe("ERROR");
  world.network.switch.gatewayMac = "fa:16:3e:00:00:99";
  await world.converge(router);
  expect(world.memory.learnedFault).toBeUndefined();
});

test("a switch that does not answer is a fault that is tried again, and everything but its ports goes on", async () => {
  const world = ovsWorld();
  world.network.switch.isReachable = false;
  const router = aRouterWith([FOUR]);
  expect(await world.pass(router)).toMatchObject({ kind: "incomplete", failure: { code: "OVSDB_DOWN" } });
  expect(world.memory.fault?.cause).toMatchObject({ code: "plumbing-failed" });
  expect(world.childSas()).not.toEqual([]);
  world.network.switch.isReachable = true;
  await world.converge(router);
  expect(world.network.switch.ports.size).toBe(2);
  expect(world.memory.ports.map(({ state }) => state)).toEqual(["bound", "bound"]);
});

test("while the switch does not answer nothing of a router is taken away, and later all of it is", async () => {
  const world = ovsWorld();
  await world.converge(aRouterWith([FOUR]));
  world.network.switch.isReachable = false;
  expect(await world.reconciler.remove(ROUTER, world.memory, never)).toMatchObject({ kind: "incomplete" });
  expect(world.network.namespaces.has(namespaceName(ROUTER))).toBe(true);
  world.network.switch.isReachable = true;
  expect(await world.reconciler.remove(ROUTER, world.memory, never)).toMatchObject({ kind: "converged" });
  expect(world.network.namespaces.has(namespaceName(ROUTER))).toBe(false);
  expect(world.network.switch.ports.size).toBe(0);
});

test("a port that the switch cannot use is told in its words", async () => {
  const world = ovsWorld();
  const router = aRouterWith([FOUR]);
  await world.converge(router);
  const [port] = world.network.switch.ports.values();
  if (port === undefined) throw new Error("not plugged");
  world.network.switch.ports.set(port.name, { ...port, problem: "No such device" });
  expect(await world.pass(router)).toMatchObject({ kind: "incomplete", failure: { code: "PORT_FAILED" } });
  expect(statesOf(world, router)[0]?.reason?.text).toBe(`Open vSwitch cannot use ${port.name}: No such device`);
});
