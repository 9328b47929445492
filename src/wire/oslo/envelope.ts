// The outer document of every oslo.messaging body: {"oslo.version", "oslo.message"}, the message being JSON in a string.
// It refuses to know what the message means.
import { PayloadError } from "../../core/errors.ts";
import { isCompatibleVersion } from "./version.ts";

const ENVELOPE_VERSION = "2.0";

export type JsonObject = Readonly<Record<string, unknown>>;

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function parseJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // The parser's message quotes the text, and the text may hold a pre-shared key.
    throw new PayloadError(`${what} is not JSON`);
  }
}

function parseObject(text: string, what: string): JsonObject {
  const value = parseJson(text, what);
  if (!isJsonObject(value)) throw new PayloadError(`${what} is not a JSON object`);
  return value;
}

export function encodeEnvelope(message: JsonObject): Buffer {
  return Buffer.from(JSON.stringify({ "oslo.version": ENVELOPE_VERSION, "oslo.message": JSON.stringify(message) }));
}

/** Body bytes to the inner message. Anything else is a PayloadError that does not quote the body. */
export function decodeEnvelope(body: Uint8Array): JsonObject {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(body);
  } catch {
    throw new PayloadError("body is not UTF-8");
  }
  const outer = parseObject(text, "body");
  const version = outer["oslo.version"];
  const message = outer["oslo.message"];
  // oslo.messaging deserialize_msg: without both keys the object itself is the message (envelope 1.0).
  if (version === undefined || message === undefined) return outer;
  if (typeof version !== "string" || !isCompatibleVersion(ENVELOPE_VERSION, version)) {
    throw new PayloadError("envelope version is not one we read");
  }
  if (typeof message !== "string") throw new PayloadError("oslo.message is not a string");
  return parseObject(message, "oslo.message");
}
