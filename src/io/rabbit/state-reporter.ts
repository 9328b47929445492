// Keeps an L3 agent's record alive in Neutron, on a machine where no other L3 agent does.
import { randomUUID } from "node:crypto";
import type { Logger } from "pino";
import {
  decodeStateAnswer,
  encodeStateArgs,
  REPORT_STATE,
  REPORTS_TOPIC,
  type L3AgentState,
  type StateAnswer,
} from "../../wire/neutron/agent-state.ts";
import type { Broker } from "./broker.ts";
import type { Timing } from "./timing.ts";

/** Below the 75 s of the server's agent_down_time even when several fail in turn. */
const RETRY_MS = 10_000;

export type StateReporterOptions = Pick<L3AgentState, "host" | "mode" | "availabilityZone"> & {
  readonly intervalMs: number;
  readonly routers: () => number;
  /** The server did not take us for alive until now: what it told nobody meanwhile has to be fetched. */
  readonly onRevived: () => void;
  readonly onReport: (result: "ok" | "failed") => void;
  readonly log: Logger;
  readonly timing: Timing;
};

export type StateReporter = {
  close(): void;
};

/** Reports at once on every connect, and then every interval while connected. One line in the log for each outage. */
export function createStateReporter(
  broker: Pick<Broker, "call" | "onConnected" | "onDisconnected">,
  options: StateReporterOptions,
): StateReporter {
  const { host, mode, availabilityZone, intervalMs, log, timing } = options;
  let isFirst = true;
  let isFailing = false;
  let connection: AbortController | undefined;
  let cancel = (): void => undefined;

  async function report(signal: AbortSignal): Promise<StateAnswer> {
    const state = { host, mode, availabilityZone, routers: options.routers(), isFirst };
    const args = encodeStateArgs({ ...state, uuid: randomUUID(), at: new Date() });
    return decodeStateAnswer(await broker.call(REPORTS_TOPIC, REPORT_STATE, args, { timeoutMs: intervalMs, signal }));
  }

  function taken(answer: StateAnswer): void {
    options.onReport("ok");
    if (isFailing) log.info("the server takes our reports of being alive again");
    isFailing = false;
    if (answer === "stale") {
      log.warn("the server takes our report of being alive for older than itself: compare the clocks");
      return;
    }
    isFirst = false;
    if (answer !== "alive") options.onRevived();
  }

  function failed(err: unknown): void {
    options.onReport("failed");
    if (isFailing) return;
    isFailing = true;
    log.warn({ err }, "cannot report to the server that this agent is alive, trying on");
  }

  async function turn(signal: AbortSignal): Promise<void> {
    const startedAtMs = timing.nowMs();
    let waitMs = intervalMs;
    try {
      taken(await report(signal));
    } catch (err) {
      if (signal.aborted) return;
      failed(err);
      waitMs = Math.min(intervalMs, RETRY_MS);
    }
    const leftMs = Math.max(0, startedAtMs + waitMs - timing.nowMs());
    if (!signal.aborted) cancel = timing.after(leftMs, () => void turn(signal));
  }

  function stop(): void {
    cancel();
    connection?.abort();
    connection = undefined;
  }

  const forgets = [
    broker.onConnected(() => {
      stop();
      connection = new AbortController();
      void turn(connection.signal);
    }),
    broker.onDisconnected(stop),
  ];
  return {
    close() {
      for (const forget of forgets) forget();
      stop();
    },
  };
}
