// The fleet with fakes of the control plane, kernel and charon: when it fetches, wakes and reports, and what undoes a
// removal. When an absence is believed stands in removal-table.test.ts.
import { describe, expect, test } from "vitest";
import { routerId } from "../../../src/core/ids.ts";
import type { DesiredRouter } from "../../../src/core/model.ts";
import { namespaceName } from "../../../src/core/names.ts";
import { peerNameOf } from "../../../src/core/peers.ts";
import {
  AgentWorld,
  ELSEWHERE,
  FETCH_INTERVAL_MS,
  ONE,
  OTHER,
  PASS_INTERVAL_MS,
  TWO,
} from "../../support/agent-world.ts";
import { aConnection, aDisabledConnection, anIkePolicy, aRouterWith, aTunnel } from "../../support/builders.ts";
import { ROUTER, somePlumbing } from "../../support/network-builders.ts";

const V1 = aRouterWith([aTunnel(1, { ike: anIkePolicy({ version: 1 }) })]);

describe("at start", () => {
  test("nothing is known and nothing is done before the first fetch", async () => {
    const world = new AgentWorld();
    world.loop.start();
    await world.clock.advance(PASS_INTERVAL_MS);
    expect([world.passes, world.network.applied.length, world.controlPlane.fetches]).toEqual([0, 0, 0]);
  });

  test("what is remembered makes no router, and the first fetch does", async () => {
    const world = new AgentWorld([ONE]);
    world.loop.start();
    await world.settle();
    expect([world.loop.desired.kind, world.hasNamespace()]).toEqual(["remembered", false]);
    world.controlPlane.routers = [ONE];
    world.loop.connected();
    await world.settle();
    expect([world.loop.desired.kind, world.hasNamespace(), world.status()]).toEqual(["fetched", true, "ACTIVE"]);
  });

  test("what is remembered and moved away meanwhile is neither made here nor told of", async () => {
    const world = new AgentWorld([ONE]);
    world.controlPlane.routers = [ELSEWHERE];
    world.loop.start();
    world.loop.connected();
    await world.clock.advance(5_000);
    expect([world.hasNamespace(), world.hasNamespace(OTHER), world.reported()]).toEqual([false, true, []]);
  });

  test("what is remembered and missing from the first answer only is made with the next", async () => {
    const world = new AgentWorld([ONE]);
    world.loop.start();
    world.loop.connected();
    await world.clock.advance(5_000);
    expect(world.hasNamespace()).toBe(false);
    world.controlPlane.routers = [ONE];
    await world.clock.advance(10_000);
    expect([world.hasNamespace(), world.status(), world.reported().at(-1)]).toEqual([true, "ACTIVE", "ACTIVE"]);
  });
});

describe("fetching", () => {
  test("an agent that is announced again asks for what it may not have been told", async () => {
    const world = new AgentWorld();
    world.loop.start();
    world.loop.connected();
    await world.settle();
    const before = world.controlPlane.fetches;
    world.loop.announcedAgain("OVN");
    await world.clock.advance(1_000);
    expect(world.controlPlane.fetches).toBe(before + 1);
  });

  test("a failed fetch keeps the snapshot and is tried again", async () => {
    const world = await AgentWorld.up(ONE);
    world.controlPlane.failures = 2;
    world.loop.agentUpdated();
    await world.settle();
    expect([world.loop.desired.kind, world.hasNamespace()]).toEqual(["fetched", true]);
    const before = world.controlPlane.fetches;
    await world.clock.advance(5_000);
    expect(world.controlPlane.fetches).toBe(before + 2);
  });

  test("a cast during a fetch causes another", async () => {
    const world = await AgentWorld.up(ONE);
    const before = world.controlPlane.fetches;
    const release = world.controlPlane.hold();
    world.loop.serviceUpdated(ROUTER);
    await world.settle();
    world.controlPlane.routers = [TWO];
    for (let time = 0; time < 3; time += 1) world.loop.serviceUpdated(ROUTER);
    release();
    await world.settle();
    expect(world.controlPlane.fetches).toBe(before + 2);
    expect(world.status(2)).toBe("ACTIVE");
  });

  test("no request is lost whenever it comes", async () => {
    for (let microtasks = 0; microtasks < 60; microtasks += 1) {
      const world = await AgentWorld.up(ONE);
      world.loop.agentUpdated();
      for (let turn = 0; turn < microtasks; turn += 1) await Promise.resolve();
      world.controlPlane.routers = [TWO];
      world.loop.serviceUpdated(ROUTER);
      await world.settle();
      expect(world.status(2)).toBe("ACTIVE");
    }
  });

  test("a cast that shows no change is looked at once more after 5 s", async () => {
    const world = await AgentWorld.up(ONE);
    world.loop.serviceUpdated(ROUTER);
    await world.settle();
    const before = world.controlPlane.fetches;
    world.controlPlane.routers = [TWO];
    await world.clock.advance(4_999);
    expect(world.controlPlane.fetches).toBe(before);
    await world.clock.advance(60_000);
    expect(world.controlPlane.fetches).toBe(before + 1);
    expect(world.status(2)).toBe("ACTIVE");
  });

  test("what is gone when a cast is looked at once more is explained by the cast", async () => {
    const world = await AgentWorld.up(TWO, ELSEWHERE);
    world.loop.serviceUpdated(ROUTER);
    await world.settle();
    world.controlPlane.routers = [ONE, ELSEWHERE];
    await world.clock.advance(5_000);
    expect(world.states.get(ROUTER)?.connections).toHaveLength(1);
  });

  test("a cast that shows a change is not looked at again before it is time", async () => {
    const world = await AgentWorld.up(ONE);
    world.controlPlane.routers = [TWO];
    world.loop.serviceUpdated(ROUTER);
    await world.settle();
    const before = world.controlPlane.fetches;
    await world.clock.advance(FETCH_INTERVAL_MS - 1);
    expect(world.controlPlane.fetches).toBe(before);
    await world.clock.advance(1);
    expect(world.controlPlane.fetches).toBe(before + 1);
  });

  test("a cast asks for the plumbing of its router only", async () => {
    const world = await AgentWorld.up(ONE, ELSEWHERE);
    world.controlPlane.plumbingFetches = [];
    world.loop.serviceUpdated(ROUTER);
    await world.clock.advance(5_000);
    expect(new Set(world.controlPlane.plumbingFetches)).toEqual(new Set([ROUTER]));
  });

  test("what is listed is in force before the plumbing of known routers is asked for anew", async () => {
    const world = await AgentWorld.up(ONE, ELSEWHERE);
    const release = world.controlPlane.hold("plumbing");
    world.controlPlane.routers = [TWO, ELSEWHERE];
    world.loop.agentUpdated();
    await world.settle();
    expect(world.status(2)).toBe("ACTIVE");
    const moved = { kind: "known", value: somePlumbing("203.0.113.78", "2001:db8:ff::78") } as const;
    world.controlPlane.routers = [TWO, { ...ELSEWHERE, plumbing: moved }];
    release();
    await world.settle();
    const { desired } = world.loop;
    expect(desired.kind === "fetched" && desired.routers.get(OTHER)?.plumbing).toEqual(moved);
  });

  test("a cast goes before plumbing that is asked for anew, and the rest of that after it, each once", async () => {
    const many = Array.from({ length: 20 }, (_, number): DesiredRouter => {
      const id = routerId(`40000000-0000-4000-8000-0000000001${String(10 + number)}`);
      return aRouterWith([], { id, services: [], plumbing: { kind: "unknown", why: "no ports yet" } });
    });
    const world = await AgentWorld.up(ONE, ...many);
    // A turn that was waited for begins with the next round of the event loop.
    const settleAll = async (): Promise<void> => {
      for (let rounds = 0; rounds < 2 * many.length; rounds += 1) await world.settle();
    };
    await settleAll();
    const release = world.controlPlane.hold("plumbing");
    world.controlPlane.plumbingFetches = [];
    world.loop.agentUpdated();
    await world.settle();
    const begun = world.controlPlane.plumbingFetches.length;
    expect(begun).toBeLessThan(many.length);
    world.controlPlane.routers = [TWO, ...many];
    world.loop.serviceUpdated(ROUTER);
    release();
    await settleAll();
    expect(world.status(2)).toBe("ACTIVE");
    const asked = world.controlPlane.plumbingFetches.slice(begun);
    expect(asked[0]).toBe(ROUTER);
    expect(new Set([...world.controlPlane.plumbingFetches])).toEqual(new Set([ROUTER, ...many.map(({ id }) => id)]));
    // Those that were put off come first.
    const before = new Set(world.controlPlane.plumbingFetches.slice(0, begun));
    expect(asked.slice(1, 1 + many.length - begun).filter((id) => before.has(id))).toEqual([]);
  });

  test("an entry that could not be read is no absence", async () => {
    const world = await AgentWorld.up(ONE);
    world.controlPlane.routers = [];
    world.controlPlane.problems = [{ where: "service x", text: "no id", router: ROUTER }];
    world.controlPlane.complete = false;
    world.loop.serviceUpdated(ROUTER);
    await world.clock.advance(60_000);
    expect([world.hasNamespace(), world.status()]).toEqual([true, "ACTIVE"]);
  });
});

describe("removal", () => {
  test("of one router does not hold up what another one waits for", async () => {
    const world = await AgentWorld.up(ONE, ELSEWHERE);
    world.controlPlane.failures = 1;
    world.controlPlane.routers = [ELSEWHERE, TWO];
    world.loop.serviceUpdated(ROUTER);
    await world.settle();
    world.loop.removedFromAgent(OTHER);
    await world.clock.advance(2_000);
    expect(world.childSas()).toHaveLength(2);
  });

  test("is undone by vpnservice_added_to_agent", async () => {
    const world = await AgentWorld.up(ONE);
    world.loop.removedFromAgent(ROUTER);
    await world.settle();
    world.loop.addedToAgent([ROUTER]);
    await world.settle();
    expect([world.hasNamespace(), world.status()]).toEqual([true, "ACTIVE"]);
  });

  test("teardown takes a router away until sync", async () => {
    const world = await AgentWorld.up(ONE);
    expect(await world.loop.teardown(ROUTER)).toBe(true);
    await world.clock.advance(3 * PASS_INTERVAL_MS);
    expect([world.hasNamespace(), world.status()]).toEqual([false, "DOWN"]);
    expect(world.loop.sync(ROUTER)).toBe(true);
    await world.settle();
    expect([world.hasNamespace(), world.status()]).toEqual([true, "ACTIVE"]);
    expect([await world.loop.teardown(OTHER), world.loop.sync(OTHER)]).toEqual([false, false]);
  });
});

test("a teardown that fails says so, and is tried again", async () => {
  const world = await AgentWorld.up(ONE);
  world.network.stepsUntilFailure = 0;
  expect(await world.loop.teardown(ROUTER)).toBeInstanceOf(Error);
  expect(world.hasNamespace()).toBe(true);
  await world.clock.advance(2_000);
  expect(world.hasNamespace()).toBe(false);
});

describe("what wakes a router", () => {
  test("B-29: one whose pass does not come to an end holds up no other", async () => {
    const world = await AgentWorld.up(ONE, ELSEWHERE);
    world.ike.silent.add(ROUTER);
    world.ike.tell(ROUTER, { kind: "sasChanged" });
    await world.settle();
    world.loop.removedFromAgent(OTHER);
    await world.settle();
    expect(world.hasNamespace(OTHER)).toBe(false);
    world.loop.addedToAgent([OTHER]);
    await world.clock.advance(1_500);
    expect([world.hasNamespace(OTHER), world.status(7)]).toEqual([true, "ACTIVE"]);
  });

  test("an SA that goes is told, and made again", async () => {
    const world = await AgentWorld.up(ONE);
    world.ike.remote(peerNameOf(aTunnel())).answers = "never";
    world.ike.dropIkeSa(ROUTER, world.ike.charon(ROUTER).ikeSas[0]?.uniqueId ?? "");
    await world.settle();
    expect(world.status()).toBe("DOWN");
  });

  test("a charon that dies is started again at once", async () => {
    const world = await AgentWorld.up(ONE);
    world.ike.crash(ROUTER);
    await world.settle();
    expect([world.ike.starts, world.status()]).toEqual([2, "ACTIVE"]);
  });

  test("a change of the kernel, many at once, is a pass at once and another when they have settled", async () => {
    const world = await AgentWorld.up(ONE);
    const before = world.passes;
    for (let time = 0; time < 50; time += 1) world.network.wake(namespaceName(ROUTER));
    await world.clock.advance(1_000);
    expect(world.passes).toBe(before + 2);
  });

  test("a change of the kernel, without end, is looked at all the same", async () => {
    const world = await AgentWorld.up(ONE);
    const before = world.passes;
    for (let time = 0; time < 50; time += 1) {
      world.network.wake(namespaceName(ROUTER));
      await world.clock.advance(50);
    }
    expect(world.passes).toBe(before + 3);
  });

  test("a change of the kernel that could not be watched at first", async () => {
    const world = new AgentWorld();
    world.network.unwatchable = 1;
    world.controlPlane.routers = [ONE];
    world.loop.start();
    world.loop.connected();
    await world.clock.advance(2 * PASS_INTERVAL_MS);
    const before = world.passes;
    world.network.wake(namespaceName(ROUTER));
    await world.clock.advance(1_000);
    expect([world.status(), world.passes]).toEqual(["ACTIVE", before + 1]);
  });

  test("a charon that could not be heard for a while has everything loaded again", async () => {
    const world = await AgentWorld.up(ONE);
    const loads = () => world.ike.applied.filter(({ kind }) => kind === "loadPeer").length;
    const before = loads();
    world.ike.tell(ROUTER, { kind: "lost" });
    await world.settle();
    expect(loads()).toBe(before);
    world.ike.tell(ROUTER, { kind: "connected" });
    await world.settle();
    expect([loads(), world.childSas().length]).toEqual([before + 1, 1]);
  });

  test("a change by somebody else loads everything again and touches no SA", async () => {
    const world = await AgentWorld.up(ONE);
    const sas = structuredClone(world.ike.charon(ROUTER).ikeSas);
    world.ike.applied.length = 0;
    world.ike.tell(ROUTER, { kind: "changedByOthers", finding: { kind: "config", what: "by hand" } });
    await world.settle();
    expect(world.ike.applied.map((step) => step.kind)).toEqual(["loadSecret", "loadPeer"]);
    expect(world.ike.charon(ROUTER).ikeSas).toEqual(sas);
  });

  test("a CHILD SA that the peer has ended before it was up is made anew", async () => {
    const world = await AgentWorld.up(ONE);
    const [before] = world.childSas();
    world.ike.applied.length = 0;
    // The log may come after what it tells of.
    world.ike.tell(ROUTER, { kind: "sasChanged" });
    await world.settle();
    world.ike.tell(ROUTER, { kind: "endedByPeer", peer: peerNameOf(aTunnel()), spiOut: before?.uniqueId ?? "" });
    await world.settle();
    expect(world.ike.applied.map((step) => step.kind)).toEqual(["terminateChild", "initiate"]);
    expect(world.childSas().map(({ name }) => name)).toEqual([before?.name]);
  });

  test("IKEv1: what the peer may not have is made anew", async () => {
    const world = await AgentWorld.up(V1);
    const ikeSa = world.ike.charon(ROUTER).ikeSas[0]?.uniqueId ?? "";
    const [before] = world.childSas();
    world.ike.applied.length = 0;
    world.ike.tell(ROUTER, { kind: "quickModeUnknown", ikeSa });
    await world.settle();
    expect(world.ike.applied.map((step) => step.kind)).toEqual(["terminateChild", "initiate"]);
    expect(world.childSas().map(({ name }) => name)).toEqual([before?.name]);
  });

  test.each([
    ["goes on lacking", 1, ["terminateChild"]],
    ["has made since", 0, []],
  ])("IKEv1: what charon has forgotten and %s", async (_, count, steps) => {
    const world = await AgentWorld.up(V1);
    const [sa] = world.ike.charon(ROUTER).ikeSas;
    for (const child of sa?.children ?? []) child.state = "rekeying";
    world.ike.applied.length = 0;
    world.ike.tell(ROUTER, { kind: "quickModesForgotten", ikeSa: sa?.uniqueId ?? "", count: 1 });
    await world.clock.advance(2_900);
    world.ike.tell(ROUTER, { kind: "quickModesForgotten", ikeSa: sa?.uniqueId ?? "", count });
    await world.clock.advance(100);
    expect(world.ike.applied.map((step) => step.kind).slice(0, 1)).toEqual(steps);
  });

  test.each([
    ["cannot be read", true, ["terminateIke"]],
    ["was read after all", false, []],
  ])("IKEv1: a Quick Mode of ours %s by the peer", async (_, isUnreadable, steps) => {
    const world = await AgentWorld.up(V1);
    const ikeSa = world.ike.charon(ROUTER).ikeSas[0]?.uniqueId ?? "";
    world.ike.applied.length = 0;
    world.ike.tell(ROUTER, { kind: "quickModeUnreadable", ikeSa, isUnreadable: true });
    await world.clock.advance(2_900);
    world.ike.tell(ROUTER, { kind: "quickModeUnreadable", ikeSa, isUnreadable });
    await world.clock.advance(3_100);
    expect(world.ike.applied.map((step) => step.kind).slice(0, 1)).toEqual(steps);
  });

  test("a failure is told of the peer it belongs to", async () => {
    const world = new AgentWorld();
    world.ike.remote(peerNameOf(aTunnel())).psk = "another";
    world.controlPlane.routers = [ONE];
    world.loop.start();
    world.loop.connected();
    await world.settle();
    expect(world.states.get(ROUTER)?.connections[0]?.reason?.code).toBe("authentication-failed");
  });

  test("switching off and on again goes through", async () => {
    const world = await AgentWorld.up(ONE);
    for (const connection of [aDisabledConnection(), aConnection()]) {
      world.controlPlane.routers = [aRouterWith([connection])];
      world.loop.serviceUpdated(ROUTER);
      await world.settle();
    }
    expect(world.status()).toBe("ACTIVE");
    world.ike.crash(ROUTER);
    await world.clock.advance(1_000);
    expect([world.ike.isRunning(ROUTER), world.status()]).toEqual([true, "ACTIVE"]);
  });

  test("B-30: a bug in one router's pass is that router's ERROR, and leaves the others", async () => {
    const world = await AgentWorld.up(ONE, ELSEWHERE);
    world.ike.nextError = new TypeError("x is not a function");
    world.ike.tell(ROUTER, { kind: "sasChanged" });
    await world.settle();
    expect([world.status(1), world.status(7)]).toEqual(["ERROR", "ACTIVE"]);
    await world.clock.advance(5_000);
    expect(world.status(1)).toBe("ACTIVE");
  });

  test("a charon in a crash loop is ERROR at once", async () => {
    const world = await AgentWorld.up(ONE);
    for (let crash = 0; crash < 12 && world.status() !== "ERROR"; crash += 1) {
      if (world.ike.isRunning(ROUTER)) world.ike.crash(ROUTER);
      await world.clock.advance(600);
    }
    expect(world.states.get(ROUTER)?.connections[0]?.reason?.code).toBe("charon-crash-looping");
    expect(world.clock.nowMs()).toBeLessThan(30_000);
  });
});

describe("while it runs, a new configuration", () => {
  test("has everything looked at, and no SA touched", async () => {
    const world = await AgentWorld.up(ONE);
    const sas = world.childSas();
    const { passes } = world;
    world.loop.configure(world.loopOptions);
    await world.settle();
    expect(world.passes).toBeGreaterThan(passes);
    expect(world.childSas()).toEqual(sas);
  });

  test("with a shorter interval of passes does not wait for the end of the longer one", async () => {
    const world = await AgentWorld.up(ONE);
    world.loop.configure({ ...world.loopOptions, passIntervalMs: 5_000 });
    await world.settle();
    const { passes } = world;
    await world.clock.advance(20_000);
    expect(world.passes - passes).toBe(4);
  });

  test("can begin and end the listing of SAs", async () => {
    const world = await AgentWorld.up(ONE);
    world.loop.configure({ ...world.loopOptions, listSasIntervalMs: 2_000 });
    await world.settle();
    const { passes } = world;
    await world.clock.advance(20_000);
    expect(world.passes - passes).toBe(10);
    world.loop.configure(world.loopOptions);
    await world.settle();
    const later = world.passes;
    await world.clock.advance(20_000);
    expect(world.passes - later).toBe(0);
  });

  test("with a shorter interval of fetches does not wait for the end of the longer one", async () => {
    const world = await AgentWorld.up(ONE);
    const { fetches } = world.controlPlane;
    world.loop.configure({ ...world.loopOptions, fetchIntervalMs: 60_000 });
    await world.clock.advance(59_000);
    expect(world.controlPlane.fetches).toBe(fetches);
    await world.clock.advance(2_000);
    expect(world.controlPlane.fetches).toBe(fetches + 1);
    await world.clock.advance(60_000);
    expect(world.controlPlane.fetches).toBe(fetches + 2);
  });

  test("with a bridge that was missing brings up who waited for it", async () => {
    const world = new AgentWorld();
    const reconcile = { ...world.options, attachment: () => "no bridge" };
    world.loop.configure({ ...world.loopOptions, reconcile });
    world.controlPlane.routers = [ONE];
    world.loop.start();
    world.loop.connected();
    await world.clock.advance(1_500);
    expect(world.hasNamespace()).toBe(false);
    world.loop.configure(world.loopOptions);
    await world.clock.advance(1_500);
    expect(world.hasNamespace()).toBe(true);
  });

  test("has a failed router tried again as it says", async () => {
    const world = new AgentWorld();
    const reconcile = { ...world.options, attachment: () => "no bridge" };
    world.controlPlane.routers = [ONE];
    world.loop.configure({ ...world.loopOptions, reconcile, retry: { baseMs: 30_000, capMs: 30_000 } });
    world.loop.start();
    world.loop.connected();
    await world.clock.advance(1_500);
    world.loop.configure({ ...world.loopOptions, reconcile, retry: { baseMs: 1_000, capMs: 1_000 } });
    await world.settle();
    const { passes } = world;
    await world.clock.advance(10_000);
    expect(world.passes - passes).toBeGreaterThanOrEqual(9);
  });
});

test("the first report tells of both, and the same is not told twice", async () => {
  const world = await AgentWorld.up(ONE);
  expect(world.reported()).toEqual(["ACTIVE"]);
  await world.clock.advance(3 * PASS_INTERVAL_MS);
  expect(world.reported()).toEqual(["ACTIVE"]);
});

test("closing leaves everything up", async () => {
  const world = await AgentWorld.up(ONE);
  await world.loop.close();
  await world.reporter.close();
  expect([world.hasNamespace(), world.childSas().length]).toEqual([true, 1]);
  expect(world.errors).toEqual([]);
});
