// What is lost and comes back: the broker, a queue, a channel.
import { randomUUID } from "node:crypto";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { UnavailableError } from "../../../src/core/errors.ts";
import { systemTiming } from "../../../src/io/rabbit/timing.ts";
import { encodeReply } from "../../../src/wire/oslo/reply.ts";
import { decodeRequest, type ReplyTo } from "../../../src/wire/oslo/request.ts";
import { createBroker } from "../../../src/io/rabbit/broker.ts";
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
const pong = { m: () => Promise.resolve("pong") };

test("after a restart of the broker everything stands again and calls work", async () => {
  const topic = freshTopic();
  const said: string[] = [];
  const { broker } = await startBroker(cleanup, rabbit.url, (b) => {
    b.serve(topic, { ...pong, hang: () => new Promise(() => undefined) });
    b.onConnected(() => said.push("connected"));
    b.onDisconnected(() => said.push("disconnected"));
  });
  expect(await broker.call(topic, "m", {}, soon)).toBe("pong");
  const hanging = broker.call(topic, "hang", {}, { timeoutMs: 60_000 });
  const failed = expect(hanging).rejects.toThrow(UnavailableError);

  await rabbit.stopBroker();
  await failed;
  await eventually(() => !broker.isConnected, { what: "the loss is noticed" });
  await expect(broker.call(topic, "m", {}, soon)).rejects.toThrow(UnavailableError);
  await rabbit.startBroker();

  await eventually(() => broker.isConnected, { timeoutMs: 40_000, what: "connected again" });
  expect(await broker.call(topic, "m", {}, soon)).toBe("pong");
  expect(said).toEqual(["connected", "disconnected", "connected"]);
});

test("a host that does not answer is passed over", async () => {
  const topic = freshTopic();
  const url = `rabbit://127.0.0.1:1,guest:guest@127.0.0.1:${rabbit.port}/`;
  const timing = { ...systemTiming, random: () => 0 };
  const { broker, lines } = await startBroker(cleanup, url, (b) => b.serve(topic, pong), { timing });
  expect(await broker.call(topic, "m", {}, soon)).toBe("pong");
  expect(lines.filter(({ msg }) => msg === "cannot use the broker, will retry")).toHaveLength(1);
});

test("a wrong password is told without being shown, and tried again", async () => {
  const { log, lines } = rememberingLog();
  const url = transportUrl(`rabbit://guest:hunter2@127.0.0.1:${rabbit.port}/`);
  const broker = createBroker({ url, log });
  cleanup.add(() => broker.close());
  broker.start();
  await eventually(() => lines.length >= 2, { what: "two attempts" });
  expect(JSON.stringify(lines)).toContain("ACCESS_REFUSED");
  expect(JSON.stringify(lines)).not.toContain("hunter2");
});

test("a deleted queue is declared and consumed again", async () => {
  const topic = freshTopic();
  const { broker, lines } = await startBroker(cleanup, rabbit.url, (b) => b.serve(topic, pong));
  const { channel } = await openChannel(cleanup, rabbit.url);
  await channel.deleteQueue(topic);
  await eventually(() => lines.some(({ msg }) => msg.startsWith("consumer cancelled")), { what: "the cancel" });
  await eventually(() => broker.call(topic, "m", {}, soon), { what: "a call that works again" });
  expect(broker.isConnected).toBe(true);
});

/** Serves `topic` by hand: hands out the next request, and answers it when told to. */
async function serveByHand(topic: string) {
  const { channel } = await openChannel(cleanup, rabbit.url);
  await channel.assertExchange("neutron", "topic", { durable: false });
  await channel.assertQueue(topic, { durable: false });
  await channel.bindQueue(topic, "neutron", topic);
  return {
    channel,
    async next() {
      const message = await eventually(() => channel.get(topic, { noAck: true }), { what: `a request to ${topic}` });
      const { replyTo } = decodeRequest(message.content);
      if (replyTo === null) throw new Error("not a call");
      return replyTo;
    },
    answer({ messageId, queue }: ReplyTo, result: unknown) {
      const part = { messageId, uniqueId: randomUUID(), result, failure: null, ending: true };
      channel.sendToQueue(queue, encodeReply(part));
    },
  };
}

test("a deleted reply queue comes back under the waiting call", async () => {
  const topic = freshTopic();
  const server = await serveByHand(topic);
  const { broker } = await startBroker(cleanup, rabbit.url);
  const call = broker.call(topic, "m", {}, { timeoutMs: 30_000 });
  const replyTo = await server.next();
  await server.channel.deleteQueue(replyTo.queue);
  const { channel } = await openChannel(cleanup, rabbit.url);
  await eventually(
    async () => {
      const probe = await openChannel(cleanup, rabbit.url);
      return (await probe.channel.checkQueue(replyTo.queue)).consumerCount === 1;
    },
    { what: "the reply queue is consumed again" },
  );
  channel.sendToQueue(
    replyTo.queue,
    encodeReply({ ...replyTo, uniqueId: "u", result: 1, failure: null, ending: true }),
  );
  expect(await call).toBe(1);
});

test("a reply queue that is deleted while nobody waits is there again for the next call", async () => {
  const topic = freshTopic();
  // One that tries again when the queue of a caller is missing, as every oslo.messaging server does.
  await startBroker(cleanup, rabbit.url, (b) => b.serve(topic, pong));
  const { broker } = await startBroker(cleanup, rabbit.url);
  const { channel } = await openChannel(cleanup, rabbit.url);
  const { queue: tap } = await channel.assertQueue("", { exclusive: true });
  await channel.bindQueue(tap, "neutron", topic);
  for (let turn = 0; turn < 5; turn++) {
    expect(await broker.call(topic, "m", {}, soon)).toBe("pong");
    const request = await eventually(() => channel.get(tap, { noAck: true }), { what: "the request" });
    await channel.deleteQueue(decodeRequest(request.content).replyTo?.queue ?? "");
  }
});

test("the reply queue keeps its name over a short loss and takes a new one after 60 s", async () => {
  const topic = freshTopic();
  let server = await serveByHand(topic);
  let extraMs = 0;
  const timing = { ...systemTiming, nowMs: () => systemTiming.nowMs() + extraMs };
  const { broker } = await startBroker(cleanup, rabbit.url, () => undefined, { timing });
  const queues: string[] = [];
  async function callOnce() {
    const call = broker.call(topic, "m", {}, soon);
    const replyTo = await server.next();
    server.answer(replyTo, "pong");
    expect(await call).toBe("pong");
    queues.push(replyTo.queue);
  }
  await callOnce();
  for (const absenceMs of [1_000, 60_000]) {
    await rabbit.stopBroker();
    await eventually(() => !broker.isConnected, { what: "the loss is noticed" });
    extraMs += absenceMs;
    await rabbit.startBroker();
    await eventually(() => broker.isConnected, { timeoutMs: 40_000, what: "connected again" });
    server = await serveByHand(topic);
    await callOnce();
  }
  expect(queues[1]).toBe(queues[0]);
  expect(queues[2]).not.toBe(queues[0]);
});

test("a legacy answer in two parts and heartbeats before it make one result", async () => {
  const topic = freshTopic();
  const server = await serveByHand(topic);
  const { broker } = await startBroker(cleanup, rabbit.url);
  const call = broker.call(topic, "m", {}, soon);
  const { messageId, queue } = await server.next();
  const part = { messageId, uniqueId: "u", result: null, failure: null, ending: false };
  for (const sent of [part, part, { ...part, result: [1] }, { ...part, ending: true }, { ...part, result: 2 }]) {
    server.channel.sendToQueue(queue, encodeReply(sent));
  }
  expect(await call).toEqual([1]);
});

test("closing lets a running handler answer", async () => {
  const topic = freshTopic();
  const { broker: caller } = await startBroker(cleanup, rabbit.url);
  let begun = false;
  const { broker: server } = await startBroker(cleanup, rabbit.url, (b) =>
    b.serve(topic, {
      m: (_args, { signal }) =>
        new Promise((resolve) => {
          begun = true;
          signal.addEventListener("abort", () => resolve("said at the last moment"));
        }),
    }),
  );
  const call = caller.call(topic, "m", {}, soon);
  await eventually(() => begun, { what: "the handler runs" });
  await server.close();
  expect(await call).toBe("said at the last moment");
});
