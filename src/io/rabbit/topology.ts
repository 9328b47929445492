// Exchanges and queues as we declare them, and what we do when the broker has them otherwise: take them as they are.
// Nothing is ever deleted here: what stands may hold somebody's messages.
import type { Channel, ChannelModel, Options } from "amqplib";
import type { Logger } from "pino";

/** The options of oslo.messaging's [oslo_messaging_rabbit] that shape what is declared; defaults are oslo's. */
export type AmqpTopologyOptions = {
  /** amqp_durable_queues */
  readonly durableQueues: boolean;
  /** amqp_auto_delete */
  readonly autoDelete: boolean;
  /** rabbit_quorum_queue; makes queue and control exchange durable too */
  readonly quorumQueue: boolean;
  /** rabbit_transient_quorum_queue: reply queues are quorum queues */
  readonly transientQuorumQueue: boolean;
  /** rabbit_transient_queues_ttl, also the age to which a stream keeps messages; 0 lets the reply queue live for ever */
  readonly transientQueuesTtlSeconds: number;
  /** rabbit_stream_fanout: what is sent to all servers of a topic is read from one stream */
  readonly streamFanout: boolean;
};

export const defaultTopology: AmqpTopologyOptions = {
  durableQueues: false,
  autoDelete: false,
  quorumQueue: false,
  transientQuorumQueue: false,
  transientQueuesTtlSeconds: 1800,
  streamFanout: false,
};

const PRECONDITION_FAILED = 406;

type Kind = "exchange" | "queue" | "reply queue" | "fanout exchange" | "fanout stream";

/** An option of [oslo_messaging_rabbit] on the other side, and our setting that says the same. */
type OptionName = { readonly option: string; readonly setting?: string };

const DURABLE = { option: "amqp_durable_queues", setting: "amqp.durableQueues" };
const QUORUM = { option: "rabbit_quorum_queue", setting: "amqp.quorumQueue" };

const TRANSIENT_QUORUM = { option: "rabbit_transient_quorum_queue", setting: "amqp.transientQuorumQueue" };
const STREAM = { option: "rabbit_stream_fanout", setting: "amqp.streamFanout" };

const OPTION_OF: ReadonlyMap<string, OptionName> = new Map<string, OptionName>([
  ["auto_delete", { option: "amqp_auto_delete", setting: "amqp.autoDelete" }],
  ["x-queue-type", QUORUM],
  // oslo.messaging's further arguments; what they do is done by the queue that stands, so no setting is needed for them.
  ["x-delivery-limit", { option: "rabbit_quorum_delivery_limit" }],
  ["x-max-in-memory-length", { option: "rabbit_quorum_max_memory_length" }],
  ["x-max-in-memory-bytes", { option: "rabbit_quorum_max_memory_bytes" }],
  ["x-ha-policy", { option: "rabbit_ha_queues" }],
]);
// Only queues of replies, and what is in streams, expire by an option of oslo.messaging's.
const EXPIRY = { option: "rabbit_transient_queues_ttl", setting: "amqp.transientQueuesTtlSeconds" };

/** Which option an argument of a declaration comes from; undefined: none, somebody declared it by hand. */
function optionOf(argument: string, kind: Kind, options: AmqpTopologyOptions): OptionName | undefined {
  if (argument === "x-expires") return kind === "reply queue" ? EXPIRY : undefined;
  if (argument === "x-max-age") return kind === "fanout stream" ? EXPIRY : undefined;
  if (argument === "durable" || argument === "x-queue-type") {
    if (kind === "fanout stream" || kind === "fanout exchange") return STREAM;
    if (kind === "reply queue" && options.transientQuorumQueue) return TRANSIENT_QUORUM;
  }
  // Quorum queues are durable, and make their exchange so.
  if (argument === "durable") return options.quorumQueue ? QUORUM : DURABLE;
  return OPTION_OF.get(argument);
}

function whatToDo(name: OptionName | undefined): string {
  if (name === undefined) return "no option makes it so: it was declared by hand";
  if (name.setting === undefined) return `nothing: ${name.option} of the other side is in force as it is`;
  const todo = `set ${name.setting} here as ${name.option} is set on the other side`;
  return name === DURABLE ? `${todo}, or ${QUORUM.setting} as ${QUORUM.option} is` : todo;
}

type Declared = Pick<Options.AssertQueue, "durable" | "autoDelete"> & { arguments?: Record<string, unknown> };

export function exchangeArguments(options: AmqpTopologyOptions): Declared {
  return { durable: options.durableQueues || options.quorumQueue, autoDelete: options.autoDelete };
}

export function serverQueueArguments(options: AmqpTopologyOptions): Declared {
  return {
    durable: options.durableQueues || options.quorumQueue,
    autoDelete: options.autoDelete,
    arguments: options.quorumQueue ? { "x-queue-type": "quorum" } : {},
  };
}

/**
 * Nobody but us declares our reply queue, so nothing has to match. It is durable where the operator asked for quorum
 * queues of whichever kind: that is done for brokers that refuse transient queues which are not exclusive (RabbitMQ 4.0
 * warns of them, 4.3 refuses them unless it is told otherwise).
 */
export function replyQueueArguments(options: AmqpTopologyOptions): Declared {
  const ttlMs = options.transientQueuesTtlSeconds * 1000;
  return {
    durable: options.quorumQueue || options.transientQuorumQueue,
    autoDelete: false,
    arguments: {
      ...(options.transientQuorumQueue ? { "x-queue-type": "quorum" } : {}),
      ...(ttlMs > 0 ? { "x-expires": ttlMs } : {}),
    },
  };
}

/** oslo.messaging's exchange for what all servers of a topic shall hear, and the stream that they read it from. */
export const fanoutName = (topic: string): string => `${topic}_fanout`;

/** Deletes itself with its last binding, whatever amqp_auto_delete says. */
export const FANOUT_EXCHANGE: Declared = { durable: true, autoDelete: true };

/** Other arguments than these are none of a stream; x-max-age is a text with its unit. */
export function fanoutStreamArguments({ transientQueuesTtlSeconds: ttl }: AmqpTopologyOptions): Declared {
  return {
    durable: true,
    autoDelete: false,
    arguments: { "x-queue-type": "stream", ...(ttl > 0 ? { "x-max-age": `${String(ttl)}s` } : {}) },
  };
}

/** A channel of its own for one step: a refused declaration closes its channel, and nothing else may be on it. */
async function onOwnChannel<T>(model: ChannelModel, step: (channel: Channel) => Promise<T>): Promise<T> {
  const channel = await model.createChannel();
  // The failed step rejects with the same reason; without a listener the event would end the process.
  channel.on("error", () => undefined);
  const value = await step(channel);
  // Not waited for: amqplib (2.3.1) does not answer it when the connection is lost meanwhile.
  void channel.close().catch(() => undefined);
  return value;
}

export type Declarer = {
  ensureExchange(model: ChannelModel, name: string): Promise<void>;
  /** The queue of a server, bound to the exchange under its own name. */
  ensureServerQueue(model: ChannelModel, exchange: string, queue: string): Promise<void>;
  ensureReplyQueue(model: ChannelModel, queue: string): Promise<void>;
  /** The stream of a topic's fanouts, bound to their exchange; both are called `fanoutName(topic)`. */
  ensureFanoutStream(model: ChannelModel, topic: string): Promise<void>;
};

export function createDeclarer(options: AmqpTopologyOptions, log: Logger): Declarer {
  const warned = new Set<string>();

  function warnOnce(kind: Kind, name: string, argument: string, err: Error): void {
    if (warned.has(`${kind} ${name}`)) return;
    warned.add(`${kind} ${name}`);
    const found = optionOf(argument, kind, options);
    log.warn(
      { kind, name, argument, ...found, todo: whatToDo(found), err },
      "broker has it declared otherwise, used as it is",
    );
  }

  /** Declares; where that is refused because it stands already in another form, asks only whether it stands. */
  async function declareOrAccept(
    model: ChannelModel,
    kind: Kind,
    name: string,
    declare: (channel: Channel) => Promise<unknown>,
    check: (channel: Channel) => Promise<unknown>,
  ): Promise<void> {
    try {
      await onOwnChannel(model, declare);
    } catch (error) {
      if (!(error instanceof Error) || !("code" in error) || error.code !== PRECONDITION_FAILED) throw error;
      // PRECONDITION_FAILED - inequivalent arg '<arg>' for <kind> '<name>' in vhost '<vhost>': received … but current is …
      const argument = /inequivalent arg '([^']+)'/.exec(error.message)?.[1];
      // Otherwise it is not what stands that is wrong, but what we ask for.
      if (argument === undefined) throw error;
      await onOwnChannel(model, check);
      warnOnce(kind, name, argument, error);
    }
  }

  const ensureExchange = (model: ChannelModel, name: string) =>
    declareOrAccept(
      model,
      "exchange",
      name,
      (channel) => channel.assertExchange(name, "topic", exchangeArguments(options)),
      (channel) => channel.checkExchange(name),
    );

  const ensureQueue = (model: ChannelModel, kind: Kind, name: string, declared: Declared) =>
    declareOrAccept(
      model,
      kind,
      name,
      (channel) => channel.assertQueue(name, { exclusive: false, ...declared }),
      (channel) => channel.checkQueue(name),
    );

  return {
    ensureExchange,
    async ensureServerQueue(model, exchange, queue) {
      await ensureExchange(model, exchange);
      await ensureQueue(model, "queue", queue, serverQueueArguments(options));
      await onOwnChannel(model, (channel) => channel.bindQueue(queue, exchange, queue));
    },
    async ensureFanoutStream(model, topic) {
      const name = fanoutName(topic);
      await declareOrAccept(
        model,
        "fanout exchange",
        name,
        (channel) => channel.assertExchange(name, "fanout", FANOUT_EXCHANGE),
        (channel) => channel.checkExchange(name),
      );
      await ensureQueue(model, "fanout stream", name, fanoutStreamArguments(options));
      await onOwnChannel(model, (channel) => channel.bindQueue(name, name, topic));
    },
    ensureReplyQueue: (model, queue) => ensureQueue(model, "reply queue", queue, replyQueueArguments(options)),
  };
}
