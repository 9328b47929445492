// Several hosts in a transport URL: the next one is used when one is lost, whatever way it is lost in.
import { randomUUID } from "node:crypto";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { DeadlineError, UnavailableError } from "../../../src/core/errors.ts";
import { createBroker, type BrokerOptions } from "../../../src/io/rabbit/broker.ts";
import { defaultConnectionSettings } from "../../../src/io/rabbit/connection.ts";
import { systemTiming } from "../../../src/io/rabbit/timing.ts";
import {
  createCleanup,
  type LogLine,
  openChannel,
  rememberingLog,
  startBroker,
  transportUrl,
} from "../../support/broker.ts";
import { eventually } from "../../support/eventually.ts";
import { startTcpProxy } from "../../support/tcp-proxy.ts";
import { type PrivateRabbitmq, startPrivateRabbitmq } from "../../../scripts/private-rabbitmq.ts";

const whole = createCleanup();
const cleanup = createCleanup();
afterAll(() => whole.run());
afterEach(() => cleanup.run());

let one: PrivateRabbitmq;
let other: PrivateRabbitmq;
beforeAll(async () => {
  one = await startPrivateRabbitmq();
  whole.add(() => one.stop());
  other = await startPrivateRabbitmq();
  whole.add(() => other.stop());
});

const soon = { timeoutMs: 10_000 };
const pong = { m: () => Promise.resolve("pong") };
/** The hosts in the order of the URL. */
const inOrder = { timing: { ...systemTiming, random: () => 0 } };
const addressOf = ({ port }: { readonly port: number }): string => `127.0.0.1:${String(port)}`;
const PASSWORD = "correct-horse-battery";

/** Losses and returns, as an operator reads them. */
const story = (lines: readonly LogLine[]): readonly string[] =>
  lines
    .filter(({ level, msg }) => level >= 30 && msg.includes("broker"))
    .map(({ msg, broker }) => `${String(broker)}: ${msg}`);

test("from a broker that is stopped to the next one and back, with one line for each loss and return", async () => {
  const topic = randomUUID();
  for (const rabbit of [one, other]) {
    await rabbit.ctl("add_user", "swanherd", PASSWORD);
    await rabbit.ctl("add_vhost", "cloud");
    await rabbit.ctl("set_permissions", "-p", "cloud", "swanherd", ".*", ".*", ".*");
  }
  const login = `swanherd:${PASSWORD}`;
  const url = `rabbit://${login}@${addressOf(one)},${login}@${addressOf(other)}/cloud`;
  const { broker, lines } = await startBroker(cleanup, url, (b) => b.serve(topic, pong), inOrder);
  expect(await broker.call(topic, "m", {}, soon)).toBe("pong");
  expect(await one.ctl("-q", "list_queues", "-p", "cloud", "name")).toContain(topic);

  const backAt = (count: number) =>
    eventually(() => broker.isConnected && lines.filter(({ msg }) => msg.startsWith("connected")).length === count, {
      timeoutMs: 40_000,
      what: "connected to the other one",
    });
  await one.stopBroker();
  await backAt(2);
  expect(await broker.call(topic, "m", {}, soon)).toBe("pong");
  expect(await other.ctl("-q", "list_queues", "-p", "cloud", "name")).toContain(topic);

  await one.startBroker();
  await other.stopBroker();
  await backAt(3);
  expect(await broker.call(topic, "m", {}, soon)).toBe("pong");
  await other.startBroker();

  expect(story(lines)).toEqual([
    `${addressOf(one)}: connected to the broker`,
    `${addressOf(one)}: connection to the broker lost, will reconnect`,
    `${addressOf(one)}: cannot use the broker, will retry`,
    `${addressOf(other)}: connected to the broker`,
    `${addressOf(other)}: connection to the broker lost, will reconnect`,
    `${addressOf(other)}: cannot use the broker, will retry`,
    `${addressOf(one)}: connected to the broker`,
  ]);
  expect(JSON.stringify(lines)).not.toContain(PASSWORD);
});

test("a host that answers no more is given up after the heartbeat timeout, for the next one", async () => {
  const wire = await startTcpProxy(one.port);
  cleanup.add(() => wire.close());
  const topic = randomUUID();
  const url = `rabbit://guest:guest@127.0.0.1:${String(wire.port)},guest:guest@${addressOf(other)}/`;
  const connection = { ...defaultConnectionSettings, heartbeatSeconds: 3 };
  const { broker, lines } = await startBroker(cleanup, url, (b) => b.serve(topic, pong), { ...inOrder, connection });
  expect(await broker.call(topic, "m", {}, soon)).toBe("pong");
  wire.freeze();
  await eventually(() => lines.some(({ msg }) => msg.startsWith("connection to the broker lost")), {
    timeoutMs: 15_000,
    what: "the silence is noticed",
  });
  await eventually(() => broker.isConnected, { timeoutMs: 30_000, what: "connected to the other one" });
  expect(story(lines).at(-1)).toBe(`${addressOf(other)}: connected to the broker`);
  expect(await broker.call(topic, "m", {}, soon)).toBe("pong");
});

// Found by `npm run chaos -- --seed 7104 --faults 52`, in round 11.
test("a connection that is lost at any moment of its beginning is made again", async () => {
  const wire = await startTcpProxy(one.port);
  cleanup.add(() => wire.close());
  const url = `rabbit://guest:guest@127.0.0.1:${String(wire.port)}/`;
  for (let answers = 1, isOver = false; !isOver; answers += 1) {
    const wasCut = wire.cutNextAfter(answers);
    const { broker } = await startBroker(cleanup, url, (b) => b.serve(randomUUID(), pong), inOrder);
    isOver = !wasCut();
    await broker.close();
  }
}, 60_000);

test("an outage of all is told once for each host, not at every try", async () => {
  const wires = [await startTcpProxy(one.port), await startTcpProxy(other.port)];
  for (const wire of wires) cleanup.add(() => wire.close());
  const url = `rabbit://${wires.map(({ port }) => `guest:guest@127.0.0.1:${String(port)}`).join(",")}/`;
  const { broker, lines } = await startBroker(cleanup, url, undefined, inOrder);
  for (const wire of wires) wire.cut();
  const tries = () => lines.filter(({ msg }) => msg === "cannot use the broker, will retry");
  await eventually(() => tries().length >= 6, { timeoutMs: 30_000, what: "three rounds" });
  expect(tries().filter(({ level }) => level >= 40)).toHaveLength(2);
  for (const wire of wires) wire.mend();
  await eventually(() => broker.isConnected, { timeoutMs: 30_000, what: "connected again" });
});

test("a broker that is short of memory is told of, calls end in time, and all goes on afterwards", async () => {
  const topic = randomUUID();
  const { broker, lines } = await startBroker(cleanup, one.url, (b) => b.serve(topic, pong));
  expect(await broker.call(topic, "m", {}, soon)).toBe("pong");
  cleanup.add(() => one.ctl("set_vm_memory_high_watermark", "absolute", "512MB"));
  await one.ctl("set_vm_memory_high_watermark", "absolute", "1MB");
  await expect(broker.call(topic, "m", {}, { timeoutMs: 1000 })).rejects.toThrow(DeadlineError);
  await eventually(() => lines.some(({ msg, why }) => msg === "broker blocks publishing" && why !== undefined), {
    what: "that it blocks is told",
  });
  expect(broker.isConnected).toBe(true);
  await one.ctl("set_vm_memory_high_watermark", "absolute", "512MB");
  await eventually(() => lines.some(({ msg }) => msg === "broker unblocks publishing"), { what: "the end of it" });
  expect(await broker.call(topic, "m", {}, soon)).toBe("pong");
});

/** A broker that is begun, and need not come up. */
function beginAt(url: string, options: Partial<BrokerOptions> = {}) {
  const { log, lines } = rememberingLog();
  const broker = createBroker({ url: transportUrl(url), log, ...options });
  cleanup.add(() => broker.close());
  broker.start();
  return { broker, lines };
}

test("AMQPLAIN, oslo's own login method, lets in with the right password only", async () => {
  const connection = { ...defaultConnectionSettings, loginMethod: "AMQPLAIN" } as const;
  const { broker } = await startBroker(cleanup, one.url, undefined, { connection });
  expect(broker.isConnected).toBe(true);
  expect(await one.ctl("-q", "list_connections", "auth_mechanism")).toContain("AMQPLAIN");
  const wrong = beginAt(`rabbit://guest:${PASSWORD}@${addressOf(one)}/`, { connection });
  await eventually(() => wrong.lines.some(({ level }) => level >= 40), { what: "the refusal" });
  expect(JSON.stringify(wrong.lines)).toContain("ACCESS_REFUSED");
  expect(JSON.stringify(wrong.lines)).not.toContain(PASSWORD);
});

test("a virtual host that is not there is told, and used once it is", async () => {
  const name = `vhost-${randomUUID()}`;
  const { lines, broker } = beginAt(`rabbit://guest:guest@${addressOf(one)}/${name}`);
  await eventually(() => lines.some(({ level }) => level >= 40), { what: "the refusal" });
  expect(JSON.stringify(lines)).toContain(name);
  await expect(broker.call("t", "m", {}, soon)).rejects.toThrow(UnavailableError);
  await one.ctl("add_vhost", name);
  cleanup.add(() => one.ctl("delete_vhost", name));
  await one.ctl("set_permissions", "-p", name, "guest", ".*", ".*", ".*");
  await eventually(() => broker.isConnected, { timeoutMs: 30_000, what: "connected" });
  const { channel } = await openChannel(cleanup, `rabbit://guest:guest@${addressOf(one)}/${name}`);
  await channel.checkExchange("amq.topic");
});
