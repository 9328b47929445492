// What must survive: a killed agent, a killed charon, an agent that stops and starts under traffic, a broker that is away.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, renameSync, rmSync, mkdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { baseDocuments, connectionPair, type RouterIds } from "../../../scripts/lab-documents.ts";
import { until, type LabDocument } from "../../../scripts/lab.ts";
import { startCapture } from "../../../scripts/world.ts";
import { getConns, getShared, unloadConn, unloadShared } from "../../../src/vici-client/commands.ts";
import { openViciSession } from "../../../src/vici-client/session.ts";
import { anotherCharonRuns, areActive, areSettled, connectionIs, labForThisFile } from "../../support/lab.ts";
import { expectNothingLost, startTraffic } from "../../support/traffic.ts";

const documents =
  (sitePsk: string, quietPsk = "quiet secret") =>
  (routers: RouterIds): readonly LabDocument[] => [
    ...baseDocuments(routers),
    ...connectionPair({ name: "site", left: ["10.1.0.0/24"], right: ["10.2.0.0/24"], psk: sitePsk }),
    ...connectionPair({
      name: "quiet",
      left: ["fd00:1::/64"],
      right: ["fd00:2::/64"],
      psk: quietPsk,
      isOuterIpv6: true,
    }),
  ];

const lab = await labForThisFile({ documents: documents("first secret") });
const spis = async (name: string): Promise<string | undefined> =>
  (await connectionIs(lab.left, name, "ACTIVE")).ikeSpis;

test("an agent that is stopped under traffic loses no packet, and started again it finds the same IKE SAs", async () => {
  await areActive(lab, "site", "quiet");
  await areSettled(lab);
  const before = await Promise.all([spis("site"), spis("quiet")]);
  const pid = lab.left.charon(lab.routers.left)?.pid;
  const traffic = startTraffic(lab.world, "left", "10.2.0.9");
  await until("traffic flows", 5_000, async () => (await lab.world.ping("left", "10.2.0.9")).received > 0);
  await lab.left.stop();
  expect((await lab.world.ping("left", "10.2.0.9", { count: 20 })).received).toBe(20);
  await lab.left.start();
  await areActive(lab, "site", "quiet");
  await expectNothingLost(traffic);
  expect(await Promise.all([spis("site"), spis("quiet")])).toEqual(before);
  expect(lab.left.charon(lab.routers.left)?.pid).toBe(pid);
});

test("an agent killed, its state but the node key deleted and a PSK changed meanwhile: that PSK is in force, the other connection keeps its SPIs", async () => {
  const before = await Promise.all([spis("site"), spis("quiet")]);
  await lab.left.kill();
  const key = readFileSync(`${lab.left.stateDirectory}/node.key`);
  renameSync(`${lab.left.stateDirectory}/node.key`, `${lab.left.directory}/node.key`);
  rmSync(lab.left.stateDirectory, { recursive: true });
  rmSync(lab.left.runDirectory, { recursive: true });
  mkdirSync(lab.left.stateDirectory, { mode: 0o700 });
  renameSync(`${lab.left.directory}/node.key`, `${lab.left.stateDirectory}/node.key`);
  lab.write(documents("changed while it was dead")(lab.routers));
  await lab.left.start();
  await until("site has another IKE SA on both sides", 20_000, async () => {
    const [left, right] = await Promise.all([lab.left.connection("site"), lab.right.connection("site-back")]);
    const isNew = left?.ikeSpis !== undefined && left.ikeSpis !== before[0];
    return isNew && left.status === "ACTIVE" && left.inSync && right?.status === "ACTIVE" && right.inSync;
  });
  expect(await spis("quiet")).toBe(before[1]);
  expect(readFileSync(`${lab.left.stateDirectory}/node.key`)).toEqual(key);
  expect((await lab.world.ping("left", "10.2.0.9", { count: 3 })).received).toBe(3);
});

test("a charon killed by its pid is back without help, and nothing leaves in clear meanwhile", async () => {
  await areActive(lab, "site", "quiet");
  const capture = await startCapture({
    interface: lab.world.bridge,
    filter: "net 10.1.0.0/24 or net 10.2.0.0/24 or net fd00:1::/64 or net fd00:2::/64",
  });
  const traffic = startTraffic(lab.world, "left", "10.2.0.9");
  const charon = lab.left.runningCharon(lab.routers.left);
  process.kill(charon.pid, "SIGKILL");
  await anotherCharonRuns(lab.left, lab.routers.left, charon.pid);
  await until("the host answers again", 15_000, async () => (await lab.world.ping("left", "10.2.0.9")).received > 0);
  await areActive(lab, "site", "quiet");
  await traffic.stop();
  expect(await capture.stop()).toEqual([]);
  expect(await lab.left.metric("swanherd_charon_restarts_total")).toMatch(/ 1$/m);
});

test("documents edited while the broker is away for 20 s are in charon after its return", async () => {
  await areActive(lab, "site", "quiet");
  await lab.rabbitmq.stopBroker();
  const stoppedAt = performance.now();
  lab.write([
    ...documents("edited without a broker")(lab.routers),
    ...connectionPair({ name: "late", left: ["10.1.0.0/24"], right: ["10.3.0.0/24"], psk: "edited without a broker" }),
  ]);
  await until("the agents have noticed", 20_000, async () => !(await lab.left.status()).brokerConnected);
  expect((await lab.world.ping("left", "10.2.0.9", { count: 3 })).received).toBe(3);
  await sleep(Math.max(0, 20_000 - (performance.now() - stoppedAt)));
  await lab.rabbitmq.startBroker();
  await areActive(lab, "site", "quiet", "late");
  await until("the late host answers", 10_000, async () => (await lab.world.ping("left", "10.3.0.9")).received > 0);
});

test("an agent restarted while the broker is away repairs a killed charon from the remembered snapshot", async () => {
  await areActive(lab, "site", "quiet");
  await lab.rabbitmq.stopBroker();
  await lab.left.stop();
  await lab.left.start();
  expect((await lab.left.status()).desired).toBe("remembered");
  process.kill(lab.left.runningCharon(lab.routers.left).pid, "SIGKILL");
  await connectionIs(lab.left, "site", "ACTIVE");
  await until("the host answers again", 15_000, async () => (await lab.world.ping("left", "10.2.0.9")).received > 0);
  expect((await lab.left.status()).brokerConnected).toBe(false);
  await lab.rabbitmq.startBroker();
  await areActive(lab, "site", "quiet");
});

test("what somebody else changes in charon by hand is loaded again, at once where charon tells of it", async () => {
  await areActive(lab, "site", "quiet");
  const before = await Promise.all([spis("site"), spis("quiet")]);
  const vici = await openViciSession({ path: `/run/charon.${lab.namespaces.left}.vici` });
  try {
    const secrets = [...(await getShared(vici))].sort();
    for (const id of secrets) await unloadShared(vici, id);
    let now: readonly string[] = [];
    await until("all secrets are there again", 10_000, async () => {
      now = [...(await getShared(vici))].sort();
      return JSON.stringify(now) === JSON.stringify(secrets);
    }).catch((error: unknown) => {
      const said = lab.left.log().split("\n").slice(-60).join("\n");
      throw new Error(`there were ${secrets.join(" ")}, there are ${now.join(" ")}\n${said}`, { cause: error });
    });
    const [conn] = await getConns(vici);
    await unloadConn(vici, String(conn));
    await lab.left.order("sync");
    await until("the connection is there again", 10_000, async () => (await getConns(vici)).includes(String(conn)));
  } finally {
    await vici.close();
  }
  await areActive(lab, "site", "quiet");
  expect(await Promise.all([spis("site"), spis("quiet")])).toEqual(before);
});

test("a namespace that somebody removed is made again, with its tunnels", async () => {
  execFileSync("ip", ["netns", "delete", lab.namespaces.left]);
  await until("it is there again", 30_000, () => existsSync(`/run/netns/${lab.namespaces.left}`));
  await areActive(lab, "site", "quiet");
  await until("the host answers again", 15_000, async () => (await lab.world.ping("left", "10.2.0.9")).received > 0);
});

test("teardown without an agent takes everything away, and an agent that is started builds it again", async () => {
  await areActive(lab, "site", "quiet");
  await lab.left.stop();
  const teardown = await lab.left.run("teardown", "--yes");
  expect(teardown).toMatchObject({
    exitCode: 0,
    stdout: expect.stringMatching(/^torn down without an agent: 1 router;/) as string,
  });
  expect(existsSync(`/run/netns/${lab.namespaces.left}`)).toBe(false);
  expect(lab.left.charon(lab.routers.left)).toBeUndefined();
  expect(existsSync(`/run/charon.${lab.namespaces.left}.vici`)).toBe(false);
  await lab.left.start();
  await areActive(lab, "site", "quiet");
});
