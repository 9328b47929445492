// Real database servers of Open vSwitch with the schemas of Open vSwitch and OVN, each with a directory of its own, and
// what a cloud would write into them. The server is a child that is stopped by its pid; nothing of the machine is used.
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseEndpoints, type Endpoint } from "../../src/ovsdb-client/endpoint.ts";
import type { Json } from "../../src/ovsdb-client/message.ts";
import { openOvsdbSession, type OvsdbSession } from "../../src/ovsdb-client/session.ts";
import type { Cleanup } from "./broker.ts";
import { eventually } from "./eventually.ts";

const SERVER = "/usr/sbin/ovsdb-server";
const SCHEMAS = {
  Open_vSwitch: "/usr/share/openvswitch/vswitch.ovsschema",
  OVN_Southbound: "/usr/share/ovn/ovn-sb.ovsschema",
  OVN_Northbound: "/usr/share/ovn/ovn-nb.ovsschema",
} as const;
type Database = keyof typeof SCHEMAS;

/** Whether there are servers and schemas here; where nothing may be skipped, what is missing is an error. */
export function hasOvsdb(): boolean {
  const missing = [SERVER, "/usr/bin/openssl", ...Object.values(SCHEMAS)].filter((file) => !existsSync(file));
  if (missing.length === 0) return true;
  if (process.env["REQUIRE_NETNS"] === "1") throw new Error(`no ovsdb-server here: ${missing.join(", ")} missing`);
  return false;
}

export function endpointOf(text: string): Endpoint {
  const parsed = parseEndpoints(text);
  if (parsed.kind === "invalid") throw new Error(parsed.problem);
  return parsed.endpoints[0];
}

export function ownDirectory(cleanup: Cleanup): string {
  const directory = mkdtempSync(path.join(tmpdir(), "swanherd-ovsdb-"));
  cleanup.add(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

export type ServerOptions = {
  readonly databases: readonly Database[];
  /** Beside its socket, as ovsdb-server(1) names passive ones. */
  readonly remotes?: readonly string[];
  /** More of the command line, such as the files of TLS. */
  readonly args?: readonly string[];
  /** Files of databases made elsewhere, in place of new ones. */
  readonly files?: readonly string[];
};

export type OvsdbServer = {
  /** `unix:` and its socket. */
  readonly endpoint: string;
  readonly directory: string;
  /** Throws when it does not run. */
  readonly pid: number;
  start(): Promise<void>;
  /** SIGTERM unless told otherwise, and waits for the end. The files stay. */
  stop(signal?: NodeJS.Signals): Promise<void>;
  /** A session that the clean-up closes. */
  open(): Promise<OvsdbSession>;
  transact(database: Database, ...operations: readonly Json[]): Promise<readonly Readonly<Record<string, unknown>>[]>;
};

/** Started, and stopped by the clean-up. */
export async function startOvsdb(cleanup: Cleanup, options: ServerOptions): Promise<OvsdbServer> {
  const directory = ownDirectory(cleanup);
  const socket = path.join(directory, "db.sock");
  const endpoint = `unix:${socket}`;
  const files =
    options.files ?? options.databases.map((name) => createDatabase(path.join(directory, `${name}.db`), name));
  let server: ChildProcess | undefined;
  const open = async (): Promise<OvsdbSession> => {
    const session = await openOvsdbSession({ endpoint: endpointOf(endpoint) });
    cleanup.add(() => session.close());
    return session;
  };
  const made: OvsdbServer = {
    endpoint,
    directory,
    get pid() {
      const pid = server?.exitCode === null && server.signalCode === null ? server.pid : undefined;
      if (pid === undefined) throw new Error(`no server of ${directory} runs`);
      return pid;
    },
    async start() {
      const log = openSync(path.join(directory, "log"), "a", 0o600);
      const remotes = [`punix:${socket}`, ...(options.remotes ?? [])].map((remote) => `--remote=${remote}`);
      const own = [`--unixctl=${path.join(directory, "ctl")}`, "--no-chdir", "-vconsole:info"];
      server = spawn(SERVER, [...own, ...remotes, ...(options.args ?? []), ...files], {
        stdio: ["ignore", log, log],
        env: { ...process.env, OVS_RUNDIR: directory, OVS_LOGDIR: directory, OVS_DBDIR: directory },
      });
      closeSync(log);
      await eventually(
        async () => {
          if (server?.exitCode !== null)
            throw new Error(readFileSync(path.join(directory, "log"), "utf8").slice(-2000));
          const session = await openOvsdbSession({ endpoint: endpointOf(endpoint) });
          await session.close();
          return true;
        },
        { what: "ovsdb-server answers" },
      );
    },
    async stop(signal = "SIGTERM") {
      if (server === undefined || server.exitCode !== null || server.signalCode !== null) return;
      const ended = once(server, "exit");
      server.kill("SIGCONT"); // one that a test has stopped would never end
      server.kill(signal);
      await ended;
    },
    open,
    async transact(database, ...operations) {
      const session = await openOvsdbSession({ endpoint: endpointOf(endpoint) });
      try {
        return await session.transact(database, operations);
      } finally {
        await session.close();
      }
    },
  };
  cleanup.add(() => made.stop());
  await made.start();
  return made;
}

function createDatabase(file: string, name: Database): string {
  execFileSync("ovsdb-tool", ["create", file, SCHEMAS[name]], { stdio: "pipe" });
  return file;
}

export const stringMap = (pairs: Readonly<Record<string, string>>): Json => ["map", Object.entries(pairs)];

/** A local Open vSwitch database that says who we are. */
export async function startLocal(cleanup: Cleanup, ids: Readonly<Record<string, string>>): Promise<OvsdbServer> {
  const server = await startOvsdb(cleanup, { databases: ["Open_vSwitch"] });
  await server.transact("Open_vSwitch", { op: "insert", table: "Open_vSwitch", row: { external_ids: stringMap(ids) } });
  return server;
}

export const setLocal = (server: OvsdbServer, ids: Readonly<Record<string, string>>) =>
  server.transact("Open_vSwitch", {
    op: "update",
    table: "Open_vSwitch",
    where: [],
    row: { external_ids: stringMap(ids) },
  });

/** What ovn-northd, and ovn-controller on the chassis, have written before we come. */
export async function populateSouthbound(server: OvsdbServer, chassis: string, hostname = "gw-left"): Promise<void> {
  await server.transact("OVN_Southbound", { op: "insert", table: "SB_Global", row: { nb_cfg: 7 } });
  await addChassis(server, chassis, hostname);
}

export const addChassis = (server: OvsdbServer, chassis: string, hostname = "gw-left") =>
  server.transact(
    "OVN_Southbound",
    {
      op: "insert",
      table: "Encap",
      "uuid-name": "encap",
      row: { type: "geneve", ip: "192.0.2.1", chassis_name: chassis },
    },
    {
      op: "insert",
      table: "Chassis",
      "uuid-name": "chassis",
      row: { name: chassis, hostname, encaps: ["named-uuid", "encap"] },
    },
    { op: "insert", table: "Chassis_Private", row: { name: chassis, chassis: ["named-uuid", "chassis"] } },
  );

export const removePrivate = (server: OvsdbServer, chassis: string) =>
  server.transact("OVN_Southbound", { op: "delete", table: "Chassis_Private", where: [["name", "==", chassis]] });

export const addPrivate = (server: OvsdbServer, chassis: string, ids: Readonly<Record<string, string>> = {}) =>
  server.transact("OVN_Southbound", {
    op: "insert",
    table: "Chassis_Private",
    row: { name: chassis, external_ids: stringMap(ids) },
  });

export const setGeneration = (server: OvsdbServer, generation: number) =>
  server.transact("OVN_Southbound", { op: "update", table: "SB_Global", where: [], row: { nb_cfg: generation } });

/** `external_ids` of the chassis' row; undefined: there is none. */
export async function idsOf(
  server: OvsdbServer,
  chassis: string,
): Promise<Readonly<Record<string, string>> | undefined> {
  const [result] = await server.transact("OVN_Southbound", {
    op: "select",
    table: "Chassis_Private",
    where: [["name", "==", chassis]],
    columns: ["external_ids"],
  });
  const [row] = result?.["rows"] as readonly { readonly external_ids: readonly ["map", [string, string][]] }[];
  return row && Object.fromEntries(row.external_ids[1]);
}

export type Certificates = Readonly<Record<"ca" | "otherCa" | "server" | "client" | "serverKey" | "clientKey", string>>;

/** Two authorities, and a server and a client of the first; without names, as ovs-pki(8) makes them. */
export function makeCertificates(directory: string): Certificates {
  mkdirSync(directory, { recursive: true });
  const file = (name: string): string => path.join(directory, name);
  const openssl = (...args: readonly string[]): void =>
    void execFileSync("openssl", args, { stdio: "pipe", cwd: directory });
  const days = ["-days", "2"];
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  for (const name of ["ca", "otherCa"]) {
    openssl(
      "req",
      "-x509",
      ...key,
      ...days,
      "-keyout",
      `${name}.key`,
      "-out",
      `${name}.pem`,
      "-subj",
      `/CN=${name} of a test`,
    );
  }
  writeFileSync(file("plain.ext"), "basicConstraints=CA:FALSE\n");
  for (const name of ["server", "client"]) {
    openssl("req", "-new", ...key, "-keyout", `${name}.key`, "-out", `${name}.csr`, "-subj", `/CN=id:${name}`);
    const by = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "plain.ext"];
    openssl("x509", "-req", "-in", `${name}.csr`, ...by, ...days, "-out", `${name}.pem`);
  }
  return {
    ca: file("ca.pem"),
    otherCa: file("otherCa.pem"),
    server: file("server.pem"),
    serverKey: file("server.key"),
    client: file("client.pem"),
    clientKey: file("client.key"),
  };
}
