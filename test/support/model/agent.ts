// One life of an agent in the model: the real loop and its workers, behind ports that die with it. What it does after its
// death reaches nothing, as of a killed process.
import { pino } from "pino";
import type { CharonStep } from "../../../src/core/charon-step.ts";
import type { KernelEsp } from "../../../src/core/algorithms.ts";
import { UnavailableError } from "../../../src/core/errors.ts";
import type { RouterId } from "../../../src/core/ids.ts";
import type { DesiredRouter } from "../../../src/core/model.ts";
import { namespaceName } from "../../../src/core/names.ts";
import type { NetworkScope, ObservedNetwork } from "../../../src/core/network.ts";
import type { DataPlane } from "../../../src/core/data-plane.ts";
import type { EspBackEnd } from "../../../src/core/guard.ts";
import type { NetworkStep } from "../../../src/core/network-plan.ts";
import type { ObservedCharon } from "../../../src/core/observed.ts";
import type { CharonEvent, Ike, Network, NetworkChange } from "../../../src/core/ports.ts";
import { Loop } from "../../../src/reconcile/loop.ts";
import type { ReconcileOptions, RouterMemory } from "../../../src/reconcile/memory.ts";
import { Reconciler, type Outcome, type PassScope } from "../../../src/reconcile/reconcile.ts";
import { Reporter } from "../../../src/reconcile/reporter.ts";
import { ALL_ALGORITHMS } from "../builders.ts";
import type { ModelWorld } from "./world.ts";

export const PASS_INTERVAL_MS = 60_000;
const FETCH_INTERVAL_MS = 600_000;

const LOG = pino({ level: "silent" });
const never = <T>(): Promise<T> => new Promise(() => undefined);

export const reconcileOptions = (world: Pick<ModelWorld, "charonPlan" | "espBackEnd">): ReconcileOptions => ({
  host: "gw-left",
  espBackEnd: world.espBackEnd,
  kernelEsp: ALL_ALGORITHMS,
  charonPlan: world.charonPlan,
  initiateRetry: { baseMs: 1_000, capMs: 8_000 },
  restart: { baseMs: 500, capMs: 8_000 },
  attachment: (router) => ({ attachedBy: "bridge", bridge: "br-ex", routerNamespace: `qrouter-${router}` }),
});

export class Agent {
  readonly loop: Loop;
  /** Whether an answer of the control plane has reached it. */
  hasFetched = false;
  readonly remembersAtStart: boolean;
  readonly #world: ModelWorld;
  #isAlive = true;

  constructor(world: ModelWorld) {
    this.#world = world;
    this.remembersAtStart = world.snapshot !== undefined;
    const ports = {
      network: new MortalNetwork(world, this),
      ike: new MortalIke(world, this),
      clock: world.clock.for(this),
    };
    const options = reconcileOptions(world);
    this.loop = new Loop(
      ports,
      {
        fetchRouters: () => (this.#isAlive ? world.answer(this) : never()),
        fetchPlumbing: (router) => (this.#isAlive ? world.plumbing(router) : never()),
        reportStatus: () => Promise.resolve(),
      },
      new WatchedReconciler(ports, options, world, this),
      new SilentReporter({ fetchRouters: never, fetchPlumbing: never, reportStatus: never }, ports.clock, NOTHING, LOG),
      { load: () => world.snapshot, save: (text) => this.#save(text) },
      {
        reconcile: options,
        retry: { baseMs: 1_000, capMs: 30_000 },
        fetchIntervalMs: FETCH_INTERVAL_MS,
        passIntervalMs: PASS_INTERVAL_MS,
        listSasIntervalMs: 0,
        removal: { confirmMs: 10_000, massCount: 3, massPercent: 25 },
        passesAtOnce: 16,
      },
      { onState: () => undefined, onForgotten: () => undefined, onPass: () => undefined, onFetch: () => undefined },
      LOG,
    );
    this.loop.start();
    this.loop.connected();
  }

  get isAlive(): boolean {
    return this.#isAlive;
  }

  /** As by SIGKILL: nothing is tidied up. */
  kill(): void {
    this.#isAlive = false;
    this.#world.clock.forget(this);
  }

  #save(text: string): void {
    if (this.#isAlive) this.#world.snapshot = text;
  }
}

const NOTHING = { onReport: () => undefined };

/** Status is told by other code than the plan, and tested elsewhere. */
class SilentReporter extends Reporter {
  override update(): void {
    return;
  }
  override compare(): void {
    return;
  }
  override connected(): void {
    return;
  }
}

/** Tells the world of each pass: what it is for, and what came of it. */
class WatchedReconciler extends Reconciler {
  readonly #world: ModelWorld;
  readonly #agent: Agent;

  constructor(
    ports: ConstructorParameters<typeof Reconciler>[0],
    options: ReconcileOptions,
    world: ModelWorld,
    agent: Agent,
  ) {
    const observer = {
      onStep: () => undefined,
      onCharonRestart: () => undefined,
      onDrift: () => undefined,
      onInternalError: () => world.violate("internal error in a pass"),
    };
    super(ports, options, observer, LOG);
    this.#world = world;
    this.#agent = agent;
  }

  override async pass(
    desired: DesiredRouter,
    from: "remembered" | "fetched",
    scope: PassScope,
    memory: RouterMemory,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const startedAtMs = this.#world.clock.nowMs();
    this.#world.passBegins(this.#agent, desired, from);
    const outcome = await super.pass(desired, from, scope, memory, signal);
    this.#world.passEnded({ router: desired.id, desired, scope, startedAtMs, outcome });
    return outcome;
  }

  override async remove(
    router: RouterId,
    memory: RouterMemory,
    signal: AbortSignal,
    isStillListed?: boolean,
  ): Promise<Outcome> {
    const startedAtMs = this.#world.clock.nowMs();
    this.#world.removalBegins(router);
    const outcome = await super.remove(router, memory, signal, isStillListed);
    this.#world.passEnded({ router, desired: undefined, scope: "everything", startedAtMs, outcome });
    return outcome;
  }
}

class MortalNetwork implements Network {
  readonly #world: ModelWorld;
  readonly #agent: Agent;

  constructor(world: ModelWorld, agent: Agent) {
    this.#world = world;
    this.#agent = agent;
  }

  observe(scope: NetworkScope, signal: AbortSignal): Promise<ObservedNetwork> {
    return this.#agent.isAlive ? this.#world.network.observe(scope, signal) : never();
  }

  observeDataPlane(namespace: string): Promise<DataPlane | undefined> {
    return this.#world.network.observeDataPlane(namespace);
  }

  apply(step: NetworkStep, signal: AbortSignal): Promise<void> {
    return this.#world.perform(this.#agent, step, () => this.#world.network.apply(step, signal));
  }

  listOwned(alias: string): Promise<readonly RouterId[]> {
    return this.#agent.isAlive ? this.#world.network.listOwned(alias) : never();
  }

  watch(scope: NetworkScope, espBackEnd: EspBackEnd, onChange: (what?: NetworkChange) => void): () => void {
    return this.#world.network.watch(scope, espBackEnd, (what) => {
      if (this.#agent.isAlive) onChange(what);
    });
  }

  probeKernelEsp(): Promise<KernelEsp | undefined> {
    return never();
  }

  close(): void {
    return;
  }
}

class MortalIke implements Ike {
  readonly #world: ModelWorld;
  readonly #agent: Agent;

  constructor(world: ModelWorld, agent: Agent) {
    this.#world = world;
    this.#agent = agent;
  }

  observe(router: RouterId, signal: AbortSignal): Promise<ObservedCharon> {
    return this.#agent.isAlive ? this.#world.ike.observe(router, signal) : never();
  }

  start(router: RouterId, signal: AbortSignal): Promise<void> {
    const step = { kind: "startCharon", router } as const;
    return this.#world.perform(this.#agent, step, () => {
      // Entering a namespace that is not there.
      if (this.#world.network.namespaces.has(namespaceName(router))) return this.#world.ike.start(router, signal);
      return Promise.reject(new UnavailableError("NAMESPACE_MISSING", "no namespace to start charon in"));
    });
  }

  apply(router: RouterId, step: CharonStep, signal: AbortSignal): Promise<void> {
    return this.#world.perform(this.#agent, step, () => this.#world.ike.apply(router, step, signal));
  }

  tryPeer(router: RouterId, step: Extract<CharonStep, { kind: "loadPeer" }>): Promise<void> {
    return this.#agent.isAlive ? this.#world.ike.tryPeer(router, step) : never();
  }

  remove(router: RouterId): Promise<void> {
    const step = { kind: "removeCharon", router } as const;
    return this.#world.perform(this.#agent, step, () => this.#world.ike.remove(router));
  }

  watch(router: RouterId, listener: (event: CharonEvent) => void): () => void {
    return this.#world.ike.watch(router, (event) => {
      if (this.#agent.isAlive) listener(event);
    });
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
