// Fanouts that are a stream (rabbit_stream_fanout): what is declared, what of it is heard, and how it goes on after losses.
import { randomUUID } from "node:crypto";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { Broker } from "../../../src/io/rabbit/broker.ts";
import { defaultTopology } from "../../../src/io/rabbit/topology.ts";
import { plainProperties } from "../../../src/wire/oslo/properties.ts";
import { encodeRequest } from "../../../src/wire/oslo/request.ts";
import { createCleanup, openChannel, startBroker } from "../../support/broker.ts";
import { eventually } from "../../support/eventually.ts";
import { startTcpProxy } from "../../support/tcp-proxy.ts";
import { type PrivateRabbitmq, startPrivateRabbitmq } from "../../../scripts/private-rabbitmq.ts";

let rabbit: PrivateRabbitmq;
beforeAll(async () => void (rabbit = await startPrivateRabbitmq()));
afterAll(() => rabbit.stop());
const cleanup = createCleanup();
afterEach(() => cleanup.run());

const topology = { ...defaultTopology, transientQuorumQueue: true, streamFanout: true };

/** What oslo.messaging sends to all servers of a topic: no routing key, exchange `<topic>_fanout`. */
async function fanoutTo(topic: string) {
  const { channel } = await openChannel(cleanup, rabbit.url);
  return (n: number): void => {
    const request = { method: "note", args: { n }, namespace: null, version: "1.0", uniqueId: randomUUID() };
    const body = encodeRequest({ ...request, replyTo: null, context: {} });
    channel.publish(`${topic}_fanout`, "", body, { ...plainProperties });
  };
}

/** A server of the topic that remembers what it heard. */
async function listen(topic: string, url = rabbit.url) {
  const heard: unknown[] = [];
  const serve = (bus: Broker): void =>
    bus.serve(topic, { note: ({ n }) => Promise.resolve(void heard.push(n)), m: () => Promise.resolve("pong") });
  return { heard, ...(await startBroker(cleanup, url, serve, { topology })) };
}

const hears = (heard: readonly unknown[], ...wanted: readonly number[]) =>
  eventually(() => heard.length >= wanted.length, { what: `hearing ${wanted.join(", ")}` }).then(() =>
    expect(heard).toEqual(wanted),
  );

test("all servers of a topic read one stream, declared as oslo.messaging declares it", async () => {
  const topic = `topic-${randomUUID()}`;
  const [left, right] = [await listen(topic), await listen(topic)];
  const send = await fanoutTo(topic);
  for (const n of [1, 2, 3]) send(n);
  await hears(left.heard, 1, 2, 3);
  await hears(right.heard, 1, 2, 3);
  // Beside it everything else goes on as ever.
  expect(await left.broker.call(topic, "m", {}, { timeoutMs: 10_000 })).toBe("pong");
  const columns = ["type", "durable", "auto_delete", "arguments"];
  const name = `${topic}_fanout`;
  const queues = await rabbit.ctl("-q", "list_queues", "name", ...columns);
  const line = queues.split("\n").find((one) => one.startsWith(name)) ?? "";
  expect(line).toContain("\ttrue\tfalse\t");
  expect(line).toContain("stream");
  expect(line).toContain("1800s");
  const exchanges = await rabbit.ctl("-q", "list_exchanges", "name", ...columns.slice(0, 3));
  expect(exchanges).toContain(`${name}\tfanout\ttrue\ttrue`);
  expect([...left.lines, ...right.lines].filter(({ level }) => level >= 40)).toEqual([]);
});

test("after a loss of the connection it goes on behind what was heard last, and misses nothing", async () => {
  const topic = `topic-${randomUUID()}`;
  const wire = await startTcpProxy(rabbit.port);
  cleanup.add(() => wire.close());
  const { heard, broker } = await listen(topic, `rabbit://guest:guest@127.0.0.1:${String(wire.port)}/`);
  const send = await fanoutTo(topic);
  for (const n of [1, 2]) send(n);
  await hears(heard, 1, 2);
  wire.cut();
  await eventually(() => !broker.isConnected, { what: "the loss is noticed" });
  for (const n of [3, 4]) send(n);
  wire.mend();
  await eventually(() => broker.isConnected, { what: "connected again" });
  send(5);
  await hears(heard, 1, 2, 3, 4, 5);
});

test("a program that starts hears what is sent from then on, not what is old", async () => {
  const topic = `topic-${randomUUID()}`;
  const first = await listen(topic);
  const send = await fanoutTo(topic);
  send(1);
  await hears(first.heard, 1);
  await first.broker.close();
  const second = await listen(topic);
  send(2);
  await hears(second.heard, 2);
});

test("a stream that is deleted is declared again, and read from its new beginning on", async () => {
  const topic = `topic-${randomUUID()}`;
  const { heard, lines } = await listen(topic);
  const send = await fanoutTo(topic);
  for (const n of [1, 2, 3]) send(n);
  await hears(heard, 1, 2, 3);
  const { channel } = await openChannel(cleanup, rabbit.url);
  await channel.deleteQueue(`${topic}_fanout`);
  await eventually(() => lines.some(({ msg, queue }) => msg.startsWith("consumer cancelled") && queue !== topic), {
    what: "the cancel",
  });
  // How many consumers a stream has, no broker tells; what is sent before there is one again, nobody hears.
  const sendAgain = await fanoutTo(topic);
  let last = 3;
  const hearsAgain = (): boolean => {
    if (heard.length > 3) return true;
    sendAgain((last += 1));
    return false;
  };
  await eventually(hearsAgain, { what: "hearing again" });
  const [next, ...others] = heard.slice(3);
  expect(next).toBeGreaterThan(3);
  expect(others.every((n) => Number(n) > Number(next))).toBe(true);
});

test("a queue of another kind that stands under the stream's name is used as it is, with a warning", async () => {
  const topic = `topic-${randomUUID()}`;
  const { channel } = await openChannel(cleanup, rabbit.url);
  await channel.assertExchange(`${topic}_fanout`, "fanout", { durable: false, autoDelete: true });
  const { lines } = await listen(topic);
  expect(lines.filter(({ level }) => level >= 40)).toMatchObject([
    {
      kind: "fanout exchange",
      argument: "durable",
      option: "rabbit_stream_fanout",
      setting: "amqp.streamFanout",
    },
  ]);
});
