// Where a server's messages come from: its queue, and where fanouts are streams, the stream of its topic's fanouts.
import type { ChannelModel, ConsumeMessage, Options } from "amqplib";
import { fanoutName, type Declarer } from "./topology.ts";

/** RabbitMQ gives nothing out of a stream without a bound; oslo.messaging wants one set, too (rabbit_qos_prefetch_count). */
const STREAM_PREFETCH_COUNT = 100;

export type Source = {
  readonly queue: string;
  /** Undefined: as many as there are. */
  readonly prefetchCount?: number;
  ensure(model: ChannelModel): Promise<void>;
  consumeOptions(): Options.Consume;
  /** Whether the message is a new one; called once for each that comes. */
  accepts(message: ConsumeMessage): boolean;
  /** The broker cancelled the consumer: the queue was deleted, or moved to another node. */
  cancelled(): void;
};

export function queueSource(declarer: Declarer, exchange: string, topic: string, isAlone: boolean): Source {
  return {
    queue: topic,
    ensure: (model) => declarer.ensureServerQueue(model, exchange, topic),
    consumeOptions: () => ({ exclusive: isAlone }),
    accepts: () => true,
    cancelled: () => undefined,
  };
}

/**
 * A stream keeps what was read, so its reader says where to go on: behind the last message that came. At the first time
 * oslo.messaging begins at "last", the last chunk that was written, and reads old messages again. We begin with what
 * comes from now on: what was before is in the list that is fetched after every connect, and an old word that a router
 * was taken from this agent must not be taken for a new one.
 */
export function streamSource(declarer: Declarer, topic: string): Source {
  let nextOffset: number | undefined;
  return {
    queue: fanoutName(topic),
    prefetchCount: STREAM_PREFETCH_COUNT,
    ensure: (model) => declarer.ensureFanoutStream(model, topic),
    consumeOptions: () => ({ arguments: { "x-stream-offset": nextOffset ?? "next" } }),
    accepts(message) {
      const offset: unknown = message.properties.headers?.["x-stream-offset"];
      if (typeof offset !== "number") return true;
      if (nextOffset !== undefined && offset < nextOffset) return false;
      nextOffset = offset + 1;
      return true;
    },
    // A stream that was deleted begins at 0 again.
    cancelled: () => void (nextOffset = undefined),
  };
}
