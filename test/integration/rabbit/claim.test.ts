// The right to serve alone, on a real broker: who has it is named, a dead one bars nobody, and it comes back.
import { randomUUID } from "node:crypto";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { Bar, ClaimOptions } from "../../../src/io/rabbit/claim.ts";
import { systemTiming } from "../../../src/io/rabbit/timing.ts";
import { defaultTopology } from "../../../src/io/rabbit/topology.ts";
import { createBroker, type Broker } from "../../../src/io/rabbit/broker.ts";
import { createCleanup, openChannel, rememberingLog, startBroker, transportUrl } from "../../support/broker.ts";
import { eventually } from "../../support/eventually.ts";
import { startTcpProxy } from "../../support/tcp-proxy.ts";
import { type PrivateRabbitmq, startPrivateRabbitmq } from "../../../scripts/private-rabbitmq.ts";

let rabbit: PrivateRabbitmq;
beforeAll(async () => void (rabbit = await startPrivateRabbitmq()));
afterAll(() => rabbit.stop());
const cleanup = createCleanup();
afterEach(() => cleanup.run());

type Right = { readonly queue: string; readonly topic: string };
const freshRight = (): Right => ({ queue: `claim-${randomUUID()}`, topic: `topic-${randomUUID()}` });

/** What serves the topic alone, as `name`. */
const claimOf = (right: Right, name: string, bars: Bar[]): ClaimOptions => ({
  ...right,
  holder: name,
  onBarred: (bar) => bars.push(bar),
});

type Extra = { readonly nowMs?: () => number; readonly quorumQueue?: boolean };

function start(right: Right, name: string, url = rabbit.url, { nowMs, quorumQueue = false }: Extra = {}) {
  const bars: Bar[] = [];
  const { log } = rememberingLog();
  const timing = { ...systemTiming, ...(nowMs === undefined ? {} : { nowMs }) };
  const topology = { ...defaultTopology, quorumQueue };
  const claim = claimOf(right, name, bars);
  const broker = createBroker({ url: transportUrl(url), log, timing, topology, claim });
  cleanup.add(() => broker.close());
  broker.serve(right.topic, { who: () => Promise.resolve(name) }, { isAlone: true });
  broker.start();
  return { broker, bars };
}

const isConnected = (broker: Broker, what: string) =>
  eventually(() => broker.isConnected, { timeoutMs: 40_000, what: `${what} is connected` });

const whoServes = async (right: Right): Promise<unknown> => {
  const { broker } = await startBroker(cleanup, rabbit.url);
  return broker.call(right.topic, "who", {}, { timeoutMs: 5000 });
};

const consumersOf = async ({ topic }: Right): Promise<number> => {
  const { channel } = await openChannel(cleanup, rabbit.url);
  return (await channel.checkQueue(topic)).consumerCount;
};

test("a second one is told who the first one is, at once, and serves nothing until that one ends", async () => {
  const right = freshRight();
  const first = start(right, "the first one");
  await isConnected(first.broker, "the first");
  const before = performance.now();
  const second = start(right, "the second one");
  await eventually(() => second.bars.length > 0, { what: "the second is barred" });
  expect(performance.now() - before).toBeLessThan(3000);
  expect(second.bars).toEqual([{ kind: "held", by: "the first one" }]);
  expect(second.broker.isConnected).toBe(false);
  expect(await consumersOf(right)).toBe(1);
  await expect(second.broker.cast({ topic: "t", server: "h" }, "m", {})).rejects.toMatchObject({ code: "BROKER_DOWN" });
  expect(await whoServes(right)).toBe("the first one");

  await first.broker.close();
  await isConnected(second.broker, "the second");
  expect(await whoServes(right)).toBe("the second one");
  expect(second.bars).toHaveLength(1);
});

test.each([
  ["classic", false],
  ["quorum", true],
])("one whose process was killed does not bar its successor, with a %s queue", async (_type, quorumQueue) => {
  const right = freshRight();
  const wire = await startTcpProxy(rabbit.port);
  cleanup.add(() => wire.close());
  const first = start(right, "the first one", `rabbit://guest:guest@127.0.0.1:${wire.port}/`, { quorumQueue });
  await isConnected(first.broker, "the first");
  wire.cut();
  const before = performance.now();
  const second = start(right, "the second one", rabbit.url, { quorumQueue });
  await isConnected(second.broker, "the second");
  expect(performance.now() - before).toBeLessThan(3000);
  expect(second.bars).toEqual([]);
});

test("a holder that does not answer may be dead without a word, so it is waited for before it bars", async () => {
  const right = freshRight();
  const { channel, model } = await openChannel(cleanup, rabbit.url);
  await channel.assertQueue(right.queue, { exclusive: true });
  let extraMs = 0;
  const second = start(right, "the second one", rabbit.url, { nowMs: () => systemTiming.nowMs() + extraMs });
  const isAsked = () =>
    eventually(async () => (await channel.get(right.queue, { noAck: true })) !== false, {
      what: "the holder is asked",
    });
  await isAsked();
  await isAsked();
  extraMs = 75_000;
  await isAsked();
  expect(second.bars).toEqual([]);
  extraMs = 91_000;
  await eventually(() => second.bars.length > 0, { timeoutMs: 20_000, what: "it is barred" });
  expect(second.bars).toEqual([{ kind: "held", by: undefined }]);
  await model.close();
  await isConnected(second.broker, "the second");
});

test("whoever else consumes the topic bars, with their number, and nobody is let in beside who serves", async () => {
  const right = freshRight();
  const { channel } = await openChannel(cleanup, rabbit.url);
  await channel.assertQueue(right.topic, { durable: false });
  const tags = [
    await channel.consume(right.topic, () => undefined),
    await channel.consume(right.topic, () => undefined),
  ];
  const second = start(right, "the second one");
  await eventually(() => second.bars.length > 0, { what: "it is barred" });
  expect(second.bars).toEqual([{ kind: "consumed", queue: right.topic, consumers: 2 }]);
  expect(await consumersOf(right)).toBe(2);

  for (const { consumerTag } of tags) await channel.cancel(consumerTag);
  await isConnected(second.broker, "the second");
  const late = await openChannel(cleanup, rabbit.url);
  await expect(late.channel.consume(right.topic, () => undefined)).rejects.toMatchObject({ code: 403 });
  expect(await whoServes(right)).toBe("the second one");
});

test("after a restart of the broker the first one has it again", async () => {
  const right = freshRight();
  const first = start(right, "the first one");
  await isConnected(first.broker, "the first");
  await rabbit.stopBroker();
  await eventually(() => !first.broker.isConnected, { what: "the loss is noticed" });
  await rabbit.startBroker();
  await isConnected(first.broker, "the first");
  expect(first.bars).toEqual([]);
  const second = start(right, "the second one");
  await eventually(() => second.bars.length > 0, { what: "the second is barred" });
  expect(second.bars).toEqual([{ kind: "held", by: "the first one" }]);
});

test("one that comes back too late stands by, and has it again when the other one ends", async () => {
  const right = freshRight();
  const wire = await startTcpProxy(rabbit.port);
  cleanup.add(() => wire.close());
  const first = start(right, "the first one", `rabbit://guest:guest@127.0.0.1:${wire.port}/`);
  await isConnected(first.broker, "the first");
  wire.cut();
  const second = start(right, "the second one");
  await isConnected(second.broker, "the second");
  wire.mend();
  await eventually(() => first.bars.length > 0, { timeoutMs: 40_000, what: "the first is barred" });
  expect(first.bars).toEqual([{ kind: "held", by: "the second one" }]);
  expect([first.broker.isConnected, await whoServes(right)]).toEqual([false, "the second one"]);
  expect(await consumersOf(right)).toBe(1);
  await second.broker.close();
  await isConnected(first.broker, "the first");
  expect(await whoServes(right)).toBe("the first one");
});
