// Serves one topic: its queue, and its fanouts where they are a stream. Ack policy: a request is acknowledged before it is
// dispatched, as oslo.messaging does it, so one that kills us is not delivered for ever; what must not be lost is fetched
// again by whoever wants it. Undecodable messages are rejected without requeue. No message ends the process.
import type { Channel, ChannelModel, ConsumeMessage } from "amqplib";
import type { Logger } from "pino";
import { backoffMs } from "../../core/backoff.ts";
import { AgentError, PayloadError } from "../../core/errors.ts";
import { noneSeen, remember } from "../../wire/oslo/duplicates.ts";
import { failureOf } from "../../wire/oslo/failure.ts";
import { decodeRequest, UnusableRequestError, type ReplyTo, type Request } from "../../wire/oslo/request.ts";
import type { Answerer } from "./answer.ts";
import { readBody } from "./body.ts";
import { createDispatcher, type Handlers, type MessageResult, type Outcome } from "./handler.ts";
import { queueSource, streamSource, type Source } from "./source.ts";
import { pause, type Timing } from "./timing.ts";
import type { Declarer } from "./topology.ts";

const RETRY_BASE_MS = 100;
const RETRY_CAP_MS = 10_000;
const CLOSE_TIMEOUT_MS = 2000;

export type ServerOptions = {
  readonly exchange: string;
  /** Also the name of the queue and its binding key. */
  readonly topic: string;
  readonly version: string;
  /** No other consumer of the queue is let in. */
  readonly isAlone: boolean;
  /** The stream of the topic's fanouts is served as well. */
  readonly streamFanout: boolean;
  readonly handlers: Handlers;
  readonly declarer: Declarer;
  readonly answerer: Answerer;
  readonly log: Logger;
  readonly timing: Timing;
  readonly onMessage: (message: { readonly method: string; readonly result: MessageResult }) => void;
};

export type Server = {
  /** Consumes on this connection until it is lost, through the loss of its channel or queue. Resolves once it does. */
  attach(model: ChannelModel, lost: AbortSignal): Promise<void>;
  /** Takes no new message and lets the handlers that run finish. */
  close(): Promise<void>;
};

export function createServer(options: ServerOptions): Server {
  const { topic, log, timing, answerer, onMessage } = options;
  const dispatcher = createDispatcher(options.handlers, options.version);
  const stopping = new AbortController();
  const running = new Set<Promise<void>>();
  let seen = noneSeen;
  const sources: readonly Source[] = [
    queueSource(options.declarer, options.exchange, topic, options.isAlone),
    ...(options.streamFanout ? [streamSource(options.declarer, topic)] : []),
  ];
  /** How to stop consuming, for each source that is consumed. */
  const consumed = new Map<Source, () => Promise<unknown>>();

  // Names we do not serve are the sender's invention and would make a metric's labels endless.
  const labelOf = (method: string) => (dispatcher.knows(method) ? method : "unknown");

  function logOutcome(request: Request, outcome: Outcome): void {
    const fields = { topic, method: request.method, requestId: request.context["request_id"] };
    if (outcome.kind === "refused") log.warn({ ...fields, reason: outcome.failure.message }, "request refused");
    if (outcome.kind !== "failed") return;
    // Our own errors are foreseen; anything else is a bug and wants its stack seen.
    const isForeseen = outcome.error instanceof AgentError;
    log[isForeseen ? "warn" : "error"]({ ...fields, err: outcome.error }, "request failed");
  }

  async function serve(request: Request): Promise<void> {
    const { replyTo } = request;
    const stopBeating = replyTo === null ? undefined : answerer.beat(replyTo);
    const outcome = await dispatcher.dispatch(request, stopping.signal);
    stopBeating?.();
    logOutcome(request, outcome);
    onMessage({ method: labelOf(request.method), result: outcome.kind });
    if (replyTo === null) return;
    const arrived =
      outcome.kind === "ok"
        ? await answerResult(request, outcome.value)
        : await answerer.answer(replyTo, null, outcome.failure, stopping.signal);
    if (!arrived) log.warn({ topic, method: request.method, queue: replyTo.queue }, "caller is gone, answer dropped");
  }

  async function answerResult({ replyTo, method }: Request, value: unknown): Promise<boolean> {
    if (replyTo === null) return true;
    try {
      return await answerer.answer(replyTo, value, null, stopping.signal);
    } catch (error) {
      // A value that is not JSON: a bug of the handler, and the caller should not wait for it.
      log.error({ topic, method, err: error }, "result cannot be encoded");
      return answerer.answer(replyTo, null, failureOf(error), stopping.signal);
    }
  }

  function start(request: Request): void {
    const work: Promise<void> = serve(request)
      .catch((err: unknown) => log.error({ topic, method: request.method, err }, "serving a request broke"))
      .finally(() => running.delete(work));
    running.add(work);
  }

  function refuse(replyTo: ReplyTo, error: PayloadError): void {
    const work: Promise<void> = answerer
      .answer(replyTo, null, failureOf(error), stopping.signal)
      .then((arrived) => {
        if (!arrived) log.warn({ topic, queue: replyTo.queue }, "caller is gone, answer dropped");
      })
      .catch((err: unknown) => log.error({ topic, err }, "refusing a request broke"))
      .finally(() => running.delete(work));
    running.add(work);
  }

  function receive(channel: Channel, message: ConsumeMessage): void {
    let request: Request;
    try {
      request = decodeRequest(readBody(message));
    } catch (err) {
      if (!(err instanceof PayloadError)) log.error({ topic, err }, "decoding a message broke");
      else log.warn({ topic, err }, "undecodable message rejected");
      onMessage({ method: "unknown", result: "undecodable" });
      channel.reject(message, false);
      // The others would wait for the whole timeout, and learn nothing.
      if (err instanceof UnusableRequestError && err.replyTo !== null) refuse(err.replyTo, err);
      return;
    }
    channel.ack(message);
    if (request.uniqueId !== null) {
      const remembered = remember(seen, request.uniqueId);
      seen = remembered.seen;
      if (remembered.isDuplicate) {
        onMessage({ method: labelOf(request.method), result: "duplicate" });
        return;
      }
    }
    log.debug({ topic, method: request.method, requestId: request.context["request_id"] }, "request received");
    start(request);
  }

  /** Declares and consumes; after that, `gone` is called once, when the channel or the consumer is no more. */
  async function consume(source: Source, model: ChannelModel, gone: () => void): Promise<void> {
    const { queue } = source;
    await source.ensure(model);
    const channel = await model.createChannel();
    channel.on("error", (err) => log.warn({ topic, queue, err }, "broker closed the channel of a server"));
    if (source.prefetchCount !== undefined) await channel.prefetch(source.prefetchCount);
    let isConsuming = false;
    channel.on("close", () => {
      if (isConsuming) gone();
    });
    const close = () => void channel.close().catch(() => undefined); // closed already
    const deliver = (message: ConsumeMessage | null): void => {
      // RabbitMQ cancels a consumer whose queue is deleted or moves to another node.
      if (message === null) {
        log.warn({ topic, queue }, "consumer cancelled by the broker, will consume again");
        source.cancelled();
        close();
        return;
      }
      try {
        if (source.accepts(message)) receive(channel, message);
        else channel.ack(message);
      } catch (err) {
        // The ack did not go out: the request comes again on the next channel, so it must not be served now.
        log.warn({ topic, err }, "request dropped, its acknowledgement could not be sent");
      }
    };
    const { consumerTag } = await channel.consume(queue, deliver, source.consumeOptions());
    isConsuming = true;
    consumed.set(source, () => channel.cancel(consumerTag).catch(() => undefined));
  }

  const isOver = (lost: AbortSignal) => lost.aborted || stopping.signal.aborted;

  /** Resolves once it consumes; from then on it looks after itself until the connection is lost. */
  function keepConsuming(source: Source, model: ChannelModel, lost: AbortSignal): Promise<void> {
    return consume(source, model, () => {
      if (!isOver(lost)) void consumeAgain(source, model, lost);
    });
  }

  async function consumeAgain(source: Source, model: ChannelModel, lost: AbortSignal): Promise<void> {
    for (let attempt = 0; !isOver(lost); attempt++) {
      try {
        await keepConsuming(source, model, lost);
        return;
      } catch (err) {
        if (isOver(lost)) return;
        log.warn({ topic, queue: source.queue, attempt, err }, "cannot consume, will retry");
      }
      await pause(timing, backoffMs(attempt, RETRY_BASE_MS, RETRY_CAP_MS, timing.random()), lost);
    }
  }

  return {
    async attach(model, lost) {
      for (const source of sources) await keepConsuming(source, model, lost);
    },
    async close() {
      const enough = new AbortController();
      const finished = (async () => {
        await Promise.all([...consumed.values()].map((stop) => stop()));
        stopping.abort();
        await Promise.allSettled(running);
      })();
      // Neither a deaf broker nor a handler that ignores its signal may hold up our end.
      await Promise.race([finished, pause(timing, CLOSE_TIMEOUT_MS, enough.signal)]);
      enough.abort();
      stopping.abort();
    },
  };
}
