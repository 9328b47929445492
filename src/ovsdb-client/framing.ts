// Where one JSON text ends and the next begins: nothing stands between them on the wire (RFC 7047, section 4: JSON-RPC 1.0
// over a stream). A pure step: state and chunk in, state and texts out. It counts brackets and refuses to know what they mean.
import { MalformedMessageError } from "./errors.ts";

/** What we watch is a few rows, so no honest message comes near it. */
export const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;
/** A condition in an update is about ten deep. Bounded, since what reads the text may recurse. */
export const MAX_DEPTH = 64;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPENING = new Set([0x5b, 0x7b]); // [ {
const CLOSING = new Set([0x5d, 0x7d]); // ] }
const OBJECT = 0x7b;
const SPACES = new Set([0x20, 0x09, 0x0a, 0x0d]); // RFC 8259, section 2

/** Chunks wait linked, newest first, and are joined once per message: one in many small chunks costs linear time. */
type Waiting = { readonly chunk: Buffer; readonly before: Waiting | undefined };

export type Framer = {
  readonly waiting: Waiting | undefined;
  readonly pendingBytes: number;
  readonly depth: number;
  readonly place: "outside" | "string" | "escape";
};

export const emptyFramer: Framer = { waiting: undefined, pendingBytes: 0, depth: 0, place: "outside" };

/** Feeds one socket chunk; returns every message it completed and what is left over. */
export function feed(framer: Framer, chunk: Buffer): { framer: Framer; messages: Buffer[] } {
  let { waiting, pendingBytes, depth, place } = framer;
  const messages: Buffer[] = [];
  let from = 0;
  for (let at = 0; at < chunk.length; at += 1) {
    const byte = chunk[at] ?? 0;
    if (place === "escape") {
      place = "string";
    } else if (place === "string") {
      if (byte === QUOTE) place = "outside";
      else if (byte === BACKSLASH) place = "escape";
    } else if (depth === 0) {
      if (SPACES.has(byte)) continue;
      if (byte !== OBJECT) {
        throw new MalformedMessageError(`a message begins with the byte 0x${byte.toString(16)}, not with {`);
      }
      from = at;
      depth = 1;
    } else if (byte === QUOTE) {
      place = "string";
    } else if (OPENING.has(byte)) {
      depth += 1;
      if (depth > MAX_DEPTH) throw new MalformedMessageError(`a message nests more than ${MAX_DEPTH} deep`);
    } else if (CLOSING.has(byte)) {
      depth -= 1;
      if (depth > 0) continue;
      checkSize(pendingBytes + at + 1 - from);
      messages.push(join({ chunk: chunk.subarray(from, at + 1), before: waiting }));
      waiting = undefined;
      pendingBytes = 0;
    }
  }
  if (depth === 0) return { framer: emptyFramer, messages };
  const rest = chunk.subarray(from);
  pendingBytes += rest.length;
  // Checked at every chunk, so an endless message cannot make us hoard memory.
  checkSize(pendingBytes);
  return { framer: { waiting: { chunk: rest, before: waiting }, pendingBytes, depth, place }, messages };
}

function checkSize(bytes: number): void {
  if (bytes > MAX_MESSAGE_BYTES) {
    throw new MalformedMessageError(`a message has more than ${MAX_MESSAGE_BYTES} bytes`);
  }
}

function join(newest: Waiting): Buffer {
  if (newest.before === undefined) return newest.chunk;
  const chunks: Buffer[] = [];
  for (let waiting: Waiting | undefined = newest; waiting !== undefined; waiting = waiting.before) {
    chunks.push(waiting.chunk);
  }
  return Buffer.concat(chunks.reverse());
}
