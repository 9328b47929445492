// Every metric, declared here and nowhere else; callers speak in our words and never see a label.
// It refuses to know when something is counted.
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";
import { DRIFT_KINDS, type DriftKind } from "../core/finding.ts";
import type { ConnectionId, RouterId } from "../core/ids.ts";
import type { ReasonCode } from "../core/reason.ts";
import type { ReportedStatus, RouterState } from "../core/status.ts";

export type MetricsOptions = {
  readonly version: string;
  /** CPU, memory, event loop and garbage collection of the process. Under their usual names, without our prefix. */
  readonly processMetrics?: boolean;
};

export type PassOutcome = "converged" | "incomplete" | "waiting";
export type Result = "ok" | "failed";

export type Metrics = {
  readonly contentType: string;
  /** The text that a scrape gets. */
  text(): Promise<string>;
  passDone(outcome: PassOutcome, seconds: number): void;
  stepDone(kind: string, result: Result): void;
  setRouter(state: RouterState): void;
  forgetRouter(router: RouterId): void;
  brokerConnected(isConnected: boolean): void;
  viciCommand(command: string, result: Result): void;
  charonRestarted(router: RouterId): void;
  message(method: string, result: Result | "rejected"): void;
  fetchDone(result: Result): void;
  reportDone(result: Result): void;
  internalError(): void;
  drifted(kind: DriftKind): void;
  ovnRegistered(isRegistered: boolean): void;
  ovnWriteDone(result: Result): void;
  stateReportDone(result: Result): void;
};

const STATUSES: readonly ReportedStatus[] = ["ACTIVE", "DOWN", "ERROR"];

/** The method of a message is foreign text: only what we speak becomes a label. */
const METHODS = new Set([
  "agent_updated",
  "get_subnet_info",
  "get_vpn_services_on_host",
  "get_vpn_transit_network_details",
  "report_state",
  "update_status",
  "vpnservice_added_to_agent",
  "vpnservice_removed_from_agent",
  "vpnservice_updated",
]);

export function createMetrics({ version, processMetrics = true }: MetricsOptions): Metrics {
  const registry = new Registry();
  const registers = [registry];
  const counter = <Label extends string>(name: string, help: string, labelNames: readonly Label[] = []) =>
    new Counter({ name: `swanherd_${name}`, help, labelNames, registers });
  const gauge = <Label extends string>(name: string, help: string, labelNames: readonly Label[] = []) =>
    new Gauge({ name: `swanherd_${name}`, help, labelNames, registers });

  const buildInfo = gauge("build_info", "Always 1; the labels say what runs.", ["version", "node"]);
  const passes = counter("passes_total", "Passes over one router, by how they ended.", ["outcome"]);
  const passSeconds = new Histogram({
    name: "swanherd_pass_duration_seconds",
    help: "How long a pass over one router took.",
    // A pass with nothing to do takes about a millisecond; the last bound is charon's start with a full load.
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
    registers,
  });
  const steps = counter("steps_total", "Steps taken to make the world what it should be.", ["kind", "result"]);
  const connections = gauge("connections", "Connections by reported status.", ["status"]);
  const inSync = gauge("connection_in_sync", "1 while desired, written and loaded agree.", ["router", "connection"]);
  const up = gauge("connection_up", "1 while the connection is ACTIVE.", ["router", "connection"]);
  const reasons = gauge("connection_reason_info", "1 for the reason why a connection is not ACTIVE.", [
    "router",
    "connection",
    "reason",
  ]);
  const broker = gauge("broker_connected", "1 while the connection to the broker stands.");
  const viciCommands = counter("vici_commands_total", "Commands sent to charon.", ["command", "result"]);
  const charonUp = gauge("charon_up", "1 while the router's charon answers; absent where none is wanted.", ["router"]);
  const charonRestarts = counter("charon_restarts_total", "charon started again after it had ended.", ["router"]);
  const messages = counter("rpc_messages_total", "RPC messages that came in.", ["method", "result"]);
  const fetches = counter("fetches_total", "Fetches of the list of services.", ["result"]);
  const lastFetch = gauge("last_fetch_timestamp_seconds", "Unix time of the last fetch that succeeded; 0: none yet.");
  const reports = counter("status_reports_total", "Status reports to the control plane.", ["result"]);
  const drift = counter("drift_total", "Things changed by somebody else, found and repaired.", ["kind"]);
  const ovnRegistered = gauge("ovn_registered", "1 while OVN's southbound database says that this agent is alive.");
  const ovnWrites = counter("ovn_writes_total", "Writes to our chassis' row of the southbound database.", ["result"]);
  const stateReports = counter("state_reports_total", "Reports as an L3 agent that is alive.", ["result"]);
  const internalErrors = counter("internal_errors_total", "Bugs met inside one router's pass.");

  // A counter that shows up only with its first failure hides that failure from rate().
  for (const kind of DRIFT_KINDS) drift.inc({ kind }, 0);
  for (const result of ["ok", "failed"] as const) {
    fetches.inc({ result }, 0);
    reports.inc({ result }, 0);
    ovnWrites.inc({ result }, 0);
    stateReports.inc({ result }, 0);
  }
  buildInfo.set({ version, node: process.versions.node }, 1);
  if (processMetrics) collectDefaultMetrics({ register: registry });

  type Shown = { readonly status: ReportedStatus; readonly reason: ReasonCode | undefined };
  const shown = new Map<RouterId, ReadonlyMap<ConnectionId, Shown>>();

  // Counted as they change: with thousands of routers that change at once, each would count all the others again.
  const counts = new Map(STATUSES.map((status) => [status, 0]));
  const countStatuses = (routers: ReadonlyMap<ConnectionId, Shown> | undefined, by: 1 | -1): void => {
    for (const { status } of routers?.values() ?? []) counts.set(status, (counts.get(status) ?? 0) + by);
    for (const [status, count] of counts) connections.set({ status }, count);
  };
  countStatuses(undefined, 1);

  return {
    contentType: registry.contentType,
    text: () => registry.metrics(),
    passDone(outcome, seconds) {
      passes.inc({ outcome });
      passSeconds.observe(seconds);
    },
    stepDone: (kind, result) => steps.inc({ kind, result }),
    setRouter({ id: router, charon, connections: states }) {
      const next = new Map(states.map(({ id, status, reason }) => [id, { status, reason: reason?.code }]));
      for (const [connection, { reason }] of shown.get(router) ?? []) {
        if (reason !== undefined && next.get(connection)?.reason !== reason) {
          reasons.remove({ router, connection, reason });
        }
        if (next.has(connection)) continue;
        inSync.remove({ router, connection });
        up.remove({ router, connection });
      }
      for (const state of states) {
        const labels = { router, connection: state.id };
        inSync.set(labels, state.inSync ? 1 : 0);
        up.set(labels, state.status === "ACTIVE" ? 1 : 0);
        if (state.reason !== undefined) reasons.set({ ...labels, reason: state.reason.code }, 1);
      }
      if (charon === "not-wanted") charonUp.remove({ router });
      else charonUp.set({ router }, charon === "up" ? 1 : 0);
      countStatuses(shown.get(router), -1);
      shown.set(router, next);
      countStatuses(next, 1);
    },
    forgetRouter(router) {
      for (const [connection, { reason }] of shown.get(router) ?? []) {
        inSync.remove({ router, connection });
        up.remove({ router, connection });
        if (reason !== undefined) reasons.remove({ router, connection, reason });
      }
      charonUp.remove({ router });
      charonRestarts.remove({ router });
      countStatuses(shown.get(router), -1);
      shown.delete(router);
    },
    brokerConnected: (isConnected) => broker.set(isConnected ? 1 : 0),
    viciCommand: (command, result) => viciCommands.inc({ command, result }),
    charonRestarted: (router) => charonRestarts.inc({ router }),
    message: (method, result) => messages.inc({ method: METHODS.has(method) ? method : "other", result }),
    fetchDone(result) {
      fetches.inc({ result });
      if (result === "ok") lastFetch.setToCurrentTime();
    },
    reportDone: (result) => reports.inc({ result }),
    internalError: () => internalErrors.inc(),
    drifted: (kind) => drift.inc({ kind }),
    ovnRegistered: (isRegistered) => ovnRegistered.set(isRegistered ? 1 : 0),
    ovnWriteDone: (result) => ovnWrites.inc({ result }),
    stateReportDone: (result) => stateReports.inc({ result }),
  };
}
