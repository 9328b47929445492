// Composition root of the file-backed control plane: log, documents, sockets, broker; started in that order and stopped
// the other way round. Until the bus is ours, nothing outside this process is touched but our own sockets.
import { once } from "node:events";
import { hostname } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import type { ControllerConfig } from "../config.ts";
import { startControlServer, startHealthServer, type ApiServer, type HealthApi } from "../io/api/server.ts";
import { createLog } from "../io/log.ts";
import { createMetrics, type Metrics } from "../io/metrics.ts";
import { createBroker, type Broker } from "../io/rabbit/broker.ts";
import { createNotifier, keepWatchdog } from "../io/systemd.ts";
import { reloadWhenAsked, tellWarnings, type Reload } from "../reload.ts";
import { SERVER_TOPIC } from "../wire/neutron/rpc.ts";
import type { Environment } from "./directory.ts";
import { BusTakenError } from "./errors.ts";
import { controllerState } from "./rows.ts";
import { startControllerService, type ControllerService } from "./service.ts";
import { CLAIM_QUEUE, createTenure, type Tenure } from "./tenure.ts";

// A unit that waits for READY=1 shall fail when the bus is taken, and not wait for a broker that is away.
const READY_PATIENCE_MS = 10_000;

/**
 * Runs until the signal aborts, and has closed everything then. Rejects with BusTakenError when somebody else serves the
 * bus already. `environment` is where keys of the form {env: NAME} are, and CREDENTIALS_DIRECTORY.
 */
export async function runController(
  config: ControllerConfig,
  signal: AbortSignal,
  reload: Reload<ControllerConfig>,
  environment: Environment = {},
): Promise<void> {
  const log = createLog(config.log);
  const metrics = createMetrics({ version: config.version });
  const notifier = createNotifier(config.serviceManager.notifySocket, (err) =>
    log.warn({ err }, "service manager cannot be told anything"),
  );
  const decided = new AbortController();
  const end = new AbortController();
  const endWith = (reason?: BusTakenError): void => {
    decided.abort();
    end.abort(reason);
  };
  const throwIfRefused = (): void => {
    if (end.signal.reason instanceof BusTakenError) throw end.signal.reason;
  };
  const stop = (): void => endWith();
  if (signal.aborted) stop();
  signal.addEventListener("abort", stop, { once: true });
  const broker: Broker = createBroker({
    url: config.transportUrl,
    exchange: config.exchange,
    topology: config.amqp,
    connection: config.amqp,
    programName: "swanherd-controller",
    log,
    claim: {
      queue: CLAIM_QUEUE,
      holder: `${hostname()} (pid ${process.pid}, documents ${config.documents})`,
      topic: SERVER_TOPIC,
      onBarred: (bar) => tenure.barred(bar),
    },
    onMessage: ({ method, result }) =>
      metrics.message(method, result === "ok" || result === "failed" ? result : "rejected"),
  });

  const service = await startControllerService({
    bus: broker,
    documents: config.documents,
    stateDirectory: config.stateDirectory,
    environment,
    log,
  });
  const closers: (() => Promise<void>)[] = [() => service.close()];
  const tenure = createTenure({
    log,
    onBegin() {
      service.begin();
      decided.abort();
    },
    onReturn: () => service.announceAll(),
    onRefused: endWith,
  });
  broker.onConnected(() => {
    metrics.brokerConnected(true);
    tenure.served();
  });
  broker.onDisconnected(() => metrics.brokerConnected(false));
  try {
    const servers: ApiServer[] = [];
    closers.push(async () => {
      await Promise.all(servers.map((server) => server.close()));
    });
    for await (const server of startServers(config, { broker, service, tenure, metrics, log })) servers.push(server);
    broker.start();
    closers.push(() => broker.close());
    // Ends early when it is decided, by an error.
    await delay(READY_PATIENCE_MS, undefined, { signal: decided.signal }).catch(() => undefined);
    throwIfRefused();
    notifier.ready();
    const stopWatchdog = keepWatchdog(notifier, config.serviceManager.watchdogMs);
    log.info({ documents: config.documents }, "controller started");
    tellWarnings(config, log);
    // The level of the log is all that changes without a restart.
    reloadWhenAsked(config, reload, log, () => undefined);
    if (!end.signal.aborted) await once(end.signal, "abort");
    stopWatchdog();
    throwIfRefused();
    notifier.stopping();
    log.info("controller stops");
  } finally {
    signal.removeEventListener("abort", stop);
    for (const close of closers.reverse()) {
      await close().catch((err: unknown) => log.error({ err }, "stopping a part broke"));
    }
  }
}

type Parts = {
  readonly broker: Pick<Broker, "isConnected">;
  readonly service: ControllerService;
  readonly tenure: Pick<Tenure, "barredBy">;
  readonly metrics: Metrics;
  readonly log: Logger;
};

/** One after the other, so that each can be closed when the next one fails. */
async function* startServers(
  config: ControllerConfig,
  { broker, service, tenure, metrics, log }: Parts,
): AsyncGenerator<ApiServer> {
  const startedAtMs = Date.now();
  const onFailure = (err: unknown, request: string): void =>
    log.error({ err, request }, "answering on a local socket broke");
  const state = (): unknown =>
    controllerState(service.statusRows(), {
      startedAtMs,
      brokerConnected: broker.isConnected,
      standingBy: tenure.barredBy,
      problems: service.problems,
      notes: service.notes,
    });
  yield await startControlServer(config.controlSocket, { state }, { onFailure });
  if (!config.http.enabled) return;
  const health: HealthApi = {
    metricsContentType: metrics.contentType,
    metrics: () => metrics.text(),
    health: () => ({ missing: [] }),
    ready: () => ({
      missing: [
        ...(broker.isConnected ? [] : [tenure.barredBy ?? "broker"]),
        ...(service.hasDocuments ? [] : ["documents without problems"]),
      ],
    }),
  };
  yield await startHealthServer(config.http.address, config.http.port, health, { onFailure });
}
