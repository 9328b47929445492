// The fleet of routers: what the control plane wants of them, when it is asked, when an absence is believed, and who is
// woken. An RPC only marks and wakes; nothing is done on its behalf.
import type { Logger } from "pino";
import { backoffMs } from "../core/backoff.ts";
import { AgentError } from "../core/errors.ts";
import type { ConnectionId, RouterId } from "../core/ids.ts";
import type { Desired, DesiredRouter } from "../core/model.ts";
import type { ControlPlane, FetchedList } from "../core/ports.ts";
import { decideRemovals, type Absences, type RemovalOptions } from "../core/removal.ts";
import { decodeSnapshot, encodeSnapshot, routerText } from "../core/snapshot.ts";
import type { RouterState } from "../core/status.ts";
import { aliasOf, type Outcome, type Ports, type ReconcileOptions, type Reconciler } from "./reconcile.ts";
import type { Reporter } from "./reporter.ts";
import { RouterWorker, type WorkerHooks } from "./router.ts";
import { createTurns } from "./turns.ts";

export type LoopOptions = {
  readonly reconcile: ReconcileOptions;
  readonly retry: { readonly baseMs: number; readonly capMs: number };
  readonly fetchIntervalMs: number;
  readonly passIntervalMs: number;
  /** 0: never; then only charon's events tell of SAs. */
  readonly listSasIntervalMs: number;
  readonly removal: RemovalOptions;
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

// The server casts before its transaction is readable everywhere.
const UNCHANGED_REPEAT_MS = 5_000;
const PLUMBING_FETCHES_AT_ONCE = 8;

export class Loop {
  readonly #ports: Ports;
  readonly #controlPlane: ControlPlane;
  readonly #reconciler: Reconciler;
  readonly #reporter: Reporter;
  readonly #store: SnapshotStore;
  readonly #options: LoopOptions;
  readonly #hooks: LoopHooks;
  readonly #log: Logger;
  readonly #stop = new AbortController();
  readonly #workers = new Map<RouterId, RouterWorker>();
  readonly #turns: WorkerHooks["turn"];
  readonly #plumbingTurns = createTurns(PLUMBING_FETCHES_AT_ONCE);
  #desired: Desired = { kind: "unknown" };
  #absences: Absences = new Map();
  /** Routers that casts have named since the last fetch began. */
  #named = new Set<RouterId>();
  /** Routers whose cast has shown no change yet, and when they are looked at again. */
  readonly #repeatAtMs = new Map<RouterId, number>();
  /** Routers taken from us since the running fetch began: its reply is older than that. */
  #removedMeanwhile = new Set<RouterId>();
  #fetching: Promise<void> | undefined;
  #isFetchDue = false;
  #isConnected = false;
  #fetchFailures = 0;
  #hasFetched = false;
  #lastFetchAtMs: number | undefined;
  readonly #timers = new Map<string, () => void>();

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
    this.#controlPlane = controlPlane;
    this.#reconciler = reconciler;
    this.#reporter = reporter;
    this.#store = store;
    this.#options = options;
    this.#hooks = hooks;
    this.#log = log;
    this.#turns = createTurns(options.passesAtOnce);
  }

  get desired(): Desired {
    return this.#desired;
  }

  get lastFetchAtMs(): number | undefined {
    return this.#lastFetchAtMs;
  }

  states(): readonly RouterState[] {
    return [...this.#workers.values()].flatMap((worker) => worker.state ?? []);
  }

  /** Takes up what is remembered. Without it nothing is known until the first fetch, and nothing is touched. */
  start(): void {
    const text = this.#store.load();
    const routers = text === undefined ? undefined : decodeSnapshot(text);
    if (routers !== undefined) {
      this.#desired = { kind: "remembered", routers };
      this.#log.info({ routers: routers.size }, "remembered the last snapshot");
      for (const router of routers.values()) this.#worker(router.id).want(router, "remembered");
    }
    this.#every("pass", this.#options.passIntervalMs, () => {
      for (const worker of this.#workers.values()) worker.wake("everything");
    });
    if (this.#options.listSasIntervalMs > 0) {
      this.#every("listSas", this.#options.listSasIntervalMs, () => {
        for (const worker of this.#workers.values()) worker.wake("charon");
      });
    }
  }

  /** Ends the passes; what is there stays as it is. */
  async close(): Promise<void> {
    this.#stop.abort();
    for (const cancel of this.#timers.values()) cancel();
    this.#timers.clear();
    await this.#fetching;
    await Promise.all([...this.#workers.values()].map((worker) => worker.close()));
  }

  connected(): void {
    this.#isConnected = true;
    this.#reporter.connected();
    this.fetch("connected to the broker");
  }

  disconnected(): void {
    this.#isConnected = false;
    this.#reporter.disconnected();
    this.#cancel("fetch");
  }

  /** `router` undefined: the cast named none. */
  serviceUpdated(router: RouterId | undefined): void {
    if (router !== undefined) this.#named.add(router);
    this.fetch("vpnservice_updated");
  }

  addedToAgent(routers: readonly RouterId[]): void {
    for (const router of routers) this.#named.add(router);
    this.fetch("vpnservice_added_to_agent");
  }

  /** Done at once and without a fetch, which would bind the router to this host again. */
  removedFromAgent(router: RouterId): void {
    this.#removedMeanwhile.add(router);
    this.#log.info({ router }, "router was taken from this agent, removing it");
    if (this.#desired.kind !== "unknown") {
      const routers = new Map(this.#desired.routers);
      routers.delete(router);
      this.#setDesired(this.#desired.kind, routers);
    }
    this.#worker(router).wantGone();
    this.#scheduleFetch(this.#options.fetchIntervalMs);
  }

  /** What an operator asks for: everything is looked at now. False when there is no such router. */
  sync(router: RouterId | undefined): boolean {
    const workers = this.#workersOf(router);
    for (const worker of workers) worker.resume();
    this.fetch("asked by an operator");
    return router === undefined || workers.length > 0;
  }

  /** Takes one router, or all, away until `sync`. False when there is no such router. */
  async teardown(router: RouterId | undefined): Promise<boolean> {
    const workers = this.#workersOf(router);
    await Promise.all(workers.map((worker) => worker.pause()));
    return router === undefined || workers.length > 0;
  }

  #workersOf(router: RouterId | undefined): readonly RouterWorker[] {
    if (router === undefined) return [...this.#workers.values()];
    const worker = this.#workers.get(router);
    return worker === undefined ? [] : [worker];
  }

  /** Asks the control plane; a request that comes while one runs causes another. */
  fetch(why: string): void {
    this.#isFetchDue = true;
    this.#log.debug({ why }, "fetch is due");
    if (!this.#isConnected || this.#stop.signal.aborted) return;
    this.#fetching ??= this.#fetchWhileDue();
  }

  async #fetchWhileDue(): Promise<void> {
    try {
      while (this.#isFetchDue && this.#isConnected && !this.#stop.signal.aborted) {
        if (!(await this.#fetchDue())) return;
      }
    } finally {
      // In the same turn as the check above: a request that came between the two would find nobody.
      this.#fetching = undefined;
    }
  }

  /** False when it failed, and when it is tried again is settled. */
  async #fetchDue(): Promise<boolean> {
    this.#isFetchDue = false;
    this.#cancel("fetch");
    const named = this.#named;
    this.#named = new Set();
    this.#removedMeanwhile = new Set();
    try {
      await this.#fetchOnce(named);
      this.#hooks.onFetch("ok");
      this.#fetchFailures = 0;
      return true;
    } catch (error) {
      if (this.#isStopping()) return false;
      for (const router of named) this.#named.add(router);
      this.#fetchFailed(error);
      return false;
    }
  }

  #isStopping(): boolean {
    return this.#stop.signal.aborted;
  }

  #fetchFailed(error: unknown): void {
    this.#hooks.onFetch("failed");
    const { baseMs, capMs } = this.#options.retry;
    const delayMs = backoffMs(this.#fetchFailures, baseMs, capMs, this.#ports.clock.random());
    this.#fetchFailures += 1;
    const err = error instanceof Error ? error : new Error(String(error));
    const fields = { attempt: this.#fetchFailures, retryDelayMs: delayMs, err };
    if (error instanceof AgentError)
      this.#log.warn(fields, "list not fetched, the last one stays in force, will retry");
    else this.#log.error({ ...fields, code: "INTERNAL" }, "internal error while fetching: please report it");
    this.#scheduleFetch(delayMs);
  }

  async #fetchOnce(fresh: ReadonlySet<RouterId>): Promise<void> {
    const { signal } = this.#stop;
    const named = new Set([...fresh, ...this.#repeatAtMs.keys()]);
    const [list, owned] = await Promise.all([
      this.#controlPlane.fetchRouters(signal),
      this.#ports.network.listOwned(aliasOf(this.#options.reconcile), signal),
    ]);
    for (const { where, text } of list.problems) this.#log.warn({ where, problem: text }, "listed, but not readable");
    const before = this.#desired.kind === "unknown" ? new Map<RouterId, DesiredRouter>() : this.#desired.routers;
    const listed = new Map([...list.routers].filter(([router]) => !this.#removedMeanwhile.has(router)));
    const plumbing = await this.#fetchPlumbing([...listed.keys()], before, named, signal);
    for (const router of this.#removedMeanwhile) listed.delete(router);

    const nowMs = this.#ports.clock.nowMs();
    const decision = decideRemovals(
      {
        known: knownRouters(before, owned, this.#removedMeanwhile),
        listed: withUnreadable(listed, list, before, owned),
        named,
        absences: this.#absences,
        isFirstFetch: !this.#hasFetched,
        nowMs,
      },
      this.#options.removal,
    );
    this.#absences = decision.absences;
    const routers = new Map<RouterId, DesiredRouter>();
    for (const [id, { services, connections }] of listed) {
      const held = before.get(id);
      const kept = held?.connections.filter((connection) => decision.kept.has(connection.id)) ?? [];
      const known = plumbing.get(id) ?? held?.plumbing ?? { kind: "unknown" as const, why: "not asked yet" };
      routers.set(id, { id, services, connections: [...connections, ...kept], plumbing: known });
    }
    for (const [id, held] of before) {
      if (routers.has(id) || this.#removedMeanwhile.has(id)) continue;
      const kept = held.connections.filter((connection) => decision.kept.has(connection.id));
      const isUnreadable = list.problems.some((problem) => problem.router === id) || !list.complete;
      if (kept.length > 0 || isUnreadable) routers.set(id, isUnreadable ? held : { ...held, connections: kept });
    }
    this.#hasFetched = true;
    this.#lastFetchAtMs = nowMs;
    this.#apply(routers, before, owned, decision.kept);
    if (decision.kept.size > 0) this.#tellKept(decision.kept.size, decision.isMass);
    this.#noteRepeats(fresh, named, before, routers);
    this.#scheduleAfter(decision.confirmAtMs, routers);
  }

  /** Wakes whoever has something new, and takes away what is believed to be gone. */
  #apply(
    routers: ReadonlyMap<RouterId, DesiredRouter>,
    before: ReadonlyMap<RouterId, DesiredRouter>,
    owned: readonly RouterId[],
    kept: ReadonlySet<ConnectionId | RouterId>,
  ): void {
    const wasRemembered = this.#desired.kind !== "fetched";
    this.#setDesired("fetched", routers);
    for (const router of routers.values()) {
      this.#reporter.compare(router);
      const held = before.get(router.id);
      const isNew = held === undefined || wasRemembered || routerText(held) !== routerText(router);
      if (isNew) this.#worker(router.id).want(router, "fetched");
    }
    for (const id of new Set([...before.keys(), ...owned])) {
      if (!routers.has(id) && !kept.has(id)) this.#worker(id).wantGone();
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

  /** Asks for the plumbing of routers that need it; what could not be had stays as it was. */
  async #fetchPlumbing(
    ids: readonly RouterId[],
    before: ReadonlyMap<RouterId, DesiredRouter>,
    named: ReadonlySet<RouterId>,
    signal: AbortSignal,
  ): Promise<ReadonlyMap<RouterId, DesiredRouter["plumbing"]>> {
    const isUnprompted = named.size === 0;
    const wanted = ids.filter((id) => isUnprompted || named.has(id) || before.get(id)?.plumbing.kind !== "known");
    const found = new Map<RouterId, DesiredRouter["plumbing"]>();
    await Promise.all(
      wanted.map((id) =>
        this.#plumbingTurns(async () => {
          try {
            const plumbing = await this.#controlPlane.fetchPlumbing(id, signal);
            if (plumbing.kind === "known" || before.get(id)?.plumbing.kind !== "known") found.set(id, plumbing);
          } catch (error) {
            if (!(error instanceof AgentError)) throw error;
            this.#log.warn({ router: id, err: error }, "transit network details not had, will ask again");
            const why = `the control plane did not tell the transit network details: ${error.message}`;
            if (before.get(id)?.plumbing.kind !== "known") found.set(id, { kind: "unknown", why });
          }
        }),
      ),
    );
    return found;
  }

  /** A router that a cast named and that has not changed is looked at once more, still as one that was named. */
  #noteRepeats(
    fresh: ReadonlySet<RouterId>,
    named: ReadonlySet<RouterId>,
    before: ReadonlyMap<RouterId, DesiredRouter>,
    after: ReadonlyMap<RouterId, DesiredRouter>,
  ): void {
    const nowMs = this.#ports.clock.nowMs();
    const text = (router: DesiredRouter | undefined): string => (router === undefined ? "" : routerText(router));
    for (const id of named) {
      const isUnchanged = text(before.get(id)) === text(after.get(id));
      if (isUnchanged && fresh.has(id)) this.#repeatAtMs.set(id, nowMs + UNCHANGED_REPEAT_MS);
      else if (!isUnchanged || (this.#repeatAtMs.get(id) ?? 0) <= nowMs) this.#repeatAtMs.delete(id);
    }
  }

  #scheduleAfter(confirmAtMs: number | undefined, after: ReadonlyMap<RouterId, DesiredRouter>): void {
    const { retry, fetchIntervalMs } = this.#options;
    const isIncomplete = [...after.values()].some((router) => router.plumbing.kind === "unknown");
    const nowMs = this.#ports.clock.nowMs();
    const moments = [...(confirmAtMs === undefined ? [] : [confirmAtMs]), ...this.#repeatAtMs.values()];
    const delays = [fetchIntervalMs, ...moments.map((atMs) => Math.max(0, atMs - nowMs))];
    if (isIncomplete) delays.push(retry.capMs);
    this.#scheduleFetch(Math.min(...delays));
  }

  #scheduleFetch(delayMs: number): void {
    this.#after("fetch", delayMs, () => this.fetch("it is time"));
  }

  #tellKept(count: number, isMass: boolean): void {
    const how = "`swanherd teardown --router ID` removes a router now";
    this.#log.warn(
      { count, isMass, how },
      "missing from the list without a word, kept until further fetches say the same",
    );
  }

  #worker(id: RouterId): RouterWorker {
    const known = this.#workers.get(id);
    if (known !== undefined) return known;
    const { reconcile, retry } = this.#options;
    const worker = new RouterWorker(
      id,
      this.#ports,
      this.#reconciler,
      {
        espBackEnd: reconcile.espBackEnd,
        retry,
        splitChildren: reconcile.charonPlan.splitChildren,
      },
      {
        turn: this.#turns,
        onPass: this.#hooks.onPass,
        onState: (state) => {
          this.#hooks.onState(state);
          const desired = this.#desired.kind === "unknown" ? undefined : this.#desired.routers.get(id);
          if (desired !== undefined) this.#reporter.update(state, desired);
        },
        onRemoved: (router) => this.#forget(router),
      },
      this.#log,
    );
    this.#workers.set(id, worker);
    return worker;
  }

  #forget(router: RouterId): void {
    const isWantedAgain = this.#desired.kind !== "unknown" && this.#desired.routers.has(router);
    if (isWantedAgain) return;
    const worker = this.#workers.get(router);
    this.#workers.delete(router);
    void worker?.close();
    this.#reporter.forget(router);
    this.#hooks.onForgotten(router);
    this.#log.info({ router }, "router removed");
  }

  #every(name: string, intervalMs: number, run: () => void): void {
    this.#after(name, intervalMs, () => {
      run();
      this.#every(name, intervalMs, run);
    });
  }

  #after(name: string, delayMs: number, run: () => void): void {
    this.#cancel(name);
    if (this.#stop.signal.aborted) return;
    this.#timers.set(name, this.#ports.clock.after(delayMs, run));
  }

  #cancel(name: string): void {
    this.#timers.get(name)?.();
    this.#timers.delete(name);
  }
}

const idsOf = (items: readonly { readonly id: ConnectionId }[]): Set<ConnectionId> =>
  new Set(items.map(({ id }) => id));

/** What we hold: the last snapshot, and namespaces of which only the name is known. */
function knownRouters(
  before: ReadonlyMap<RouterId, DesiredRouter>,
  owned: readonly RouterId[],
  removed: ReadonlySet<RouterId>,
): ReadonlyMap<RouterId, ReadonlySet<ConnectionId>> {
  const known = new Map<RouterId, ReadonlySet<ConnectionId>>(owned.map((id) => [id, new Set()]));
  for (const [id, router] of before) known.set(id, idsOf(router.connections));
  for (const id of removed) known.delete(id);
  return known;
}

/** The list, with everything in it that could not be read taken as still there: an absence must be proved. */
function withUnreadable(
  listed: FetchedList["routers"],
  list: FetchedList,
  before: ReadonlyMap<RouterId, DesiredRouter>,
  owned: readonly RouterId[],
): ReadonlyMap<RouterId, ReadonlySet<ConnectionId>> {
  const found = new Map<RouterId, Set<ConnectionId>>();
  for (const [id, router] of listed) found.set(id, idsOf(router.connections));
  const unreadable = list.complete ? [] : list.problems.map((problem) => problem.router);
  const isAnywhere = unreadable.includes(undefined);
  for (const id of new Set([...before.keys(), ...owned])) {
    if (!isAnywhere && !unreadable.includes(id)) continue;
    const held = idsOf(before.get(id)?.connections ?? []);
    found.set(id, new Set([...(found.get(id) ?? []), ...held]));
  }
  return found;
}
