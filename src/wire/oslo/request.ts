// A request: a call, which wants a reply, or a cast, which must not get one.
import { z } from "zod";
import { PayloadError } from "../../core/errors.ts";
import { decodeContext, encodeContext } from "./context.ts";
import { decodeEnvelope, encodeEnvelope, isJsonObject, type JsonObject } from "./envelope.ts";

export type ReplyTo = {
  readonly messageId: string;
  readonly queue: string;
  /** The caller gives up when it hears nothing for so long; null when it waits for the whole timeout. */
  readonly monitorTimeoutSeconds: number | null;
};

export type Request = {
  readonly method: string;
  readonly args: JsonObject;
  readonly namespace: string | null;
  readonly version: string;
  /** Null when the sender gave none; such a message cannot be told from its duplicate. */
  readonly uniqueId: string | null;
  /** Null for a cast. */
  readonly replyTo: ReplyTo | null;
  readonly context: JsonObject;
};

/** The receiver's assumption when a request names no version. */
export const DEFAULT_VERSION = "1.0";

/** A body that is no request. It may tell all the same who waits for an answer. */
export class UnusableRequestError extends PayloadError {
  readonly replyTo: ReplyTo | null;

  constructor(message: string, replyTo: ReplyTo | null) {
    super(message);
    this.replyTo = replyTo;
  }
}

const wireRequest = z.object({
  method: z.string(),
  args: z.custom<JsonObject>(isJsonObject).nullish(),
  namespace: z.string().nullish(),
  version: z.string().nullish(),
  _msg_id: z.string().nullish(),
  _reply_q: z.string().nullish(),
  _timeout: z.number().nullish(),
  _unique_id: z.string().nullish(),
});

/** Keys in oslo.messaging's order; `namespace` is absent, never null, when there is none. */
export function encodeRequest(request: Request): Buffer {
  const { replyTo } = request;
  return encodeEnvelope({
    method: request.method,
    args: request.args,
    ...(request.namespace === null ? {} : { namespace: request.namespace }),
    version: request.version,
    ...(replyTo === null
      ? {}
      : { _msg_id: replyTo.messageId, _reply_q: replyTo.queue, _timeout: replyTo.monitorTimeoutSeconds }),
    ...(request.uniqueId === null ? {} : { _unique_id: request.uniqueId }),
    ...encodeContext(request.context),
  });
}

export function decodeRequest(body: Uint8Array): Request {
  const message = decodeEnvelope(body);
  const parsed = wireRequest.safeParse(message);
  if (!parsed.success) {
    const keys = [...new Set(parsed.error.issues.map((issue) => String(issue.path[0] ?? "message")))];
    throw new UnusableRequestError(`request is unusable in: ${keys.join(", ")}`, replyToOf(message));
  }
  const wire = parsed.data;
  return {
    method: wire.method,
    args: wire.args ?? {},
    namespace: wire.namespace ?? null,
    version: wire.version ?? DEFAULT_VERSION,
    uniqueId: wire._unique_id ?? null,
    replyTo: replyToOf(message),
    context: decodeContext(message),
  };
}

/** A call without a queue to answer into could never be answered: it is taken for a cast. */
function replyToOf({ _msg_id: messageId, _reply_q: queue, _timeout: monitorTimeout }: JsonObject): ReplyTo | null {
  if (typeof messageId !== "string" || typeof queue !== "string") return null;
  return { messageId, queue, monitorTimeoutSeconds: typeof monitorTimeout === "number" ? monitorTimeout : null };
}

/** oslo.messaging's dispatcher beats at half the monitor timeout, and not at all when that is under a second. */
export function heartbeatIntervalMs(replyTo: ReplyTo): number | null {
  const half = (replyTo.monitorTimeoutSeconds ?? 0) / 2;
  return half >= 1 ? half * 1000 : null;
}
