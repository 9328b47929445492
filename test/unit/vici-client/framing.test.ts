// Where frames begin and end, byte by byte.
import { expect, test } from "vitest";
import { emptyFramer, encodeFrame, feed, MAX_FRAME_BYTES } from "../../../src/vici-client/framing.ts";
import { hex, u32 } from "../../support/hex.ts";

test("a frame is a big-endian length of the data only, then the data", () => {
  expect(encodeFrame(hex`02`)).toEqual(hex`00000001 ${"length"} 02 ${"CMD_UNKNOWN"}`);
});

test("two frames in one chunk come out in order, and what is left waits", () => {
  const fed = feed(emptyFramer, hex`00000001 05 00000000 00000002 07`);
  expect(fed.frames).toEqual([hex`05`, hex``]);
  expect(fed.framer.pendingBytes).toBe(5);
  expect(feed(fed.framer, hex`01`).frames).toEqual([hex`0701`]);
});

test("feeding does not change the state that was given", () => {
  const { framer } = feed(emptyFramer, hex`00000002 07`);
  expect(feed(framer, hex`01`).frames).toEqual([hex`0701`]);
  expect(feed(framer, hex`02`).frames).toEqual([hex`0702`]);
});

test("a length over the limit is refused as soon as it is read, before its bytes come", () => {
  expect(() => feed(emptyFramer, u32(MAX_FRAME_BYTES + 1))).toThrow(/frame of 524289 bytes announced/);
  expect(feed(emptyFramer, u32(MAX_FRAME_BYTES)).frames).toEqual([]);
});

test("a body over the limit is not framed", () => {
  expect(() => encodeFrame(Buffer.alloc(MAX_FRAME_BYTES + 1))).toThrow(/frame is 524289 bytes/);
});

test("the largest frame in one-byte chunks takes linear time", () => {
  const whole = encodeFrame(Buffer.alloc(MAX_FRAME_BYTES));
  let framer = emptyFramer;
  let frameCount = 0;
  const startedAt = performance.now();
  for (let at = 0; at < whole.length; at += 1) {
    const fed = feed(framer, whole.subarray(at, at + 1));
    framer = fed.framer;
    frameCount += fed.frames.length;
  }
  expect(frameCount).toBe(1);
  // Joining at every chunk would copy 128 GiB.
  expect(performance.now() - startedAt).toBeLessThan(5_000);
});
