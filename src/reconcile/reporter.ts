// Tells the control plane what is so: the first change at once, further ones merged, everything again after a
// reconnect, and never twice the same.
import type { Logger } from "pino";
import { backoffMs } from "../core/backoff.ts";
import type { ConnectionId, RouterId, ServiceId } from "../core/ids.ts";
import type { DesiredRouter } from "../core/model.ts";
import type { Clock, ControlPlane, StatusReport } from "../core/ports.ts";
import type { ReportedStatus, RouterState } from "../core/status.ts";

type Entry = StatusReport[number];

export type ReporterHooks = { readonly onReport: (result: "ok" | "failed") => void };

const MERGE_MS = 1_000;
const RETRY = { baseMs: 1_000, capMs: 60_000 };

export class Reporter {
  readonly #controlPlane: ControlPlane;
  readonly #clock: Clock;
  readonly #hooks: ReporterHooks;
  readonly #log: Logger;
  readonly #stop = new AbortController();
  /** What is so, by service. */
  readonly #current = new Map<ServiceId, Entry>();
  readonly #servicesOf = new Map<RouterId, ReadonlySet<ServiceId>>();
  /** Services of which something may have to be told; the others need no look. */
  readonly #changed = new Set<ServiceId>();
  /** What the control plane took from us, by service or connection. */
  readonly #told = new Map<ServiceId | ConnectionId, ReportedStatus>();
  /** Changes before this are merged. */
  readonly #mergeUntilMs = new Map<ServiceId, number>();
  #cancelTimer: (() => void) | undefined;
  #sending: Promise<void> | undefined;
  #isAgainWanted = false;
  #isConnected = false;
  #failures = 0;
  /** After a failure nothing is sent before this, whatever changes: many routers change at once, and often. */
  #heldUntilMs = 0;

  constructor(controlPlane: ControlPlane, clock: Clock, hooks: ReporterHooks, log: Logger) {
    this.#controlPlane = controlPlane;
    this.#clock = clock;
    this.#hooks = hooks;
    this.#log = log;
  }

  update(state: RouterState, desired: DesiredRouter): void {
    const fetched = new Map<ServiceId | ConnectionId, string>(
      [...desired.services, ...desired.connections].map((item) => [item.id, item.reportedStatus]),
    );
    const services = new Set(state.services.map(({ id }) => id));
    for (const id of this.#servicesOf.get(state.id) ?? []) if (!services.has(id)) this.#drop(id);
    this.#servicesOf.set(state.id, services);
    for (const service of state.services) {
      const entry: Entry = {
        id: service.id,
        status: service.status,
        fetchedStatus: fetched.get(service.id) ?? "",
        connections: state.connections
          .filter((connection) => connection.service === service.id)
          .map(({ id, status }) => ({ id, status, fetchedStatus: fetched.get(id) ?? "" })),
      };
      this.#current.set(service.id, entry);
      this.#changed.add(service.id);
    }
    this.#flush();
  }

  /** The control plane's own view, as fetched: where it differs from what we told it, it is told again. */
  compare(desired: DesiredRouter): void {
    const connections = desired.connections.map(({ id, service, reportedStatus }) => ({ id, service, reportedStatus }));
    const services = desired.services.map(({ id, reportedStatus }) => ({ id, service: id, reportedStatus }));
    for (const { id, service, reportedStatus } of [...services, ...connections]) {
      if (!this.#told.has(id) || this.#told.get(id) === reportedStatus) continue;
      this.#told.delete(id);
      if (this.#current.has(service)) this.#changed.add(service);
    }
    if (this.#heldUntilMs === 0) return;
    // It answers again.
    this.#heldUntilMs = 0;
    this.#flush();
  }

  forget(router: RouterId): void {
    for (const service of this.#servicesOf.get(router) ?? []) this.#drop(service);
    this.#servicesOf.delete(router);
  }

  #drop(service: ServiceId): void {
    for (const { id } of this.#current.get(service)?.connections ?? []) this.#told.delete(id);
    this.#current.delete(service);
    this.#changed.delete(service);
    this.#told.delete(service);
    this.#mergeUntilMs.delete(service);
  }

  /** After a reconnect nobody knows what was lost: everything is told again. */
  connected(): void {
    this.#isConnected = true;
    this.#failures = 0;
    this.#heldUntilMs = 0;
    this.#told.clear();
    for (const service of this.#current.keys()) this.#changed.add(service);
    this.#flush();
  }

  disconnected(): void {
    this.#isConnected = false;
    this.#cancelTimer?.();
  }

  async close(): Promise<void> {
    this.#cancelTimer?.();
    this.#stop.abort();
    await this.#sending;
  }

  #flush(): void {
    if (!this.#isConnected || this.#stop.signal.aborted) return;
    if (this.#sending !== undefined) {
      this.#isAgainWanted = true;
      return;
    }
    const nowMs = this.#clock.nowMs();
    if (nowMs < this.#heldUntilMs) {
      this.#cancelTimer?.();
      this.#cancelTimer = this.#clock.after(this.#heldUntilMs - nowMs, () => this.#flush());
      return;
    }
    let nextAtMs: number | undefined;
    const report: Entry[] = [];
    for (const service of this.#changed) {
      const entry = this.#current.get(service);
      if (entry === undefined || !this.#differs(entry)) {
        this.#changed.delete(service);
        continue;
      }
      const untilMs = this.#mergeUntilMs.get(service) ?? 0;
      if (untilMs > nowMs) nextAtMs = Math.min(nextAtMs ?? untilMs, untilMs);
      else report.push(entry);
    }
    this.#cancelTimer?.();
    if (nextAtMs !== undefined) this.#cancelTimer = this.#clock.after(nextAtMs - nowMs, () => this.#flush());
    if (report.length === 0) return;
    for (const { id } of report) this.#mergeUntilMs.set(id, nowMs + MERGE_MS);
    this.#isAgainWanted = false;
    this.#sending = this.#send(report).finally(() => {
      this.#sending = undefined;
      if (this.#isAgainWanted) this.#flush();
    });
  }

  #differs(entry: Entry): boolean {
    return (
      this.#told.get(entry.id) !== entry.status ||
      entry.connections.some(({ id, status }) => this.#told.get(id) !== status)
    );
  }

  async #send(report: readonly Entry[]): Promise<void> {
    try {
      await this.#controlPlane.reportStatus(report, this.#stop.signal);
      this.#hooks.onReport("ok");
      this.#failures = 0;
      this.#heldUntilMs = 0;
      for (const entry of report) {
        for (const { id, status } of [entry, ...entry.connections]) this.#told.set(id, status);
      }
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      this.#hooks.onReport("failed");
      const delayMs = backoffMs(this.#failures, RETRY.baseMs, RETRY.capMs, this.#clock.random());
      this.#failures += 1;
      this.#heldUntilMs = this.#clock.nowMs() + delayMs;
      const err = error instanceof Error ? error : new Error(String(error));
      this.#log.warn({ attempt: this.#failures, retryDelayMs: delayMs, err }, "status not reported, will retry");
      this.#cancelTimer?.();
      this.#cancelTimer = this.#clock.after(delayMs, () => this.#flush());
      this.#isAgainWanted = false;
    }
  }
}
