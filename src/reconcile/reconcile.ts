// One pass over one router: observe, plan, apply, outcome. It remembers between passes only what cannot be read back.
import type { Logger } from "pino";
import { backoffMs, earlier } from "../core/backoff.ts";
import { FAULT_GRACE_MS, type Fault } from "../core/connection-status.ts";
import { charonFindings, networkFindings } from "../core/drift.ts";
import type { Finding } from "../core/finding.ts";
import { AgentError, UnavailableError } from "../core/errors.ts";
import { holdsPairs, USERLAND_ESP_LINK } from "../core/guard.ts";
import type { RouterId } from "../core/ids.ts";
import type { DesiredConnection, DesiredRouter } from "../core/model.ts";
import {
  guardPairs,
  type GuardedRouter,
  type NetworkConfig,
  type NetworkScope,
  type ObservedNetwork,
  type TransitConfig,
} from "../core/network.ts";
import { learnedMac, planNetwork, planNetworkRemoval, type NetworkStep } from "../core/network-plan.ts";
import { ownerAlias } from "../core/names.ts";
import type { ObservedCharon } from "../core/observed.ts";
import { planCharon } from "../core/plan.ts";
import type { Clock, Ike, Inspection, Network, NetworkChange } from "../core/ports.ts";
import type { ReasonCode } from "../core/reason.ts";
import { remainsOf } from "../core/remains.ts";
import { judged } from "../core/support.ts";
import { portState } from "../core/switch.ts";
import type { RouterViews } from "../core/views.ts";
import { applyGroups, type Applier, type StepFailure } from "./apply.ts";
import { inspectRouter } from "./inspect.ts";
import { isStillCarried, lingeringOf } from "./lingering.ts";
import { emptyMemory, type ReconcileOptions, type RouterMemory } from "./memory.ts";
import { namespaceOf, scopesOf, waitingFor, wantedNetwork } from "./places.ts";
import { noteProgress, notesFor, refreshNotes } from "./upkeep.ts";

export type Ports = { readonly network: Network; readonly ike: Ike; readonly clock: Clock };

export type Observer = {
  readonly onStep: (step: string, result: "ok" | "failed") => void;
  /** Another charon runs where one had ended, whoever started it. */
  readonly onCharonRestart: (router: RouterId) => void;
  readonly onInternalError: () => void;
  /** Somebody else changed this. */
  readonly onDrift: (findings: readonly Finding[]) => void;
};

export type Outcome =
  | { readonly kind: "converged"; readonly steps: number; readonly wakeAtMs: number | undefined }
  | {
      readonly kind: "incomplete";
      readonly steps: number;
      readonly wakeAtMs: number | undefined;
      readonly failure: Error;
    }
  /** Nothing that another attempt could do better. */
  | { readonly kind: "waiting"; readonly on: "control plane"; readonly wakeAtMs: number | undefined };

/** What is looked at: everything, or charon only, when only an SA changed. */
export type PassScope = "everything" | "charon";

// A pass reads back what it did; a world that still differs then is looked at again later, not for ever.
const MAX_ROUNDS = 4;
const MAX_FINDINGS_TOLD = 10;
const CRASH_WINDOW_MS = 60_000;
const CRASHES_OF_A_LOOP = 4;

export class Reconciler {
  readonly #ports: Ports;
  #options: ReconcileOptions;
  readonly #observer: Observer;
  readonly #log: Logger;

  constructor(ports: Ports, options: ReconcileOptions, observer: Observer, log: Logger) {
    this.#ports = ports;
    this.#options = options;
    this.#observer = observer;
    this.#log = log;
  }

  /** The router as it can be carried, by all that is known of this machine and of the router's charon. */
  judge(desired: DesiredRouter, { algorithms }: RouterMemory): DesiredRouter {
    const { espBackEnd, kernelEsp, topology = "transit" } = this.#options;
    return judged(desired, { espBackEnd, kernelEsp, charon: algorithms, topology });
  }

  /** From now on; a pass that runs may take up some of it. */
  configure(options: ReconcileOptions): void {
    this.#options = options;
  }

  /** For a person: all views of it as they are now. */
  inspect(
    desired: DesiredRouter,
    memory: RouterMemory,
    inspection: Inspection,
    signal: AbortSignal,
  ): Promise<RouterViews> {
    const { notes } = memory;
    return inspectRouter(this.judge(desired, memory), notes, this.#ports, this.#options, inspection, signal);
  }

  /** Brings one router's network and charon to what is desired. Throws only when the signal aborts. */
  async pass(
    desired: DesiredRouter,
    from: "remembered" | "fetched",
    scope: PassScope,
    memory: RouterMemory,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const run = newRun();
    const { whole } = memory;
    if (whole?.desired === desired && whole.options === this.#options) run.drift = [];
    try {
      let { charon } = memory;
      if (memory.applied === undefined) {
        charon = await this.#ports.ike.observe(desired.id, signal);
        if (charon.kind === "failing") {
          // It does not tell which SAs the guard may have to go on for: while it is there, the guard stays as it is.
          if (this.#standby(desired.id) === undefined) await this.#charon(desired, memory, run, signal);
          else await this.#removeCharon(desired.id, memory, signal);
          if (run.failure !== undefined) return this.#ended(desired, memory, run);
        }
      }
      const lingering = lingeringOf(desired, memory.applied, charon);
      run.isWidened = lingering.length > 0;
      const guarded = { ...desired, connections: [...desired.connections, ...lingering] };
      // Nobody starts a charon in a namespace that was never brought about, such as one that is only remembered.
      const isDue = scope === "everything" || memory.hasNetworkFailed;
      if (isDue || lingering.length > 0 || memory.applied === undefined) {
        // Before the attempt: a pass that fails half-way may have guarded, and brought up, what the next one no longer lists.
        memory.applied = guarded;
        if (!(await this.#network(guarded, from, memory, run, signal))) {
          memory.applied = undefined;
          return { kind: "waiting", on: "control plane", wakeAtMs: undefined };
        }
      }
      memory.standby = this.#standby(desired.id);
      if (memory.standby === undefined && !run.isHomeless) await this.#charon(desired, memory, run, signal);
      else await this.#removeCharon(desired.id, memory, signal);
      // An SA that waits for its successor goes on being guarded; its end wakes the next pass.
      const isCarried = lingering.some((connection) => isStillCarried(connection, desired, memory.charon));
      if (lingering.length > 0 && run.failure === undefined && !isCarried)
        await this.#network(desired, from, memory, run, signal);
      if (run.failure === undefined && !run.isWaiting && !isCarried) memory.applied = desired;
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof AgentError) this.#fail(run, error, "charon-down");
      else this.#internal(desired.id, error, run);
    }
    return this.#ended(desired, memory, run);
  }

  #ended(desired: DesiredRouter, memory: RouterMemory, run: Run): Outcome {
    this.#setFault(memory, run);
    this.#tellDrift(
      desired.id,
      (run.drift ?? []).filter(({ kind }) => !memory.told.has(kind)),
    );
    memory.told.clear();
    memory.whole = this.#isWhole(desired, memory, run) ? { desired, options: this.#options } : undefined;
    const { steps, failure } = run;
    const { learnedFault } = memory;
    const wakeAtMs = earlier(run.wakeAtMs, learnedFault && this.#becomesErrorAtMs(learnedFault));
    if (failure !== undefined) return { kind: "incomplete", steps, wakeAtMs, failure };
    if (!run.isWaiting) return { kind: "converged", steps, wakeAtMs };
    return { kind: "waiting", on: "control plane", wakeAtMs: earlier(wakeAtMs, this.#becomesErrorAtMs(memory.fault)) };
  }

  /** Where the router's charon is, or would be. */
  namespaceOf(router: RouterId): string {
    return namespaceOf(this.#options, router);
  }

  /** Calls back when this machine may have become the one that carries the router, or no longer be it. */
  watchRole(router: RouterId, onChange: () => void): () => void {
    return this.#options.topology === "router" ? this.#options.routerHost.watchRole(router, onChange) : () => undefined;
  }

  watchNetwork(scope: NetworkScope, onChange: (what?: NetworkChange) => void): () => void {
    return this.#ports.network.watch(scope, this.#options.espBackEnd, onChange);
  }

  #standby(router: RouterId): string | undefined {
    if (this.#options.topology !== "router") return undefined;
    const role = this.#options.routerHost.role(router);
    return role.kind === "standby" ? role.why : undefined;
  }

  /** Whether all that can be had is as wanted. */
  #isWhole(desired: DesiredRouter, memory: RouterMemory, run: Run): boolean {
    if (memory.standby !== undefined) return false;
    const { grouping, notes, inSync } = memory;
    const { connections } = this.judge(desired, memory);
    const isDone = ({ id, kind }: DesiredConnection): boolean =>
      kind !== "usable" || inSync.has(id) || grouping?.conflicts.has(id) === true || notes?.refusals.has(id) === true;
    return run.failure === undefined && !run.isWaiting && connections.every(isDone);
  }

  #tellDrift(router: RouterId, findings: readonly Finding[]): void {
    if (findings.length === 0) return;
    this.#observer.onDrift(findings);
    const what = findings.slice(0, MAX_FINDINGS_TOLD).map((finding) => finding.what);
    this.#log.warn({ router, count: findings.length, what }, "changed by somebody else, repairing");
  }

  /** What charon itself told. */
  changedByOthers(finding: Finding, memory: RouterMemory): void {
    this.#tellDrift(memory.router, [finding]);
    memory.told.add("config").add("secret");
  }

  /** Until then a fault is DOWN; somebody has to look when it is no longer. */
  #becomesErrorAtMs(fault: Fault | undefined): number | undefined {
    const atMs = (fault?.sinceMs ?? 0) + FAULT_GRACE_MS;
    return atMs > this.#ports.clock.nowMs() ? atMs : undefined;
  }

  /**
   * Takes a router away: charon first, which tells its peers, the guard with the namespace last. One that is still listed
   * goes on being guarded by what is left in the router's own namespace.
   */
  async remove(router: RouterId, memory: RouterMemory, signal: AbortSignal, isStillListed = false): Promise<Outcome> {
    const run = newRun();
    try {
      await this.#ports.ike.remove(router, signal);
      const scopes = scopesOf(this.#options, router);
      if (typeof scopes === "string") throw new UnavailableError("BRIDGE_MISSING", scopes);
      for (const scope of scopes) {
        // What was looked at last names links that somebody may have torn apart.
        const target = memory.scope?.namespace === scope.namespace ? memory.scope : scope;
        const observed = await this.#ports.network.observe(target, signal);
        // Without its ports nobody would know any more that they are ours to remove.
        if (observed.switch?.kind === "unreachable") throw new UnavailableError("OVSDB_DOWN", observed.switch.why);
        await this.#applyNetwork(planNetworkRemoval(target, observed, isStillListed), memory, run, signal);
      }
      Object.assign(memory, emptyMemory(router));
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof AgentError) run.failure = error;
      else this.#internal(router, error, run);
    }
    return run.failure === undefined
      ? { kind: "converged", steps: run.steps, wakeAtMs: undefined }
      : { kind: "incomplete", steps: run.steps, wakeAtMs: undefined, failure: run.failure };
  }

  /** False when there is nothing to repair and nothing may be made: remembered state creates no router. */
  async #network(
    desired: GuardedRouter,
    from: "remembered" | "fetched",
    memory: RouterMemory,
    run: Run,
    signal: AbortSignal,
  ): Promise<boolean> {
    memory.hasNetworkFailed = true;
    const wanted = wantedNetwork(this.#options, desired);
    if (wanted.kind === "untold") {
      run.isWaiting = true;
      run.faultCode ??= { code: "plumbing-failed", text: wanted.why };
      return true;
    }
    if (wanted.kind === "unattached") {
      this.#fail(run, new UnavailableError("BRIDGE_MISSING", wanted.why), "plumbing-failed");
      return true;
    }
    const { config } = wanted;
    try {
      await this.#leaveFormer(config, memory, run, signal);
      memory.scope = config;
      const observed = await this.#ports.network.observe(config, signal);
      memory.guard = observed.guard.kind === "applied" ? observed.guard.guard : undefined;
      if (config.topology === "router" && !observed.namespaceExists) {
        run.isWaiting = true;
        run.isHomeless = true;
        run.drift?.push({ kind: "namespace", what: `namespace ${config.namespace} is missing` });
        run.faultCode ??= { code: "namespace-missing", text: waitingFor(config) };
        return true;
      }
      if (from === "remembered" && !observed.namespaceExists) return false;
      const steps = planNetwork(config, observed);
      run.drift?.push(...networkFindings(steps).filter(({ kind }) => kind !== "guard" || !run.isWidened));
      await this.#applyNetwork(steps, memory, run, signal);
      if (config.topology === "transit") this.#noteSwitch(config, observed, memory);
      // Also where no step was needed: the rules of what was held may be those of what is wanted.
      memory.guard = config.guard;
      memory.hasNetworkFailed = false;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof AgentError)) throw error;
      this.#fail(run, error, error.code === "NAMESPACE_MISSING" ? "namespace-missing" : "plumbing-failed");
    }
    return true;
  }

  /** With DVR a router's traffic moves to another namespace of its own when that is there. */
  async #leaveFormer(config: NetworkConfig, memory: RouterMemory, run: Run, signal: AbortSignal): Promise<void> {
    const { scope } = memory;
    if (scope === undefined || scope.namespace === config.namespace) return;
    const observed = await this.#ports.network.observe(scope, signal);
    await this.#applyNetwork(planNetworkRemoval(scope, observed), memory, run, signal);
  }

  /** What a switch, and who is asked for over it, lack: nothing that a step of ours could mend. */
  #noteSwitch(config: TransitConfig, observed: ObservedNetwork, memory: RouterMemory): void {
    const { switch: seen } = observed;
    memory.ports = config.veths.flatMap(({ port }) => (port === undefined ? [] : [portState(port, seen)]));
    if (seen?.kind === "unreachable") throw new UnavailableError("OVSDB_DOWN", seen.why);
    const failed = memory.ports.find(({ state }) => state === "failed");
    if (failed?.why !== undefined) throw new UnavailableError("PORT_FAILED", failed.why);
    const isLearned = config.learned === undefined || learnedMac(config, observed) !== undefined;
    memory.learnedFault = isLearned ? undefined : this.#notLearned(config, memory);
  }

  #notLearned({ learned }: TransitConfig, { learnedFault, ports }: RouterMemory): Fault {
    const waiting = ports.find(({ state }) => state !== "bound")?.why;
    const why = waiting === undefined ? "" : `; ${waiting}`;
    const text = `the transit network does not carry IPv6: nothing answers for ${learned?.address ?? "its gateway"}${why}`;
    const sinceMs = learnedFault?.sinceMs ?? this.#ports.clock.nowMs();
    return { cause: { code: "plumbing-failed", text }, sinceMs, isFinal: false };
  }

  async #applyNetwork(
    steps: readonly NetworkStep[],
    memory: RouterMemory,
    run: Run,
    signal: AbortSignal,
  ): Promise<void> {
    for (const step of steps) {
      signal.throwIfAborted();
      try {
        await this.#ports.network.apply(step, signal);
        if (step.kind === "applyGuard") memory.guard = step.guard;
        this.#observer.onStep(step.kind, "ok");
        run.steps += 1;
      } catch (error) {
        this.#observer.onStep(step.kind, "failed");
        throw error;
      }
    }
  }

  async #charon(desired: DesiredRouter, memory: RouterMemory, run: Run, signal: AbortSignal): Promise<void> {
    const { ike, clock } = this.#ports;
    let { connections } = this.judge(desired, memory);
    const isWanted = (): boolean => connections.some((connection) => connection.kind === "usable");
    memory.charon = await this.#observeCharon(desired.id, signal);
    if (await this.#hasLostLink(memory, run, signal)) memory.charon = { kind: "absent" };
    const hasEnded =
      memory.charon.kind === "absent" ||
      (memory.charon.kind === "up" && memory.charon.instance !== memory.notes?.instance);
    if (hasEnded && isWanted()) run.drift?.push({ kind: "charon", what: "charon has ended" });
    // What comes in by an SA that the guard does not know would go on in clear. So none is asked for, and none is taken.
    const mayNegotiate = holdsPairs(memory.guard, guardPairs(desired));
    if (!mayNegotiate) memory.inSync = new Set();
    let wasStartedHere = false;
    if (memory.charon.kind === "absent") {
      memory.inSync = new Set();
      if (!isWanted()) return this.#switchOff(desired.id, memory, mayNegotiate, run, signal);
      if (!mayNegotiate) return;
      if (!(await this.#start(desired.id, memory, run, signal))) {
        // Where another program has IKE's ports, what is there may be its own.
        const isTaken = run.faultCode?.code === "ike-ports-taken";
        if (!isTaken && hadCharon(memory)) await this.#removeRemains(connections, memory, run, signal);
        return;
      }
      wasStartedHere = true;
      memory.charon = await ike.observe(desired.id, signal);
    }
    const plan = this.#options.charonPlan;
    for (let round = 1; mayNegotiate && memory.charon.kind === "up"; round += 1) {
      const observed = memory.charon;
      const nowMs = clock.nowMs();
      if (memory.algorithms !== observed.algorithms) {
        memory.algorithms = observed.algorithms;
        ({ connections } = this.judge(desired, memory));
      }
      if (memory.notes !== undefined && memory.notes.instance !== observed.instance) {
        this.#countRestart(desired.id, memory);
        // systemd was quicker: that counts for a crash loop as well.
        if (!wasStartedHere) noteStart(memory, nowMs);
        wasStartedHere = false;
      }
      if (memory.notes?.instance !== observed.instance) memory.charonMetAtMs = nowMs;
      memory.notes = notesFor(memory.notes, observed);
      refreshNotes(memory.notes, observed, connections, nowMs, plan.splitChildren);
      const planned = planCharon(connections, observed, memory.notes, nowMs, plan);
      noteProgress(memory.notes, planned, connections, nowMs, plan.differingGraceMs);
      memory.grouping = planned.grouping;
      memory.inSync = planned.inSync;
      run.wakeAtMs = planned.wakeAtMs;
      const count = planned.groups.reduce((sum, group) => sum + group.steps.length, 0);
      if (count === 0) break;
      if (round > MAX_ROUNDS) {
        run.wakeAtMs = earlier(run.wakeAtMs, nowMs + this.#options.restart.baseMs);
        break;
      }
      run.steps += count;
      // What a new charon lacks follows from its being new, and later rounds mend what the first one did. But an SA is
      // judged only when what it came from is loaded again.
      if (!hasEnded) run.drift?.push(...(round === 1 ? charonFindings(planned) : planned.findings));
      const failures = await applyGroups(planned.groups, memory.notes, this.#applier(desired.id), signal);
      for (const failure of failures) this.#stepFailed(desired.id, failure, run);
      memory.charon = await this.#observeCharon(desired.id, signal);
      if (failures.length > 0) break;
    }
    if (mayNegotiate && memory.charon.kind === "up") await this.#removeRemains(connections, memory, run, signal);
    // Also one that does not answer: its SAs in the kernel would go on carrying what is switched off.
    if (!isWanted()) await this.#switchOff(desired.id, memory, mayNegotiate, run, signal);
    else if (memory.charon.kind === "failing")
      this.#fail(run, new UnavailableError("CHARON_DOWN", memory.charon.why), "charon-down");
  }

  /** With what carries its SAs. That is read first: an SA that has ended meanwhile has lost nothing. */
  async #observeCharon(router: RouterId, signal: AbortSignal): Promise<ObservedCharon> {
    const { network, ike, clock } = this.#ports;
    const atMs = clock.nowMs();
    const dataPlane = await network.observeDataPlane(this.namespaceOf(router), this.#options.espBackEnd, signal);
    const charon = await ike.observe(router, signal);
    return charon.kind === "failing" || dataPlane === undefined
      ? charon
      : { ...charon, dataPlane: { ...dataPlane, atMs } };
  }

  /** With what a charon that was killed, or had to be, has left in the kernel. */
  async #switchOff(
    router: RouterId,
    memory: RouterMemory,
    isGuarded: boolean,
    run: Run,
    signal: AbortSignal,
  ): Promise<void> {
    const mayHaveRemains = isGuarded && hadCharon(memory);
    const seen = memory.charon;
    await this.#removeCharon(router, memory, signal);
    if (!mayHaveRemains || this.#options.espBackEnd !== "kernel") return;
    memory.charon = seen.kind === "absent" ? seen : await this.#observeCharon(router, signal);
    await this.#removeRemains([], memory, run, signal);
  }

  /** What a charon that was killed has left in the kernel. */
  async #removeRemains(
    connections: readonly DesiredConnection[],
    memory: RouterMemory,
    run: Run,
    signal: AbortSignal,
  ): Promise<void> {
    const { router, charon, charonMetAtMs } = memory;
    if (charon.kind === "failing" || charon.dataPlane?.kind !== "kernel") return;
    const nowMs = this.#ports.clock.nowMs();
    const successor = charon.kind === "up" ? { ...charon, metAtMs: charonMetAtMs ?? nowMs } : undefined;
    const tunnels = connections.flatMap((one) => (one.kind === "usable" ? [one.tunnel] : []));
    const { entries, wakeAtMs } = remainsOf(charon.dataPlane, successor, tunnels, nowMs);
    run.wakeAtMs = earlier(run.wakeAtMs, wakeAtMs);
    if (entries.length === 0) return;
    const namespace = this.namespaceOf(router);
    try {
      await this.#applyNetwork([{ kind: "removeIpsec", namespace, entries }], memory, run, signal);
      const what = { router, entries: entries.length };
      this.#log.info(what, "removed what a charon that was killed has left in the kernel");
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof AgentError)) throw error;
      this.#fail(run, error, "plumbing-failed");
    }
  }

  /** charon makes its link for ESP in userland when it starts, and never again: without it, it has to end. */
  async #hasLostLink({ router, charon, notes }: RouterMemory, run: Run, signal: AbortSignal): Promise<boolean> {
    const isKnown = charon.kind === "up" && charon.instance === notes?.instance;
    if (!isKnown || charon.dataPlane?.kind !== "userland" || charon.dataPlane.hasLink) return false;
    run.drift?.push({ kind: "link", what: `link ${USERLAND_ESP_LINK} in ${this.namespaceOf(router)} is missing` });
    await this.#ports.ike.remove(router, signal);
    return true;
  }

  async #removeCharon(router: RouterId, memory: RouterMemory, signal: AbortSignal): Promise<void> {
    if (memory.charon.kind === "absent" && !memory.mayHaveFiles) return;
    await this.#ports.ike.remove(router, signal);
    memory.charon = { kind: "absent" };
    memory.mayHaveFiles = false;
    // An end that was wanted is no crash.
    memory.charonStartsMs = [];
    memory.startFailure = undefined;
    memory.notes = undefined;
  }

  /** False when it is not the time yet, or it failed. */
  async #start(router: RouterId, memory: RouterMemory, run: Run, signal: AbortSignal): Promise<boolean> {
    const { ike, clock } = this.#ports;
    const nowMs = clock.nowMs();
    const starts = memory.charonStartsMs.filter((atMs) => nowMs - atMs < CRASH_WINDOW_MS);
    const last = starts.at(-1);
    if (last !== undefined && starts.length > 1) {
      const { baseMs, capMs } = this.#options.restart;
      // Without jitter: a router's own crashes do not meet those of others.
      const dueAtMs = last + backoffMs(starts.length - 2, baseMs, capMs, 1);
      if (dueAtMs > nowMs) {
        run.wakeAtMs = earlier(run.wakeAtMs, dueAtMs);
        const isLoop = starts.length >= CRASHES_OF_A_LOOP;
        const why = memory.startFailure;
        const text = isLoop
          ? `charon ended ${String(starts.length)} times within a minute; ${why ?? "see its log"}`
          : (why ?? "charon ended");
        this.#fail(run, new UnavailableError("CHARON_DOWN", text), isLoop ? "charon-crash-looping" : "charon-down");
        return false;
      }
    }
    noteStart(memory, nowMs);
    memory.mayHaveFiles = true;
    this.#countRestart(router, memory);
    try {
      await ike.start(router, signal);
      memory.startFailure = undefined;
      run.steps += 1;
      this.#log.info({ router }, "charon started");
      return true;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof AgentError)) throw error;
      if (error.code === "IKE_PORTS_TAKEN") {
        // No charon has run that could have ended.
        memory.charonStartsMs = starts;
        this.#fail(run, error, "ike-ports-taken");
        return false;
      }
      memory.startFailure = error.message;
      this.#fail(run, error, "charon-down");
      return false;
    }
  }

  /** Once for each charon that has ended, however often its successor is tried and whoever starts it. */
  #countRestart(router: RouterId, memory: RouterMemory): void {
    // Notes are made about a running charon only: there was one before, ours or an adopted one.
    if (memory.notes === undefined || memory.notes.instance === memory.succeeded) return;
    memory.succeeded = memory.notes.instance;
    this.#observer.onCharonRestart(router);
  }

  #applier(router: RouterId): Applier {
    const { ike, clock } = this.#ports;
    const { charonPlan, initiateRetry } = this.#options;
    return { router, ike, clock, key: charonPlan.key, initiateRetry, onStep: this.#observer.onStep };
  }

  /** A refused load is that connection's ERROR and told as such; other failures are tried again. */
  #stepFailed(router: RouterId, { step, error }: StepFailure, run: Run): void {
    if (error instanceof AgentError) {
      this.#log.warn({ router, step: step.kind, code: error.code, err: error }, "step of a pass failed, will retry");
      run.failure ??= error;
    } else this.#internal(router, error, run);
  }

  #fail(run: Run, error: AgentError, code: ReasonCode): void {
    run.failure ??= error;
    run.faultCode ??= { code, text: error.message };
  }

  #internal(router: RouterId, error: unknown, run: Run): void {
    this.#observer.onInternalError();
    const err = error instanceof Error ? error : new Error(String(error));
    this.#log.error({ router, code: "INTERNAL", err }, "internal error in a pass: please report it");
    run.failure ??= err;
    run.faultCode ??= { code: "internal-error", text: `internal error: ${err.message}; the agent's log has the stack` };
  }

  #setFault(memory: RouterMemory, run: Run): void {
    const cause = run.faultCode;
    if (cause === undefined) {
      memory.fault = undefined;
      return;
    }
    const sinceMs = memory.fault?.cause.code === cause.code ? memory.fault.sinceMs : this.#ports.clock.nowMs();
    const isFinal = FINAL_FAULTS.includes(cause.code);
    memory.fault = { cause, sinceMs, isFinal };
  }
}

/** They do not pass by themselves within a moment. */
const FINAL_FAULTS: readonly ReasonCode[] = ["internal-error", "charon-crash-looping", "ike-ports-taken"];

type Run = {
  steps: number;
  wakeAtMs: number | undefined;
  failure: Error | undefined;
  faultCode: { readonly code: ReasonCode; readonly text: string } | undefined;
  /** For what only the control plane can tell. */
  isWaiting: boolean;
  /** The namespace that others make is not there. */
  isHomeless: boolean;
  /** The guard takes in, or no longer, what is not listed: that it was another before is nobody's doing. */
  isWidened: boolean;
  /** Undefined when a difference need not be somebody else's doing. */
  drift: Finding[] | undefined;
};

const newRun = (): Run => ({
  steps: 0,
  wakeAtMs: undefined,
  failure: undefined,
  faultCode: undefined,
  isWaiting: false,
  isHomeless: false,
  isWidened: false,
  drift: undefined,
});

function noteStart(memory: RouterMemory, nowMs: number): void {
  memory.charonStartsMs = [...memory.charonStartsMs.filter((atMs) => nowMs - atMs < CRASH_WINDOW_MS), nowMs];
}

/** What IPsec there is in the kernel is of ours; in a router's own namespace it may be another program's. */
const hadCharon = ({ scope, notes }: RouterMemory): boolean => scope?.topology === "transit" || notes !== undefined;

/** The alias that marks what this agent made. */
export const aliasOf = (options: Pick<ReconcileOptions, "host">): string => ownerAlias(options.host);
