// One message of an answer, and how several of them make the answer to a call.
import { z } from "zod";
import { PayloadError } from "../../core/errors.ts";
import { decodeEnvelope, encodeEnvelope } from "./envelope.ts";
import { decodeFailure, encodeFailure, type Failure } from "./failure.ts";

export type ReplyPart = {
  readonly messageId: string;
  readonly uniqueId: string | null;
  readonly result: unknown;
  readonly failure: Failure | null;
  /** False: more will come. */
  readonly ending: boolean;
};

const wireReply = z.object({
  _msg_id: z.string(),
  _unique_id: z.string().nullish(),
  result: z.unknown().optional(),
  failure: z.unknown().optional(),
  ending: z.boolean().nullish(),
});

/** All five keys, always: oslo.messaging's client reads `data['failure']` and dies of a KeyError. */
export function encodeReply(part: ReplyPart & { readonly uniqueId: string }): Buffer {
  return encodeEnvelope({
    result: part.result ?? null,
    failure: part.failure === null ? null : encodeFailure(part.failure),
    ending: part.ending,
    _msg_id: part.messageId,
    _unique_id: part.uniqueId,
  });
}

/** Says "still at it" to a caller with a monitor timeout. Only to such a one: another would crash on its None timer. */
export function encodeHeartbeat(messageId: string, uniqueId: string): Buffer {
  return encodeReply({ messageId, uniqueId, result: null, failure: null, ending: false });
}

export function decodeReply(body: Uint8Array): ReplyPart {
  const parsed = wireReply.safeParse(decodeEnvelope(body));
  if (!parsed.success) throw new PayloadError("reply is unusable: it names no call");
  const wire = parsed.data;
  return {
    messageId: wire._msg_id,
    uniqueId: wire._unique_id ?? null,
    result: wire.result ?? null,
    // oslo.messaging takes any falsy failure for none.
    failure: wire.failure ? decodeFailure(wire.failure) : null,
    ending: wire.ending ?? false,
  };
}

export const isHeartbeat = (part: ReplyPart): boolean => !part.ending && part.failure === null && part.result === null;

export type Answer =
  | { readonly kind: "incomplete"; readonly result: unknown }
  | { readonly kind: "result"; readonly result: unknown }
  | { readonly kind: "failure"; readonly failure: Failure };

export const noAnswerYet: Answer = { kind: "incomplete", result: null };

/**
 * oslo.messaging ReplyWaiter: wait until `ending`, keep the last result that is not null. A legacy server sends the
 * result with `ending` false and then an ending with a null result.
 */
export function addPart(answer: Answer, part: ReplyPart): Answer {
  if (answer.kind !== "incomplete") return answer;
  if (part.failure !== null) return { kind: "failure", failure: part.failure };
  const result = part.result ?? answer.result;
  return part.ending ? { kind: "result", result } : { kind: "incomplete", result };
}
