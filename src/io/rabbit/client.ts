// Calls and casts. A call is mandatory, so that a topic nobody serves is known at once instead of after the timeout.
// Ack policy: replies are acknowledged as they come, before they are matched; a late one is dropped.
import { randomUUID } from "node:crypto";
import type { ChannelModel, ConsumeMessage } from "amqplib";
import type { Logger } from "pino";
import { type AgentError, DeadlineError, UnavailableError } from "../../core/errors.ts";
import { adminContext } from "../../wire/oslo/context.ts";
import { remoteErrorOf } from "../../wire/oslo/failure.ts";
import { callProperties, plainProperties } from "../../wire/oslo/properties.ts";
import { addPart, type Answer, decodeReply, noAnswerYet, type ReplyPart } from "../../wire/oslo/reply.ts";
import { DEFAULT_VERSION, encodeRequest, type ReplyTo } from "../../wire/oslo/request.ts";
import { newUniqueId } from "./answer.ts";
import { readBody } from "./body.ts";
import type { Publisher } from "./publisher.ts";
import type { Timing } from "./timing.ts";
import type { Declarer } from "./topology.ts";

/** A server drops answers to a queue that was missing for 60 s, and goes on dropping for 60 s: a new name is better. */
const REPLY_QUEUE_STALE_MS = 60_000;

export type CallOptions = {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  /** call_monitor_timeout: gives up when the server is silent for so long. Neutron's own clients do not use it. */
  readonly monitorTimeoutSeconds?: number;
};

export type CastTarget = { readonly topic: string; readonly server: string };

export type Client = {
  /** After a reconnect: brings the reply queue back, if there was one. */
  attach(model: ChannelModel): Promise<void>;
  detach(): void;
  call(topic: string, method: string, args: Readonly<Record<string, unknown>>, options: CallOptions): Promise<unknown>;
  cast(target: CastTarget, method: string, args: Readonly<Record<string, unknown>>): Promise<void>;
};

export type ClientOptions = {
  readonly exchange: string;
  readonly currentModel: () => ChannelModel | undefined;
  readonly declarer: Declarer;
  readonly publisher: Publisher;
  readonly log: Logger;
  readonly timing: Timing;
};

type PendingCall = {
  answer: Answer;
  readonly accept: (part: ReplyPart) => void;
  readonly fail: (error: AgentError) => void;
};

const newReplyQueue = (): string => `reply_${newUniqueId()}`;

export function createClient(options: ClientOptions): Client {
  const { exchange, publisher, log, timing } = options;
  const pending = new Map<string, PendingCall>();
  let replyQueue = newReplyQueue();
  let wasUsed = false;
  let missingSinceMs: number | undefined;
  let consuming: { readonly model: ChannelModel; readonly ready: Promise<void> } | undefined;

  function receive(message: ConsumeMessage): void {
    let part: ReplyPart;
    try {
      part = decodeReply(readBody(message));
    } catch (err) {
      log.warn({ replyQueue, err }, "undecodable reply dropped");
      return;
    }
    const call = pending.get(part.messageId);
    if (call === undefined) log.debug({ messageId: part.messageId }, "reply to no call of ours dropped");
    else call.accept(part);
  }

  async function consume(model: ChannelModel): Promise<void> {
    await options.declarer.ensureReplyQueue(model, replyQueue);
    const channel = await model.createChannel();
    let isConsuming = false;
    channel.on("error", (err) => log.warn({ replyQueue, err }, "broker closed the channel of the reply queue"));
    channel.on("close", () => {
      if (!isConsuming || consuming?.model !== model) return;
      consuming = undefined;
      // Calls that wait need their queue back at once. On a lost connection `attach` does it instead.
      if (options.currentModel() === model && pending.size > 0) replyConsumer(model).catch(() => undefined); // logged there
    });
    await channel.consume(replyQueue, (message) => {
      if (message === null) {
        void channel.close().catch(() => undefined); // closed already
        return;
      }
      try {
        channel.ack(message);
      } catch {
        // The channel is closing: the reply comes again on the next one, or is worthless by then.
      }
      receive(message);
    });
    isConsuming = true;
    missingSinceMs = undefined;
    wasUsed = true;
  }

  function replyConsumer(model: ChannelModel): Promise<void> {
    if (consuming?.model === model) return consuming.ready;
    const ready = consume(model);
    const attempt = { model, ready };
    consuming = attempt;
    ready.catch((err: unknown) => {
      if (consuming === attempt) consuming = undefined;
      log.warn({ replyQueue, err }, "cannot consume the reply queue");
    });
    return ready;
  }

  function request(method: string, args: Readonly<Record<string, unknown>>, replyTo: ReplyTo | null) {
    const uniqueId = newUniqueId();
    const context = adminContext(`req-${randomUUID()}`, new Date());
    const body = encodeRequest({
      method,
      args,
      namespace: null,
      version: DEFAULT_VERSION,
      uniqueId,
      replyTo,
      context,
    });
    return { body, uniqueId };
  }

  /** Registers the call and resolves or rejects with its answer; `begin` sends it once everything listens. */
  function waitForAnswer(
    what: string,
    messageId: string,
    { timeoutMs, signal, monitorTimeoutSeconds }: CallOptions,
    begin: () => Promise<void>,
  ): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const finish = (settle: () => void) => {
        pending.delete(messageId);
        cancelTimeout();
        cancelMonitor();
        signal?.removeEventListener("abort", abort);
        settle();
      };
      const fail = (error: unknown) => {
        // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- passed on as it came
        if (pending.has(messageId)) finish(() => reject(error));
      };
      const abort = () => fail(signal?.reason);
      const watch = () =>
        monitorTimeoutSeconds === undefined
          ? () => undefined
          : timing.after(monitorTimeoutSeconds * 1000, () =>
              fail(new DeadlineError(`${what}: no sign of life within ${monitorTimeoutSeconds} s`)),
            );
      const cancelTimeout = timing.after(timeoutMs, () =>
        fail(new DeadlineError(`${what}: no reply within ${timeoutMs} ms`)),
      );
      let cancelMonitor = watch();
      const call: PendingCall = {
        answer: noAnswerYet,
        fail,
        accept(part) {
          call.answer = addPart(call.answer, part);
          const { answer } = call;
          if (answer.kind === "result") finish(() => resolve(answer.result));
          else if (answer.kind === "failure") fail(remoteErrorOf(answer.failure));
          else {
            cancelMonitor();
            cancelMonitor = watch();
          }
        },
      };
      pending.set(messageId, call);
      signal?.addEventListener("abort", abort);
      if (signal?.aborted === true) abort();
      else begin().catch(fail);
    });
  }

  return {
    async attach(model) {
      if (!wasUsed) return;
      if (missingSinceMs !== undefined && timing.nowMs() - missingSinceMs >= REPLY_QUEUE_STALE_MS) {
        replyQueue = newReplyQueue();
      }
      await replyConsumer(model);
    },

    detach() {
      missingSinceMs ??= timing.nowMs();
      consuming = undefined;
      // The request or its answer may be lost with the connection; nobody is served by waiting for the timeout.
      for (const call of [...pending.values()]) {
        call.fail(new UnavailableError("BROKER_DOWN", "connection to the broker lost while waiting for a reply"));
      }
    },

    call(topic, method, args, callOptions) {
      const what = `call ${method} to ${topic}`;
      const messageId = newUniqueId();
      return waitForAnswer(what, messageId, callOptions, async () => {
        const model = options.currentModel();
        if (model === undefined) throw new UnavailableError("BROKER_DOWN", `${what}: not connected`);
        try {
          await replyConsumer(model);
        } catch (error) {
          throw new UnavailableError("BROKER_DOWN", `${what}: no reply queue`, { cause: error });
        }
        // A connection lost meanwhile has failed the call already.
        if (!pending.has(messageId)) return;
        const { timeoutMs, monitorTimeoutSeconds = null } = callOptions;
        const replyTo = { messageId, queue: replyQueue, monitorTimeoutSeconds };
        const { body, uniqueId } = request(method, args, replyTo);
        const properties = callProperties(timeoutMs);
        const delivery = await publisher.publish({
          exchange,
          routingKey: topic,
          body,
          uniqueId,
          mandatory: true,
          properties,
        });
        if (delivery === "returned") {
          throw new UnavailableError("BROKER_DOWN", `${what}: nobody serves it (NO_ROUTE)`);
        }
      });
    },

    async cast({ topic, server }, method, args) {
      const { body, uniqueId } = request(method, args, null);
      await publisher.publish({
        exchange,
        routingKey: `${topic}.${server}`,
        body,
        uniqueId,
        mandatory: false,
        properties: plainProperties,
      });
    },
  };
}
