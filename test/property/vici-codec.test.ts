// Laws of VICI's codec: round trips, any split, any bytes, any damage.
import fc from "fast-check";
import { expect, test } from "vitest";
import { MalformedMessageError } from "../../src/vici-client/errors.ts";
import { emptyFramer, encodeFrame, feed, MAX_FRAME_BYTES } from "../../src/vici-client/framing.ts";
import { decodeMessage, encodeMessage, type Section, type Value } from "../../src/vici-client/message.ts";
import { decodeCharonPacket } from "../../src/vici-client/packet.ts";
import { u32 } from "../support/hex.ts";

const name = fc.oneof(
  fc.string({ unit: "grapheme-ascii", minLength: 1, maxLength: 20 }),
  fc.constantFrom("__proto__", "constructor", "10", "2", "-1", "toString"),
);
// Bytes that are not UTF-8 come back as bytes, everything else as a string.
const notUtf8 = fc.uint8Array({ maxLength: 30 }).map((tail) => Buffer.concat([Buffer.from([0xff]), tail]));
const atom = fc.oneof({ weight: 4, arbitrary: fc.string({ unit: "grapheme", maxLength: 40 }) }, notUtf8);
const { section } = fc.letrec<{ section: Section; value: Value }>((tie) => ({
  section: fc.array(fc.tuple(name, tie("value")), { maxLength: 6 }).map((entries): Section => new Map(entries)),
  value: fc.oneof({ maxDepth: 4 }, atom, fc.array(atom, { maxLength: 4 }), tie("section")),
}));

/** Maps compare without regard to order; the order is part of the law. */
function inOrder(value: Value): unknown {
  if (value instanceof Map) return [...(value as Section)].map(([key, member]) => [key, inOrder(member)]);
  return value;
}

test("a message decodes to what was encoded, in its order", () => {
  fc.assert(
    fc.property(section, (message) => {
      expect(inOrder(decodeMessage(encodeMessage(message)))).toEqual(inOrder(message));
    }),
  );
});

test("bytes that decode and can be encoded again become the same bytes", () => {
  fc.assert(
    fc.property(section, (message) => {
      const bytes = encodeMessage(message);
      expect(encodeMessage(decodeMessage(bytes))).toEqual(bytes);
    }),
  );
});

function onlyMalformed(run: () => unknown): void {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(MalformedMessageError);
  }
}

// Plain random bytes seldom get past the first element: most of these are made of element types and small lengths.
const wireLike = fc.oneof(
  fc.uint8Array({ maxLength: 300 }),
  fc
    .array(fc.oneof(fc.integer({ min: 0, max: 7 }), fc.constantFrom(0, 0x61, 0xff)), { maxLength: 300 })
    .map((bytes) => Uint8Array.from(bytes)),
);

test("random bytes end in a message or in MalformedMessageError", () => {
  fc.assert(
    fc.property(wireLike, (bytes) => onlyMalformed(() => decodeMessage(bytes))),
    { numRuns: 3_000 },
  );
});

test("random frames end in a packet or in MalformedMessageError", () => {
  fc.assert(
    fc.property(wireLike, (bytes) => onlyMalformed(() => decodeCharonPacket(Buffer.from(bytes)))),
    { numRuns: 3_000 },
  );
});

test("a message that lost or changed a byte ends in a message or in MalformedMessageError", () => {
  fc.assert(
    fc.property(section, fc.nat(), fc.nat(255), fc.boolean(), (message, position, byte, isCut) => {
      const bytes = encodeMessage(message);
      const at = bytes.length === 0 ? 0 : position % bytes.length;
      const damaged = isCut
        ? bytes.subarray(0, at)
        : Buffer.concat([bytes.subarray(0, at), Buffer.from([byte]), bytes.subarray(at + 1)]);
      onlyMalformed(() => decodeMessage(damaged));
    }),
    { numRuns: 1_000 },
  );
});

test("frames do not depend on where the socket splits the stream", () => {
  const bodies = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 8 });
  fc.assert(
    fc.property(bodies, fc.infiniteStream(fc.integer({ min: 1, max: 40 })), (sent, sizes) => {
      let rest = Buffer.concat(sent.flatMap((body) => [u32(body.length), body]));
      let framer = emptyFramer;
      const got: Buffer[] = [];
      for (const size of sizes) {
        if (rest.length === 0) break;
        const fed = feed(framer, rest.subarray(0, size));
        rest = rest.subarray(size);
        framer = fed.framer;
        got.push(...fed.frames);
      }
      expect(got.map((frame) => frame.toString("hex"))).toEqual(sent.map((body) => Buffer.from(body).toString("hex")));
      expect(framer.pendingBytes).toBe(0);
    }),
  );
});

test("a stream of random bytes ends in frames within the limit or in MalformedMessageError", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ minLength: 1, maxLength: 20 }), { maxLength: 20 }), (chunks) => {
      onlyMalformed(() => {
        let framer = emptyFramer;
        for (const chunk of chunks) {
          const fed = feed(framer, Buffer.from(chunk));
          framer = fed.framer;
          for (const frame of fed.frames) expect(frame.length).toBeLessThanOrEqual(MAX_FRAME_BYTES);
        }
      });
    }),
  );
});

test("a framed body comes out as it went in", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2_000 }), (body) => {
      expect(feed(emptyFramer, encodeFrame(body)).frames).toEqual([Buffer.from(body)]);
    }),
  );
});
