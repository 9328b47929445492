// Laws of OVSDB's framing: any split, any bytes.
import fc from "fast-check";
import { expect, test } from "vitest";
import { MalformedMessageError } from "../../src/ovsdb-client/errors.ts";
import { emptyFramer, feed } from "../../src/ovsdb-client/framing.ts";
import { decodeServerMessage } from "../../src/ovsdb-client/message.ts";
import { applyUpdates, emptyTables } from "../../src/ovsdb-client/tables.ts";

const text = fc.oneof(fc.string({ unit: "binary", maxLength: 20 }), fc.constantFrom('"', "\\", "{", "]", '\\"}', "ü"));
const message = fc.dictionary(text, fc.oneof(text, fc.integer(), fc.array(text, { maxLength: 3 })), { maxKeys: 4 });

test("messages do not depend on where the socket splits the stream", () => {
  const sizes = fc.infiniteStream(fc.integer({ min: 1, max: 12 }));
  fc.assert(
    fc.property(fc.array(message, { maxLength: 6 }), sizes, (sent, split) => {
      const texts = sent.map((one) => JSON.stringify(one));
      let rest = Buffer.from(texts.join(""));
      let framer = emptyFramer;
      const got: string[] = [];
      for (const size of split) {
        if (rest.length === 0) break;
        const fed = feed(framer, rest.subarray(0, size));
        rest = rest.subarray(size);
        framer = fed.framer;
        got.push(...fed.messages.map(String));
      }
      expect(got).toEqual(texts);
      expect(framer).toEqual(emptyFramer);
    }),
  );
});

/** The value, or that it was refused; any other error goes up. */
function tried<T>(work: () => T): T | "malformed" {
  try {
    return work();
  } catch (error) {
    if (error instanceof MalformedMessageError) return "malformed";
    throw error;
  }
}

test("any bytes end in messages or in MalformedMessageError", () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc.string({ maxLength: 200 }).map((inner) => Buffer.from(`{"method":"update2","params":[${inner}]}`)),
    fc.json({ maxDepth: 4 }).map((inner) => Buffer.from(`{"id":1,"result":${inner},"error":null}`)),
  );
  fc.assert(
    fc.property(bytes, (chunk) => {
      const fed = tried(() => feed(emptyFramer, Buffer.from(chunk)));
      if (fed === "malformed") return;
      for (const one of fed.messages) tried(() => decodeServerMessage(one));
    }),
  );
});

test("any JSON for an update ends in tables or in MalformedMessageError", () => {
  const specs = { T: { columns: { i: "integer", m: "stringMap", s: "string", b: "boolean" } } } as const;
  const column = fc.oneof(fc.jsonValue({ maxDepth: 3 }), fc.constant(["map", [["k", "v"]]]));
  const row = fc.dictionary(fc.constantFrom("i", "m", "s", "b", "__proto__", "toString"), column);
  const change = fc.oneof(
    fc.constantFrom("initial", "insert", "modify", "delete").chain((kind) => row.map((value) => ({ [kind]: value }))),
    fc.constant({ delete: null }),
    fc.jsonValue({ maxDepth: 2 }),
  );
  const updates = fc.dictionary(
    fc.constantFrom("T", "T", "U", "toString"),
    fc.dictionary(fc.constantFrom("r", "q"), change),
  );
  fc.assert(
    fc.property(fc.array(updates, { maxLength: 4 }), (all) => {
      let tables = emptyTables(specs);
      for (const one of all) {
        const next = tried(() => applyUpdates(specs, tables, one));
        if (next !== "malformed") tables = next;
      }
      for (const { i, m, s, b } of tables.T.values()) {
        expect([typeof i, m instanceof Map, typeof s, typeof b]).toEqual(["number", true, "string", "boolean"]);
      }
    }),
  );
});
