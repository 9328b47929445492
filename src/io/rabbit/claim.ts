// The right to serve a topic alone: an exclusive queue, which the broker deletes with its holder's connection, so that
// one who crashed bars nobody; whoever asks it is told who holds it. It refuses to decide what the barred one does.
import type { Channel, ChannelModel } from "amqplib";
import type { Logger } from "pino";
import { backoffMs } from "../../core/backoff.ts";
import { UnavailableError } from "../../core/errors.ts";
import { pause, type Timing } from "./timing.ts";

const RESOURCE_LOCKED = 405;
const NOT_FOUND = 404;

const ANSWER_TIMEOUT_MS = 2000;
const MAX_NAME_CHARACTERS = 300;
const RETRY_BASE_MS = 250;
// Each try is a line in the broker's log while somebody else holds the queue.
const RETRY_CAP_MS = 5000;
// A holder that does not answer may be a connection that died without a word: RabbitMQ 3.10 was seen to give one up
// after three heartbeat intervals, which is what amqp.heartbeatSeconds says (60 s), and half of that more is waited.
const SILENT_HOLDER_FACTOR_MS = 1500;
const MIN_SILENT_HOLDER_MS = 90_000;
// Consumers of a connection that ended a moment ago are counted for some milliseconds.
const FORMER_CONSUMER_MS = 2000;

/** Why somebody else's bus it is. */
export type Bar =
  /** `by` is what the holder answers with, undefined when it does not answer. */
  | { readonly kind: "held"; readonly by: string | undefined }
  /** Consumers that hold no claim: a Neutron server, for instance. */
  | { readonly kind: "consumed"; readonly queue: string; readonly consumers: number };

export type ClaimOptions = {
  /** One name for each right, on the whole virtual host. */
  readonly queue: string;
  /** Who we are, for others. */
  readonly holder: string;
  /** The queue that nobody else may consume. */
  readonly topic: string;
  /** Not ours: told once for each bar, at once when it is certain. It is tried again until it is ours. */
  readonly onBarred: (bar: Bar) => void;
};

export type Claim = {
  /** Resolves when the right is ours on this connection; rejects when the connection is lost before. */
  take(model: ChannelModel, lost: AbortSignal): Promise<void>;
};

export function createClaim(options: ClaimOptions, heartbeatSeconds: number, log: Logger, timing: Timing): Claim {
  const { queue, holder, topic, onBarred } = options;
  const silentHolderMs = Math.max(MIN_SILENT_HOLDER_MS, heartbeatSeconds * SILENT_HOLDER_FACTOR_MS);

  /** The channel that holds the queue, undefined when another connection holds it. */
  async function hold(model: ChannelModel): Promise<Channel | undefined> {
    const channel = await openChannel(model);
    try {
      await channel.assertQueue(queue, { exclusive: true, durable: false });
    } catch (error) {
      if (codeOf(error) === RESOURCE_LOCKED) return undefined;
      throw error;
    }
    await channel.consume(
      queue,
      (message) => {
        if (message === null) {
          // Somebody may hold it now: the connection is made anew, and the right with it.
          log.warn({ queue }, "the claim on the bus was deleted, will claim it again");
          void model.close().catch(() => undefined); // closed already
          return;
        }
        const { replyTo } = message.properties as { replyTo?: string };
        if (replyTo !== undefined) channel.sendToQueue(replyTo, Buffer.from(holder));
      },
      { noAck: true, exclusive: true },
    );
    return channel;
  }

  /** Who holds the queue, as it says itself; undefined without an answer. */
  async function askHolder(model: ChannelModel, lost: AbortSignal): Promise<string | undefined> {
    const channel = await openChannel(model);
    const asked = new AbortController();
    let answer: string | undefined;
    const settled = (): void => asked.abort();
    lost.addEventListener("abort", settled);
    channel.on("return", settled);
    // RabbitMQ's pseudo-queue for the answer to who asks on this channel.
    await channel.consume(
      "amq.rabbitmq.reply-to",
      (message) => {
        answer = message?.content.toString("utf8").slice(0, MAX_NAME_CHARACTERS);
        settled();
      },
      { noAck: true },
    );
    const properties = { replyTo: "amq.rabbitmq.reply-to", mandatory: true, expiration: String(ANSWER_TIMEOUT_MS) };
    channel.sendToQueue(queue, Buffer.alloc(0), properties);
    await pause(timing, ANSWER_TIMEOUT_MS, asked.signal);
    lost.removeEventListener("abort", settled);
    await channel.close();
    return answer;
  }

  async function consumersOfTopic(model: ChannelModel): Promise<number> {
    const channel = await openChannel(model);
    try {
      const { consumerCount } = await channel.checkQueue(topic);
      await channel.close();
      return consumerCount;
    } catch (error) {
      if (codeOf(error) === NOT_FOUND) return 0;
      throw error;
    }
  }

  return {
    async take(model, lost) {
      const told = new Set<string>();
      let kind: Bar["kind"] | undefined;
      let sinceMs = timing.nowMs();
      let held: Channel | undefined;
      for (let attempt = 0; !lost.aborted; attempt++) {
        held ??= await hold(model);
        const bar = await barOf(held !== undefined);
        if (bar === undefined) return;
        if (bar.kind !== kind) sinceMs = timing.nowMs();
        kind = bar.kind;
        const patienceMs = bar.kind === "consumed" ? FORMER_CONSUMER_MS : bar.by === undefined ? silentHolderMs : 0;
        const key = JSON.stringify(bar);
        if (timing.nowMs() - sinceMs >= patienceMs && !told.has(key)) {
          told.add(key);
          onBarred(bar);
        }
        await pause(timing, backoffMs(attempt, RETRY_BASE_MS, RETRY_CAP_MS, timing.random()), lost);
      }
      throw new UnavailableError("BROKER_DOWN", "connection lost while the bus was somebody else's");

      async function barOf(isHeld: boolean): Promise<Bar | undefined> {
        if (!isHeld) return { kind: "held", by: await askHolder(model, lost) };
        const consumers = await consumersOfTopic(model);
        return consumers === 0 ? undefined : { kind: "consumed", queue: topic, consumers };
      }
    },
  };
}

async function openChannel(model: ChannelModel): Promise<Channel> {
  const channel = await model.createChannel();
  // The step that failed rejects with the same reason; without a listener the event would end the process.
  channel.on("error", () => undefined);
  return channel;
}

const codeOf = (error: unknown): unknown => (error instanceof Error && "code" in error ? error.code : undefined);
