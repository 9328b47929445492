// One router's queue: what wakes it, when it runs, and what it knows. Routers never wait for each other.
import type { Logger } from "pino";
import { backoffMs, earlier } from "../core/backoff.ts";
import { connectionStates, serviceStates } from "../core/connection-status.ts";
import type { ConnectionId, RouterId } from "../core/ids.ts";
import type { DesiredRouter } from "../core/model.ts";
import type { QuickModeFault } from "../core/observed.ts";
import { peerNameOf } from "../core/peers.ts";
import type { CharonEvent, Inspection, NetworkChange } from "../core/ports.ts";
import type { ConnectionState, RouterState } from "../core/status.ts";
import type { RouterViews } from "../core/views.ts";
import { emptyMemory, type RouterMemory } from "./memory.ts";
import { type Outcome, type PassScope, type Ports, type Reconciler } from "./reconcile.ts";

export type WorkerOptions = {
  readonly retry: { readonly baseMs: number; readonly capMs: number };
  readonly splitChildren: boolean;
};

export type WorkerHooks = {
  readonly onState: (state: RouterState) => void;
  readonly onPass: (outcome: Outcome, durationMs: number) => void;
  /** The router is gone, as it was told. */
  readonly onRemoved: (router: RouterId) => void;
  /** At most so many passes run at once. */
  readonly turn: <T>(run: () => Promise<T>) => Promise<T>;
};

type Wanted =
  | { readonly kind: "unknown" }
  | { readonly kind: "present"; readonly router: DesiredRouter; readonly from: "remembered" | "fetched" }
  | { readonly kind: "gone" };

// Our own changes come back as kernel events too, in bursts, while a pass runs or shortly after it. What comes at another
// time is somebody else's doing, and may be what kept traffic from leaving in clear.
const OWN_EVENTS_MS = 500;
const KERNEL_EVENT_SETTLE_MS = 100;
/** A peer may send as many as it likes. */
const MAX_ENDED_BY_PEER = 1_000;
/** Changes that never end must not put off the look at them for ever. */
const MAX_SETTLE_MS = 1_000;

export class RouterWorker {
  readonly id: RouterId;
  readonly #ports: Ports;
  readonly #reconciler: Reconciler;
  #options: WorkerOptions;
  readonly #hooks: WorkerHooks;
  readonly #log: Logger;
  readonly #stop = new AbortController();
  readonly #memory: RouterMemory;
  #wanted: Wanted = { kind: "unknown" };
  #isPaused = false;
  #due: PassScope | undefined;
  #running: Promise<void> | undefined;
  #cancelTimer: (() => void) | undefined;
  #cancelSettle: (() => void) | undefined;
  #unsettledSinceMs: number | undefined;
  /** Of the last pass. */
  #endedAtMs = 0;
  #unwatchCharon: (() => void) | undefined;
  #unwatchNetwork: (() => void) | undefined;
  #unwatchRole: (() => void) | undefined;
  #watchedNames: string | undefined;
  /** The charon whose events were lost last. */
  #deafTo: string | undefined;
  #failures = 0;
  /** What the last pass ended with. */
  #failure: Error | undefined;
  #state: RouterState | undefined;

  constructor(
    id: RouterId,
    ports: Ports,
    reconciler: Reconciler,
    options: WorkerOptions,
    hooks: WorkerHooks,
    log: Logger,
  ) {
    this.id = id;
    this.#ports = ports;
    this.#reconciler = reconciler;
    this.#options = options;
    this.#hooks = hooks;
    this.#log = log;
    this.#memory = emptyMemory(id);
  }

  get state(): RouterState | undefined {
    return this.#state;
  }

  configure(options: WorkerOptions): void {
    this.#options = options;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  want(router: DesiredRouter, from: "remembered" | "fetched"): void {
    this.#wanted = { kind: "present", router, from };
    this.wake("everything");
  }

  /** Believed to be gone: it is taken away. */
  wantGone(): void {
    this.#wanted = { kind: "gone" };
    this.wake("everything");
  }

  /** Takes the router away until `resume`; resolves when the attempt is over, with what it failed with. */
  async pause(): Promise<Error | undefined> {
    this.#isPaused = true;
    this.wake("everything");
    await this.#running;
    return this.#failure;
  }

  resume(): void {
    this.#isPaused = false;
    this.#failures = 0;
    // Plugins may have been installed since: the next charon is asked again.
    this.#memory.algorithms = undefined;
    this.wake("everything");
  }

  /** Undefined while nothing is known of it. */
  async inspect(inspection: Inspection): Promise<RouterViews | undefined> {
    if (this.#wanted.kind !== "present") return undefined;
    return this.#reconciler.inspect(this.#wanted.router, this.#memory, inspection, this.#stop.signal);
  }

  wake(scope: PassScope): void {
    if (this.#stop.signal.aborted) return;
    this.#due = this.#due === "everything" ? "everything" : scope;
    this.#running ??= this.#run();
  }

  #isStopping(): boolean {
    return this.#stop.signal.aborted;
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#cancelTimer?.();
    this.#cancelSettle?.();
    this.#unwatch();
    await this.#running;
  }

  async #run(): Promise<void> {
    try {
      while (this.#due !== undefined && !this.#stop.signal.aborted) {
        await this.#hooks.turn(() => this.#pass()).catch((error: unknown) => this.#broken(error));
      }
    } finally {
      // In the same turn as the check above: a wake that came between the two would find nobody.
      this.#running = undefined;
    }
  }

  /** A bug beside the pass itself: it costs this router a pause, and the others nothing. */
  #broken(error: unknown): void {
    const failure = error instanceof Error ? error : new Error(String(error));
    this.#log.error(
      { router: this.id, code: "INTERNAL", err: failure },
      "internal error around a pass: please report it",
    );
    this.#schedule({ kind: "incomplete", steps: 0, wakeAtMs: undefined, failure });
  }

  async #pass(): Promise<void> {
    const scope = this.#due;
    this.#due = undefined;
    if (scope === undefined || this.#wanted.kind === "unknown" || this.#stop.signal.aborted) return;
    this.#cancelTimer?.();
    const startedAtMs = performance.now();
    const wanted = this.#wanted;
    const isRemoval = this.#wanted.kind === "gone" || this.#isPaused;
    if (!isRemoval) this.#watch();
    let outcome: Outcome;
    try {
      outcome =
        this.#wanted.kind === "gone" || this.#isPaused
          ? await this.#reconciler.remove(this.id, this.#memory, this.#stop.signal, this.#wanted.kind === "present")
          : await this.#reconciler.pass(this.#wanted.router, this.#wanted.from, scope, this.#memory, this.#stop.signal);
    } catch (error) {
      if (!this.#isStopping()) throw error;
      return; // what is there stays as it is
    }
    this.#endedAtMs = this.#ports.clock.nowMs();
    if (!isRemoval) this.#watch();
    this.#hooks.onPass(outcome, performance.now() - startedAtMs);
    // What came in meanwhile has not been looked at: its own pass tells of it.
    if (this.#wanted === wanted) this.#tell(outcome);
    this.#schedule(outcome);
    if (isRemoval && outcome.kind === "converged") this.#removed();
  }

  #removed(): void {
    this.#unwatch();
    if (this.#wanted.kind === "gone") this.#hooks.onRemoved(this.id);
  }

  #tell(outcome: Outcome): void {
    if (this.#wanted.kind !== "present") return;
    const router = this.#reconciler.judge(this.#wanted.router, this.#memory);
    const nowMs = this.#ports.clock.nowMs();
    const { charon, grouping, notes, inSync, fault, learnedFault: ipv6Fault, ports } = this.#memory;
    const previous = new Map<ConnectionId, ConnectionState>(this.#state?.connections.map((c) => [c.id, c]));
    const { splitChildren } = this.#options;
    const isTornDown = this.#isPaused;
    const { standby } = this.#memory;
    const connections = connectionStates({
      router,
      charon,
      grouping,
      notes,
      inSync,
      fault,
      ipv6Fault,
      previous,
      nowMs,
      splitChildren,
      isTornDown,
      standby,
    });
    const isWanted = router.connections.some((connection) => connection.kind === "usable");
    this.#state = {
      id: this.id,
      namespace: this.#reconciler.namespaceOf(this.id),
      ...(this.#memory.standby === undefined ? {} : { role: "standby" as const }),
      charon:
        !isWanted || this.#isPaused || standby !== undefined
          ? "not-wanted"
          : charon.kind === "up"
            ? "up"
            : charon.kind === "absent"
              ? "down"
              : "starting",
      services: serviceStates(router, charon, fault, nowMs),
      connections,
      ...(ports.length === 0 || this.#isPaused ? {} : { ports }),
      lastPassAtMs: nowMs,
      ...(outcome.kind === "incomplete" ? { lastFailure: outcome.failure.message } : {}),
      ...(outcome.kind === "waiting" && fault !== undefined ? { lastFailure: fault.cause.text } : {}),
    };
    this.#hooks.onState(this.#state);
  }

  #schedule(outcome: Outcome): void {
    const { clock } = this.#ports;
    const before = this.#failure?.message;
    this.#failure = outcome.kind === "incomplete" ? outcome.failure : undefined;
    let atMs = outcome.wakeAtMs;
    if (outcome.kind === "incomplete") {
      const { baseMs, capMs } = this.#options.retry;
      const delayMs = backoffMs(this.#failures, baseMs, capMs, clock.random());
      this.#failures += 1;
      atMs = earlier(atMs, clock.nowMs() + delayMs);
      const fields = { router: this.id, attempt: this.#failures, retryDelayMs: delayMs, err: outcome.failure };
      // The same again is no news: status goes on telling it.
      this.#log[outcome.failure.message === before ? "debug" : "warn"](fields, "router not converged, will retry");
    } else if (this.#failures > 0 && outcome.kind === "converged") {
      this.#log.info({ router: this.id, attempts: this.#failures }, "router converged again");
      this.#failures = 0;
    }
    if (atMs === undefined) return;
    const scope: PassScope = outcome.kind === "incomplete" ? "everything" : "charon";
    this.#cancelTimer = clock.after(Math.max(0, atMs - clock.nowMs()), () => this.wake(scope));
  }

  /** Watches charon from the first pass on, and the network as that pass has found its parts to be named. */
  #watch(): void {
    this.#unwatchRole ??= this.#reconciler.watchRole(this.id, () => this.wake("everything"));
    this.#unwatchCharon ??= this.#ports.ike.watch(this.id, (event) => this.#onCharon(event));
    const { scope } = this.#memory;
    const ends = scope?.veths.flatMap(({ inner, outer }) => [inner.name, outer.name]);
    const names = JSON.stringify([scope?.namespace, ends]);
    if (scope === undefined || names === this.#watchedNames) return;
    this.#unwatchNetwork?.();
    this.#unwatchNetwork = undefined;
    this.#watchedNames = undefined;
    try {
      this.#unwatchNetwork = this.#reconciler.watchNetwork(scope, (what) => this.#onKernel(what));
      this.#watchedNames = names;
    } catch (err) {
      // Its namespace went this moment, or there is no file descriptor left: the next pass tries again.
      this.#log.warn({ router: this.id, err }, "network not watched, its changes are seen by the next pass only");
    }
  }

  #unwatch(): void {
    this.#unwatchCharon?.();
    this.#unwatchNetwork?.();
    this.#unwatchRole?.();
    this.#unwatchRole = undefined;
    this.#unwatchCharon = undefined;
    this.#unwatchNetwork = undefined;
    this.#watchedNames = undefined;
  }

  #onKernel(what?: NetworkChange): void {
    if (what === "sas") {
      this.wake("charon");
      return;
    }
    // Others have made it, and nothing of ours is in there yet: the router is about to work without a guard.
    if (what === "namespace" && this.#memory.scope?.topology === "router") {
      this.wake("everything");
      return;
    }
    const { clock } = this.#ports;
    const nowMs = clock.nowMs();
    const isAlone = this.#running === undefined && nowMs - this.#endedAtMs > OWN_EVENTS_MS;
    if (isAlone && this.#unsettledSinceMs === undefined) {
      this.wake("everything");
      return;
    }
    this.#unsettledSinceMs ??= nowMs;
    const untilMs = Math.min(nowMs + KERNEL_EVENT_SETTLE_MS, this.#unsettledSinceMs + MAX_SETTLE_MS);
    this.#cancelSettle?.();
    this.#cancelSettle = clock.after(Math.max(0, untilMs - nowMs), () => {
      this.#unsettledSinceMs = undefined;
      this.wake("everything");
    });
  }

  #onCharon(event: CharonEvent): void {
    const { notes } = this.#memory;
    switch (event.kind) {
      case "sasChanged":
        this.wake("charon");
        return;
      case "connected":
        // Nobody told what was changed meanwhile in a charon that ran on.
        if (notes !== undefined && notes.instance === this.#deafTo) this.#loadAgain();
        this.#deafTo = undefined;
        this.wake("charon");
        return;
      case "lost":
        // That it is over, nobody would tell; that it is not, the next retransmission does.
        notes?.quickModes.unreadable.sinceMs.clear();
        this.#deafTo = notes?.instance;
        if (this.#memory.charon.kind === "up") this.#log.warn({ router: this.id }, "charon is gone, looking after it");
        this.wake("everything");
        return;
      case "endedByPeer":
        if (notes === undefined || notes.endedByPeer.size >= MAX_ENDED_BY_PEER) return;
        notes.endedByPeer.set(event.spiOut, { peer: event.peer, atMs: this.#ports.clock.nowMs() });
        this.wake("charon");
        return;
      case "quickModesForgotten":
        this.#noteQuickMode("forgotten", event.ikeSa, event.count > 0);
        this.wake("charon");
        return;
      case "quickModeUnreadable":
        this.#noteQuickMode("unreadable", event.ikeSa, event.isUnreadable);
        // What could not be placed was this one.
        if (!event.isUnreadable) notes?.unconfirmedAtMs.delete(event.ikeSa);
        this.wake("charon");
        return;
      case "quickModeUnknown":
        notes?.unconfirmedAtMs.set(event.ikeSa, this.#ports.clock.nowMs());
        this.wake("charon");
        return;
      case "changedByOthers":
        if (notes === undefined) return;
        this.#reconciler.changedByOthers(event.finding, this.#memory);
        this.#loadAgain();
        this.wake("charon");
        return;
      case "failed": {
        const peer = this.#peerOf(event.peer);
        if (notes === undefined || peer === undefined) return;
        notes.failures.set(peer, event.failure);
        this.wake("charon");
        return;
      }
      default:
        return event satisfies never;
    }
  }

  #noteQuickMode(fault: QuickModeFault, ikeSa: string, isSo: boolean): void {
    const sinceMs = this.#memory.notes?.quickModes[fault].sinceMs;
    if (!isSo) sinceMs?.delete(ikeSa);
    else if (sinceMs?.has(ikeSa) === false) sinceMs.set(ikeSa, this.#ports.clock.nowMs());
  }

  #loadAgain(): void {
    this.#memory.notes?.loadedPeers.clear();
    this.#memory.notes?.loadedSecrets.clear();
  }

  /** charon names no connection before it has chosen one; with a single peer there is no doubt whose it is. */
  #peerOf(name: string | undefined): string | undefined {
    if (this.#wanted.kind !== "present") return undefined;
    const { connections } = this.#reconciler.judge(this.#wanted.router, this.#memory);
    const tunnels = connections.flatMap((c) => (c.kind === "usable" ? [c.tunnel] : []));
    const peers = [...new Set<string>(tunnels.map(peerNameOf))];
    if (name !== undefined && peers.includes(name)) return name;
    return peers.length === 1 ? peers[0] : undefined;
  }
}
