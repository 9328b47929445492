// When the control plane is told what, with a clock that is moved by hand.
import { pino } from "pino";
import { describe, expect, test } from "vitest";
import type { DesiredRouter } from "../../../src/core/model.ts";
import type { ReportedStatus, RouterState } from "../../../src/core/status.ts";
import { Reporter } from "../../../src/reconcile/reporter.ts";
import { aConnection, aConnectionId, aRouterWith, aService, aTunnel, SERVICE } from "../../support/builders.ts";
import { FakeControlPlane } from "../../support/fake-control-plane.ts";
import { fakeTiming } from "../../support/fake-timing.ts";
import { ROUTER } from "../../support/network-builders.ts";

class World {
  readonly controlPlane = new FakeControlPlane();
  readonly clock = fakeTiming(0.999);
  readonly results: string[] = [];
  readonly reporter = new Reporter(
    this.controlPlane,
    this.clock,
    { onReport: (result) => this.results.push(result) },
    pino({ level: "silent" }),
  );
  held = "PENDING_CREATE";

  get desired(): DesiredRouter {
    const connections = [{ ...aConnection(aTunnel(1)), reportedStatus: this.held }];
    return aRouterWith(connections, { services: [aService({ reportedStatus: this.held })] });
  }

  /** What the router's pass says. */
  async says(status: ReportedStatus): Promise<void> {
    const connection = { id: aConnectionId(1), name: "c", service: SERVICE, status, inSync: true, children: [] };
    const state: RouterState = {
      id: ROUTER,
      namespace: "n",
      charon: "up",
      services: [{ id: SERVICE, name: "left", status: "ACTIVE" }],
      connections: [connection],
    };
    this.reporter.update(state, this.desired);
    await this.clock.advance(0);
  }

  get told(): readonly string[] {
    return this.controlPlane.reports
      .flat()
      .flatMap((service) => service.connections.map(({ status, fetchedStatus }) => `${fetchedStatus} -> ${status}`));
  }
}

function connected(): World {
  const world = new World();
  world.reporter.connected();
  return world;
}

describe("what is told, and when", () => {
  test("the first change is told at once, with what the control plane held", async () => {
    const world = connected();
    await world.says("DOWN");
    expect(world.told).toEqual(["PENDING_CREATE -> DOWN"]);
    expect(world.controlPlane.reports[0]).toMatchObject([
      { id: SERVICE, status: "ACTIVE", fetchedStatus: "PENDING_CREATE" },
    ]);
  });

  test("further changes within 1 s are merged to the last", async () => {
    const world = connected();
    await world.says("DOWN");
    await world.says("ACTIVE");
    await world.clock.advance(500);
    await world.says("ERROR");
    expect(world.told).toHaveLength(1);
    await world.clock.advance(499);
    expect(world.told).toHaveLength(1);
    await world.clock.advance(1);
    expect(world.told).toEqual(["PENDING_CREATE -> DOWN", "PENDING_CREATE -> ERROR"]);
  });

  test("what is back within 1 s as it was told is not told again", async () => {
    const world = connected();
    await world.says("ACTIVE");
    await world.says("DOWN");
    await world.says("ACTIVE");
    await world.clock.advance(10_000);
    expect(world.told).toHaveLength(1);
  });

  test("a change after more than 1 s is told at once", async () => {
    const world = connected();
    await world.says("DOWN");
    await world.clock.advance(1_000);
    await world.says("ACTIVE");
    expect(world.told).toHaveLength(2);
  });

  test("the same is told once", async () => {
    const world = connected();
    for (let time = 0; time < 5; time += 1) {
      await world.says("ACTIVE");
      await world.clock.advance(5_000);
    }
    expect(world.told).toHaveLength(1);
  });
});

describe("when the broker goes and comes", () => {
  test("nothing is told without it, and the last of it when it is there", async () => {
    const world = new World();
    await world.says("DOWN");
    await world.says("ACTIVE");
    expect(world.told).toEqual([]);
    world.reporter.connected();
    await world.clock.advance(0);
    expect(world.told).toEqual(["PENDING_CREATE -> ACTIVE"]);
  });

  test("everything is told again, for nobody knows what was lost", async () => {
    const world = connected();
    await world.says("ACTIVE");
    world.reporter.disconnected();
    await world.clock.advance(60_000);
    world.reporter.connected();
    await world.clock.advance(0);
    expect(world.told).toHaveLength(2);
  });

  test("B-28: a report that fails is made again, with growing pauses, and with what is so then", async () => {
    const world = connected();
    world.controlPlane.failures = 2;
    await world.says("DOWN");
    await world.says("ACTIVE");
    await world.clock.advance(10_000);
    expect(world.results).toEqual(["failed", "failed", "ok"]);
    expect(world.told).toEqual(["PENDING_CREATE -> ACTIVE"]);
  });

  test("after a failure changes make no request of their own, and the pause is kept", async () => {
    const world = connected();
    world.controlPlane.failures = 2;
    await world.says("DOWN");
    await world.clock.advance(900);
    for (const status of ["ACTIVE", "DOWN", "ACTIVE"] as const) await world.says(status);
    expect(world.results).toEqual(["failed"]);
    await world.clock.advance(100);
    expect(world.results).toEqual(["failed", "failed"]);
    for (const status of ["DOWN", "ACTIVE"] as const) {
      await world.clock.advance(900);
      await world.says(status);
    }
    expect(world.results).toHaveLength(2);
    await world.clock.advance(200);
    expect(world.results).toEqual(["failed", "failed", "ok"]);
    expect(world.told).toEqual(["PENDING_CREATE -> ACTIVE"]);
  });

  test("a list that was fetched ends the pause: the control plane answers again", async () => {
    const world = connected();
    world.controlPlane.failures = 2;
    await world.says("ACTIVE");
    await world.clock.advance(1_000);
    await world.clock.advance(1_000);
    expect(world.results).toEqual(["failed", "failed"]);
    world.reporter.compare(world.desired);
    await world.clock.advance(0);
    expect(world.results).toEqual(["failed", "failed", "ok"]);
  });
});

test("what the control plane holds otherwise is told again", async () => {
  const world = connected();
  await world.says("ACTIVE");
  await world.clock.advance(5_000);
  world.held = "DOWN";
  world.reporter.compare(world.desired);
  await world.says("ACTIVE");
  expect(world.told).toEqual(["PENDING_CREATE -> ACTIVE", "DOWN -> ACTIVE"]);
});

test("a service that is gone is told no more, and its router's others are", async () => {
  const world = connected();
  await world.says("ACTIVE");
  world.reporter.update(
    { id: ROUTER, namespace: "n", charon: "not-wanted", services: [], connections: [] },
    aRouterWith([], { services: [] }),
  );
  world.reporter.disconnected();
  world.reporter.connected();
  await world.clock.advance(60_000);
  expect(world.told).toHaveLength(1);
});

test("a router that is gone is told no more", async () => {
  const world = connected();
  await world.says("ACTIVE");
  world.reporter.forget(ROUTER);
  world.reporter.disconnected();
  world.reporter.connected();
  await world.clock.advance(60_000);
  expect(world.told).toHaveLength(1);
});
