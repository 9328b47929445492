// What the options make of exchanges and queues, read back from the broker; and what stands otherwise already, which is
// used as it is, with one warning that names the option on the other side and our setting.
import { randomUUID } from "node:crypto";
import type { Options } from "amqplib";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { Broker } from "../../../src/io/rabbit/broker.ts";
import { type AmqpTopologyOptions, createDeclarer, defaultTopology } from "../../../src/io/rabbit/topology.ts";
import { decodeRequest, encodeRequest } from "../../../src/wire/oslo/request.ts";
import { createCleanup, type LogLine, openChannel, rememberingLog, startBroker } from "../../support/broker.ts";
import { eventually } from "../../support/eventually.ts";
import { startTcpProxy } from "../../support/tcp-proxy.ts";
import { type PrivateRabbitmq, startPrivateRabbitmq } from "../../../scripts/private-rabbitmq.ts";

let rabbit: PrivateRabbitmq;
beforeAll(async () => void (rabbit = await startPrivateRabbitmq()));
afterAll(() => rabbit.stop());
const cleanup = createCleanup();
afterEach(() => cleanup.run());

const soon = { timeoutMs: 10_000 };
const pong = { m: () => Promise.resolve("pong") };
const names = () => ({ topic: `topic-${randomUUID()}`, exchange: `exchange-${randomUUID()}` });
const optionsOf = (more: Partial<AmqpTopologyOptions>) => ({ ...defaultTopology, ...more });

type Shape = { readonly durable: boolean; readonly auto_delete: boolean; readonly arguments: unknown };
type Listed = Shape & { readonly name: string };

/** What the broker itself says of its exchanges or queues. */
async function listed(kind: "exchanges" | "queues"): Promise<readonly Listed[]> {
  const columns = ["name", "durable", "auto_delete", "arguments"];
  return JSON.parse(await rabbit.ctl("-q", `list_${kind}`, ...columns, "--formatter", "json")) as Listed[];
}

const shapeOf = (all: readonly Listed[], name: string): Shape | undefined => {
  const found = all.find((one) => one.name === name);
  return found && { durable: found.durable, auto_delete: found.auto_delete, arguments: argumentsOf(found.arguments) };
};

/** 3.10 prints them as a list of name, type and value; 4.0 as an object, with the type that it chose itself. */
function argumentsOf(raw: unknown): unknown {
  const entries = Array.isArray(raw)
    ? (raw as [string, string, unknown][]).map(([key, , value]): [string, unknown] => [key, value])
    : Object.entries(raw as Readonly<Record<string, unknown>>);
  return Object.fromEntries(entries.filter(([key, value]) => key !== "x-queue-type" || value !== "classic"));
}

const EXPIRES = { "x-expires": 1_800_000 };
const PLAIN: Shape = { durable: false, auto_delete: false, arguments: {} };

type Row = {
  readonly option: string;
  readonly ours: Partial<AmqpTopologyOptions>;
  readonly exchange?: Partial<Shape>;
  readonly queue?: Partial<Shape>;
  readonly reply?: Partial<Shape>;
};

const ROWS: readonly Row[] = [
  { option: "none", ours: {} },
  {
    option: "amqp_durable_queues",
    ours: { durableQueues: true },
    exchange: { durable: true },
    queue: { durable: true },
  },
  {
    option: "amqp_auto_delete",
    ours: { autoDelete: true },
    exchange: { auto_delete: true },
    queue: { auto_delete: true },
  },
  {
    option: "rabbit_quorum_queue",
    ours: { quorumQueue: true },
    exchange: { durable: true },
    queue: { durable: true, arguments: { "x-queue-type": "quorum" } },
    // Nobody but us declares it; see replyQueueArguments.
    reply: { durable: true },
  },
  {
    option: "rabbit_transient_quorum_queue",
    ours: { transientQuorumQueue: true },
    reply: { durable: true, arguments: { "x-queue-type": "quorum", ...EXPIRES } },
  },
  {
    option: "rabbit_transient_queues_ttl",
    ours: { transientQueuesTtlSeconds: 600 },
    reply: { arguments: { "x-expires": 600_000 } },
  },
  {
    option: "rabbit_transient_queues_ttl of 0",
    ours: { transientQueuesTtlSeconds: 0 },
    reply: { arguments: {} },
  },
];

const warningsIn = (lines: readonly LogLine[]): readonly object[] =>
  lines
    .filter(({ level }) => level >= 40)
    .map(({ msg, kind, argument, option, setting, todo }) => ({ msg, kind, argument, option, setting, todo }));

/** A call of ours through the bus, and the queue to which its answer went. */
async function callThrough(broker: Broker, exchange: string, topic: string): Promise<string> {
  const { channel } = await openChannel(cleanup, rabbit.url);
  const { queue: tap } = await channel.assertQueue("", { exclusive: true });
  await channel.bindQueue(tap, exchange, topic);
  expect(await broker.call(topic, "m", {}, soon)).toBe("pong");
  const request = await eventually(() => channel.get(tap, { noAck: true }), { what: "the request" });
  return decodeRequest(request.content).replyTo?.queue ?? "";
}

test("what is declared is for every option what oslo.messaging declares, and serves", async () => {
  const declared = [];
  for (const { option, ours } of ROWS) {
    const { topic, exchange } = names();
    const serve = (bus: Broker): void => bus.serve(topic, pong);
    const { broker, lines } = await startBroker(cleanup, rabbit.url, serve, { exchange, topology: optionsOf(ours) });
    declared.push({ option, topic, exchange, reply: await callThrough(broker, exchange, topic) });
    expect(warningsIn(lines)).toEqual([]);
  }
  const exchanges = await listed("exchanges");
  const queues = await listed("queues");
  const found = declared.map(({ option, exchange, topic, reply }) => ({
    option,
    exchange: shapeOf(exchanges, exchange),
    queue: shapeOf(queues, topic),
    reply: shapeOf(queues, reply),
  }));
  const wanted = ROWS.map(({ option, exchange, queue, reply }) => ({
    option,
    exchange: { ...PLAIN, ...exchange },
    queue: { ...PLAIN, ...queue },
    reply: { ...PLAIN, arguments: EXPIRES, ...reply },
  }));
  expect(found).toEqual(wanted);
});

type Standing = {
  readonly what: string;
  readonly ours: Partial<AmqpTopologyOptions>;
  /** How it was declared by somebody else, earlier. */
  readonly exchange?: Options.AssertExchange;
  readonly queue?: Options.AssertQueue;
  readonly warning: { readonly argument: string; readonly option?: string; readonly setting?: string };
  readonly todo: string;
};

const DURABLE = { argument: "durable", option: "amqp_durable_queues", setting: "amqp.durableQueues" };
const DURABLE_TODO =
  "set amqp.durableQueues here as amqp_durable_queues is set on the other side, " +
  "or amqp.quorumQueue as rabbit_quorum_queue is";
const AUTO_DELETE = { argument: "auto_delete", option: "amqp_auto_delete", setting: "amqp.autoDelete" };
const AUTO_DELETE_TODO = "set amqp.autoDelete here as amqp_auto_delete is set on the other side";
const QUORUM = { option: "rabbit_quorum_queue", setting: "amqp.quorumQueue" };
const QUORUM_TODO = "set amqp.quorumQueue here as rabbit_quorum_queue is set on the other side";
const A_QUORUM_QUEUE = { durable: true, arguments: { "x-queue-type": "quorum" } };

const STANDING: readonly Standing[] = [
  { what: "a durable exchange", ours: {}, exchange: { durable: true }, warning: DURABLE, todo: DURABLE_TODO },
  {
    what: "a transient exchange where durable queues are asked for",
    ours: { durableQueues: true },
    exchange: { durable: false },
    warning: DURABLE,
    todo: DURABLE_TODO,
  },
  {
    what: "a transient exchange where quorum queues are asked for",
    ours: { quorumQueue: true },
    exchange: { durable: false },
    warning: { argument: "durable", ...QUORUM },
    todo: QUORUM_TODO,
  },
  {
    what: "an exchange that deletes itself",
    ours: {},
    exchange: { durable: false, autoDelete: true },
    warning: AUTO_DELETE,
    todo: AUTO_DELETE_TODO,
  },
  {
    what: "an exchange that does not delete itself where that is asked for",
    ours: { autoDelete: true },
    exchange: { durable: false },
    warning: AUTO_DELETE,
    todo: AUTO_DELETE_TODO,
  },
  { what: "a durable queue", ours: {}, queue: { durable: true }, warning: DURABLE, todo: DURABLE_TODO },
  {
    what: "a transient queue where a durable one is asked for",
    ours: { durableQueues: true },
    queue: { durable: false },
    warning: DURABLE,
    todo: DURABLE_TODO,
  },
  {
    what: "a queue that deletes itself",
    ours: {},
    queue: { durable: false, autoDelete: true },
    warning: AUTO_DELETE,
    todo: AUTO_DELETE_TODO,
  },
  {
    what: "a queue that does not delete itself where that is asked for",
    ours: { autoDelete: true },
    queue: { durable: false },
    warning: AUTO_DELETE,
    todo: AUTO_DELETE_TODO,
  },
  { what: "a quorum queue", ours: {}, queue: A_QUORUM_QUEUE, warning: DURABLE, todo: DURABLE_TODO },
  {
    what: "a quorum queue where a durable one is asked for",
    ours: { durableQueues: true },
    queue: A_QUORUM_QUEUE,
    warning: { argument: "x-queue-type", ...QUORUM },
    todo: QUORUM_TODO,
  },
  {
    what: "a durable queue where a quorum queue is asked for",
    ours: { quorumQueue: true },
    queue: { durable: true },
    warning: { argument: "x-queue-type", ...QUORUM },
    todo: QUORUM_TODO,
  },
  {
    what: "a transient queue where a quorum queue is asked for",
    ours: { quorumQueue: true },
    queue: { durable: false },
    warning: { argument: "durable", ...QUORUM },
    todo: QUORUM_TODO,
  },
  {
    what: "a quorum queue with a delivery limit, for which there is no setting",
    ours: { quorumQueue: true },
    queue: { durable: true, arguments: { "x-queue-type": "quorum", "x-delivery-limit": 5 } },
    warning: { argument: "x-delivery-limit", option: "rabbit_quorum_delivery_limit" },
    todo: "nothing: rabbit_quorum_delivery_limit of the other side is in force as it is",
  },
  {
    what: "a queue that expires, as oslo.messaging declares none",
    ours: {},
    queue: { durable: false, expires: 600_000 },
    warning: { argument: "x-expires" },
    todo: "no option makes it so: it was declared by hand",
  },
];

describe("what stands otherwise is used as it is, with one warning", () => {
  test.each(STANDING)("$what", async ({ ours, exchange: asExchange, queue: asQueue, warning, todo }) => {
    const { topic, exchange } = names();
    const { channel } = await openChannel(cleanup, rabbit.url);
    if (asExchange !== undefined) await channel.assertExchange(exchange, "topic", asExchange);
    if (asQueue !== undefined) await channel.assertQueue(topic, asQueue);
    const seen: unknown[] = [];
    const handlers = { ...pong, note: (args: unknown) => Promise.resolve(void seen.push(args)) };
    const serve = (bus: Broker): void => bus.serve(topic, handlers);
    const { broker, lines } = await startBroker(cleanup, rabbit.url, serve, { exchange, topology: optionsOf(ours) });

    expect(await broker.call(topic, "m", {}, soon)).toBe("pong");
    // From somebody else as well, who knows nothing of how we came to it.
    const request = { method: "note", args: { n: 1 }, namespace: null, version: "1.0", uniqueId: "u1" };
    channel.publish(exchange, topic, encodeRequest({ ...request, replyTo: null, context: {} }));
    await eventually(() => seen.length === 1, { what: "the cast" });
    const kind = asExchange === undefined ? "queue" : "exchange";
    expect(warningsIn(lines)).toEqual([
      {
        msg: "broker has it declared otherwise, used as it is",
        kind,
        argument: warning.argument,
        option: warning.option,
        setting: warning.setting,
        todo,
      },
    ]);
  });

  test.each([
    ["x-max-in-memory-length", 100, "rabbit_quorum_max_memory_length"],
    ["x-max-in-memory-bytes", 1_000_000, "rabbit_quorum_max_memory_bytes"],
  ])("a quorum queue with %s, where the broker compares that at all", async (argument, value, option) => {
    const { topic, exchange } = names();
    const { channel } = await openChannel(cleanup, rabbit.url);
    await channel.assertQueue(topic, { durable: true, arguments: { "x-queue-type": "quorum", [argument]: value } });
    const topology = optionsOf({ quorumQueue: true });
    const serve = (bus: Broker): void => bus.serve(topic, pong);
    const { broker, lines } = await startBroker(cleanup, rabbit.url, serve, { exchange, topology });
    expect(await broker.call(topic, "m", {}, soon)).toBe("pong");
    const warnings = lines.filter(({ level }) => level >= 40);
    expect(warnings.length).toBeLessThanOrEqual(1);
    for (const warning of warnings) expect(warning).toMatchObject({ argument, option });
  });

  test("a queue for replies", async () => {
    const { topic: queue } = names();
    const { model, channel } = await openChannel(cleanup, rabbit.url);
    await channel.assertQueue(queue, { durable: false, expires: 600_000 });
    const { log, lines } = rememberingLog();
    const declarer = createDeclarer(defaultTopology, log);
    await declarer.ensureReplyQueue(model, queue);
    channel.sendToQueue(queue, Buffer.from("an answer"));
    await eventually(() => channel.get(queue, { noAck: true }), { what: "the answer" });
    expect(warningsIn(lines)).toMatchObject([
      {
        kind: "reply queue",
        argument: "x-expires",
        option: "rabbit_transient_queues_ttl",
        setting: "amqp.transientQueuesTtlSeconds",
      },
    ]);
  });

  test("and is not warned of again when the connection was lost and everything is declared anew", async () => {
    const { topic, exchange } = names();
    const { channel } = await openChannel(cleanup, rabbit.url);
    await channel.assertExchange(exchange, "topic", { durable: true });
    await channel.assertQueue(topic, { durable: true });
    const wire = await startTcpProxy(rabbit.port);
    cleanup.add(() => wire.close());
    const url = `rabbit://guest:guest@127.0.0.1:${String(wire.port)}/`;
    const { broker, lines } = await startBroker(cleanup, url, (bus) => bus.serve(topic, pong), { exchange });
    expect(await broker.call(topic, "m", {}, soon)).toBe("pong");
    wire.cut();
    await eventually(() => !broker.isConnected, { what: "the loss is noticed" });
    wire.mend();
    await eventually(() => broker.isConnected, { what: "connected again" });
    expect(await broker.call(topic, "m", {}, soon)).toBe("pong");
    const warnings = lines.filter(({ msg }) => msg.startsWith("broker has it declared otherwise"));
    expect(warnings.map(({ kind }) => kind)).toEqual(["exchange", "queue"]);
  });
});

test("what no queue can be is told with the broker's own words, and not taken for a queue that stands", async () => {
  const { topic, exchange } = names();
  const { model } = await openChannel(cleanup, rabbit.url);
  const { log, lines } = rememberingLog();
  const declarer = createDeclarer(optionsOf({ quorumQueue: true, autoDelete: true }), log);
  await expect(declarer.ensureServerQueue(model, exchange, topic)).rejects.toThrow(/auto.delete/);
  expect(lines).toEqual([]);
});
