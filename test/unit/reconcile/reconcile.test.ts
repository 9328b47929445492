// Passes over one router, with fakes of kernel and charon that refuse the impossible.
import { describe, expect, test } from "vitest";
import { DeadlineError } from "../../../src/core/errors.ts";
import { isMarkerId } from "../../../src/core/fingerprint.ts";
import type { DesiredRouter } from "../../../src/core/model.ts";
import { namespaceName } from "../../../src/core/names.ts";
import { AGENT_NAMESPACE } from "../../../src/core/network.ts";
import { peerNameOf } from "../../../src/core/peers.ts";
import { Secret } from "../../../src/core/secret.ts";
import {
  ALL_ALGORITHMS,
  aConnectionId,
  aDisabledConnection,
  anIkePolicy,
  anIpsecPolicy,
  aRouterWith,
  aTunnel,
} from "../../support/builders.ts";
import { ROUTER } from "../../support/network-builders.ts";
import { emptyMemory } from "../../../src/reconcile/memory.ts";
import { ReconcileWorld } from "../../support/reconcile-world.ts";

const guardedPeers = (world: ReconcileWorld): readonly string[] =>
  world.network.namespaces.get(namespaceName(ROUTER))?.guard?.pairs.flatMap((pair) => pair.peerSubnets) ?? [];
const fault = ({ memory }: ReconcileWorld) => [memory.fault?.cause.code, memory.fault?.isFinal];

describe("a pass", () => {
  test("that has nothing to do takes no step and changes nothing", async () => {
    const world = new ReconcileWorld();
    const desired = aRouterWith([aTunnel(1), aTunnel(2)]);
    await world.converge(desired);
    const [kernel, charon] = [world.network.applied.length, world.ike.applied.length];
    expect(await world.pass(desired)).toEqual({ kind: "converged", steps: 0, wakeAtMs: undefined });
    expect([world.network.applied.length, world.ike.applied.length]).toEqual([kernel, charon]);
  });

  test("over a remembered router makes no namespace and starts no charon", async () => {
    const world = new ReconcileWorld();
    const outcome = await world.pass(aRouterWith([aTunnel()]), "everything", "remembered");
    expect(outcome).toEqual({ kind: "waiting", on: "control plane" });
    expect(world.network.applied).toEqual([]);
    expect(world.ike.isRunning(ROUTER)).toBe(false);
  });

  test("over the SAs of a remembered router that is not there starts no charon either", async () => {
    const world = new ReconcileWorld();
    await world.pass(aRouterWith([aTunnel()]), "everything", "remembered");
    const outcome = await world.pass(aRouterWith([aTunnel()]), "charon", "remembered");
    expect(outcome).toEqual({ kind: "waiting", on: "control plane" });
  });

  test("over a remembered router brings back a charon that died", async () => {
    const world = new ReconcileWorld();
    await world.converge(aRouterWith([aTunnel()]));
    world.ike.crash(ROUTER);
    await world.pass(aRouterWith([aTunnel()]), "everything", "remembered");
    expect(world.childSas()).toHaveLength(1);
  });

  test("with unknown plumbing leaves the kernel as it is and tells why", async () => {
    const world = new ReconcileWorld();
    const plumbing: DesiredRouter["plumbing"] = { kind: "unknown", why: "the server does not know yet" };
    const outcome = await world.pass(aRouterWith([aTunnel()], { plumbing }));
    expect(outcome).toEqual({ kind: "waiting", on: "control plane", wakeAtMs: 30_000 });
    expect(world.network.applied).toEqual([]);
    expect(fault(world)).toEqual(["plumbing-failed", false]);
  });

  test("learns from charon what it cannot compute, and loads none of that", async () => {
    const world = new ReconcileWorld();
    world.ike.algorithms = { ...ALL_ALGORITHMS, dhGroups: new Set(["group14"]) };
    const desired = aRouterWith([aTunnel(1), aTunnel(2, { ipsec: anIpsecPolicy({ dhGroup: "group27" }) })]);
    await world.converge(desired);
    expect(world.childSas().map((child) => child.name)).toEqual([aConnectionId(1)]);
    expect(world.reconciler.judge(desired, world.memory).connections).toMatchObject([
      { kind: "usable" },
      { kind: "unusable", reason: { code: "unsupported", text: expect.stringContaining("group27") as string } },
    ]);
  });

  test("that finds nothing charon can compute ends it, and starts no other until it is asked to", async () => {
    const world = new ReconcileWorld();
    world.ike.algorithms = { ...ALL_ALGORITHMS, prf: new Set() };
    const desired = aRouterWith([aTunnel()]);
    await world.converge(desired);
    await world.converge(desired);
    expect([world.ike.isRunning(ROUTER), world.ike.starts]).toEqual([false, 1]);
    world.ike.algorithms = ALL_ALGORITHMS;
    world.memory.algorithms = undefined;
    await world.converge(desired);
    expect(world.childSas()).toHaveLength(1);
  });

  test("that meets a bug is an internal error of its router", async () => {
    const world = new ReconcileWorld();
    world.ike.nextError = new TypeError("x is not a function");
    expect((await world.pass(aRouterWith([aTunnel()]))).kind).toBe("incomplete");
    expect(fault(world)).toEqual(["internal-error", true]);
    expect(world.errors).toHaveLength(1);
    await world.converge(aRouterWith([aTunnel()]));
    expect(world.memory.fault).toBeUndefined();
  });

  test("over a charon that cannot be ended says so, and is no bug", async () => {
    const world = new ReconcileWorld();
    world.ike.nextError = new DeadlineError("charon (pid 1) did not end");
    expect((await world.pass(aRouterWith([aTunnel()]))).kind).toBe("incomplete");
    expect([fault(world), world.errors]).toEqual([["charon-down", false], []]);
  });

  test("over a charon that does not answer says so and starts none beside it", async () => {
    const world = new ReconcileWorld();
    await world.converge(aRouterWith([aTunnel()]));
    world.ike.charon(ROUTER).hangs = true;
    expect((await world.pass(aRouterWith([aTunnel()]))).kind).toBe("incomplete");
    expect(fault(world)).toEqual(["charon-down", false]);
    expect(world.ike.starts).toBe(1);
  });
});

test("a network that failed is tried again by whatever pass comes next, and is a fault until then", async () => {
  const world = new ReconcileWorld();
  const desired = aRouterWith([aTunnel()]);
  await world.converge(desired);
  const steps = world.network.applied.length;
  world.network.deleteLink(namespaceName(ROUTER), world.memory.scope?.veths[0]?.inner.name ?? "");
  world.network.stepsUntilFailure = 0;
  expect((await world.pass(desired)).kind).toBe("incomplete");
  expect(fault(world)).toEqual(["plumbing-failed", false]);
  world.network.stepsUntilFailure = 0;
  expect((await world.pass(desired, "charon")).kind).toBe("incomplete");
  expect((await world.pass(desired, "charon")).kind).toBe("converged");
  expect([fault(world), world.network.applied.length > steps]).toEqual([[undefined, undefined], true]);
});

test("what the guard could not be told of is neither loaded nor asked for, and what there was stays", async () => {
  const world = new ReconcileWorld();
  await world.converge(aRouterWith([aTunnel(1)]));
  const more = aRouterWith([aTunnel(1), aTunnel(2, { localSubnets: ["10.1.9.0/24"] })]);
  const applied = world.ike.applied.length;
  world.network.stepsUntilFailure = 0;
  expect((await world.pass(more)).kind).toBe("incomplete");
  expect(world.network.applied.at(-1)?.kind).not.toBe("applyGuard");
  expect(world.ike.applied).toHaveLength(applied);
  expect(world.childSas()).toHaveLength(1);
  await world.converge(more);
  expect(world.childSas()).toHaveLength(2);
});

test("what lies within subnets that are guarded already needs no other guard, and is loaded", async () => {
  const world = new ReconcileWorld();
  const wide = aTunnel(1, { localSubnets: ["10.1.0.0/16"], peerSubnets: ["10.2.0.0/16"] });
  await world.converge(aRouterWith([wide]));
  const within = aTunnel(2, { localSubnets: ["10.1.0.0/16"], peerSubnets: ["10.2.9.0/24"] });
  await world.converge(aRouterWith([wide, within]));
  expect(world.childSas()).toHaveLength(2);
});

test("a charon that does not answer is ended when nothing is wanted of it", async () => {
  const world = new ReconcileWorld();
  await world.converge(aRouterWith([aTunnel()]));
  world.ike.charon(ROUTER).hangs = true;
  expect((await world.pass(aRouterWith([aDisabledConnection()]))).kind).toBe("converged");
  expect(world.ike.isRunning(ROUTER)).toBe(false);
});

describe("an agent that was killed in an update", () => {
  test("after the new IKE SA was made and before the commit leaves one that is made anew, with pauses between attempts", async () => {
    const world = new ReconcileWorld();
    const ike = anIkePolicy({ lifetime: { kind: "seconds", seconds: 7200 } });
    await world.converge(aRouterWith([aTunnel()]));
    const [old] = world.ike.charon(ROUTER).ikeSas;
    const markers = [...world.ike.charon(ROUTER).secrets.keys()].filter(isMarkerId);
    await world.converge(aRouterWith([aTunnel(1, { ike })]));
    const { secrets } = world.ike.charon(ROUTER);
    for (const id of [...secrets.keys()].filter(isMarkerId)) secrets.delete(id);
    for (const id of markers) secrets.set(id, undefined);
    world.memory = emptyMemory(ROUTER);
    const initiated = (): number => world.ike.applied.filter(({ kind }) => kind === "initiate").length;
    const before = initiated();
    await world.converge(aRouterWith([aTunnel(1, { ike })]));
    expect(initiated() - before).toBeLessThanOrEqual(3);
    expect(world.childSas()).toHaveLength(1);
    expect(world.ike.charon(ROUTER).ikeSas.map(({ terms }) => terms)).not.toContain(old?.terms);
  });
});

test("an SA that is lost whenever it came up is asked for with growing pauses, and at once when it had stood", async () => {
  const world = new ReconcileWorld();
  const desired = aRouterWith([aTunnel()]);
  await world.converge(desired);
  const initiated = (): number => world.ike.applied.filter(({ kind }) => kind === "initiate").length;
  const lose = (): void => {
    for (const { uniqueId } of world.ike.charon(ROUTER).ikeSas) world.ike.dropIkeSa(ROUTER, uniqueId);
  };
  const lostForMs = async (ms: number): Promise<number> => {
    const before = initiated();
    for (let passedMs = 0; passedMs < ms; passedMs += 100) {
      lose();
      await world.pass(desired);
      await world.clock.advance(100);
    }
    return initiated() - before;
  };
  await world.clock.advance(10_000);
  await world.pass(desired);
  expect(await lostForMs(60_000)).toBeLessThanOrEqual(15);
  await world.converge(desired);
  await world.clock.advance(10_000);
  await world.pass(desired);
  expect(await lostForMs(100)).toBe(1);
});

test("an IKE SA whose terms were noted wrongly, since it came up between a look and a load, is made anew in the end", async () => {
  const world = new ReconcileWorld();
  const lifetime = (seconds: number) => ({ ike: anIkePolicy({ lifetime: { kind: "seconds", seconds } }) });
  await world.converge(aRouterWith([aTunnel(1, lifetime(3600))]));
  const [sa] = world.ike.charon(ROUTER).ikeSas;
  await world.converge(aRouterWith([aTunnel(1, lifetime(7200))]));
  const [made] = world.ike.charon(ROUTER).ikeSas;
  if (sa === undefined || made === undefined) throw new Error("there is no IKE SA");
  // charon made it with the config before the last one.
  world.ike.charon(ROUTER).ikeSas = [{ ...made, terms: sa.terms }];
  await world.converge(aRouterWith([aTunnel(1, lifetime(3600))]));
  expect(world.childSas()).toHaveLength(1);
});

test("an IKE SA whose successor on new terms the peer refuses stays as it is, however often it is asked", async () => {
  const world = new ReconcileWorld();
  await world.converge(aRouterWith([aTunnel()]));
  const before = world.childSas();
  world.ike.remote(peerNameOf(aTunnel())).psk = "the peer has another one now";
  world.ike.watch(ROUTER, (event) => {
    if (event.kind === "failed" && event.peer !== undefined)
      world.memory.notes?.failures.set(event.peer, event.failure);
  });
  const ike = anIkePolicy({ lifetime: { kind: "seconds", seconds: 7200 } });
  for (let passedMs = 0; passedMs < 60_000; passedMs += 500) {
    await world.pass(aRouterWith([aTunnel(1, { ike })]));
    await world.clock.advance(500);
  }
  expect(world.ike.applied.filter(({ kind }) => kind === "initiate").length).toBeGreaterThan(3);
  expect(world.childSas()).toEqual(before);
});

describe("charon's ends", () => {
  test("the first is made good at once, more of them with pauses, and many are a crash loop", async () => {
    const world = new ReconcileWorld();
    const desired = aRouterWith([aTunnel()]);
    await world.converge(desired);
    const codes: unknown[] = [];
    for (let crash = 1; crash <= 5; crash += 1) {
      world.ike.crash(ROUTER);
      await world.pass(desired);
      codes.push(world.memory.fault?.cause.code);
      while (!world.ike.isRunning(ROUTER)) {
        await world.clock.advance(250);
        await world.pass(desired);
      }
    }
    expect(codes).toEqual([undefined, "charon-down", "charon-down", "charon-crash-looping", "charon-crash-looping"]);
  });

  test("are no crash when they were asked for", async () => {
    const world = new ReconcileWorld();
    for (let time = 0; time < 6; time += 1) {
      await world.pass(aRouterWith([aTunnel()]));
      expect(world.memory.fault).toBeUndefined();
      await world.pass(aRouterWith([aDisabledConnection()]));
      expect(world.ike.isRunning(ROUTER)).toBe(false);
    }
    expect(world.restarts).toBe(0);
  });

  test("are counted once each, whoever starts the next one, and it gets everything", async () => {
    const world = new ReconcileWorld();
    const desired = aRouterWith([aTunnel()]);
    await world.converge(desired);
    expect(world.restarts).toBe(0);
    world.ike.crash(ROUTER);
    await world.converge(desired);
    expect(world.restarts).toBe(1);
    world.ike.crash(ROUTER);
    await world.ike.start(ROUTER, new AbortController().signal);
    await world.converge(desired);
    expect([world.restarts, world.childSas().length]).toEqual([2, 1]);
    world.ike.crash(ROUTER);
    world.ike.startFails = true;
    await world.pass(desired);
    await world.clock.advance(60_000);
    await world.pass(desired);
    world.ike.startFails = false;
    await world.converge(desired);
    expect([world.restarts, world.childSas().length]).toEqual([3, 1]);
  });

  test("are a crash loop also when somebody else is always quicker in starting it again", async () => {
    const world = new ReconcileWorld();
    const desired = aRouterWith([aTunnel()]);
    await world.converge(desired);
    for (let crash = 1; crash <= 4; crash += 1) {
      world.ike.crash(ROUTER);
      await world.ike.start(ROUTER, new AbortController().signal);
      await world.pass(desired);
    }
    world.ike.crash(ROUTER);
    await world.pass(desired);
    expect(fault(world)).toEqual(["charon-crash-looping", true]);
  });

  test("at the start, again and again, are told with the reason", async () => {
    const world = new ReconcileWorld();
    const desired = aRouterWith([aTunnel()]);
    world.ike.startFails = true;
    for (let attempt = 1; attempt <= 8; attempt += 1) {
      await world.pass(desired);
      await world.clock.advance(500);
    }
    expect(world.memory.fault?.cause).toEqual({
      code: "charon-crash-looping",
      text: expect.stringMatching(/^charon ended \d times within a minute; charon ended while starting$/) as string,
    });
    expect(world.restarts).toBe(0);
  });
});

describe("the guard", () => {
  test("of what left the list stays while an SA for it waits for its successor", async () => {
    const world = new ReconcileWorld();
    const moved = aRouterWith([aTunnel(1, { localSubnets: ["10.1.77.0/24"] })]);
    await world.converge(aRouterWith([aTunnel(1)]));
    world.ike.remote(peerNameOf(aTunnel(1))).refusesChild = () => true;
    await world.pass(moved);
    const guardedLocals = (): readonly string[] =>
      world.network.namespaces.get(namespaceName(ROUTER))?.guard?.pairs.flatMap((pair) => pair.localSubnets) ?? [];
    expect([world.childSas().length, guardedLocals()]).toEqual([1, ["10.1.77.0/24", "10.1.1.0/24"]]);
    world.ike.remote(peerNameOf(aTunnel(1))).refusesChild = () => false;
    await world.converge(moved);
    expect(guardedLocals()).toEqual(["10.1.77.0/24"]);
  });

  test("of a connection that left the list goes after its SAs", async () => {
    const world = new ReconcileWorld();
    await world.converge(aRouterWith([aTunnel(1), aTunnel(2)]));
    world.ike.mishap = { afterSteps: 0, kind: "refused before" };
    await world.pass(aRouterWith([aTunnel(2)]));
    expect(guardedPeers(world)).toContain("10.2.1.0/24");
    await world.pass(aRouterWith([aTunnel(2)]));
    expect(guardedPeers(world)).toEqual(["10.2.2.0/24"]);
  });

  test("has what left the list while the agent was away, and what a peer asked a charon for that did not know yet", async () => {
    const world = new ReconcileWorld();
    const called = { initiator: "response-only" } as const;
    await world.converge(aRouterWith([aTunnel(1, { ...called, peerSubnets: ["10.2.1.0/24", "10.2.2.0/24"] })]));
    world.memory = emptyMemory(ROUTER);
    const observe = world.network.observe.bind(world.network);
    world.network.observe = (...asked) => {
      world.network.observe = observe;
      world.ike.peerInitiates(ROUTER, peerNameOf(aTunnel(1)));
      return observe(...asked);
    };
    const desired = aRouterWith([aTunnel(1, called)]);
    await world.pass(desired);
    await world.pass(desired);
    expect([world.childSas().length, guardedPeers(world)]).toEqual([1, ["10.2.1.0/24", "10.2.1.0/24", "10.2.2.0/24"]]);
    await world.clock.advance(world.options.charonPlan.updateWindowMs);
    await world.converge(desired);
    expect([world.childSas().length, guardedPeers(world)]).toEqual([0, ["10.2.1.0/24"]]);
    expect(world.drift).toEqual([]);
  });

  test("stays too when the pass that brought the connection up had failed elsewhere", async () => {
    const world = new ReconcileWorld();
    const elsewhere = aTunnel(2, { peerAddress: "203.0.113.30", peerId: "203.0.113.30" });
    world.ike.unloadable.add(elsewhere.id);
    await world.pass(aRouterWith([aTunnel(1), elsewhere]));
    expect(world.childSas().map((sa) => sa.name)).toEqual([aConnectionId(1)]);
    world.ike.mishap = { afterSteps: 0, kind: "refused before" };
    await world.pass(aRouterWith([elsewhere]));
    expect(world.childSas()).toHaveLength(1);
    expect(guardedPeers(world)).toContain("10.2.1.0/24");
    await world.pass(aRouterWith([elsewhere]));
    expect(world.childSas()).toEqual([]);
    expect(guardedPeers(world)).toEqual(["10.2.2.0/24"]);
  });

  test("of a connection that is admin down stays", async () => {
    const world = new ReconcileWorld();
    await world.converge(aRouterWith([aTunnel(1)]));
    await world.converge(aRouterWith([aDisabledConnection(aTunnel(1))]));
    expect(guardedPeers(world)).toEqual(["10.2.1.0/24"]);
  });
});

test("what one connection to a peer met is told also while another one is up", async () => {
  const world = new ReconcileWorld();
  const peer = peerNameOf(aTunnel());
  world.ike.remote(peer).refusesChild = (name) => name === aConnectionId(2);
  const unwatch = world.ike.watch(ROUTER, (event) => {
    if (event.kind === "failed") world.memory.notes?.failures.set(peer, event.failure);
  });
  await world.pass(aRouterWith([aTunnel(1), aTunnel(2)]));
  await world.pass(aRouterWith([aTunnel(1), aTunnel(2)]));
  unwatch();
  expect(world.memory.notes?.failures.get(peer)?.code).toBe("selectors-refused");
});

test("an update whose answer was lost is in force all the same", async () => {
  const world = new ReconcileWorld();
  await world.converge(aRouterWith([aTunnel()]));
  const changed = aRouterWith([aTunnel(1, { psk: new Secret("new") })]);
  world.ike.mishap = { afterSteps: 4, kind: "answer lost" };
  await world.pass(changed);
  await world.converge(changed);
  expect(world.ike.charon(ROUTER).ikeSas.map((sa) => sa.psk)).toEqual(["new"]);
});

test("removal ends charon, deletes its files and the namespace, and can be done again", async () => {
  const world = new ReconcileWorld();
  await world.converge(aRouterWith([aTunnel()]));
  for (let time = 0; time < 2; time += 1) {
    const { signal } = new AbortController();
    expect((await world.reconciler.remove(ROUTER, world.memory, signal)).kind).toBe("converged");
    expect(world.ike.isRunning(ROUTER)).toBe(false);
    expect(world.ike.files.get(ROUTER)).toBeUndefined();
    expect(world.network.namespaces.has(namespaceName(ROUTER))).toBe(false);
  }
});

test("a veth whose inner end somebody moved away goes with its router", async () => {
  const world = new ReconcileWorld();
  await world.converge(aRouterWith([aTunnel()]));
  const [, transit] = world.memory.scope?.veths ?? [];
  if (transit === undefined) throw new Error("the router has no internal link");
  const inner = world.network.namespaces.get(namespaceName(ROUTER))?.links;
  const moved = inner?.get(transit.inner.name);
  if (inner === undefined || moved === undefined) throw new Error("its inner end is not there");
  inner.delete(transit.inner.name);
  world.network.addLink(AGENT_NAMESPACE, transit.inner.name, { ...moved, namespace: AGENT_NAMESPACE });
  await world.reconciler.remove(ROUTER, world.memory, new AbortController().signal);
  expect(world.network.namespaces.get(`qrouter-${ROUTER}`)?.links.has(transit.outer.name)).toBe(false);
});

test.each(["loadSecret", "unloadSecret"] as const)(
  "an IKE SA that the peer makes with the old key after the look and before %s ends as well",
  async (before) => {
    const world = new ReconcileWorld();
    await world.converge(aRouterWith([aTunnel()]));
    const apply = world.ike.apply.bind(world.ike);
    world.ike.apply = (router, step, signal) => {
      if (step.kind === before) world.ike.peerInitiates(ROUTER, peerNameOf(aTunnel()));
      return apply(router, step, signal);
    };
    const psk = new Secret("another");
    await world.converge(aRouterWith([aTunnel(1, { psk })]));
    expect(world.ike.charon(ROUTER).ikeSas.map((sa) => sa.psk)).toEqual([psk.reveal()]);
  },
);
