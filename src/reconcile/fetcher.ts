// Asks the control plane for the list: when, how often, and what an absence in the answer means. It hands the outcome on
// and wakes nobody itself.
import type { Logger } from "pino";
import { backoffMs } from "../core/backoff.ts";
import { AgentError } from "../core/errors.ts";
import type { ConnectionId, RouterId } from "../core/ids.ts";
import type { DesiredRouter } from "../core/model.ts";
import type { Clock, ControlPlane, FetchedList, Network } from "../core/ports.ts";
import { decideRemovals, type Absences, type RemovalInput, type RemovalOptions } from "../core/removal.ts";
import { routerText } from "../core/snapshot.ts";
import { tellAbsences } from "./absences.ts";
import { Turns } from "./turns.ts";

export type FetcherOptions = {
  readonly alias: string;
  readonly retry: { readonly baseMs: number; readonly capMs: number };
  readonly fetchIntervalMs: number;
  readonly removal: RemovalOptions;
};

export type FetcherPorts = {
  readonly controlPlane: ControlPlane;
  readonly network: Pick<Network, "listOwned">;
  readonly clock: Clock;
};

export type FetcherHooks = {
  /** What is wanted now, as far as it is known. */
  readonly desired: () => ReadonlyMap<RouterId, DesiredRouter>;
  /** `listed` are those of `routers` that the answer names; `gone` are routers that are believed to be taken from us. */
  readonly onList: (
    routers: ReadonlyMap<RouterId, DesiredRouter>,
    listed: ReadonlySet<RouterId>,
    gone: readonly RouterId[],
  ) => void;
  /** What was found out of routers of the last list, after it. */
  readonly onPlumbing: (found: ReadonlyMap<RouterId, DesiredRouter["plumbing"]>) => void;
  readonly onFetch: (result: "ok" | "failed") => void;
};

// The server casts before its transaction is readable everywhere.
const UNCHANGED_REPEAT_MS = 5_000;
const PLUMBING_FETCHES_AT_ONCE = 8;
/** Of what is wrong with many things alike. */
const MAX_TOLD = 10;

export class Fetcher {
  readonly #ports: FetcherPorts;
  #options: FetcherOptions;
  readonly #hooks: FetcherHooks;
  readonly #log: Logger;
  readonly #stop = new AbortController();
  readonly #plumbingTurns: Turns;
  #absences: Absences = new Map();
  /** Routers that casts have named since the last fetch began. */
  #named = new Set<RouterId>();
  /** Routers whose cast has shown no change yet, and when they are looked at again. */
  readonly #repeatAtMs = new Map<RouterId, number>();
  /** Routers taken from us since the running fetch began: its reply is older than that. */
  #removedMeanwhile = new Set<RouterId>();
  #running: Promise<void> | undefined;
  #isDue = false;
  /** Whether the plumbing of every router is asked for, not only of those that were named. */
  #isThoroughDue = false;
  /** Routers whose plumbing was to be asked for, when something more urgent came. */
  #putOff: ReadonlySet<RouterId> = new Set();
  #isConnected = false;
  #failures = 0;
  #hasFetched = false;
  #lastFetchAtMs: number | undefined;
  #cancelTimer: (() => void) | undefined;
  /** When the next fetch is due, if a timer waits for it. */
  #dueAtMs = 0;

  constructor(ports: FetcherPorts, options: FetcherOptions, hooks: FetcherHooks, log: Logger) {
    this.#ports = ports;
    this.#options = options;
    this.#hooks = hooks;
    this.#log = log;
    this.#plumbingTurns = new Turns(PLUMBING_FETCHES_AT_ONCE, ports.clock);
  }

  get lastFetchAtMs(): number | undefined {
    return this.#lastFetchAtMs;
  }

  /** From now on. What is waited for comes when it would have, or with the new interval if that is sooner. */
  configure(options: FetcherOptions): void {
    this.#options = options;
    const { fetchIntervalMs } = options;
    if (!this.#isConnected || this.#running !== undefined) return;
    if (this.#dueAtMs > this.#ports.clock.nowMs() + fetchIntervalMs) this.#schedule(fetchIntervalMs);
  }

  connected(): void {
    this.#isConnected = true;
    this.fetchAll("connected to the broker");
  }

  disconnected(): void {
    this.#isConnected = false;
    this.#cancelTimer?.();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#cancelTimer?.();
    await this.#running;
  }

  /** The list, and everything about every router in it. */
  fetchAll(why: string): void {
    this.#isThoroughDue = true;
    this.#fetch(why);
  }

  /** The list, because of these routers. */
  fetchFor(routers: readonly RouterId[], why: string): void {
    for (const router of routers) this.#named.add(router);
    this.#fetch(why);
  }

  /** Nothing is fetched: that would bind the router to this host again. What runs does not bring it back. */
  removed(router: RouterId): void {
    this.#removedMeanwhile.add(router);
    this.#named.delete(router);
    this.#repeatAtMs.delete(router);
    // What other routers wait for does not wait for the full interval.
    if (!this.#isAwaited()) this.#schedule(this.#options.fetchIntervalMs);
  }

  /** Whether a fetch is due because of routers that are still wanted. */
  #isAwaited(): boolean {
    const routers = [...this.#hooks.desired().values()];
    const isRetried = this.#failures > 0 && (this.#isThoroughDue || this.#named.size > 0);
    return (
      isRetried ||
      this.#repeatAtMs.size > 0 ||
      !routers.every(isPlumbed) ||
      routers.some(({ connections }) => connections.some(({ id }) => this.#absences.has(id)))
    );
  }

  /** A request that comes while a fetch runs causes another. */
  #fetch(why: string): void {
    this.#isDue = true;
    this.#log.debug({ why }, "fetch is due");
    if (!this.#isConnected || this.#isStopping()) return;
    this.#running ??= this.#fetchWhileDue();
  }

  async #fetchWhileDue(): Promise<void> {
    try {
      while (this.#isDue && this.#isConnected && !this.#isStopping()) {
        if (!(await this.#fetchDue())) return;
      }
    } finally {
      // In the same turn as the check above: a request that came between the two would find nobody.
      this.#running = undefined;
    }
  }

  /** False when it failed, and when it is tried again is settled. */
  async #fetchDue(): Promise<boolean> {
    const isThorough = this.#isThoroughDue;
    const named = this.#named;
    this.#isDue = false;
    this.#isThoroughDue = false;
    this.#named = new Set();
    this.#removedMeanwhile = new Set();
    this.#cancelTimer?.();
    try {
      await this.#fetchOnce(named, isThorough);
      this.#hooks.onFetch("ok");
      this.#failures = 0;
      return true;
    } catch (error) {
      if (this.#isStopping()) return false;
      this.#isThoroughDue ||= isThorough;
      for (const router of named) this.#named.add(router);
      this.#failed(error);
      return false;
    }
  }

  #isStopping(): boolean {
    return this.#stop.signal.aborted;
  }

  #failed(error: unknown): void {
    this.#hooks.onFetch("failed");
    const { baseMs, capMs } = this.#options.retry;
    const delayMs = backoffMs(this.#failures, baseMs, capMs, this.#ports.clock.random());
    this.#failures += 1;
    const err = error instanceof Error ? error : new Error(String(error));
    const fields = { attempt: this.#failures, retryDelayMs: delayMs, err };
    if (error instanceof AgentError) {
      this.#log.warn(fields, "list not fetched, the last one stays in force, will retry");
    } else this.#log.error({ ...fields, code: "INTERNAL" }, "internal error while fetching: please report it");
    this.#schedule(delayMs);
  }

  async #fetchOnce(fresh: ReadonlySet<RouterId>, isThorough: boolean): Promise<void> {
    const { signal } = this.#stop;
    const { controlPlane, network, clock } = this.#ports;
    const named = new Set([...fresh, ...this.#repeatAtMs.keys()]);
    const [list, owned] = await Promise.all([
      controlPlane.fetchRouters(signal),
      network.listOwned(this.#options.alias, signal),
    ]);
    this.#tellUnreadable(list.problems);
    const before = this.#hooks.desired();
    // What is known already does not hold up the list: with thousands of routers the questions take many seconds.
    const ids = [...list.routers.keys()];
    const isAskedFirst = (id: RouterId): boolean => named.has(id) || !before.has(id);
    const plumbing = await this.#fetchPlumbing(ids.filter(isAskedFirst), before, () => true);
    const listed = new Map([...list.routers].filter(([router]) => !this.#removedMeanwhile.has(router)));

    const nowMs = clock.nowMs();
    const input: RemovalInput = {
      known: knownRouters(before, owned, this.#removedMeanwhile),
      listed: withUnreadable(listed, list, before, owned),
      named,
      absences: this.#absences,
      isFirstFetch: !this.#hasFetched,
      nowMs,
    };
    const decision = decideRemovals(input, this.#options.removal);
    tellAbsences(decision, input, this.#log);
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
      const isUnreadable = !list.complete || list.problems.some((problem) => problem.router === id);
      // One without connections, too: nobody else would know of it when its namespace is gone as well.
      const isKept = kept.length > 0 || decision.kept.has(id);
      if (isKept || isUnreadable) routers.set(id, isUnreadable ? held : { ...held, connections: kept });
    }
    this.#absences = decision.absences;
    this.#hasFetched = true;
    this.#lastFetchAtMs = nowMs;
    const gone = [...new Set([...before.keys(), ...owned])].filter((id) => !routers.has(id) && !decision.kept.has(id));
    const unreadable = list.problems.flatMap(({ router }) => router ?? []);
    this.#hooks.onList(routers, new Set([...listed.keys(), ...unreadable]), gone);
    this.#noteRepeats(fresh, named, before, routers);
    const isStale = (id: RouterId): boolean => isThorough || this.#putOff.has(id) || !isPlumbed(before.get(id));
    await this.#refreshPlumbing(ids.filter((id) => isStale(id) && !isAskedFirst(id)));
    this.#scheduleAfter(decision.confirmAtMs, this.#hooks.desired());
  }

  /** Asks for what may have changed, until something more urgent is to be fetched: the rest is asked for after that. */
  async #refreshPlumbing(ids: readonly RouterId[]): Promise<void> {
    const putOff = new Set(ids);
    // First those that were put off before: else casts without end would have the same ones asked for again and again.
    const inOrder = [...ids.filter((id) => this.#putOff.has(id)), ...ids.filter((id) => !this.#putOff.has(id))];
    const found = await this.#fetchPlumbing(inOrder, this.#hooks.desired(), (id) => {
      if (this.#isDue) return false;
      putOff.delete(id);
      return true;
    });
    this.#putOff = putOff;
    if (found.size > 0) this.#hooks.onPlumbing(found);
  }

  /** A list may hold thousands of them, and comes again and again. */
  #tellUnreadable(problems: FetchedList["problems"]): void {
    for (const { where, text } of problems.slice(0, MAX_TOLD)) {
      this.#log.warn({ where, problem: text }, "listed, but not readable");
    }
    const more = problems.length - MAX_TOLD;
    if (more > 0) this.#log.warn({ more }, "listed, but not readable: more of them");
  }

  /** What could not be had stays as it was. */
  async #fetchPlumbing(
    ids: readonly RouterId[],
    before: ReadonlyMap<RouterId, DesiredRouter>,
    isToBeAsked: (id: RouterId) => boolean,
  ): Promise<ReadonlyMap<RouterId, DesiredRouter["plumbing"]>> {
    const { signal } = this.#stop;
    const found = new Map<RouterId, DesiredRouter["plumbing"]>();
    const failures = new Map<RouterId, { readonly why: string } | { readonly err: AgentError }>();
    const ask = async (id: RouterId): Promise<void> => {
      if (!isToBeAsked(id)) return;
      const isHeld = isPlumbed(before.get(id));
      try {
        const plumbing = await this.#ports.controlPlane.fetchPlumbing(id, signal);
        if (plumbing.kind === "unknown") failures.set(id, { why: plumbing.why });
        if (plumbing.kind !== "unknown" || !isHeld) found.set(id, plumbing);
      } catch (error) {
        if (!(error instanceof AgentError)) throw error;
        failures.set(id, { err: error });
        const why = `the control plane did not tell the transit network details: ${error.message}`;
        if (!isHeld) found.set(id, { kind: "unknown", why });
      }
    };
    await Promise.all(ids.map((id) => this.#plumbingTurns.take(() => ask(id))));
    const [first] = failures.values();
    if (first !== undefined) {
      const routers = [...failures.keys()].slice(0, MAX_TOLD);
      this.#log.warn(
        { routers, routerCount: failures.size, ...first },
        "transit network details not had, will ask again",
      );
    }
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
    const nowMs = this.#ports.clock.nowMs();
    const moments = [...(confirmAtMs === undefined ? [] : [confirmAtMs]), ...this.#repeatAtMs.values()];
    const delays = moments.map((atMs) => Math.max(0, atMs - nowMs));
    if (![...after.values()].every(isPlumbed)) delays.push(retry.capMs);
    this.#schedule(Math.min(fetchIntervalMs, ...delays));
  }

  #schedule(delayMs: number): void {
    this.#cancelTimer?.();
    if (this.#isStopping()) return;
    const isUnprompted = delayMs >= this.#options.fetchIntervalMs;
    this.#dueAtMs = this.#ports.clock.nowMs() + delayMs;
    this.#cancelTimer = this.#ports.clock.after(delayMs, () =>
      isUnprompted ? this.fetchAll("it is time") : this.#fetch("a fetch before asks for another"),
    );
  }
}

const isPlumbed = (router: DesiredRouter | undefined): boolean =>
  router !== undefined && router.plumbing.kind !== "unknown";

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
