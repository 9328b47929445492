// Two control planes on one bus: the second refuses and names the first, and whoever lost the bus serves nothing.
import { existsSync } from "node:fs";
import { hostname } from "node:os";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { Broker } from "../../../src/io/rabbit/broker.ts";
import { createControlPlane } from "../../../src/io/rabbit/control-plane.ts";
import { createCleanup, openChannel, startBroker } from "../../support/broker.ts";
import { ControllerProgram } from "../../support/controller-program.ts";
import { eventually } from "../../support/eventually.ts";
import { startTcpProxy } from "../../support/tcp-proxy.ts";
import { startPrivateRabbitmq, type PrivateRabbitmq } from "../../../scripts/private-rabbitmq.ts";

const TOPIC = "ipsec_driver";

let rabbit: PrivateRabbitmq;
beforeAll(async () => void (rabbit = await startPrivateRabbitmq()));
afterAll(() => rabbit.stop());
const cleanup = createCleanup();
afterEach(() => cleanup.run());

/** Counts what the agent of the sample's left gateway is told. */
async function startAgentsEar(): Promise<{ readonly broker: Broker; readonly casts: unknown[] }> {
  const casts: unknown[] = [];
  const { broker } = await startBroker(cleanup, rabbit.url, (bus) => {
    bus.serve("ipsec_agent.gw-left", { vpnservice_updated: (args) => Promise.resolve(void casts.push(args)) });
  });
  return { broker, casts };
}

const fetchFrom = (broker: Broker) =>
  createControlPlane(broker, { host: "gw-left", timeoutMs: () => 5000 }).fetchRouters(new AbortController().signal);

const nameOf = (controller: ControllerProgram): string =>
  `${hostname()} (pid ${controller.pid ?? "?"}, documents ${controller.documents})`;

test("a second controller ends with exit code 69 and the first one's name, and has touched nothing", async () => {
  const { broker, casts } = await startAgentsEar();
  const first = new ControllerProgram(cleanup, rabbit.url).start();
  await first.isServing("the first");
  await eventually(() => casts.length === 1, { what: "the agent is told by the first" });

  const second = new ControllerProgram(cleanup, rabbit.url).start();
  expect(await second.ended()).toEqual({
    code: 69,
    stderr: `another controller serves this bus: ${nameOf(first)}; stop the other one, or use another virtual host\n`,
  });
  expect([existsSync(second.stateDirectory), existsSync(second.socket)]).toEqual([false, false]);
  expect(casts).toHaveLength(1);
  expect(first.log().filter(({ level }) => ["warn", "error", "fatal"].includes(level))).toEqual([]);
  expect((await fetchFrom(broker)).routers.size).toBe(1);
});

test("a controller refuses a bus that a Neutron server consumes, and takes none of its messages", async () => {
  const { channel } = await openChannel(cleanup, rabbit.url);
  await channel.assertExchange("neutron", "topic", { durable: false });
  await channel.assertQueue(TOPIC, { durable: false });
  await channel.bindQueue(TOPIC, "neutron", TOPIC);
  let received = 0;
  await channel.consume(TOPIC, () => void (received += 1), { noAck: true });
  const controller = new ControllerProgram(cleanup, rabbit.url).start();
  expect(await controller.ended()).toEqual({
    code: 69,
    stderr: `somebody else serves this bus, perhaps a Neutron server: ${TOPIC} has 1 consumer; stop the other one, or use another virtual host\n`,
  });
  for (let sent = 0; sent < 4; sent++) channel.publish("neutron", TOPIC, Buffer.from("{}"));
  await eventually(() => received === 4, { what: "all of its messages" });
  expect(existsSync(controller.stateDirectory)).toBe(false);
});

test("the successor of a killed controller serves at once, with the statuses that were reported", async () => {
  const { broker } = await startAgentsEar();
  const controller = new ControllerProgram(cleanup, rabbit.url).start();
  await controller.isServing("it");
  const controlPlane = createControlPlane(broker, { host: "gw-left", timeoutMs: () => 5000 });
  const { signal } = new AbortController();
  const connectionOf = async () => [...(await controlPlane.fetchRouters(signal)).routers.values()][0]?.connections[0];
  const before = await connectionOf();
  if (before?.kind !== "usable") throw new Error("the sample's connection is not usable");
  const { id, service, reportedStatus: fetchedStatus } = before;
  expect(fetchedStatus).toBe("PENDING_CREATE");
  await controlPlane.reportStatus(
    [{ id: service, status: "ACTIVE", fetchedStatus, connections: [{ id, status: "ACTIVE", fetchedStatus }] }],
    signal,
  );
  await controller.kill();
  controller.start();
  await controller.isServing("its successor");
  expect((await connectionOf())?.reportedStatus).toBe("ACTIVE");
  await controller.stop();
  controller.start();
  await controller.isServing("the next one");
  expect((await connectionOf())?.reportedStatus).toBe("ACTIVE");
  expect(JSON.stringify(await controller.status())).toContain('"status":"ACTIVE"');
});

test("after a restart of the broker the first controller serves again, and a second is refused as before", async () => {
  const first = new ControllerProgram(cleanup, rabbit.url).start();
  await first.isServing("the first");
  await rabbit.stopBroker();
  await eventually(async () => !(await first.serves()), { what: "the loss is noticed" });
  await rabbit.startBroker();
  await first.isServing("the first");
  const { broker } = await startAgentsEar();
  expect((await fetchFrom(broker)).routers.size).toBe(1);
  const second = new ControllerProgram(cleanup, rabbit.url).start();
  expect(await second.ended()).toMatchObject({ code: 69, stderr: expect.stringContaining(nameOf(first)) as string });
});

test("a controller that comes back to a taken bus says so and stands by; free again, it serves and tells agents", async () => {
  const { broker, casts } = await startAgentsEar();
  const wire = await startTcpProxy(rabbit.port);
  cleanup.add(() => wire.close());
  const first = new ControllerProgram(cleanup, `rabbit://guest:guest@127.0.0.1:${wire.port}/`).start();
  await first.isServing("the first");
  wire.cut();
  const second = new ControllerProgram(cleanup, rabbit.url).start();
  await second.isServing("the second");
  wire.mend();

  const barredBy = `another controller serves this bus: ${nameOf(second)}`;
  const said = await eventually(() => first.log().find((line) => line["barredBy"] === barredBy), {
    timeoutMs: 40_000,
    what: "the first says so",
  });
  expect(said).toMatchObject({
    level: "error",
    msg: "the bus is somebody else's now, nothing is served here until it is free again",
  });
  expect(await first.status()).toMatchObject({ brokerConnected: false, standingBy: barredBy });
  const { channel } = await openChannel(cleanup, rabbit.url);
  expect((await channel.checkQueue(TOPIC)).consumerCount).toBe(1);
  expect((await fetchFrom(broker)).routers.size).toBe(1);

  const told = casts.length;
  await second.stop();
  await first.isServing("the first");
  await eventually(() => casts.length > told, { what: "the agent is told to look" });
  expect(await first.status()).not.toHaveProperty("standingBy");
  expect(first.log().map(({ msg }) => msg)).toContain("the bus is this controller's again");
});
