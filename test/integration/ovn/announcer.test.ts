// The agent's row in a real southbound database, whatever happens to row, databases and connections. What Neutron hears of
// is judged by its own rule: a row that is made with an id, or whose answer changes while an id stands beside it.
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import type { OvnState } from "../../../src/core/status.ts";
import { createAnnouncer, type Announcer, type AnnouncerOptions } from "../../../src/io/ovn/announcer.ts";
import { freePort } from "../../../scripts/free-port.ts";
import { createCleanup, rememberingLog } from "../../support/broker.ts";
import { eventually } from "../../support/eventually.ts";
import {
  addChassis,
  addPrivate,
  hasOvsdb,
  idsOf,
  makeCertificates,
  ownDirectory,
  populateSouthbound,
  removePrivate,
  setGeneration,
  setLocal,
  startLocal,
  startOvsdb,
  type OvsdbServer,
} from "../../support/ovsdb.ts";

const CHASSIS = "gw-left.example";
/** Of `uuid.uuid5(uuid.uuid5(<Neutron's namespace>, CHASSIS), "vpn_agent")` in Python. */
const AGENT_ID = "a912e17d-1f65-573a-a93b-edeef4fb9e2f";
const ID = "neutron:ovn-vpnagent-id";
const ANSWER = "neutron:ovn-vpnagent-sb-cfg";
const PROBE_MS = 500;

const cleanup = createCleanup();
afterEach(() => cleanup.run());

const systemClock = {
  nowMs: () => Date.now(),
  after(delayMs: number, callback: () => void) {
    const timer = setTimeout(callback, delayMs);
    return () => clearTimeout(timer);
  },
  random: () => 0,
};

type Started = {
  readonly announcer: Announcer;
  readonly states: readonly OvnState[];
  readonly writes: readonly string[];
  readonly lines: ReturnType<typeof rememberingLog>["lines"];
  /** Its lines since the last call, without debug. */
  readonly news: () => readonly string[];
  readonly registered: (what: string) => Promise<void>;
  readonly waits: (why: RegExp) => Promise<void>;
};

function startAnnouncer(options: Partial<AnnouncerOptions> & Pick<AnnouncerOptions, "localDatabase">): Started {
  const { log, lines } = rememberingLog();
  const states: OvnState[] = [];
  const writes: string[] = [];
  let read = 0;
  const announcer = createAnnouncer({
    southbound: "auto",
    privateKey: "/nonexistent/key.pem",
    certificate: "/nonexistent/cert.pem",
    caCertificate: "/nonexistent/ca.pem",
    host: "gw-left",
    clock: systemClock,
    log,
    probeIntervalMs: PROBE_MS,
    onState: (state) => states.push(state),
    onWrite: (result) => writes.push(result),
    ...options,
  });
  cleanup.add(() => announcer.close());
  announcer.start();
  return {
    announcer,
    states,
    writes,
    lines,
    news: () => lines.slice(read, (read = lines.length)).flatMap(({ level, msg }) => (level > 20 ? [msg] : [])),
    async registered(what) {
      await eventually(() => announcer.state.registered, { what }).catch((cause: unknown) => {
        throw new Error(`${what}: ${JSON.stringify(announcer.state)}`, { cause });
      });
    },
    async waits(why) {
      await eventually(() => why.test(announcer.state.why ?? ""), { what: String(why) }).catch((cause: unknown) => {
        throw new Error(`${String(why)}: ${JSON.stringify(announcer.state)}`, { cause });
      });
    },
  };
}

const BACK = "announced in OVN's southbound database";
const LOST = "not announced in OVN's southbound database, nothing is scheduled to this agent";

/** Every look of Neutron at the row, as its agent cache would have it, and every change of the row. */
async function watchAsNeutron(server: OvsdbServer) {
  const session = await server.open();
  const heard: (string | undefined)[] = [];
  let changes = 0;
  let before = new Map<string, ReadonlyMap<string, string>>();
  const specs = { Chassis_Private: { columns: { external_ids: "stringMap" } } } as const;
  await session.monitor("OVN_Southbound", specs, ({ Chassis_Private: rows }) => {
    changes += 1;
    for (const [uuid, { external_ids: ids }] of rows) {
      const old = before.get(uuid);
      const isChanged = (old?.get(ANSWER) ?? -1) !== (ids.get(ANSWER) ?? -1);
      if ((ids.get(ID) ?? "") !== "" && (old === undefined || isChanged)) heard.push(ids.get(ANSWER));
    }
    before = new Map([...rows].map(([uuid, row]) => [uuid, row.external_ids]));
  });
  return { heard, changes: () => changes - 1 };
}

/** A chassis that nothing was announced of yet. */
async function startCloud() {
  const southbound = await startOvsdb(cleanup, { databases: ["OVN_Southbound"] });
  await populateSouthbound(southbound, CHASSIS);
  const local = await startLocal(cleanup, { "system-id": CHASSIS, "ovn-remote": southbound.endpoint });
  return { southbound, local };
}

const answerIs = (server: OvsdbServer, answer: string) =>
  eventually(async () => (await idsOf(server, CHASSIS))?.[ANSWER] === answer, { what: `the answer is ${answer}` });

const suite = hasOvsdb() ? describe : describe.skip;

suite("announcing in OVN", () => {
  test("a chassis gets the agent's id and the answer, which Neutron hears of once, and keeps what it has", async () => {
    const { southbound, local } = await startCloud();
    await removePrivate(southbound, CHASSIS);
    await addPrivate(southbound, CHASSIS, { "neutron:ovn-metadata-id": "of another agent" });
    const neutron = await watchAsNeutron(southbound);
    const { registered, announcer, news, writes } = startAnnouncer({ localDatabase: local.endpoint });
    await registered("announced");
    expect(announcer.state).toEqual({ registered: true, chassis: CHASSIS, southbound: southbound.endpoint });
    expect(await idsOf(southbound, CHASSIS)).toEqual({
      "neutron:ovn-metadata-id": "of another agent",
      [ID]: AGENT_ID,
      [ANSWER]: "7",
    });
    await eventually(() => neutron.heard.length > 0, { what: "Neutron hears" });
    expect([neutron.heard, neutron.changes(), writes, news()]).toEqual([["7"], 1, ["ok"], [BACK]]);
  });

  test("a new generation is answered", async () => {
    const { southbound, local } = await startCloud();
    const { registered, news } = startAnnouncer({ localDatabase: local.endpoint });
    await registered("announced");
    news();
    for (const generation of [8, 9, 0, 10]) {
      await setGeneration(southbound, generation);
      await answerIs(southbound, String(generation));
    }
    expect(news()).toEqual([]);
  });

  test("a thousand generations are answered with a few writes, of which the last one counts", async () => {
    const { southbound, local } = await startCloud();
    const { registered, writes, news, states } = startAnnouncer({ localDatabase: local.endpoint });
    await registered("announced");
    news();
    const neutron = await watchAsNeutron(southbound);
    const session = await southbound.open();
    const bump = (generation: number) => ({ op: "update", table: "SB_Global", where: [], row: { nb_cfg: generation } });
    // One after the other: there is time for an answer to each.
    for (let at = 0; at < 1000; at += 1) await session.transact("OVN_Southbound", [bump(8 + at)]);
    await answerIs(southbound, "1007");
    expect(writes.length).toBeLessThan(100);
    expect(neutron.changes()).toBeLessThan(100);
    expect([news(), states.length]).toEqual([[], 1]);
  });

  test("an agent that is started again writes nothing where all is said, and one that stops takes nothing back", async () => {
    const { southbound, local } = await startCloud();
    const first = startAnnouncer({ localDatabase: local.endpoint });
    await first.registered("announced");
    await first.announcer.close();
    const second = startAnnouncer({ localDatabase: local.endpoint });
    await second.registered("announced again");
    expect(second.writes).toEqual([]);
    expect(await idsOf(southbound, CHASSIS)).toEqual({ [ID]: AGENT_ID, [ANSWER]: "7" });
  });

  test("a row that is deleted and made again is told as lost and back, once each, and Neutron hears of it", async () => {
    const { southbound, local } = await startCloud();
    const neutron = await watchAsNeutron(southbound);
    const { registered, waits, news } = startAnnouncer({ localDatabase: local.endpoint });
    await registered("announced");
    news();
    await removePrivate(southbound, CHASSIS);
    await waits(/no row of Chassis_Private is named "gw-left\.example"/);
    await addPrivate(southbound, CHASSIS);
    await registered("announced in the new row");
    expect(await idsOf(southbound, CHASSIS)).toEqual({ [ID]: AGENT_ID, [ANSWER]: "7" });
    expect(news()).toEqual([LOST, BACK]);
    await eventually(() => neutron.heard.length === 2, { what: "Neutron hears again" });
  });

  test("a row that is replaced in one step counts as lost, so that the list is fetched again", async () => {
    const { southbound, local } = await startCloud();
    const { registered, states, news } = startAnnouncer({ localDatabase: local.endpoint });
    await registered("announced");
    news();
    await southbound.transact(
      "OVN_Southbound",
      { op: "delete", table: "Chassis_Private", where: [["name", "==", CHASSIS]] },
      { op: "insert", table: "Chassis_Private", row: { name: CHASSIS } },
    );
    await eventually(() => states.length === 3, { what: "lost and back" });
    expect(await idsOf(southbound, CHASSIS)).toEqual({ [ID]: AGENT_ID, [ANSWER]: "7" });
    expect(news()).toEqual([LOST, BACK]);
  });

  test("an id that somebody takes away comes back in such a way that Neutron hears of it", async () => {
    const { southbound, local } = await startCloud();
    const { registered, states } = startAnnouncer({ localDatabase: local.endpoint });
    await registered("announced");
    const neutron = await watchAsNeutron(southbound);
    const before = neutron.heard.length;
    await southbound.transact("OVN_Southbound", {
      op: "mutate",
      table: "Chassis_Private",
      where: [["name", "==", CHASSIS]],
      mutations: [["external_ids", "delete", ["set", [ID]]]],
    });
    await eventually(() => states.length === 3, { what: "lost and back" });
    expect(await idsOf(southbound, CHASSIS)).toEqual({ [ID]: AGENT_ID, [ANSWER]: "7" });
    await eventually(() => neutron.heard.slice(before).includes("7"), { what: "Neutron hears the answer" });
  });

  test("an id that is there already stays, and an empty one does not", async () => {
    const { southbound, local } = await startCloud();
    await removePrivate(southbound, CHASSIS);
    await addPrivate(southbound, CHASSIS, { [ID]: "of an operator" });
    const first = startAnnouncer({ localDatabase: local.endpoint });
    await first.registered("announced");
    expect(await idsOf(southbound, CHASSIS)).toEqual({ [ID]: "of an operator", [ANSWER]: "7" });
    await removePrivate(southbound, CHASSIS);
    await addPrivate(southbound, CHASSIS, { [ID]: "" });
    await answerIs(southbound, "7");
    expect(await idsOf(southbound, CHASSIS)).toEqual({ [ID]: AGENT_ID, [ANSWER]: "7" });
  });

  test("a southbound server that is killed and started again is found again", async () => {
    const { southbound, local } = await startCloud();
    const { registered, waits, news } = startAnnouncer({ localDatabase: local.endpoint });
    await registered("announced");
    news();
    await southbound.stop("SIGKILL");
    await waits(/no connection to unix:/);
    await southbound.start();
    await setGeneration(southbound, 8);
    await registered("announced again");
    await answerIs(southbound, "8");
    expect(news()).toEqual([LOST, BACK]);
  });

  test("a southbound server that has lost the row while nobody looked gets it anew", async () => {
    const { southbound, local } = await startCloud();
    const { registered, waits } = startAnnouncer({ localDatabase: local.endpoint });
    await registered("announced");
    await southbound.stop();
    await waits(/no connection/);
    await southbound.start();
    await removePrivate(southbound, CHASSIS);
    await waits(/no row of Chassis_Private/);
    await addPrivate(southbound, CHASSIS);
    await registered("announced in the new row");
  });

  test("of two servers the other one is taken when the first goes, and when it stops answering", async () => {
    const { southbound: first, local } = await startCloud();
    const second = await startOvsdb(cleanup, { databases: ["OVN_Southbound"] });
    await populateSouthbound(second, CHASSIS);
    const { registered, announcer, news } = startAnnouncer({
      localDatabase: local.endpoint,
      southbound: `${first.endpoint},${second.endpoint}`,
    });
    await registered("announced at the first");
    expect(announcer.state.southbound).toBe(first.endpoint);
    news();
    await first.stop();
    await eventually(() => announcer.state.southbound === second.endpoint, { what: "announced at the second" });
    expect(await idsOf(second, CHASSIS)).toEqual({ [ID]: AGENT_ID, [ANSWER]: "7" });
    await first.start();
    process.kill(second.pid, "SIGSTOP");
    await eventually(() => announcer.state.southbound === first.endpoint, {
      timeoutMs: 20_000,
      what: "announced at the first again",
    });
    process.kill(second.pid, "SIGCONT");
    expect(news()).toEqual([LOST, BACK, LOST, BACK]);
  });

  test("servers that are both away are told together, with one line for all attempts", async () => {
    const { local } = await startCloud();
    let pauses = 0;
    const clock = {
      ...systemClock,
      // Every pause is one between rounds; none has to be waited for in earnest.
      after: (_delayMs: number, callback: () => void) => {
        pauses += 1;
        return systemClock.after(10, callback);
      },
    };
    const southbound = "unix:/nonexistent/a.sock,unix:/nonexistent/b.sock";
    const { waits, news } = startAnnouncer({ localDatabase: local.endpoint, southbound, clock });
    await waits(/a\.sock: ENOENT; no connection to .*b\.sock: ENOENT/);
    await eventually(() => pauses >= 10, { what: "ten rounds" });
    expect(news()).toEqual([LOST]);
  });

  test("a chassis that OVN does not have is told by its name, and is announced once it comes", async () => {
    const { southbound, local } = await startCloud();
    await setLocal(local, { "system-id": "gw-rihgt", "ovn-remote": southbound.endpoint });
    const { waits, registered, writes, news, announcer } = startAnnouncer({ localDatabase: local.endpoint });
    await waits(/no row of Chassis_Private is named "gw-rihgt": does ovn-controller run here under that name\?/);
    expect([announcer.state.chassis, writes, news()]).toEqual(["gw-rihgt", [], [LOST]]);
    await addChassis(southbound, "gw-rihgt").catch(() => addPrivate(southbound, "gw-rihgt"));
    await registered("announced under the new name");
    expect(await idsOf(southbound, CHASSIS)).toEqual({});
  });

  test("a database that the server does not have is told, with those that it has", async () => {
    const { local } = await startCloud();
    const { waits } = startAnnouncer({ localDatabase: local.endpoint, southbound: local.endpoint });
    await waits(/the server has no database OVN_Southbound, only Open_vSwitch$/);
  });

  test("a local database that is not there is told, and is found when it comes", async () => {
    const { southbound } = await startCloud();
    const local = await startLocal(cleanup, { "system-id": CHASSIS, "ovn-remote": southbound.endpoint });
    await local.stop();
    const { waits, registered, news } = startAnnouncer({ localDatabase: local.endpoint });
    await waits(/no connection to unix:.*db\.sock: (ENOENT|ECONNREFUSED)/);
    await local.start();
    await registered("announced");
    expect(news()).toEqual([LOST, BACK]);
  });

  test("what the local database does not say yet is named, and used as soon as it says it", async () => {
    const { southbound } = await startCloud();
    const local = await startLocal(cleanup, {});
    const { waits, registered } = startAnnouncer({ localDatabase: local.endpoint });
    await waits(/has no external_ids:system-id/);
    await setLocal(local, { "system-id": CHASSIS });
    await waits(/has no external_ids:ovn-remote/);
    await setLocal(local, { "system-id": CHASSIS, "ovn-remote": "udp:192.0.2.1:6642" });
    await waits(/"udp:192\.0\.2\.1:6642" must begin with unix:, tcp: or ssl:/);
    await setLocal(local, { "system-id": CHASSIS, "ovn-remote": southbound.endpoint });
    await registered("announced");
  });

  test("a chassis that takes another southbound database is announced there", async () => {
    const { local } = await startCloud();
    const other = await startOvsdb(cleanup, { databases: ["OVN_Southbound"] });
    await populateSouthbound(other, CHASSIS);
    const { registered, announcer, news } = startAnnouncer({ localDatabase: local.endpoint });
    await registered("announced");
    news();
    await setLocal(local, { "system-id": CHASSIS, "ovn-remote": other.endpoint });
    await eventually(() => announcer.state.southbound === other.endpoint, { what: "announced there" });
    expect((await idsOf(other, CHASSIS))?.[ID]).toBe(AGENT_ID);
    expect(news()).toEqual([LOST, BACK]);
  });

  test("a restart of the local database does not make us dead", async () => {
    const { southbound, local } = await startCloud();
    const { registered, states, news } = startAnnouncer({ localDatabase: local.endpoint });
    await registered("announced");
    news();
    await local.stop();
    await setGeneration(southbound, 8);
    await answerIs(southbound, "8");
    await local.start();
    await eventually(() => news().includes("the local Open vSwitch database is back"), { what: "it is back" });
    expect(states).toEqual([expect.objectContaining({ registered: true })]);
  });

  test("a southbound database that nobody has initialised is told", async () => {
    const southbound = await startOvsdb(cleanup, { databases: ["OVN_Southbound"] });
    await addChassis(southbound, CHASSIS);
    const local = await startLocal(cleanup, { "system-id": CHASSIS, "ovn-remote": southbound.endpoint });
    const { waits, registered } = startAnnouncer({ localDatabase: local.endpoint });
    await waits(/no row of SB_Global/);
    await southbound.transact("OVN_Southbound", { op: "insert", table: "SB_Global", row: {} });
    await registered("announced");
    expect((await idsOf(southbound, CHASSIS))?.[ANSWER]).toBe("0");
  });

  test("a chassis with another host name is pointed out, once", async () => {
    const { southbound, local } = await startCloud();
    const { registered, lines } = startAnnouncer({ localDatabase: local.endpoint, host: "gw-left.example" });
    await registered("announced");
    await setGeneration(southbound, 8);
    await answerIs(southbound, "8");
    expect(lines.filter(({ chassisHost }) => chassisHost !== undefined)).toEqual([
      expect.objectContaining({ level: 40, host: "gw-left.example", chassisHost: "gw-left" }),
    ]);
  });
});

suite("over TCP and TLS", () => {
  test("a server is reached over TCP, by its name too", async () => {
    const port = await freePort();
    const southbound = await startOvsdb(cleanup, {
      databases: ["OVN_Southbound"],
      remotes: [`ptcp:${port}:127.0.0.1`],
    });
    await populateSouthbound(southbound, CHASSIS);
    const local = await startLocal(cleanup, { "system-id": CHASSIS, "ovn-remote": `tcp:localhost:${port}` });
    const { registered } = startAnnouncer({ localDatabase: local.endpoint });
    await registered("announced");
  });

  async function startTls() {
    const certificates = makeCertificates(ownDirectory(cleanup));
    const port = await freePort();
    const southbound = await startOvsdb(cleanup, {
      databases: ["OVN_Southbound"],
      remotes: [`pssl:${port}:127.0.0.1`],
      args: [
        `--private-key=${certificates.serverKey}`,
        `--certificate=${certificates.server}`,
        `--ca-cert=${certificates.ca}`,
      ],
    });
    await populateSouthbound(southbound, CHASSIS);
    const local = await startLocal(cleanup, { "system-id": CHASSIS, "ovn-remote": `ssl:127.0.0.1:${port}` });
    const files = {
      privateKey: certificates.clientKey,
      certificate: certificates.client,
      caCertificate: certificates.ca,
    };
    return { certificates, southbound, local, files };
  }

  test("a server with a certificate of our authority is talked to, and knows us by ours", async () => {
    const { local, files, southbound } = await startTls();
    const { registered } = startAnnouncer({ localDatabase: local.endpoint, ...files });
    await registered("announced");
    await setGeneration(southbound, 8);
    await answerIs(southbound, "8");
  });

  test("a server whose certificate is of another authority is not talked to", async () => {
    const { local, files, certificates, southbound } = await startTls();
    const { waits, writes } = startAnnouncer({
      localDatabase: local.endpoint,
      ...files,
      caCertificate: certificates.otherCa,
    });
    await waits(/no connection to ssl:127\.0\.0\.1:\d+: .*(SELF_SIGNED|UNABLE_TO)/);
    expect([writes, await idsOf(southbound, CHASSIS)]).toEqual([[], {}]);
  });

  test("a file that is missing is named, one that is no key is not shown, and both are read again later", async () => {
    const { local, files } = await startTls();
    const privateKey = path.join(ownDirectory(cleanup), "key.pem");
    const { waits, registered, lines } = startAnnouncer({ localDatabase: local.endpoint, ...files, privateKey });
    await waits(/key\.pem cannot be read \(ENOENT\)/);
    writeFileSync(privateKey, "not a key: 5ecret");
    await waits(/no connection to ssl:/);
    writeFileSync(privateKey, readFileSync(files.privateKey));
    await registered("announced");
    expect(JSON.stringify(lines)).not.toMatch(/5ecret|PRIVATE KEY/);
  });
});

suite("roles", () => {
  test("a server that lets us read only is told with its own words, and tried again", async () => {
    // As ovn-ctl sets it up: what a client may do is decided by its certificate and the role of the connection.
    const certificates = makeCertificates(ownDirectory(cleanup));
    const port = await freePort();
    const southbound = await startOvsdb(cleanup, {
      databases: ["OVN_Southbound"],
      remotes: ["db:OVN_Southbound,SB_Global,connections"],
      args: [
        `--private-key=${certificates.serverKey}`,
        `--certificate=${certificates.server}`,
        `--ca-cert=${certificates.ca}`,
      ],
    });
    await populateSouthbound(southbound, CHASSIS);
    const setRole = (columns: readonly string[]) =>
      southbound.transact(
        "OVN_Southbound",
        { op: "delete", table: "RBAC_Role", where: [] },
        { op: "delete", table: "Connection", where: [] },
        {
          op: "insert",
          table: "RBAC_Permission",
          "uuid-name": "p",
          row: {
            table: "Chassis_Private",
            authorization: ["set", [""]],
            update: ["set", columns],
            insert_delete: false,
          },
        },
        {
          op: "insert",
          table: "RBAC_Role",
          row: { name: "agents", permissions: ["map", [["Chassis_Private", ["named-uuid", "p"]]]] },
        },
        {
          op: "insert",
          table: "Connection",
          "uuid-name": "c",
          row: { target: `pssl:${port}:127.0.0.1`, role: "agents" },
        },
        { op: "update", table: "SB_Global", where: [], row: { connections: ["set", [["named-uuid", "c"]]] } },
      );
    await setRole([]);
    const local = await startLocal(cleanup, { "system-id": CHASSIS, "ovn-remote": `ssl:127.0.0.1:${port}` });
    const { waits, registered, writes } = startAnnouncer({
      localDatabase: local.endpoint,
      privateKey: certificates.clientKey,
      certificate: certificates.client,
      caCertificate: certificates.ca,
    });
    await waits(/cannot be written: the server refused transact: permission error/);
    expect(writes).toContain("failed");
    await setRole(["external_ids"]);
    await registered("announced");
  });
});
