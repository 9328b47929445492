// When an absence from the list is believed, row by row of the README's table, with the line of the log that tells the
// operator what is waited for and how not to wait.
import { describe, expect, test } from "vitest";
import { routerId } from "../../../src/core/ids.ts";
import type { DesiredRouter } from "../../../src/core/model.ts";
import { namespaceName } from "../../../src/core/names.ts";
import {
  AgentWorld,
  ELSEWHERE,
  FETCH_INTERVAL_MS,
  ONE,
  OTHER,
  PASS_INTERVAL_MS,
  TWO,
} from "../../support/agent-world.ts";
import { aRouterWith, aTunnel } from "../../support/builders.ts";
import { ROUTER, somePlumbing } from "../../support/network-builders.ts";

const KEPT = "missing from the list, kept until further fetches say the same";
const TEARDOWN_ROUTER = `\`swanherd teardown --router ${ROUTER} --yes\` removes it now`;

/** What the log tells of absences, in order. */
const told = (world: AgentWorld): readonly object[] =>
  world.linesFrom(30).flatMap(({ level, msg, routers, why, fetchesLeft, nextFetchInMs, how }): readonly object[] => {
    if (msg === KEPT) return [{ level, why, routers, fetchesLeft, nextFetchInMs, how }];
    return msg.includes("removing") ? [{ level, msg, ...(routers === undefined ? {} : { routers }) }] : [];
  });

const kept = (more: object) => ({ level: 40, routers: [ROUTER], nextFetchInMs: 10_000, how: TEARDOWN_ROUTER, ...more });
const confirmed = (...routers: readonly string[]) => ({
  level: 30,
  msg: "missing from further fetches too, removing",
  routers,
});

describe("named by vpnservice_removed_from_agent", () => {
  test("is removed at once and without a fetch, for the full interval, and leaves the snapshot", async () => {
    const world = await AgentWorld.up(ONE);
    const before = world.controlPlane.fetches;
    world.loop.removedFromAgent(ROUTER);
    await world.clock.advance(FETCH_INTERVAL_MS - 1);
    expect([world.hasNamespace(), world.controlPlane.fetches]).toEqual([false, before]);
    expect(world.saved).not.toContain(ROUTER);
    expect(told(world)).toEqual([{ level: 30, msg: "router was taken from this agent, removing it" }]);
  });

  test.each(["list", "plumbing"] as const)(
    "is not brought back by the answer (%s) to a fetch begun before the cast",
    async (what) => {
      const world = await AgentWorld.up(ONE, ELSEWHERE);
      const release = world.controlPlane.hold(what);
      world.loop.agentUpdated();
      await world.settle();
      world.loop.removedFromAgent(ROUTER);
      await world.settle();
      const before = world.controlPlane.fetches;
      release();
      await world.clock.advance(30_000);
      expect([world.hasNamespace(), world.controlPlane.fetches]).toEqual([false, before]);
    },
  );
});

describe("a cast for this router came in and one fetch no longer lists it", () => {
  test("is removed at once", async () => {
    const world = await AgentWorld.up(ONE, ELSEWHERE);
    world.controlPlane.routers = [ELSEWHERE];
    world.loop.serviceUpdated(ROUTER);
    await world.settle();
    expect([world.hasNamespace(), world.hasNamespace(OTHER)]).toEqual([false, true]);
    expect(told(world)).toEqual([
      { level: 30, msg: "no longer listed after a cast that named it, removing", routers: [ROUTER] },
    ]);
  });
});

describe("absent without a word", () => {
  test("B-08: is removed after a second fetch, 10 s later, says the same", async () => {
    const world = await AgentWorld.up(ONE, ELSEWHERE);
    world.controlPlane.routers = [ELSEWHERE];
    world.loop.agentUpdated();
    await world.clock.advance(9_999);
    expect(world.hasNamespace()).toBe(true);
    await world.clock.advance(1);
    expect([world.hasNamespace(), world.hasNamespace(OTHER)]).toEqual([false, true]);
    expect(told(world)).toEqual([kept({ why: "absent without a word", fetchesLeft: 1 }), confirmed(ROUTER)]);
  });

  test("is told once a look: fetches for other reasons in between are no looks", async () => {
    const world = await AgentWorld.up(ONE, ELSEWHERE);
    world.controlPlane.routers = [ELSEWHERE];
    for (let cast = 0; cast < 5; cast += 1) {
      world.loop.serviceUpdated(OTHER);
      await world.clock.advance(1_000);
    }
    expect(told(world)).toHaveLength(1);
  });

  test("is told of a connection that left a listed router as well, with what would confirm it", async () => {
    const world = await AgentWorld.up(TWO, ELSEWHERE);
    world.controlPlane.routers = [ONE, ELSEWHERE];
    world.loop.agentUpdated();
    await world.clock.advance(9_999);
    expect(world.childSas()).toHaveLength(2);
    await world.clock.advance(1);
    expect(world.childSas()).toHaveLength(1);
    const how =
      "a cast that names the router confirms it at once; " +
      `\`swanherd teardown --router ${ROUTER} --yes\` takes the whole router down now`;
    expect(told(world)).toEqual([kept({ why: "absent without a word", fetchesLeft: 1, how }), confirmed(ROUTER)]);
  });

  test("one without connections is not made anew after that, when somebody deleted its namespace meanwhile", async () => {
    const world = await AgentWorld.up(aRouterWith([]), ELSEWHERE);
    world.network.namespaces.delete(namespaceName(ROUTER));
    world.controlPlane.routers = [ELSEWHERE];
    world.loop.agentUpdated();
    await world.clock.advance(10_000);
    world.network.wake(namespaceName(ROUTER));
    await world.clock.advance(2 * PASS_INTERVAL_MS);
    expect([world.hasNamespace(), world.forgotten, world.controlPlane.fetches]).toEqual([false, [ROUTER], 3]);
    expect(told(world)).toEqual([kept({ why: "absent without a word", fetchesLeft: 1 }), confirmed(ROUTER)]);
  });

  test("goes at once by the command that the log names", async () => {
    const world = await AgentWorld.up(ONE, ELSEWHERE);
    world.controlPlane.routers = [ELSEWHERE];
    world.loop.agentUpdated();
    await world.settle();
    expect(await world.loop.teardown(ROUTER)).toBe(true);
    expect([world.hasNamespace(), world.hasNamespace(OTHER)]).toEqual([false, true]);
    await world.clock.advance(20_000);
    expect([world.hasNamespace(), world.forgotten]).toEqual([false, [ROUTER]]);
  });
});

describe("the list is empty or shrank by more than max(3, 25 %)", () => {
  const looks = (why: string, more: object = {}) => [
    kept({ why, fetchesLeft: 2, ...more }),
    kept({ why, fetchesLeft: 1, ...more }),
  ];

  test("an empty one is believed after a third fetch", async () => {
    const world = await AgentWorld.up(ONE);
    world.controlPlane.routers = [];
    world.loop.agentUpdated();
    await world.clock.advance(19_999);
    expect(world.hasNamespace()).toBe(true);
    await world.clock.advance(1);
    expect(world.hasNamespace()).toBe(false);
    expect(told(world)).toEqual([...looks("the list is empty"), confirmed(ROUTER)]);
  });

  test("one that lost four of five routers is believed after a third fetch, and told in one line a look", async () => {
    const many = [1, 2, 3, 4].map((number): DesiredRouter => {
      const id = routerId(`40000000-0000-4000-8000-00000000010${String(number)}`);
      const plumbing = somePlumbing(`203.0.113.${String(100 + number)}`, `2001:db8:ff::1${String(number)}`);
      return aRouterWith([aTunnel(10 + number)], { id, services: [], plumbing: { kind: "known", value: plumbing } });
    });
    const ids = many.map(({ id }) => id);
    const world = new AgentWorld();
    for (const id of ids) world.addRouterNamespace(id);
    world.controlPlane.routers = [ONE, ...many];
    world.loop.start();
    world.loop.connected();
    await world.clock.advance(1_500);
    world.controlPlane.routers = [ONE];
    world.loop.agentUpdated();
    await world.clock.advance(19_999);
    expect(ids.filter((id) => world.hasNamespace(id))).toEqual(ids);
    await world.clock.advance(1);
    expect(ids.filter((id) => world.hasNamespace(id))).toEqual([]);
    expect(world.hasNamespace()).toBe(true);
    const how = "`swanherd teardown --router ID --yes` removes one of them now";
    expect(told(world)).toEqual([
      ...looks("the list lost many routers at once", { routers: ids, how }),
      confirmed(...ids),
    ]);
  });

  test("what is remembered and missing at the first pass after the start is believed after a third fetch", async () => {
    const world = new AgentWorld([ONE]);
    await world.converge(ONE);
    world.controlPlane.routers = [ELSEWHERE];
    world.loop.start();
    world.loop.connected();
    await world.clock.advance(19_999);
    expect(world.hasNamespace()).toBe(true);
    await world.clock.advance(1);
    expect([world.controlPlane.fetches, world.hasNamespace()]).toEqual([3, false]);
    expect(world.forgotten).toEqual([ROUTER]);
    expect(told(world)).toEqual([...looks("first fetch after the start"), confirmed(ROUTER)]);
  });

  test("B-32: so is a namespace of ours that nobody lists or remembers", async () => {
    const world = new AgentWorld();
    await world.converge(ONE);
    world.controlPlane.routers = [ELSEWHERE];
    world.loop.start();
    world.loop.connected();
    await world.clock.advance(19_999);
    expect(world.hasNamespace()).toBe(true);
    await world.clock.advance(1);
    expect([world.hasNamespace(), world.hasNamespace(OTHER)]).toEqual([false, true]);
    expect(told(world)).toEqual([...looks("first fetch after the start"), confirmed(ROUTER)]);
  });

  test.each(["remembered", "known by its namespace only"] as const)(
    "one that is %s goes at once by the command that the log names",
    async (what) => {
      const world = new AgentWorld(what === "remembered" ? [ONE] : []);
      await world.converge(ONE);
      world.controlPlane.routers = [ELSEWHERE];
      world.loop.start();
      world.loop.connected();
      await world.clock.advance(1_000);
      expect(await world.loop.teardown(ROUTER)).toBe(true);
      expect([world.hasNamespace(), world.hasNamespace(OTHER)]).toEqual([false, true]);
      await world.clock.advance(30_000);
      expect([world.hasNamespace(), world.forgotten, world.errors]).toEqual([false, [ROUTER], []]);
    },
  );
});
