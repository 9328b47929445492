// A RabbitMQ of our own for tests and the demo: own ports on 127.0.0.1, own node name, cookie and data, no epmd at all.
// A broker that is already on the machine is neither asked nor touched.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { freePort } from "./free-port.ts";
import { patiently } from "./patience.ts";
import { argumentsOf, isRunning, ownId, readProcesses, type ProcessId } from "./processes.ts";

// Debian's /usr/sbin/rabbitmq-server insists on the user rabbitmq and on /var/lib/rabbitmq; the script it wraps does not.
const SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const CTL = "/usr/lib/rabbitmq/bin/rabbitmqctl";
const DIRECTORY_PREFIX = "swanherd-test-rabbit-";
const POLL_MS = 20;
const START_TIMEOUT_MS = patiently(60_000);
const run = promisify(execFile);
const GRACE_MS = patiently(10_000);
// AMQP 0-9-1 section 4.2.2: the client opens with this header, a ready broker answers with a method frame (type 1).
const PROTOCOL_HEADER = Buffer.from("AMQP\x00\x00\x09\x01", "latin1");
const METHOD_FRAME = 1;

/** A second listener, with TLS; the files are PEM. */
export type TlsListener = {
  readonly caFile: string;
  readonly certFile: string;
  readonly keyFile: string;
  /** Nobody without a certificate signed by `caFile` is let in. */
  readonly wantsClientCertificate: boolean;
  /** The common name of such a certificate may be the login (mechanism EXTERNAL). */
  readonly isLogin?: boolean;
};

export type PrivateRabbitmqOptions = { readonly tls?: TlsListener };

export type PrivateRabbitmq = {
  readonly url: string;
  readonly port: number;
  /** Of the listener with TLS; undefined without one. */
  readonly tlsPort: number | undefined;
  readonly directory: string;
  /** Where the broker writes what it has to say; worth reading when it does not start. */
  readonly logFile: string;
  /** Starts the broker, again on the same port and data after stopBroker. Resolves once it answers AMQP. */
  startBroker(): Promise<void>;
  /** What a command of rabbitmqctl about this broker answers. Starts an Erlang of its own, which takes a second or two. */
  ctl(...args: readonly string[]): Promise<string>;
  /** Stops the broker and keeps its data. */
  stopBroker(): Promise<void>;
  /** Ends the broker and its helpers at once and removes everything it wrote. */
  stop(): Promise<void>;
};

/** The process and everything below it: beam, erl_child_setup, inet_gethost. */
function familyOf(root: number): ProcessId[] {
  const all = readProcesses();
  const family: ProcessId[] = [];
  const waiting = all.filter(({ pid }) => pid === root);
  for (let member = waiting.pop(); member !== undefined; member = waiting.pop()) {
    const { pid } = member;
    family.push(member);
    waiting.push(...all.filter(({ parent }) => parent === pid));
  }
  return family;
}

function kill({ pid, startTime }: ProcessId, signal: NodeJS.Signals): void {
  if (!isRunning({ pid, startTime })) return;
  try {
    process.kill(pid, signal);
  } catch {
    // It ended between the look and the signal.
  }
}

async function ended(family: readonly ProcessId[], timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  while (family.some(isRunning)) {
    if (performance.now() > deadline) return false;
    await delay(POLL_MS);
  }
  return true;
}

/** Ends a whole family; throws when one of it outlives SIGKILL. */
async function endFamily(family: readonly ProcessId[]): Promise<void> {
  for (const member of family) kill(member, "SIGKILL");
  if (!(await ended(family, GRACE_MS))) {
    throw new Error(
      `RabbitMQ outlives SIGKILL: ${family
        .filter(isRunning)
        .map((p) => p.pid)
        .join(", ")}`,
    );
  }
}

/** Whether a broker on `port` answers the protocol header. */
function answersAmqp(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    const finish = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(1000, () => finish(false));
    socket.once("error", () => finish(false));
    socket.once("connect", () => socket.write(PROTOCOL_HEADER));
    socket.once("data", (chunk) => finish(chunk[0] === METHOD_FRAME));
  });
}

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    socket.once("error", () => resolve(false));
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
  });
}

/** How a node of a cluster is found by the others: all use one port, each on a loopback address of its own. */
type Membership = {
  readonly node: string;
  readonly address: string;
  readonly distributionPort: number;
  readonly cookie: string;
  /** Erlang's own hosts file, where node names have hosts that nobody else knows. */
  readonly inetrc: string;
};

type Listeners = { readonly port: number; readonly tlsPort: number | undefined; readonly tls: TlsListener | undefined };

const LOGIN_BY_CERTIFICATE = [
  "auth_mechanisms.1 = PLAIN",
  "auth_mechanisms.2 = EXTERNAL",
  "ssl_cert_login_from = common_name",
];

function tlsLines({ tlsPort, tls }: Listeners): readonly string[] {
  if (tls === undefined) return [];
  return [
    `listeners.ssl.1 = 127.0.0.1:${String(tlsPort)}`,
    `ssl_options.cacertfile = ${tls.caFile}`,
    `ssl_options.certfile = ${tls.certFile}`,
    `ssl_options.keyfile = ${tls.keyFile}`,
    "ssl_options.verify = verify_peer",
    `ssl_options.fail_if_no_peer_cert = ${String(tls.wantsClientCertificate)}`,
    ...(tls.isLogin === true ? LOGIN_BY_CERTIFICATE : []),
  ];
}

function writeFiles(directory: string, member: Membership, listeners: Listeners): void {
  for (const name of ["home", "data", "log"]) mkdirSync(join(directory, name), { mode: 0o700 });
  // In a file, because arguments and environment of a process are for everybody to read.
  writeFileSync(join(directory, "home/.erlang.cookie"), member.cookie, { mode: 0o400 });
  writeFileSync(join(directory, "inetrc"), member.inetrc);
  writeFileSync(join(directory, "rabbitmq-env.conf"), "");
  const plugins = listeners.tls?.isLogin === true ? "rabbitmq_auth_mechanism_ssl" : "";
  writeFileSync(join(directory, "enabled_plugins"), `[${plugins}].\n`);
  writeFileSync(
    join(directory, "rabbitmq.conf"),
    [
      `listeners.tcp.1 = 127.0.0.1:${String(listeners.port)}`,
      ...tlsLines(listeners),
      "log.console = true",
      "log.console.level = info",
      "log.file = false",
      "vm_memory_high_watermark.absolute = 512MB",
      "disk_free_limit.absolute = 1MB",
      "",
    ].join("\n"),
  );
}

function environment(directory: string, { node, address, distributionPort }: Membership): NodeJS.ProcessEnv {
  const erlang = [
    // RabbitMQ asks epmd only when it has to make its node distributed itself; OTP 23 and later need none when the
    // port is given.
    `-sname ${node} -erl_epmd_port ${String(distributionPort)}`,
    `-kernel inet_dist_use_interface {${address.replaceAll(".", ",")}}`,
    "-noinput +S 2:2",
  ];
  return {
    PATH: "/usr/bin:/bin",
    LANG: "C.UTF-8",
    HOME: join(directory, "home"),
    ERL_CRASH_DUMP: join(directory, "log/erl_crash.dump"),
    ERL_MAX_PORTS: "4096",
    // Not an argument: rabbitmqctl's script keeps quotes around it (3.10.8) or takes them away (4.0.5).
    ERL_INETRC: join(directory, "inetrc"),
    // Not an argument of the broker: every minute it starts another Erlang to see to it that epmd runs (3.10.8 and 4.0.5,
    // rabbit_nodes_common.erl), and such a daemon outlives everybody. This one that other Erlang heeds too.
    ERL_ZFLAGS: "-start_epmd false",
    RABBITMQ_NODENAME: node,
    RABBITMQ_DIST_PORT: String(distributionPort),
    RABBITMQ_CONF_ENV_FILE: join(directory, "rabbitmq-env.conf"),
    RABBITMQ_CONFIG_FILE: join(directory, "rabbitmq.conf"),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(directory, "enabled_plugins"),
    RABBITMQ_MNESIA_BASE: join(directory, "data"),
    RABBITMQ_MNESIA_DIR: join(directory, "data/node"),
    RABBITMQ_LOG_BASE: join(directory, "log"),
    RABBITMQ_LOGS: "-",
    RABBITMQ_PID_FILE: join(directory, "node.pid"),
    // No busy waiting: with it an idle machine starts 3.10.8 in 1.9 s instead of 3.2 s, a loaded one in 25 s instead of 8.
    RABBITMQ_SERVER_ERL_ARGS: "+P 65536 +t 1048576 +sbwt none +sbwtdcpu none +sbwtdio none",
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: erlang.join(" "),
    // The script then becomes the Erlang VM instead of standing between it and our signals.
    RABBITMQ_ALLOW_INPUT: "1",
    // Where the broker is, for rabbitmqctl, without epmd; a port of its own would be the same one.
    RABBITMQ_CTL_ERL_ARGS: `-erl_epmd_port ${String(distributionPort)} -dist_listen false`,
  };
}

const isRabbitmqInstalled = (): boolean => existsSync(SERVER);

const randomName = (): string => `swanherd-${String(process.pid)}-${randomBytes(4).toString("hex")}`;
const newCookie = (): string => randomBytes(20).toString("hex");

/** Makes and starts a private broker; takes away first what killed runs left behind. */
export async function startPrivateRabbitmq(options: PrivateRabbitmqOptions = {}): Promise<PrivateRabbitmq> {
  await reapStale();
  return startNode(
    {
      node: `${randomName()}@localhost`,
      address: "127.0.0.1",
      distributionPort: await freePort(),
      cookie: newCookie(),
      inetrc: "{lookup, [file, native]}.\n",
    },
    options,
  );
}

export type PrivateCluster = {
  readonly nodes: readonly PrivateRabbitmq[];
  /** All nodes, as a transport URL names them. */
  readonly url: string;
  stop(): Promise<void>;
};

/** Several private brokers that are one cluster. About 100 MB of memory a node. */
export async function startPrivateCluster(nodeCount: number): Promise<PrivateCluster> {
  await reapStale();
  const name = randomName();
  const cookie = newCookie();
  const distributionPort = await freePort();
  const hosts = Array.from({ length: nodeCount }, (_, index) => ({
    name: `${name}-${String(index + 1)}`,
    address: `127.0.0.${String(index + 11)}`,
  }));
  const inetrc = [
    ...hosts.map((host) => `{host, {${host.address.replaceAll(".", ",")}}, ["${host.name}"]}.`),
    "{lookup, [file, native]}.\n",
  ].join("\n");
  const begun = await Promise.allSettled(
    hosts.map((host) =>
      startNode({ node: `rabbit@${host.name}`, address: host.address, distributionPort, cookie, inetrc }, {}),
    ),
  );
  const nodes = begun.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
  const stop = async (): Promise<void> => {
    await Promise.all(nodes.map((node) => node.stop()));
  };
  try {
    for (const one of begun) if (one.status === "rejected") throw one.reason;
    for (const node of nodes.slice(1)) {
      await node.ctl("stop_app");
      await node.ctl("join_cluster", `rabbit@${name}-1`);
      await node.ctl("start_app");
    }
  } catch (error) {
    await stop();
    throw error;
  }
  const addresses = nodes.map(({ port }) => `guest:guest@127.0.0.1:${String(port)}`);
  return { nodes, url: `rabbit://${addresses.join(",")}/`, stop };
}

async function startNode(member: Membership, { tls }: PrivateRabbitmqOptions): Promise<PrivateRabbitmq> {
  if (!isRabbitmqInstalled()) throw new Error(`${SERVER} is missing: install Debian's rabbitmq-server`);
  const owner = ownId().startTime;
  const directory = join(
    tmpdir(),
    `${DIRECTORY_PREFIX}${String(process.pid)}-${owner}-${randomBytes(4).toString("hex")}`,
  );
  const port = await freePort();
  const tlsPort = tls === undefined ? undefined : await freePort();
  const logFile = join(directory, "log/console.log");
  let child: ChildProcess | undefined;

  const endNow = () => {
    if (child?.pid !== undefined && child.exitCode === null) for (const p of familyOf(child.pid)) kill(p, "SIGKILL");
    rmSync(directory, { recursive: true, force: true });
  };

  async function startBroker(): Promise<void> {
    if (child !== undefined) throw new Error("the broker is already started");
    const log = openSync(logFile, "a");
    const started = spawn(SERVER, [], {
      cwd: directory,
      env: environment(directory, member),
      stdio: ["ignore", log, log],
      detached: true, // Ctrl-C is for its owner, which stops it; Erlang's own answer to it is a menu
    });
    child = started;
    closeSync(log);
    let spawnError: Error | undefined;
    started.on("error", (error) => (spawnError = error));
    const deadline = performance.now() + START_TIMEOUT_MS;
    while (!(await answersAmqp(port)) || (tlsPort !== undefined && !(await isListening(tlsPort)))) {
      if (spawnError !== undefined || started.exitCode !== null || performance.now() > deadline) {
        const last = readFileSync(logFile, "utf8").slice(-2000);
        throw new Error(`RabbitMQ did not start: ${last}`, { cause: spawnError });
      }
      await delay(POLL_MS);
    }
  }

  async function ctl(...args: readonly string[]): Promise<string> {
    const env = environment(directory, member);
    const { stdout } = await run(CTL, args, { cwd: directory, env, timeout: START_TIMEOUT_MS });
    return stdout;
  }

  async function stopBroker(): Promise<void> {
    const pid = child?.pid;
    child = undefined;
    if (pid === undefined) return;
    const family = familyOf(pid);
    const [beam] = family;
    if (beam !== undefined) kill(beam, "SIGTERM");
    if (!(await ended(family, GRACE_MS))) await endFamily(family);
  }

  async function stop(): Promise<void> {
    const pid = child?.pid;
    child = undefined;
    try {
      if (pid !== undefined) await endFamily(familyOf(pid));
    } finally {
      rmSync(directory, { recursive: true, force: true });
      process.removeListener("exit", endNow);
    }
  }

  mkdirSync(directory, { mode: 0o700 });
  process.once("exit", endNow);
  const broker: PrivateRabbitmq = {
    url: `rabbit://guest:guest@127.0.0.1:${String(port)}/`,
    port,
    tlsPort,
    directory,
    logFile,
    startBroker,
    ctl,
    stopBroker,
    stop,
  };
  try {
    writeFiles(directory, member, { port, tlsPort, tls });
    await startBroker();
  } catch (error) {
    await stop();
    throw error;
  }
  return broker;
}

/** Removes what killed owners left behind: directories whose owner is dead, and the brokers that run in them. */
export async function reapStale(): Promise<readonly string[]> {
  const reaped: string[] = [];
  for (const name of readdirSync(tmpdir())) {
    const [, pid, startTime] = /^swanherd-test-rabbit-(\d+)-(\d+)-[0-9a-f]{8}$/.exec(name) ?? [];
    if (pid === undefined || startTime === undefined || isRunning({ pid: Number(pid), startTime })) continue;
    const directory = join(tmpdir(), name);
    const home = join(directory, "home");
    for (const { pid: candidate } of readProcesses()) {
      // erlexec passes `-home <HOME>` to beam, which is how a broker is known to be of this directory.
      if (argumentsOf(candidate).includes(home)) await endFamily(familyOf(candidate));
    }
    rmSync(directory, { recursive: true, force: true });
    reaped.push(directory);
  }
  return reaped;
}
