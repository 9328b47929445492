// A whole agent but for its edges: the loop, its workers and the reporter, with fakes of control plane, kernel and charon.
import { routerId, type RouterId } from "../../src/core/ids.ts";
import type { DesiredRouter } from "../../src/core/model.ts";
import { namespaceName } from "../../src/core/names.ts";
import { encodeSnapshot } from "../../src/core/snapshot.ts";
import type { RouterState } from "../../src/core/status.ts";
import { Loop, type LoopOptions } from "../../src/reconcile/loop.ts";
import { Reporter } from "../../src/reconcile/reporter.ts";
import { aConnectionId, aRouterWith, aTunnel } from "./builders.ts";
import { FakeControlPlane } from "./fake-control-plane.ts";
import { ROUTER, somePlumbing } from "./network-builders.ts";
import { ReconcileWorld } from "./reconcile-world.ts";

export const FETCH_INTERVAL_MS = 600_000;
export const PASS_INTERVAL_MS = 60_000;
export const OTHER = routerId("40000000-0000-4000-8000-000000000002");

export class AgentWorld extends ReconcileWorld {
  readonly controlPlane = new FakeControlPlane();
  saved: string | undefined;
  readonly states = new Map<RouterId, RouterState>();
  passes = 0;
  readonly forgotten: RouterId[] = [];
  readonly reporter: Reporter;
  readonly loop: Loop;
  readonly loopOptions: LoopOptions;

  constructor(remembered: readonly DesiredRouter[] = []) {
    super();
    this.addRouterNamespace(OTHER);
    if (remembered.length > 0) this.saved = encodeSnapshot(new Map(remembered.map((router) => [router.id, router])));
    this.reporter = new Reporter(this.controlPlane, this.clock, { onReport: () => undefined }, this.log);
    this.loopOptions = {
      reconcile: this.options,
      retry: { baseMs: 1_000, capMs: 30_000 },
      fetchIntervalMs: FETCH_INTERVAL_MS,
      passIntervalMs: PASS_INTERVAL_MS,
      listSasIntervalMs: 0,
      removal: { confirmMs: 10_000, massCount: 3, massPercent: 25 },
      passesAtOnce: 16,
    };
    this.loop = new Loop(
      this.ports,
      this.controlPlane,
      this.reconciler,
      this.reporter,
      { load: () => this.saved, save: (text) => (this.saved = text) },
      this.loopOptions,
      {
        onState: (state) => this.states.set(state.id, state),
        onForgotten: (router) => this.forgotten.push(router),
        onPass: () => (this.passes += 1),
        onFetch: () => undefined,
      },
      this.log,
    );
  }

  /** Started, connected and done with what the list asks for. */
  static async up(...routers: readonly DesiredRouter[]): Promise<AgentWorld> {
    const world = new AgentWorld();
    world.controlPlane.routers = routers;
    world.loop.start();
    world.loop.connected();
    await world.clock.advance(1_500);
    return world;
  }

  settle(): Promise<void> {
    return this.clock.advance(0);
  }

  hasNamespace(router: RouterId = ROUTER): boolean {
    return this.network.namespaces.has(namespaceName(router));
  }

  status(number = 1): string | undefined {
    const found = [...this.states.values()].flatMap((state) => state.connections);
    return found.find(({ id }) => id === aConnectionId(number))?.status;
  }

  reported(number = 1): readonly string[] {
    return this.controlPlane.reports
      .flat()
      .flatMap((service) => service.connections)
      .filter(({ id }) => id === aConnectionId(number))
      .map(({ status }) => status);
  }
}

export const ONE = aRouterWith([aTunnel(1)]);
export const TWO = aRouterWith([aTunnel(1), aTunnel(2)]);
export const ELSEWHERE = aRouterWith([aTunnel(7)], {
  id: OTHER,
  services: [],
  plumbing: { kind: "known", value: somePlumbing("203.0.113.77", "2001:db8:ff::77") },
});
