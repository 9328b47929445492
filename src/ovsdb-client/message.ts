// JSON-RPC 1.0 as RFC 7047, section 4, uses it: one union for what a server may send, and what we send as text.
import { z } from "zod";
import { MalformedMessageError } from "./errors.ts";

export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

export type ServerMessage =
  /** `error` is null when there is none. */
  | { readonly kind: "response"; readonly id: number; readonly result: unknown; readonly error: unknown }
  | { readonly kind: "request"; readonly id: Json; readonly method: string; readonly params: readonly Json[] }
  | { readonly kind: "notification"; readonly method: string; readonly params: readonly unknown[] };

const asked = z.object({ method: z.string(), params: z.array(z.json()), id: z.json().optional() });
// An id that is not a number of ours answers nothing that we asked.
const answered = z.object({ id: z.int().nonnegative(), result: z.unknown().optional(), error: z.unknown().optional() });

/** One message of the framer. Notifications have the id null (RFC 7047, section 4.1.6). */
export function decodeServerMessage(bytes: Buffer): ServerMessage {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new MalformedMessageError(`a message of ${bytes.length} bytes is not JSON in UTF-8`, { cause });
  }
  if (typeof json === "object" && json !== null && "method" in json) {
    const { method, params, id = null } = parsed(asked, json, "a request");
    return id === null ? { kind: "notification", method, params } : { kind: "request", id, method, params };
  }
  const { id, result, error = null } = parsed(answered, json, "a response");
  return { kind: "response", id, result, error };
}

/** The value as its schema has it. What was sent stays out of the message: it may be anything. */
export function parsed<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const where = issue === undefined || issue.path.length === 0 ? "" : ` at ${issue.path.map(String).join(".")}`;
  throw new MalformedMessageError(`${what} has another shape than expected${where}`, { cause: result.error });
}

export const encodeRequest = (id: number, method: string, params: readonly Json[]): string =>
  JSON.stringify({ id, method, params });

/** The answer to an echo repeats its parameters (RFC 7047, section 4.1.11). */
export const encodeAnswer = (id: Json, result: Json): string => JSON.stringify({ id, result, error: null });

export const encodeRefusal = (id: Json, error: string): string => JSON.stringify({ id, result: null, error });
