// One connection to the broker, kept up: hosts in turn, backoff with jitter, a fresh preparation after every loss.
// It refuses to know what is prepared. One connection serves consuming and publishing: the load is a few messages a
// second, and while a broker out of memory blocks it, neither replies nor calls could go anywhere anyway.
import { connect, credentials as mechanisms, type ChannelModel } from "amqplib";
import type { Logger } from "pino";
import { backoffMs } from "../../core/backoff.ts";
import { UnavailableError } from "../../core/errors.ts";
import { clientProperties } from "../../wire/oslo/properties.ts";
import type { BrokerHost, TransportUrl } from "../../wire/oslo/transport-url.ts";
import { createHostOrder, type FailoverStrategy } from "./hosts.ts";
import { explainTlsError, noTls, tlsConnectionOptions, type TlsSettings } from "./tls.ts";
import { pause, type Timing } from "./timing.ts";

/** The options of oslo.messaging's [oslo_messaging_rabbit] that shape the connection; defaults are oslo's. */
export type ConnectionSettings = {
  /** heartbeat_timeout_threshold: a broker that is silent for so long is given up. 0: it never is. */
  readonly heartbeatSeconds: number;
  /** kombu_failover_strategy */
  readonly failoverStrategy: FailoverStrategy;
  /** rabbit_login_method; EXTERNAL takes the name from our certificate, and no password. */
  readonly loginMethod: "PLAIN" | "AMQPLAIN" | "EXTERNAL";
  readonly tls: TlsSettings;
};

export const defaultConnectionSettings: ConnectionSettings = {
  heartbeatSeconds: 60,
  failoverStrategy: "round-robin",
  // oslo's is AMQPLAIN, which says the same in another form; every broker offers both unless it is told otherwise.
  loginMethod: "PLAIN",
  tls: noTls,
};

// amqplib gives a silent broker up after two to three of the intervals that it agrees on with it.
const HEARTBEATS_IN_TIMEOUT = 3;
const CONNECT_TIMEOUT_MS = 10_000;
const CLOSE_TIMEOUT_MS = 3000;
const RETRY_BASE_MS = 500;
// A third of oslo's rabbit_interval_max: a status nobody hears of is what the customer sees meanwhile.
const RETRY_CAP_MS = 10_000;

export type ConnectionOptions = {
  readonly url: TransportUrl;
  readonly settings: ConnectionSettings;
  readonly connectionName: string;
  readonly log: Logger;
  readonly timing: Timing;
  /** Runs on every new connection before anybody hears that we are connected. `lost` aborts with the connection. */
  readonly prepare: (model: ChannelModel, lost: AbortSignal) => Promise<void>;
};

export type Connection = {
  start(): void;
  /** The connection while it is up and prepared. */
  readonly model: ChannelModel | undefined;
  onConnected(listener: () => void): () => void;
  onDisconnected(listener: () => void): () => void;
  close(): Promise<void>;
};

async function open(options: ConnectionOptions, { host, port, credentials }: BrokerHost): Promise<ChannelModel> {
  const { tls, heartbeatSeconds } = options.settings;
  const tlsOptions = tls.enabled ? tlsConnectionOptions(tls) : {};
  try {
    return await connect(
      {
        protocol: tls.enabled ? "amqps" : "amqp",
        hostname: host,
        port,
        // amqplib percent-decodes this even when it is not part of a URL.
        vhost: encodeURIComponent(options.url.virtualHost),
        heartbeat: Math.ceil(heartbeatSeconds / HEARTBEATS_IN_TIMEOUT),
      },
      {
        ...tlsOptions,
        credentials: loginOf(options.settings.loginMethod, credentials),
        noDelay: true,
        keepAlive: true,
        timeout: CONNECT_TIMEOUT_MS,
        clientProperties: clientProperties(options.connectionName),
      },
    );
  } catch (error) {
    throw explainRefusal(tls.enabled ? explainTlsError(error) : error, options.url.virtualHost);
  }
}

function loginOf(method: ConnectionSettings["loginMethod"], credentials: BrokerHost["credentials"]) {
  if (method === "EXTERNAL") return mechanisms.external();
  // Without credentials in the URL RabbitMQ's own, which it takes from its own machine only.
  const username = credentials?.username ?? "guest";
  const password = credentials?.password.reveal() ?? "guest";
  return method === "PLAIN" ? mechanisms.plain(username, password) : mechanisms.amqplain(username, password);
}

/** amqplib says only that it got connection.close in answer to connection.open, and that text is all there is to go by. */
function explainRefusal(error: unknown, virtualHost: string): unknown {
  if (!(error instanceof Error) || !error.message.startsWith("Expected ConnectionOpenOk")) return error;
  return new UnavailableError(
    "BROKER_DOWN",
    `the broker refuses the virtual host ${JSON.stringify(virtualHost)}: it is not there, or not for this user`,
    { cause: error },
  );
}

export function createConnection(options: ConnectionOptions): Connection {
  const { url, log, timing } = options;
  const closing = new AbortController();
  const connectedListeners = new Set<() => void>();
  const disconnectedListeners = new Set<() => void>();
  let model: ChannelModel | undefined;
  let running: Promise<void> | undefined;
  const hosts = createHostOrder(url.hosts, options.settings.failoverStrategy, () => timing.random());
  /** Why a host is of no use, by its name: told once while nothing else is so. */
  const told = new Map<string, string>();

  /** Lives through one connection. Resolves with true when it had been prepared. */
  async function live(opened: ChannelModel, broker: string): Promise<boolean> {
    const lost = new AbortController();
    let reason: unknown;
    let wasReady = false;
    const gone = (): void => lost.abort();
    const closed = new Promise<void>((resolve) => lost.signal.addEventListener("abort", () => resolve()));
    opened.on("close", gone);
    // amqplib emits `close` after it; an emitter without a listener for `error` would end the process.
    opened.on("error", (err) => (reason = err));
    opened.on("blocked", (why) => log.warn({ broker, why }, "broker blocks publishing"));
    opened.on("unblocked", () => log.info({ broker }, "broker unblocks publishing"));
    // It is refused when it is closed already, which may have been told before anybody could listen.
    const shut = () => void opened.close().catch(gone);
    closing.signal.addEventListener("abort", shut);
    try {
      if (closing.signal.aborted) shut();
      // amqplib (2.3.1) leaves a channel's close without an answer when the connection is lost meanwhile.
      await Promise.race([options.prepare(opened, lost.signal), closed]);
      if (!lost.signal.aborted) {
        wasReady = true;
        model = opened;
        log.info({ broker }, "connected to the broker");
        for (const listener of connectedListeners) listener();
      } else reason ??= new UnavailableError("BROKER_DOWN", "the connection was lost");
    } catch (error) {
      reason = error;
      shut();
    }
    await closed;
    closing.signal.removeEventListener("abort", shut);
    if (wasReady) {
      model = undefined;
      if (!closing.signal.aborted) log.warn({ broker, err: reason }, "connection to the broker lost, will reconnect");
      for (const listener of disconnectedListeners) listener();
    } else if (!closing.signal.aborted) {
      throw new UnavailableError("BROKER_DOWN", "preparing the connection to the broker", { cause: reason });
    }
    return wasReady;
  }

  function tellFailure(broker: string, failures: number, err: unknown): void {
    const reason = err instanceof Error ? `${err.message}: ${String(err.cause)}` : String(err);
    const level = told.get(broker) === reason ? "debug" : "warn";
    told.set(broker, reason);
    log[level]({ broker, failures, err }, "cannot use the broker, will retry");
  }

  async function run(): Promise<void> {
    let failures = 0;
    let fruitlessRounds = 0;
    while (!closing.signal.aborted) {
      const { host, port } = hosts.current;
      const broker = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
      let isPauseDue = true;
      try {
        if (await live(await open(options, hosts.current), broker)) {
          hosts.settle();
          failures = 0;
          fruitlessRounds = 0;
          told.clear();
        }
      } catch (err) {
        failures += 1;
        tellFailure(broker, failures, err);
        // The other hosts of the list are tried at once; the wait grows from round to round.
        isPauseDue = hosts.next();
        if (isPauseDue) fruitlessRounds += 1;
      }
      if (!isPauseDue) continue;
      const delayMs = backoffMs(Math.max(0, fruitlessRounds - 1), RETRY_BASE_MS, RETRY_CAP_MS, timing.random());
      await pause(timing, delayMs, closing.signal);
    }
  }

  const subscribe = (listeners: Set<() => void>) => (listener: () => void) => {
    listeners.add(listener);
    return () => void listeners.delete(listener);
  };

  return {
    start() {
      running ??= run();
    },
    get model() {
      return model;
    },
    onConnected: subscribe(connectedListeners),
    onDisconnected: subscribe(disconnectedListeners),
    async close() {
      closing.abort();
      // A broker that no longer answers must not hold up our end; the process ends with the socket.
      const isOver = new AbortController();
      await Promise.race([running, pause(timing, CLOSE_TIMEOUT_MS, isOver.signal)]);
      isOver.abort();
    },
  };
}
