// Requests as other implementations may send them, and the one that we send.
import { expect, test } from "vitest";
import { PayloadError } from "../../../../src/core/errors.ts";
import { adminContext } from "../../../../src/wire/oslo/context.ts";
import { decodeEnvelope } from "../../../../src/wire/oslo/envelope.ts";
import {
  decodeRequest,
  encodeRequest,
  heartbeatIntervalMs,
  UnusableRequestError,
} from "../../../../src/wire/oslo/request.ts";

const body = (value: unknown) => Buffer.from(JSON.stringify(value));

test("a request needs no more than a method", () => {
  expect(decodeRequest(body({ method: "m" }))).toEqual({
    method: "m",
    args: {},
    namespace: null,
    version: "1.0",
    uniqueId: null,
    replyTo: null,
    context: {},
  });
});

test.each([
  ["no method", {}],
  ["args that are an array", { method: "m", args: [] }],
  ["a version that is a number", { method: "m", version: 1 }],
  ["a reply queue that is a number", { method: "m", _msg_id: "a", _reply_q: 1 }],
])("a request with %s is a payload error", (_what, message) => {
  expect(() => decodeRequest(body(message))).toThrow(PayloadError);
});

test.each([
  ["that waits for an answer", { args: [], _msg_id: "a", _reply_q: "q", _timeout: null }, "q"],
  ["that waits nowhere", { _msg_id: "a" }, undefined],
])("an unusable request %s tells where to", (_what, message, queue) => {
  const refused = (() => {
    try {
      return decodeRequest(body(message));
    } catch (error) {
      return error;
    }
  })();
  expect(refused instanceof UnusableRequestError && refused.replyTo?.queue).toBe(queue);
});

test("context keys named after object internals stay plain data", () => {
  const { context } = decodeRequest(Buffer.from('{"method":"m","_context___proto__":{"is_admin":true}}'));
  expect(Object.keys(context)).toEqual(["__proto__"]);
  expect(context["is_admin"]).toBeUndefined();
});

test("a cast carries no key of a call", () => {
  const cast = decodeEnvelope(
    encodeRequest({
      method: "m",
      args: {},
      namespace: null,
      version: "1.0",
      uniqueId: "u",
      replyTo: null,
      context: {},
    }),
  );
  expect(cast).toEqual({ method: "m", args: {}, version: "1.0", _unique_id: "u" });
});

test("B-46: the context we send is an admin's, with Python's form of a time", () => {
  const context = adminContext("req-1", new Date(Date.UTC(2026, 10, 21, 3, 4, 5, 678)));
  expect(context).toMatchObject({ is_admin: true, request_id: "req-1", timestamp: "2026-11-21 03:04:05.678000" });
  expect(context).not.toHaveProperty("trace_info");
});

test.each([
  [null, null],
  [0, null],
  [1, null],
  [1.9, null],
  [2, 1000],
  [60, 30_000],
])("a caller with monitor timeout %s hears from us every %s ms", (monitorTimeoutSeconds, expected) => {
  expect(heartbeatIntervalMs({ messageId: "m", queue: "q", monitorTimeoutSeconds })).toBe(expected);
});
