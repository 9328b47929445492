// The bus as the rest of the program sees it: serve topics, call and cast. One connection under it all.
// It refuses to know which topics and methods there are.
import { randomUUID } from "node:crypto";
import type { Logger } from "pino";
import type { TransportUrl } from "../../wire/oslo/transport-url.ts";
import { DEFAULT_VERSION } from "../../wire/oslo/request.ts";
import { createAnswerer } from "./answer.ts";
import { createClaim, type ClaimOptions } from "./claim.ts";
import { type CallOptions, type CastTarget, createClient } from "./client.ts";
import { createConnection, defaultConnectionSettings, type ConnectionSettings } from "./connection.ts";
import type { Handlers, MessageResult } from "./handler.ts";
import { createPublisher } from "./publisher.ts";
import { createServer, type Server } from "./server.ts";
import { systemTiming, type Timing } from "./timing.ts";
import { type AmqpTopologyOptions, createDeclarer, defaultTopology } from "./topology.ts";

/** Neutron's control_exchange; oslo.messaging's own default would be `openstack`. */
const DEFAULT_EXCHANGE = "neutron";

export type BrokerOptions = {
  readonly url: TransportUrl;
  readonly log: Logger;
  readonly exchange?: string;
  readonly topology?: AmqpTopologyOptions;
  readonly connection?: ConnectionSettings;
  /** Shown by the broker's own tools; oslo.messaging's form is `<program>:<pid>:<uuid>`. */
  readonly programName?: string;
  readonly timing?: Timing;
  /** Nothing is served, called or cast, and nobody hears that we are connected, before this right is ours. */
  readonly claim?: ClaimOptions;
  /** For metrics. `method` is one that is served, or "unknown". */
  readonly onMessage?: (message: { readonly method: string; readonly result: MessageResult }) => void;
};

export type ServeOptions = {
  readonly version?: string;
  /** Nobody else may consume the topic meanwhile. RabbitMQ heeds that for classic queues; for quorum queues it does not. */
  readonly isAlone?: boolean;
};

export type Broker = {
  /** Begins to connect, and never stops trying until `close`. */
  start(): void;
  /** Called after every connect, when all topics are consumed: no cast is missed by whoever fetches then. */
  onConnected(listener: () => void): () => void;
  onDisconnected(listener: () => void): () => void;
  readonly isConnected: boolean;
  /** Before `start`. Handlers begin in the order of their messages and run side by side. */
  serve(topic: string, handlers: Handlers, options?: ServeOptions): void;
  /**
   * Rejects with RemoteError (the peer's exception), DeadlineError, UnavailableError (not connected, connection lost,
   * nobody serves the topic) or the signal's reason.
   */
  call(topic: string, method: string, args: Readonly<Record<string, unknown>>, options: CallOptions): Promise<unknown>;
  /** Resolves once the broker has taken it, whether or not anybody listens. */
  cast(target: CastTarget, method: string, args: Readonly<Record<string, unknown>>): Promise<void>;
  close(): Promise<void>;
};

export function createBroker(options: BrokerOptions): Broker {
  const { url, log, exchange = DEFAULT_EXCHANGE, topology = defaultTopology, timing = systemTiming } = options;
  const settings = options.connection ?? defaultConnectionSettings;
  const declarer = createDeclarer(topology, log);
  const servers: Server[] = [];
  const claim =
    options.claim === undefined ? undefined : createClaim(options.claim, settings.heartbeatSeconds, log, timing);
  let isStarted = false;

  const connection = createConnection({
    url,
    settings,
    connectionName: `${options.programName ?? "swanherd"}:${process.pid}:${randomUUID()}`,
    log,
    timing,
    async prepare(model, lost) {
      await claim?.take(model, lost);
      await client.attach(model);
      for (const server of servers) await server.attach(model, lost);
    },
  });
  const currentModel = () => connection.model;
  const publisher = createPublisher(currentModel, declarer, timing);
  const answerer = createAnswerer(publisher, timing);
  const client = createClient({ exchange, currentModel, declarer, publisher, log, timing });
  // First of the listeners: whoever hears of the loss finds no call waiting any more.
  connection.onDisconnected(() => client.detach());

  return {
    start() {
      isStarted = true;
      connection.start();
    },
    onConnected: (listener) => connection.onConnected(listener),
    onDisconnected: (listener) => connection.onDisconnected(listener),
    get isConnected() {
      return connection.model !== undefined;
    },
    serve(topic, handlers, { version = DEFAULT_VERSION, isAlone = false } = {}) {
      if (isStarted) throw new TypeError("topics are served from the start of the connection on");
      const onMessage = options.onMessage ?? (() => undefined);
      const { streamFanout } = topology;
      const shared = { exchange, streamFanout, declarer, answerer, log, timing, onMessage };
      servers.push(createServer({ ...shared, topic, version, isAlone, handlers }));
    },
    call: (topic, method, args, callOptions) => client.call(topic, method, args, callOptions),
    cast: (target, method, args) => client.cast(target, method, args),
    async close() {
      await Promise.all(servers.map((server) => server.close()));
      await connection.close();
    },
  };
}
