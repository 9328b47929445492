// Where messages begin and end, byte by byte.
import { expect, test } from "vitest";
import { MalformedMessageError } from "../../../src/ovsdb-client/errors.ts";
import { emptyFramer, feed, MAX_DEPTH, MAX_MESSAGE_BYTES } from "../../../src/ovsdb-client/framing.ts";
import { ovsdbMessages } from "../../support/ovsdb-golden.ts";

const texts = (chunk: string): string[] => feed(emptyFramer, Buffer.from(chunk)).messages.map(String);

test("recorded messages without anything between them come out one by one", () => {
  const recorded = [...ovsdbMessages.values()];
  expect(recorded).toHaveLength(16);
  expect(texts(recorded.join(""))).toEqual(recorded);
});

test("recorded messages may be split at every byte", () => {
  const [one = "", other = ""] = [...ovsdbMessages.values()].slice(-2);
  const whole = Buffer.from(one + other);
  for (let at = 1; at < whole.length; at += 1) {
    const first = feed(emptyFramer, whole.subarray(0, at));
    const second = feed(first.framer, whole.subarray(at));
    expect([...first.messages, ...second.messages].map(String)).toEqual([one, other]);
    expect(second.framer).toEqual(emptyFramer);
  }
});

test("brackets and escaped quotes inside strings are text", () => {
  const message = String.raw`{"a":"}]\"}{[","b":["\\"]}`;
  expect(texts(message + message)).toEqual([message, message]);
});

test("white space between messages is passed over, and belongs to none", () => {
  expect(texts(' \r\n\t{"a":1}\n {"b": 2} ')).toEqual(['{"a":1}', '{"b": 2}']);
  expect(feed(emptyFramer, Buffer.from(" \n")).framer).toEqual(emptyFramer);
});

test("feeding does not change the state that was given", () => {
  const { framer } = feed(emptyFramer, Buffer.from('{"a":'));
  expect(feed(framer, Buffer.from("1}")).messages.map(String)).toEqual(['{"a":1}']);
  expect(feed(framer, Buffer.from("2}")).messages.map(String)).toEqual(['{"a":2}']);
});

test.each(["[1]", '"a"', "null", "}", "GET / HTTP/1.1"])("what does not begin with a brace is refused: %s", (text) => {
  expect(() => texts(text)).toThrow(MalformedMessageError);
});

test("a message nests as deep as allowed and no deeper", () => {
  const nested = (depth: number): string => `{"a":${"[".repeat(depth - 1)}${"]".repeat(depth - 1)}}`;
  expect(texts(nested(MAX_DEPTH))).toHaveLength(1);
  expect(() => texts(nested(MAX_DEPTH + 1))).toThrow(/nests more than 64 deep/);
});

test("a message over the limit is refused before it is complete, and one at the limit is not", () => {
  const filled = (bytes: number): string => `{"a":"${"x".repeat(bytes - '{"a":""}'.length)}"}`;
  expect(texts(filled(MAX_MESSAGE_BYTES))).toHaveLength(1);
  expect(() => texts(filled(MAX_MESSAGE_BYTES + 1))).toThrow(/more than 4194304 bytes/);
  const { framer } = feed(emptyFramer, Buffer.from('{"a":"'));
  expect(() => feed(framer, Buffer.alloc(MAX_MESSAGE_BYTES, "x"))).toThrow(/more than 4194304 bytes/);
});

test("small messages in one large chunk do not add up to the limit", () => {
  const one = `{"a":"${"x".repeat(1000)}"}`;
  const count = Math.ceil((MAX_MESSAGE_BYTES * 1.5) / one.length);
  expect(texts(one.repeat(count))).toHaveLength(count);
});

test("a large message in small chunks takes linear time", () => {
  const whole = Buffer.from(`{"a":"${"x".repeat(MAX_MESSAGE_BYTES / 4)}"}`);
  let framer = emptyFramer;
  let count = 0;
  const startedAt = performance.now();
  for (let at = 0; at < whole.length; at += 4) {
    const fed = feed(framer, whole.subarray(at, at + 4));
    framer = fed.framer;
    count += fed.messages.length;
  }
  expect(count).toBe(1);
  // Joining at every chunk would copy 128 GiB.
  expect(performance.now() - startedAt).toBeLessThan(5_000);
});
