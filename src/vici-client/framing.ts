// The transport layer of VICI: a u32 big-endian length before every packet. A pure step: state and chunk in, state and
// frames out.
import { MalformedMessageError } from "./errors.ts";

const HEADER_BYTES = 4;
export const MAX_FRAME_BYTES = 512 * 1024; // charon enforces the same cap on what it reads

/** Chunks wait linked, newest first, and are joined once per frame: a frame in many small chunks costs linear time. */
type Waiting = { readonly chunk: Buffer; readonly before: Waiting | undefined };

export type Framer = {
  readonly waiting: Waiting | undefined;
  readonly pendingBytes: number;
  /** How many bytes must wait before there is anything new to find: a header, or the frame it announced. */
  readonly wantedBytes: number;
};

export const emptyFramer: Framer = { waiting: undefined, pendingBytes: 0, wantedBytes: HEADER_BYTES };

/** Feeds one socket chunk; returns every frame it completed and what is left over. */
export function feed(framer: Framer, chunk: Buffer): { framer: Framer; frames: Buffer[] } {
  const pendingBytes = framer.pendingBytes + chunk.length;
  const waiting: Waiting = { chunk, before: framer.waiting };
  if (pendingBytes < framer.wantedBytes) {
    return { framer: { waiting, pendingBytes, wantedBytes: framer.wantedBytes }, frames: [] };
  }

  const bytes = join(waiting);
  const frames: Buffer[] = [];
  let at = 0;
  let wantedBytes = HEADER_BYTES;
  while (bytes.length - at >= HEADER_BYTES) {
    const length = bytes.readUInt32BE(at);
    // Checked before buffering, so a hostile length cannot make us hoard memory.
    if (length > MAX_FRAME_BYTES) {
      throw new MalformedMessageError(`frame of ${length} bytes announced, allowed 0..${MAX_FRAME_BYTES}`);
    }
    wantedBytes = HEADER_BYTES + length;
    if (bytes.length - at < wantedBytes) break;
    frames.push(bytes.subarray(at + HEADER_BYTES, at + wantedBytes));
    at += wantedBytes;
    wantedBytes = HEADER_BYTES;
  }
  const rest = bytes.subarray(at);
  if (rest.length === 0) return { framer: emptyFramer, frames };
  return { framer: { waiting: { chunk: rest, before: undefined }, pendingBytes: rest.length, wantedBytes }, frames };
}

function join(newest: Waiting): Buffer {
  if (newest.before === undefined) return newest.chunk;
  const chunks: Buffer[] = [];
  for (let node: Waiting | undefined = newest; node !== undefined; node = node.before) chunks.push(node.chunk);
  return Buffer.concat(chunks.reverse());
}

export function encodeFrame(body: Uint8Array): Buffer {
  if (body.length > MAX_FRAME_BYTES) {
    throw new MalformedMessageError(`frame is ${body.length} bytes, allowed 0..${MAX_FRAME_BYTES}`);
  }
  const out = Buffer.allocUnsafe(HEADER_BYTES + body.length);
  out.writeUInt32BE(body.length, 0);
  out.set(body, HEADER_BYTES);
  return out;
}
