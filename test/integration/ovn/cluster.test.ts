// A southbound database of three servers, as production has it: one of them may be cut off from the others, and then goes on
// telling what it knew.
import { execFileSync } from "node:child_process";
import path from "node:path";
import { afterEach, expect, test } from "vitest";
import { createAnnouncer } from "../../../src/io/ovn/announcer.ts";
import { freePort } from "../../../scripts/free-port.ts";
import { createCleanup, rememberingLog } from "../../support/broker.ts";
import { eventually } from "../../support/eventually.ts";
import {
  hasOvsdb,
  idsOf,
  ownDirectory,
  populateSouthbound,
  setGeneration,
  startLocal,
  startOvsdb,
  type OvsdbServer,
} from "../../support/ovsdb.ts";

const CHASSIS = "gw-left.example";
const ANSWER = "neutron:ovn-vpnagent-sb-cfg";
/** An election takes a second or two, and there may be several. */
const ELECTION = { timeoutMs: 30_000 };

const cleanup = createCleanup();
afterEach(() => cleanup.run());

async function startCluster(): Promise<readonly [OvsdbServer, OvsdbServer, OvsdbServer]> {
  const directory = ownDirectory(cleanup);
  const addresses = await Promise.all([0, 1, 2].map(async () => `tcp:127.0.0.1:${await freePort()}`));
  const schema = "/usr/share/ovn/ovn-sb.ovsschema";
  const start = async (at: 0 | 1 | 2): Promise<OvsdbServer> => {
    const file = path.join(directory, `${at}.db`);
    const address = addresses[at] ?? "";
    const args =
      at === 0
        ? ["create-cluster", file, schema, address]
        : ["join-cluster", file, "OVN_Southbound", address, addresses[0] ?? ""];
    execFileSync("ovsdb-tool", args, { stdio: "pipe" });
    const server = await startOvsdb(cleanup, { databases: [], files: [file] });
    await eventually(async () => (await (await server.open()).listDatabases()).includes("OVN_Southbound"), {
      ...ELECTION,
      what: `server ${at} has joined`,
    });
    return server;
  };
  return [await start(0), await start(1), await start(2)];
}

const testHere = hasOvsdb() ? test : test.skip;

testHere(
  "a server that is cut off from its cluster is left for one that is not, and is told when there is none",
  async () => {
    const [first, second, third] = await startCluster();
    await populateSouthbound(first, CHASSIS);
    const local = await startLocal(cleanup, { "system-id": CHASSIS });
    const { log } = rememberingLog();
    const announcer = createAnnouncer({
      localDatabase: local.endpoint,
      southbound: `${first.endpoint},${second.endpoint}`,
      privateKey: "/nonexistent",
      certificate: "/nonexistent",
      caCertificate: "/nonexistent",
      host: "gw-left",
      clock: {
        nowMs: () => Date.now(),
        after(delayMs, callback) {
          const timer = setTimeout(callback, delayMs);
          return () => clearTimeout(timer);
        },
        random: () => 0,
      },
      log,
      onState: () => undefined,
      onWrite: () => undefined,
    });
    cleanup.add(() => announcer.close());
    announcer.start();
    await eventually(() => announcer.state.registered, { ...ELECTION, what: "announced" });
    expect(announcer.state.southbound).toBe(first.endpoint);

    await second.stop("SIGKILL");
    await third.stop("SIGKILL");
    await eventually(() => /cut off from the other servers of its cluster/.test(announcer.state.why ?? ""), {
      ...ELECTION,
      what: "the first one is alone",
    });

    await second.start();
    await eventually(() => announcer.state.registered, { ...ELECTION, what: "two of three are enough" });
    await setGeneration(second, 8);
    await eventually(async () => (await idsOf(second, CHASSIS))?.[ANSWER] === "8", { ...ELECTION, what: "the answer" });

    await third.start();
    await first.stop("SIGKILL");
    await eventually(() => announcer.state.southbound === second.endpoint, {
      ...ELECTION,
      what: "announced at the second",
    });
    await setGeneration(third, 9);
    await eventually(async () => (await idsOf(third, CHASSIS))?.[ANSWER] === "9", { ...ELECTION, what: "the answer" });
  },
);
