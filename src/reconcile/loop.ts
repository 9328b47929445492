// The fleet of routers: what is wanted of them, who is woken, and who is taken away. An RPC only marks and wakes; nothing
// is done on its behalf.
import type { Logger } from "pino";
import type { RouterId } from "../core/ids.ts";
import type { Desired, DesiredRouter } from "../core/model.ts";
import type { ControlPlane, Inspection } from "../core/ports.ts";
import { decodeSnapshot, encodeSnapshot, routerText } from "../core/snapshot.ts";
import type { RouterState } from "../core/status.ts";
import type { RouterViews } from "../core/views.ts";
import { Fetcher, type FetcherOptions } from "./fetcher.ts";
import type { ReconcileOptions } from "./memory.ts";
import { aliasOf, type Outcome, type PassScope, type Ports, type Reconciler } from "./reconcile.ts";
import type { Reporter } from "./reporter.ts";
import { RouterWorker, type WorkerOptions } from "./router.ts";
import { Turns } from "./turns.ts";

export type LoopOptions = Omit<FetcherOptions, "alias"> & {
  readonly reconcile: ReconcileOptions;
  readonly passIntervalMs: number;
  /** 0: never; then only charon's events tell of SAs. */
  readonly listSasIntervalMs: number;
  readonly passesAtOnce: number;
};

/** Keeps the last snapshot over a restart. Text in, text out; `load` gives only what `save` stored. */
export interface SnapshotStore {
  load(): string | undefined;
  save(text: string): void;
}

export type LoopHooks = {
  readonly onState: (state: RouterState) => void;
  readonly onForgotten: (router: RouterId) => void;
  readonly onPass: (outcome: Outcome, durationMs: number) => void;
  readonly onFetch: (result: "ok" | "failed") => void;
};

const fetcherOptions = (options: LoopOptions): FetcherOptions => ({ ...options, alias: aliasOf(options.reconcile) });

const workerOptions = ({ reconcile, retry }: LoopOptions): WorkerOptions => ({
  retry,
  splitChildren: reconcile.charonPlan.splitChildren,
});

export class Loop {
  readonly #ports: Ports;
  readonly #fetcher: Fetcher;
  readonly #reconciler: Reconciler;
  readonly #reporter: Reporter;
  readonly #store: SnapshotStore;
  #options: LoopOptions;
  readonly #hooks: LoopHooks;
  readonly #log: Logger;
  readonly #workers = new Map<RouterId, RouterWorker>();
  readonly #turns: Turns;
  readonly #timers = new Set<() => void>();
  /** Routers that an answer of the control plane has named: the others may be another host's by now. */
  readonly #confirmed = new Set<RouterId>();
  readonly #stop = new AbortController();
  #desired: Desired = { kind: "unknown" };

  constructor(
    ports: Ports,
    controlPlane: ControlPlane,
    reconciler: Reconciler,
    reporter: Reporter,
    store: SnapshotStore,
    options: LoopOptions,
    hooks: LoopHooks,
    log: Logger,
  ) {
    this.#ports = ports;
    this.#reconciler = reconciler;
    this.#reporter = reporter;
    this.#store = store;
    this.#options = options;
    this.#hooks = hooks;
    this.#log = log;
    this.#turns = new Turns(options.passesAtOnce, ports.clock);
    this.#fetcher = new Fetcher(
      { controlPlane, network: ports.network, clock: ports.clock },
      fetcherOptions(options),
      {
        desired: () => this.#routers(),
        onList: (routers, listed, gone) => this.#take(routers, listed, gone),
        onPlumbing: (found) => this.#takePlumbing(found),
        onFetch: hooks.onFetch,
      },
      log,
    );
  }

  get desired(): Desired {
    return this.#desired;
  }

  get lastFetchAtMs(): number | undefined {
    return this.#fetcher.lastFetchAtMs;
  }

  /** Passes wait for their turn, and none has ended for minutes: only a restart helps, which touches no tunnel. */
  get isStalled(): boolean {
    return this.#turns.isStalled;
  }

  /** From now on, for all that need no restart; every router is looked at with it. */
  configure(options: LoopOptions): void {
    this.#options = options;
    this.#reconciler.configure(options.reconcile);
    this.#fetcher.configure(fetcherOptions(options));
    for (const worker of this.#workers.values()) worker.configure(workerOptions(options));
    this.#startTimers();
    this.#wakeAll("everything");
  }

  states(): readonly RouterState[] {
    return [...this.#workers.values()].flatMap((worker) => worker.state ?? []);
  }

  /** Takes up what is remembered. Without it nothing is known until the first fetch, and nothing is touched. */
  start(): void {
    const text = this.#store.load();
    const routers = text === undefined ? undefined : decodeSnapshot(text);
    if (text !== undefined && routers === undefined) {
      this.#log.warn({}, "snapshot is of another version, waiting for the control plane instead");
    }
    if (routers !== undefined) {
      this.#desired = { kind: "remembered", routers };
      this.#log.info({ routers: routers.size }, "remembered the last snapshot");
      for (const router of routers.values()) this.#worker(router.id).want(router, "remembered");
    }
    this.#startTimers();
  }

  #startTimers(): void {
    for (const cancel of this.#timers) cancel();
    this.#timers.clear();
    const { passIntervalMs, listSasIntervalMs } = this.#options;
    this.#every(passIntervalMs, () => this.#wakeAll("everything"));
    if (listSasIntervalMs > 0) this.#every(listSasIntervalMs, () => this.#wakeAll("charon"));
  }

  /** Ends the passes; what is there stays as it is. */
  async close(): Promise<void> {
    this.#stop.abort();
    for (const cancel of this.#timers) cancel();
    this.#turns.close();
    await this.#fetcher.close();
    await Promise.all([...this.#workers.values()].map((worker) => worker.close()));
  }

  /** After a reconnect everything is told, asked and looked at anew. */
  connected(): void {
    this.#reporter.connected();
    this.#fetcher.connected();
    this.#wakeAll("everything");
  }

  disconnected(): void {
    this.#reporter.disconnected();
    this.#fetcher.disconnected();
  }

  /** `router` undefined: the cast named none. */
  serviceUpdated(router: RouterId | undefined): void {
    const why = "vpnservice_updated";
    if (router === undefined) this.#fetcher.fetchAll(why);
    else this.#fetcher.fetchFor([router], why);
  }

  addedToAgent(routers: readonly RouterId[]): void {
    this.#fetcher.fetchFor(routers, "vpnservice_added_to_agent");
  }

  agentUpdated(): void {
    this.#fetcher.fetchAll("agent_updated");
  }

  /** While OVN did not know of us, the control plane may have told us nothing. */
  /** The control plane did not take us for alive for a while. */
  announcedAgain(where: string): void {
    this.#fetcher.fetchAll(`announced in ${where} again`);
  }

  /** Done at once and without a fetch, which would bind the router to this host again. */
  removedFromAgent(router: RouterId): void {
    this.#log.info({ router }, "router was taken from this agent, removing it");
    if (this.#desired.kind !== "unknown") {
      const routers = new Map(this.#desired.routers);
      routers.delete(router);
      this.#setDesired(this.#desired.kind, routers);
    }
    this.#confirmed.delete(router);
    this.#worker(router).wantGone();
    this.#fetcher.removed(router);
  }

  /** What an operator asks for: everything is looked at now. False when there is no such router. */
  sync(router: RouterId | undefined): boolean {
    const workers = this.#workersOf(router);
    for (const worker of workers) worker.resume();
    this.#fetcher.fetchAll("asked by an operator");
    return router === undefined || workers.length > 0;
  }

  /** All views of one router, or of all, one after another. Undefined when there is no such router. */
  async inspect(router: RouterId | undefined, inspection: Inspection): Promise<readonly RouterViews[] | undefined> {
    const workers = this.#workersOf(router);
    if (router !== undefined && workers.length === 0) return undefined;
    const views: RouterViews[] = [];
    for (const worker of workers) {
      const found = await worker.inspect(inspection);
      if (found !== undefined) views.push(found);
    }
    return views;
  }

  /** Takes one router, or all, away until `sync`. False when there is no such router; a failure is tried again. */
  async teardown(router: RouterId | undefined): Promise<boolean | Error> {
    const unheard = await this.#takeUnlisted(router);
    const workers = this.#workersOf(router);
    const failures = await Promise.all(workers.map((worker) => worker.pause()));
    return (
      [...failures, unheard].find((failure) => failure !== undefined) ?? (router === undefined || workers.length > 0)
    );
  }

  /** Namespaces of ours that no list has named since the start have no worker yet, and wait for further fetches. */
  async #takeUnlisted(router: RouterId | undefined): Promise<Error | undefined> {
    if (router !== undefined && this.#workers.has(router)) return undefined;
    try {
      const owned = await this.#ports.network.listOwned(aliasOf(this.#options.reconcile), this.#stop.signal);
      const unlisted = owned.filter((id) => !this.#workers.has(id) && (router === undefined || id === router));
      for (const id of unlisted) this.#worker(id).wantGone();
      return undefined;
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }

  #wakeAll(scope: PassScope): void {
    for (const worker of this.#workers.values()) worker.wake(scope);
  }

  #workersOf(router: RouterId | undefined): readonly RouterWorker[] {
    if (router === undefined) return [...this.#workers.values()];
    const worker = this.#workers.get(router);
    return worker === undefined ? [] : [worker];
  }

  #routers(): ReadonlyMap<RouterId, DesiredRouter> {
    return this.#desired.kind === "unknown" ? new Map<RouterId, DesiredRouter>() : this.#desired.routers;
  }

  /** Wakes whoever has something new, and takes away what is believed to be gone. */
  #take(routers: ReadonlyMap<RouterId, DesiredRouter>, listed: ReadonlySet<RouterId>, gone: readonly RouterId[]): void {
    const before = this.#routers();
    this.#setDesired("fetched", routers);
    for (const router of routers.values()) {
      this.#reporter.compare(router);
      const { id } = router;
      const held = before.get(id);
      const isConfirmed = listed.has(id) && !this.#confirmed.has(id);
      if (isConfirmed) this.#confirmed.add(id);
      const isNew = held === undefined || isConfirmed || routerText(held) !== routerText(router);
      // One that is only kept because its absence is not believed yet makes nothing: it may be up on another host.
      if (isNew) this.#worker(id).want(router, this.#confirmed.has(id) ? "fetched" : "remembered");
    }
    for (const id of gone) {
      this.#confirmed.delete(id);
      this.#worker(id).wantGone();
    }
  }

  #takePlumbing(found: ReadonlyMap<RouterId, DesiredRouter["plumbing"]>): void {
    const routers = new Map(this.#routers());
    const changed: DesiredRouter[] = [];
    for (const [id, plumbing] of found) {
      const held = routers.get(id);
      // One that was taken from us meanwhile stays so.
      if (held === undefined || JSON.stringify(held.plumbing) === JSON.stringify(plumbing)) continue;
      const router = { ...held, plumbing };
      routers.set(id, router);
      changed.push(router);
    }
    if (changed.length === 0) return;
    this.#setDesired("fetched", routers);
    for (const router of changed) {
      this.#worker(router.id).want(router, this.#confirmed.has(router.id) ? "fetched" : "remembered");
    }
  }

  #setDesired(kind: "remembered" | "fetched", routers: ReadonlyMap<RouterId, DesiredRouter>): void {
    this.#desired = { kind, routers };
    try {
      this.#store.save(encodeSnapshot(routers));
    } catch (error) {
      const err = error instanceof Error ? error : new Error(String(error));
      this.#log.error({ err }, "snapshot not saved: after a restart without the broker nothing will be remembered");
    }
  }

  #worker(id: RouterId): RouterWorker {
    const known = this.#workers.get(id);
    if (known !== undefined) return known;
    const worker = new RouterWorker(
      id,
      this.#ports,
      this.#reconciler,
      workerOptions(this.#options),
      {
        turn: (run) => this.#turns.take(run),
        onPass: this.#hooks.onPass,
        onState: (state) => {
          this.#hooks.onState(state);
          const desired = this.#routers().get(id);
          // What is only remembered is not told: it would overwrite what another host tells of it.
          if (desired === undefined || !this.#confirmed.has(id)) return;
          if (state.role === "standby") this.#reporter.forget(id);
          else this.#reporter.update(state, desired);
        },
        onRemoved: (router) => this.#forget(router),
      },
      this.#log,
    );
    this.#workers.set(id, worker);
    return worker;
  }

  #forget(router: RouterId): void {
    if (this.#routers().has(router)) return; // it is wanted again
    const worker = this.#workers.get(router);
    this.#workers.delete(router);
    void worker?.close();
    this.#reporter.forget(router);
    this.#hooks.onForgotten(router);
    this.#log.info({ router }, "router removed");
  }

  #every(intervalMs: number, run: () => void): void {
    if (this.#stop.signal.aborted) return;
    const cancel = this.#ports.clock.after(intervalMs, () => {
      this.#timers.delete(cancel);
      run();
      this.#every(intervalMs, run);
    });
    this.#timers.add(cancel);
  }
}
