// Composition root of the file-backed control plane: log, broker, documents, sockets; started in that order and stopped
// the other way round.
import { once } from "node:events";
import type { ControllerConfig } from "../config.ts";
import { startControlServer, startHealthServer, type ApiServer } from "../io/api/server.ts";
import { createLog } from "../io/log.ts";
import { createMetrics } from "../io/metrics.ts";
import { createBroker } from "../io/rabbit/broker.ts";
import { createNotifier, keepWatchdog } from "../io/systemd.ts";
import type { Environment } from "./directory.ts";
import { controllerState } from "./rows.ts";
import { startControllerService } from "./service.ts";

/**
 * Runs until the signal aborts, and has closed everything then. `environment` is where keys of the form {env: NAME} are,
 * and CREDENTIALS_DIRECTORY.
 */
export async function runController(
  config: ControllerConfig,
  signal: AbortSignal,
  environment: Environment = {},
): Promise<void> {
  const log = createLog(config.log);
  const startedAtMs = Date.now();
  const metrics = createMetrics({ version: config.version });
  const notifier = createNotifier(config.serviceManager.notifySocket, (err) =>
    log.warn({ err }, "service manager cannot be told anything"),
  );
  const broker = createBroker({
    url: config.transportUrl,
    exchange: config.exchange,
    topology: config.amqp,
    programName: "swanherd-controller",
    log,
    onMessage: ({ method, result }) =>
      metrics.message(method, result === "ok" || result === "failed" ? result : "rejected"),
  });
  broker.onConnected(() => metrics.brokerConnected(true));
  broker.onDisconnected(() => metrics.brokerConnected(false));

  const closers: (() => Promise<void>)[] = [];
  try {
    const service = await startControllerService({
      bus: broker,
      documents: config.documents,
      stateDirectory: config.stateDirectory,
      environment,
      log,
    });
    closers.push(() => service.close());
    const onFailure = (err: unknown, request: string): void =>
      log.error({ err, request }, "answering on a local socket broke");
    const servers: ApiServer[] = [];
    closers.push(async () => {
      await Promise.all(servers.map((server) => server.close()));
    });
    const state = (): unknown =>
      controllerState(service.statusRows(), {
        startedAtMs,
        brokerConnected: broker.isConnected,
        problems: service.problems,
      });
    servers.push(await startControlServer(config.controlSocket, { state }, { onFailure }));
    if (config.http.enabled) {
      const health = {
        metricsContentType: metrics.contentType,
        metrics: () => metrics.text(),
        health: () => ({ missing: [] }),
        ready: () => ({
          missing: [
            ...(broker.isConnected ? [] : ["broker"]),
            ...(service.hasDocuments ? [] : ["documents without problems"]),
          ],
        }),
      };
      servers.push(await startHealthServer(config.http.address, config.http.port, health, { onFailure }));
    }
    broker.start();
    closers.push(() => broker.close());
    notifier.ready();
    const stopWatchdog = keepWatchdog(notifier, config.serviceManager.watchdogMs);
    log.info({ documents: config.documents }, "controller started");
    if (!signal.aborted) await once(signal, "abort");
    stopWatchdog();
    notifier.stopping();
    log.info("controller stops");
  } finally {
    for (const close of closers.reverse()) {
      await close().catch((err: unknown) => log.error({ err }, "stopping a part broke"));
    }
  }
}
