// A whole agent with `ovn.enabled`: when it takes messages in, and what it tells of its announcement.
import { execFileSync } from "node:child_process";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { freePort } from "../../../scripts/free-port.ts";
import { Agent, PROGRAM } from "../../../scripts/lab.ts";
import { startPrivateRabbitmq, type PrivateRabbitmq } from "../../../scripts/private-rabbitmq.ts";
import { createCleanup, openChannel, startBroker } from "../../support/broker.ts";
import { eventually } from "../../support/eventually.ts";
import {
  addPrivate,
  hasOvsdb,
  idsOf,
  ownDirectory,
  populateSouthbound,
  removePrivate,
  startLocal,
  startOvsdb,
  type OvsdbServer,
} from "../../support/ovsdb.ts";
import { scrape } from "../../support/scrape.ts";

const CHASSIS = "0b2a6ce4-55d8-4a4b-9f0c-8b1f7a7d1c11";
const HOST = "gw-left";
const isPossible = hasOvsdb() && process.getuid?.() === 0;
const testHere = isPossible ? test : test.skip;

const cleanup = createCleanup();
let rabbit: PrivateRabbitmq;
let southbound: OvsdbServer;
let agent: Agent;
let fetches = 0;

beforeAll(async () => {
  if (!isPossible) return;
  rabbit = await startPrivateRabbitmq();
  cleanup.add(() => rabbit.stop());
  southbound = await startOvsdb(cleanup, { databases: ["OVN_Southbound"] });
  await populateSouthbound(southbound, CHASSIS, HOST);
  await removePrivate(southbound, CHASSIS);
  const local = await startLocal(cleanup, { "system-id": CHASSIS, "ovn-remote": southbound.endpoint });
  await startBroker(cleanup, rabbit.url, (broker) =>
    broker.serve("ipsec_driver", {
      get_vpn_services_on_host: () => {
        fetches += 1;
        return Promise.resolve([]);
      },
    }),
  );
  const config = {
    transportUrl: rabbit.url,
    supervisor: "process",
    espBackEnd: "userland",
    ovn: { enabled: true, localDatabase: local.endpoint },
  };
  agent = new Agent(HOST, path.join(ownDirectory(cleanup), HOST), config, { httpPort: await freePort() });
  cleanup.add(() => agent.stop());
  await agent.start();
});
afterAll(() => cleanup.run());

const ready = async () => {
  const response = await fetch(`http://127.0.0.1:${agent.httpPort}/readyz`);
  const { missing } = (await response.json()) as { readonly missing: readonly string[] };
  return { code: response.status, missing };
};
const metric = async (name: string, labels?: Readonly<Record<string, string>>) =>
  (await scrape(agent)).value(`swanherd_${name}`, labels);
const statusText = (): string =>
  execFileSync(process.execPath, [PROGRAM, "status", "--socket", agent.socket], { encoding: "utf8" });
const registered = (what: string) =>
  eventually(async () => (await agent.status()).ovn?.registered, { what }).catch((cause: unknown) => {
    throw new Error(`${what}:\n${agent.log().slice(-2000)}`, { cause });
  });

/** Undefined: there is no such queue. */
async function consumers(): Promise<number | undefined> {
  const { channel } = await openChannel(cleanup, rabbit.url);
  return channel.checkQueue(`ipsec_agent.${HOST}`).then(
    ({ consumerCount }) => consumerCount,
    () => undefined,
  );
}

testHere("while the chassis has no row nothing is taken in or asked for, and it is said why", async () => {
  const why = `no row of Chassis_Private is named "${CHASSIS}": does ovn-controller run here under that name?`;
  await eventually(async () => (await agent.status()).ovn?.why === why, { what: "the reason" });
  expect(await agent.status()).toMatchObject({
    brokerConnected: false,
    desired: "unknown",
    ovn: { registered: false, chassis: CHASSIS, why },
  });
  expect(await ready()).toEqual({
    code: 503,
    missing: [`ovn: ${why}`, "broker: not connected", "control plane: desired state is unknown"],
  });
  expect([await consumers(), fetches, await metric("ovn_registered")]).toEqual([undefined, 0, 0]);
  const stdout = statusText();
  expect(stdout).toContain("NOT ANNOUNCED IN OVN");
  expect(stdout).toContain(`OVN: ${why}`);
});

testHere("once it is announced, messages are taken in and the list is fetched", async () => {
  await addPrivate(southbound, CHASSIS);
  await registered("announced");
  expect(await idsOf(southbound, CHASSIS)).toMatchObject({ "neutron:ovn-vpnagent-sb-cfg": "7" });
  await eventually(async () => (await ready()).code === 200, { timeoutMs: 20_000, what: "ready" });
  expect([await consumers(), fetches > 0]).toEqual([1, true]);
  expect([await metric("ovn_registered"), await metric("ovn_writes_total", { result: "ok" })]).toEqual([1, 1]);
  const stdout = statusText();
  expect(stdout.split("\n")[0]).toContain(`announced in OVN as ${CHASSIS}`);
});

testHere(
  "while the row is away the agent goes on taking messages in, and fetches the list when it is back",
  async () => {
    const before = fetches;
    await removePrivate(southbound, CHASSIS);
    await eventually(async () => (await metric("ovn_registered")) === 0, { what: "the loss" });
    expect(await ready()).toEqual({ code: 503, missing: [expect.stringMatching(/^ovn: no row of Chassis_Private/)] });
    expect([await consumers(), (await agent.status()).brokerConnected]).toEqual([1, true]);
    await addPrivate(southbound, CHASSIS);
    await registered("announced again");
    await eventually(() => fetches > before, { what: "the list is fetched" });
    expect((await ready()).code).toBe(200);
  },
);

testHere("an agent that stops leaves its row as it is", async () => {
  await agent.stop();
  expect(await idsOf(southbound, CHASSIS)).toMatchObject({ "neutron:ovn-vpnagent-sb-cfg": "7" });
  const words = agent
    .log()
    .split("\n")
    .filter((line) => /announced in OVN's southbound/.test(line))
    .map((line) => (JSON.parse(line) as { readonly msg: string }).msg.split(" ")[0]);
  expect(words).toEqual(["not", "announced", "not", "announced"]);
});
