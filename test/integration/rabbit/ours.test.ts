// Our server and our client on a broker of their own.
import { randomUUID } from "node:crypto";
import { deflateSync } from "node:zlib";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { DeadlineError, PayloadError, RemoteError, UnavailableError } from "../../../src/core/errors.ts";
import { createBroker } from "../../../src/io/rabbit/broker.ts";
import type { MessageResult } from "../../../src/io/rabbit/handler.ts";
import { decodeReply } from "../../../src/wire/oslo/reply.ts";
import { encodeRequest } from "../../../src/wire/oslo/request.ts";
import { createCleanup, openChannel, rememberingLog, startBroker, transportUrl } from "../../support/broker.ts";
import { eventually } from "../../support/eventually.ts";
import { type PrivateRabbitmq, startPrivateRabbitmq } from "../../../scripts/private-rabbitmq.ts";

let rabbit: PrivateRabbitmq;
beforeAll(async () => void (rabbit = await startPrivateRabbitmq()));
afterAll(() => rabbit.stop());
const cleanup = createCleanup();
afterEach(() => cleanup.run());

const freshTopic = () => `topic-${randomUUID()}`;
const soon = { timeoutMs: 10_000 };

test("a call brings arguments there and the result back", async () => {
  const topic = freshTopic();
  const { broker } = await startBroker(cleanup, rabbit.url, (b) =>
    b.serve(topic, { echo: (args, { isCall }) => Promise.resolve({ args, isCall }) }),
  );
  const args = { text: "ünïcode \u0000 \"'", list: [1, null, false], deep: { a: {} } };
  expect(await broker.call(topic, "echo", args, soon)).toEqual({ args, isCall: true });
});

test("a result that is undefined arrives as null", async () => {
  const topic = freshTopic();
  const { broker } = await startBroker(cleanup, rabbit.url, (b) => b.serve(topic, { quiet: () => Promise.resolve() }));
  expect(await broker.call(topic, "quiet", {}, soon)).toBeNull();
});

test("the exception of a handler is a RemoteError at the caller, and the server goes on", async () => {
  const topic = freshTopic();
  const { broker } = await startBroker(cleanup, rabbit.url, (b) =>
    b.serve(topic, {
      refuse: () => Promise.reject(new PayloadError("status is not a list")),
      crash: () => {
        throw new TypeError("with a secret in it");
      },
      cycle: () => {
        const value: Record<string, unknown> = {};
        value["self"] = value;
        return Promise.resolve(value);
      },
    }),
  );
  const refusal = broker.call(topic, "refuse", {}, soon);
  await expect(refusal).rejects.toThrow(RemoteError);
  await expect(refusal).rejects.toMatchObject({
    remoteClass: "PayloadError",
    remoteModule: "swanherd.errors",
    message: "status is not a list",
  });
  const internal = { remoteClass: "InternalError", message: "internal error" };
  await expect(broker.call(topic, "crash", {}, soon)).rejects.toMatchObject(internal);
  await expect(broker.call(topic, "cycle", {}, soon)).rejects.toMatchObject(internal);
});

test.each(["nope", "constructor", "_private", "__proto__"])("the method %s is unknown", async (method) => {
  const topic = freshTopic();
  const { broker } = await startBroker(cleanup, rabbit.url, (b) =>
    b.serve(topic, { _private: () => Promise.resolve("never") }),
  );
  await expect(broker.call(topic, method, {}, soon)).rejects.toMatchObject({
    remoteClass: "NoSuchMethod",
    message: `Endpoint does not support RPC method ${method}`,
  });
});

test("a call to a topic nobody serves fails at once", async () => {
  const { broker } = await startBroker(cleanup, rabbit.url);
  const before = performance.now();
  await expect(broker.call(freshTopic(), "m", {}, { timeoutMs: 60_000 })).rejects.toThrow(/NO_ROUTE/);
  expect(performance.now() - before).toBeLessThan(5_000);
});

test("a call without an answer ends at its deadline, and a late answer disturbs nobody", async () => {
  const topic = freshTopic();
  let release: () => void = () => undefined;
  const { broker, lines } = await startBroker(cleanup, rabbit.url, (b) =>
    b.serve(topic, {
      wait: () => new Promise<void>((resolve) => (release = resolve)),
      ping: () => Promise.resolve("still here"),
    }),
  );
  await expect(broker.call(topic, "wait", {}, { timeoutMs: 300 })).rejects.toThrow(DeadlineError);
  release();
  await eventually(() => lines.find(({ msg }) => msg === "reply to no call of ours dropped"), { what: "late reply" });
  expect(await broker.call(topic, "ping", {}, soon)).toBe("still here");
});

test("an aborted call ends with the reason of its signal", async () => {
  const topic = freshTopic();
  const { broker } = await startBroker(cleanup, rabbit.url, (b) =>
    b.serve(topic, {
      wait: (_args, { signal }) => new Promise((resolve) => signal.addEventListener("abort", resolve)),
    }),
  );
  const abort = new AbortController();
  const call = broker.call(topic, "wait", {}, { timeoutMs: 60_000, signal: abort.signal });
  abort.abort(new Error("enough"));
  await expect(call).rejects.toThrow("enough");
  await expect(broker.call(topic, "wait", {}, { timeoutMs: 60_000, signal: abort.signal })).rejects.toThrow("enough");
});

test("a broker that was never reached refuses calls and casts at once", async () => {
  const broker = createBroker({ url: transportUrl("rabbit://127.0.0.1:1/"), log: rememberingLog().log });
  cleanup.add(() => broker.close());
  broker.start();
  await expect(broker.call("t", "m", {}, soon)).rejects.toThrow(UnavailableError);
  await expect(broker.cast({ topic: "t", server: "h" }, "m", {})).rejects.toThrow(UnavailableError);
});

test("handlers begin in the order of the casts and run side by side", async () => {
  const host = randomUUID();
  const begun: unknown[] = [];
  const { broker } = await startBroker(cleanup, rabbit.url, (b) =>
    b.serve(`ipsec_agent.${host}`, {
      note: ({ n }) => {
        begun.push(n);
        return new Promise(() => undefined);
      },
    }),
  );
  const numbers = Array.from({ length: 50 }, (_, n) => n);
  await Promise.all(numbers.map((n) => broker.cast({ topic: "ipsec_agent", server: host }, "note", { n })));
  await eventually(() => begun.length === numbers.length, { what: "all casts begun" });
  expect(begun).toEqual(numbers);
});

test("a message with a known unique id is dropped", async () => {
  const topic = freshTopic();
  let runs = 0;
  const results: MessageResult[] = [];
  await startBroker(cleanup, rabbit.url, (b) => b.serve(topic, { m: () => Promise.resolve((runs += 1)) }), {
    onMessage: ({ result }) => results.push(result),
  });
  const { channel } = await openChannel(cleanup, rabbit.url);
  const body = encodeRequest({
    method: "m",
    args: {},
    namespace: null,
    version: "1.0",
    uniqueId: "9dc6",
    replyTo: null,
    context: {},
  });
  channel.publish("neutron", topic, body);
  channel.publish("neutron", topic, body);
  await eventually(() => results.length === 2, { what: "both messages seen" });
  expect([runs, results.toSorted()]).toEqual([1, ["duplicate", "ok"]]);
});

test("undecodable messages are counted and rejected, and the next call is served", async () => {
  const topic = freshTopic();
  const results: unknown[] = [];
  const { broker } = await startBroker(
    cleanup,
    rabbit.url,
    (b) => b.serve(topic, { m: () => Promise.resolve("fine") }),
    { onMessage: (message) => results.push(message) },
  );
  const { channel } = await openChannel(cleanup, rabbit.url);
  for (const body of ["", "{", "[]", '{"oslo.version":"9.9","oslo.message":"{}"}', '{"args":{}}', "\xff\xfe"]) {
    channel.publish("neutron", topic, Buffer.from(body, "latin1"));
  }
  channel.publish("neutron", topic, Buffer.from("{}"), { headers: { compression: "application/x-bz2" } });
  await eventually(() => results.length === 7, { what: "all of them seen" });
  expect(results).toEqual(Array(7).fill({ method: "unknown", result: "undecodable" }));
  expect(await broker.call(topic, "m", {}, soon)).toBe("fine");
  expect((await channel.checkQueue(topic)).messageCount).toBe(0);
});

test("a body compressed the way kombu calls gzip is read", async () => {
  const topic = freshTopic();
  const seen: unknown[] = [];
  await startBroker(cleanup, rabbit.url, (b) => b.serve(topic, { m: (args) => Promise.resolve(seen.push(args)) }));
  const { channel } = await openChannel(cleanup, rabbit.url);
  const headers = { compression: "application/x-gzip" };
  channel.publish("neutron", topic, deflateSync('{"method":"m","args":{"a":1}}'), { headers });
  await eventually(() => seen.length === 1, { what: "the request served" });
  expect(seen).toEqual([{ a: 1 }]);
});

test("an answer waits for the queue of a caller that comes back", async () => {
  const topic = freshTopic();
  await startBroker(cleanup, rabbit.url, (b) => b.serve(topic, { m: () => Promise.resolve(42) }));
  const { channel } = await openChannel(cleanup, rabbit.url);
  const queue = `reply_${randomUUID()}`;
  const replyTo = { messageId: "m1", queue, monitorTimeoutSeconds: null };
  const request = { method: "m", args: {}, namespace: null, version: "1.0", uniqueId: "u1", replyTo, context: {} };
  channel.publish("neutron", topic, encodeRequest(request));
  await channel.assertQueue(queue, { expires: 60_000 });
  const reply = await eventually(() => channel.get(queue, { noAck: true }), { what: "the answer" });
  expect(decodeReply(reply.content)).toMatchObject({ messageId: "m1", result: 42, ending: true });
  expect(reply.properties).toMatchObject({
    contentType: "application/json",
    contentEncoding: "utf-8",
    deliveryMode: 2,
    priority: 0,
  });
});
