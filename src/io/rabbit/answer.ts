// Bringing the answer of a call to the queue of its caller, which may be away for a while.
import { randomUUID } from "node:crypto";
import { DeadlineError, UnavailableError } from "../../core/errors.ts";
import { plainProperties } from "../../wire/oslo/properties.ts";
import { encodeHeartbeat, encodeReply } from "../../wire/oslo/reply.ts";
import type { Failure } from "../../wire/oslo/failure.ts";
import { heartbeatIntervalMs, type ReplyTo } from "../../wire/oslo/request.ts";
import type { Publisher } from "./publisher.ts";
import { pause, type Timing } from "./timing.ts";

// oslo.messaging: 0.25 s between tries, kombu_missing_consumer_retry_timeout 60 s in all. A queue that was missing for
// so long is not tried again for 60 s, and 200 such queues are remembered.
const RETRY_MS = 250;
const GIVE_UP_MS = 60_000;
const DEAD_QUEUE_TTL_MS = 60_000;
const MAX_DEAD_QUEUES = 200;

export const newUniqueId = (): string => randomUUID().replaceAll("-", "");

export type Answerer = {
  /** Resolves with whether the answer arrived at the caller's queue; never rejects for want of a queue or a broker. */
  answer(replyTo: ReplyTo, result: unknown, failure: Failure | null, signal: AbortSignal): Promise<boolean>;
  /** Tells a caller with a monitor timeout that its call is still worked on, until the returned function is called. */
  beat(replyTo: ReplyTo): () => void;
};

export function createAnswerer(publisher: Publisher, timing: Timing): Answerer {
  const deadUntil = new Map<string, number>();

  function isDead(queue: string): boolean {
    const until = deadUntil.get(queue);
    if (until === undefined || until > timing.nowMs()) return until !== undefined;
    deadUntil.delete(queue);
    return false;
  }

  function bury(queue: string): void {
    deadUntil.set(queue, timing.nowMs() + DEAD_QUEUE_TTL_MS);
    const [oldest] = deadUntil.keys();
    if (deadUntil.size > MAX_DEAD_QUEUES && oldest !== undefined) deadUntil.delete(oldest);
  }

  async function tryOnce(replyTo: ReplyTo, body: Buffer, uniqueId: string): Promise<boolean> {
    try {
      const delivery = await publisher.publish({
        exchange: "", // the nameless exchange routes by queue name
        routingKey: replyTo.queue,
        body,
        uniqueId,
        mandatory: true,
        properties: plainProperties,
      });
      return delivery === "routed";
    } catch (error) {
      if (error instanceof UnavailableError || error instanceof DeadlineError) return false;
      throw error;
    }
  }

  return {
    async answer(replyTo, result, failure, signal) {
      if (isDead(replyTo.queue)) return false;
      const uniqueId = newUniqueId();
      const body = encodeReply({ messageId: replyTo.messageId, uniqueId, result, failure, ending: true });
      const deadline = timing.nowMs() + GIVE_UP_MS;
      while (!(await tryOnce(replyTo, body, uniqueId))) {
        if (signal.aborted) return false;
        if (timing.nowMs() >= deadline) {
          bury(replyTo.queue);
          return false;
        }
        await pause(timing, RETRY_MS, signal);
      }
      return true;
    },

    beat(replyTo) {
      const intervalMs = heartbeatIntervalMs(replyTo);
      if (intervalMs === null) return () => undefined;
      let cancel: () => void = () => undefined;
      const next = () => {
        cancel = timing.after(intervalMs, () => {
          const uniqueId = newUniqueId();
          // A lost beat is made good by the next one, or by the answer.
          tryOnce(replyTo, encodeHeartbeat(replyTo.messageId, uniqueId), uniqueId).catch(() => undefined);
          next();
        });
      };
      next();
      return () => cancel();
    },
  };
}
