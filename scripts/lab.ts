// A whole little cloud for the demo and for tests: a private broker, the controller, agents with hosts of their own, and
// the world around them. Agents and controller are the built program, run as an operator would run it.
// Everything lives under one directory whose name says whose it is, so that a killed run's leftovers can be found.
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { randomBytes } from "node:crypto";
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { stringify } from "yaml";
import type { AgentState, ConnectionState } from "../src/core/status.ts";
import { apiClient } from "../src/io/api/client.ts";
import { findCharons, type CharonProcess } from "../src/io/charon/process.ts";
import { writePrivateFile } from "../src/io/private-file.ts";
import { listSas } from "../src/vici-client/commands.ts";
import type { IkeSa } from "../src/vici-client/sas.ts";
import { openViciSession } from "../src/vici-client/session.ts";
import { freePort } from "./free-port.ts";
import { patiently } from "./patience.ts";
import { labSupervisor, removeTemplate, superviseBy, templatesOf } from "./lab-units.ts";
import { startPrivateRabbitmq, type PrivateRabbitmq } from "./private-rabbitmq.ts";
import { argumentsOf, isRunning, ownId, readProcesses } from "./processes.ts";
import { createWorld, routerNamespaceOf, type World, type WorldNat, type WorldSide } from "./world.ts";

export const PROGRAM = fileURLToPath(new URL("../dist/main.js", import.meta.url));
const DIRECTORY = /^swanherd-lab-(\d+)-(\d+)-[0-9a-f]{6}$/;
export const CHARON = "/usr/sbin/charon-systemd";
export const NETWORK = "internet";
/** The network behind NAT, in a lab that has one. */
export const PRIVATE_NETWORK = "private";
/** ESP back end of the agents; undefined: they find out. */
const ESP = process.env["SWANHERD_LAB_ESP"];

/** Documents as plain data; what kinds there are and what they hold is the controller's to check. */
export type LabDocument = Readonly<Record<string, unknown>>;

export type LabSide = WorldSide & { readonly host: string };

export type LabOptions = {
  /** At most 8 characters; names of links and namespaces are made of it. */
  readonly prefix: string;
  readonly sides: readonly LabSide[];
  readonly documents: readonly LabDocument[];
  /** Absent: nobody is behind NAT. */
  readonly nat?: WorldNat;
  /** Merged over the configuration of every agent. */
  readonly agentConfig?: Readonly<Record<string, unknown>>;
  /** Merged over that for the agent of one host. */
  readonly agentConfigOf?: (host: string) => Readonly<Record<string, unknown>>;
  /** As `agentConfig`, of the controller. */
  readonly controllerConfig?: Readonly<Record<string, unknown>>;
  /** False: the controller is configured, and starting it is left to the caller. Default: true. */
  readonly startsController?: boolean;
  /** Path of the `main.js` that agents and controller are; default: the built one. */
  readonly program?: string;
};

type ProgramOptions = { readonly httpPort: number; readonly program?: string | undefined };

/** The program as a process: started, asked, stopped in peace or killed. */
export class Program {
  readonly directory: string;
  readonly socket: string;
  readonly configFile: string;
  readonly logFile: string;
  readonly httpPort: number;
  readonly #program: string;
  readonly #args: readonly string[];
  #process: ChildProcess | undefined;

  constructor(
    role: "agent" | "controller",
    directory: string,
    config: Readonly<Record<string, unknown>>,
    { httpPort, program = PROGRAM }: ProgramOptions,
  ) {
    this.directory = directory;
    this.socket = path.join(directory, "control.sock");
    this.logFile = path.join(directory, "log");
    this.httpPort = httpPort;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    this.configFile = path.join(directory, `${role}.yaml`);
    const common = { controlSocket: this.socket, http: { port: httpPort }, log: { level: "debug", pretty: "off" } };
    writeFileSync(this.configFile, stringify({ ...common, ...config }), { mode: 0o600 });
    this.#program = program;
    this.#args = [program, role, "--config", this.configFile];
  }

  /** Throws when it does not run. */
  get pid(): number {
    const pid = this.isRunning ? this.#process?.pid : undefined;
    if (pid === undefined) throw new Error(`the program of ${this.directory} does not run`);
    return pid;
  }

  get isRunning(): boolean {
    return this.#process !== undefined && this.#process.exitCode === null && this.#process.signalCode === null;
  }

  /** Resolves when the control socket answers. */
  async start(): Promise<void> {
    const log = openSync(this.logFile, "a", 0o600);
    // A session of its own: Ctrl-C is for the owner of the lab, which stops its programs in order.
    const started = spawn(process.execPath, this.#args, { stdio: ["ignore", log, log], detached: true });
    closeSync(log);
    this.#process = started;
    await until(`${this.directory} answers`, 20_000, async () => {
      if (!this.isRunning) throw new Error(`the program ended at once:\n${this.log().slice(-2000)}`);
      return (await this.status().catch(() => undefined)) !== undefined;
    });
  }

  status(): Promise<unknown> {
    return apiClient(this.socket).status();
  }

  /** A command of the program about this daemon, with its configuration and socket. */
  run(command: string, ...args: readonly string[]): Promise<{ exitCode?: number; stdout: string; stderr: string }> {
    const about = ["--config", this.configFile, "--socket", this.socket];
    return execa(process.execPath, [this.#program, command, ...about, ...args], { reject: false });
  }

  async order(what: "sync" | "teardown", router?: string): Promise<void> {
    await apiClient(this.socket)[what](router);
  }

  /** SIGTERM, and waits for the end. */
  async stop(): Promise<void> {
    await this.#end("SIGTERM");
  }

  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  signal(signal: NodeJS.Signals): void {
    process.kill(this.pid, signal);
  }

  /** It does nothing while `during` runs. */
  async whileSuspended<T>(during: () => Promise<T>): Promise<T> {
    this.signal("SIGSTOP");
    try {
      return await during();
    } finally {
      this.signal("SIGCONT");
    }
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const running = this.#process;
    if (running === undefined) return;
    if (this.isRunning) {
      running.kill(signal);
      await once(running, "exit");
    }
    this.#process = undefined;
  }

  log(): string {
    return existsSync(this.logFile) ? readFileSync(this.logFile, "utf8") : "";
  }
}

export class Agent extends Program {
  readonly host: string;
  readonly stateDirectory: string;
  readonly runDirectory: string;

  constructor(host: string, directory: string, config: Readonly<Record<string, unknown>>, options: ProgramOptions) {
    const stateDirectory = path.join(directory, "state");
    const runDirectory = path.join(directory, "run");
    super("agent", directory, { host, stateDirectory, runDirectory, ...config }, options);
    this.host = host;
    this.stateDirectory = stateDirectory;
    this.runDirectory = runDirectory;
  }

  /** Resolves when the agent is at work; the socket answers a little earlier. */
  override async start(): Promise<void> {
    await super.start();
    await until(`${this.host} is built`, 20_000, async () => (await this.status()).supervisor !== undefined);
  }

  override async status(): Promise<AgentState> {
    return (await super.status()) as AgentState;
  }

  async connection(name: string): Promise<ConnectionState | undefined> {
    const state = await this.status();
    return state.routers.flatMap((router) => router.connections).find((connection) => connection.name === name);
  }

  /** The charon of a router of this agent. */
  charon(routerId: string): CharonProcess | undefined {
    return findCharons(CHARON).get(path.join(this.runDirectory, `qvpn-${routerId}`, "strongswan.conf"));
  }

  /** Likewise; throws when there is none. */
  runningCharon(routerId: string): CharonProcess {
    const charon = this.charon(routerId);
    if (charon === undefined) throw new Error(`no charon of ${this.host} runs for router ${routerId}`);
    return charon;
  }

  /** What charon itself says, asked over its socket. */
  async ikeSas(routerId: string): Promise<readonly IkeSa[]> {
    const vici = await openViciSession({ path: `/run/charon.qvpn-${routerId}.vici` });
    try {
      return await listSas(vici);
    } finally {
      await vici.close();
    }
  }

  async metric(name: string): Promise<string> {
    const response = await fetch(`http://127.0.0.1:${String(this.httpPort)}/metrics`);
    const lines = (await response.text()).split("\n");
    return lines.filter((line) => line.startsWith(name)).join("\n");
  }
}

export type Lab = {
  readonly directory: string;
  readonly rabbitmq: PrivateRabbitmq;
  readonly world: World;
  readonly controller: Program;
  readonly documentsDirectory: string;
  readonly agents: ReadonlyMap<string, Agent>;
  readonly agent: (host: string) => Agent;
  /** Replaces the documents, atomically, as an editor or git would. */
  readonly write: (documents: readonly LabDocument[]) => void;
  /** Takes everything away, also what agents that are dead by now have made. */
  readonly destroy: () => Promise<void>;
};

/** Waits for a condition; the last failure is part of the error when the time is up. */
export async function until<T>(
  what: string,
  timeoutMs: number,
  check: () => Promise<T | false | undefined> | T | false | undefined,
  signal?: AbortSignal,
): Promise<T> {
  const limitMs = patiently(timeoutMs);
  const deadline = performance.now() + limitMs;
  for (;;) {
    signal?.throwIfAborted();
    const found = await check();
    if (found !== false && found !== undefined) return found;
    if (performance.now() > deadline) throw new Error(`not within ${String(limitMs)} ms: ${what}`);
    await sleep(20);
  }
}

/** The parts of a lab, made one by one so that a caller can show each; `destroy` works at any moment. */
export class LabBuilder {
  readonly directory: string;
  readonly documentsDirectory: string;
  readonly agents = new Map<string, Agent>();
  rabbitmq: PrivateRabbitmq | undefined;
  world: World | undefined;
  controller: Program | undefined;
  readonly #options: LabOptions;
  readonly #underWay = new Set<Promise<unknown>>();
  #destroyed: Promise<void> | undefined;

  constructor(options: LabOptions) {
    this.#options = options;
    const { pid, startTime } = ownId();
    this.directory = path.join(tmpdir(), `swanherd-lab-${pid}-${startTime}-${randomBytes(3).toString("hex")}`);
    this.documentsDirectory = path.join(this.directory, "documents");
    mkdirSync(this.documentsDirectory, { recursive: true, mode: 0o700 });
    const routers = options.sides.map((side) => side.routerId);
    // Whole or not there: others read it meanwhile.
    const made = JSON.stringify({ prefix: options.prefix, routers });
    writePrivateFile(path.join(this.directory, "made.json"), made, { isKept: false });
    this.write(options.documents);
  }

  startBroker(): Promise<PrivateRabbitmq> {
    return this.#make(async () => (this.rabbitmq = await startPrivateRabbitmq()));
  }

  buildWorld(): Promise<World> {
    const { prefix, sides, nat } = this.#options;
    const options = { prefix, sides, ...(nat === undefined ? {} : { nat }) };
    return this.#make(async () => (this.world = await createWorld(options)));
  }

  startController(): Promise<Program> {
    return this.#make(async () => {
      const controller = await this.configureController();
      await controller.start();
      return controller;
    });
  }

  async configureController(): Promise<Program> {
    const directory = path.join(this.directory, "controller");
    const config = {
      transportUrl: this.#broker().url,
      documents: this.documentsDirectory,
      stateDirectory: path.join(directory, "state"),
      ...this.#options.controllerConfig,
    };
    this.controller = new Program("controller", directory, config, await this.#programOptions());
    return this.controller;
  }

  startAgents(): Promise<ReadonlyMap<string, Agent>> {
    return this.#make(() => this.#startAgents());
  }

  async #startAgents(): Promise<ReadonlyMap<string, Agent>> {
    for (const host of new Set(this.#options.sides.map((side) => side.host))) await this.configureAgent(host);
    await Promise.all([...this.agents.values()].map((agent) => agent.start()));
    return this.agents;
  }

  async configureAgent(host: string): Promise<Agent> {
    if (this.world === undefined) throw new Error("the world comes before the agents");
    const { bridge, natBridge } = this.world;
    const bridges = { [NETWORK]: bridge, ...(natBridge === undefined ? {} : { [PRIVATE_NETWORK]: natBridge }) };
    const directory = path.join(this.directory, host);
    const config = {
      // Charons in the routers' own namespaces are never units.
      ...superviseBy(
        this.#options.agentConfig?.["topology"] === "router" ? "process" : labSupervisor,
        host,
        path.join(directory, "run"),
      ),
      transportUrl: this.#broker().url,
      attachment: { bridges },
      ...(ESP === undefined ? {} : { espBackEnd: ESP }),
      ...this.#options.agentConfig,
      ...this.#options.agentConfigOf?.(host),
    };
    const agent = new Agent(host, directory, config, await this.#programOptions());
    this.agents.set(host, agent);
    return agent;
  }

  write(documents: readonly LabDocument[]): void {
    writePrivateFile(path.join(this.documentsDirectory, "documents.yaml"), stringify(documents), { isKept: false });
  }

  builtWorld(): World {
    if (this.world === undefined) throw new Error("the world is not built");
    return this.world;
  }

  destroy(): Promise<void> {
    this.#destroyed ??= this.#destroy();
    return this.#destroyed;
  }

  /** What is being made while another part fails, or on Ctrl-C, can be taken away only when it is there. */
  async #make<T>(part: () => Promise<T>): Promise<T> {
    if (this.#destroyed !== undefined) throw new Error("the lab is being taken away");
    const made = part();
    this.#underWay.add(made);
    try {
      return await made;
    } finally {
      this.#underWay.delete(made);
    }
  }

  async #destroy(): Promise<void> {
    await Promise.allSettled(this.#underWay);
    const running = [...this.agents.values()].filter((agent) => agent.isRunning);
    await Promise.all(
      running.map((agent) =>
        apiClient(agent.socket)
          .teardown()
          .catch(() => undefined),
      ),
    );
    const routers = this.#options.sides.map((side) => side.routerId);
    const torn = this.#options.sides.filter((side) => running.some((agent) => agent.host === side.host));
    const isGone = (): boolean => torn.every((side) => !existsSync(`/run/netns/qvpn-${side.routerId}`));
    await until("routers are gone", 5_000, isGone).catch(() => undefined);
    const programs = [...this.agents.values(), ...(this.controller === undefined ? [] : [this.controller])];
    await Promise.all(programs.map((program) => program.stop()));
    removeRouters(this.directory, routers);
    await this.world?.destroy();
    await this.rabbitmq?.stop();
    unmountBelow(this.directory);
    rmSync(this.directory, { recursive: true, force: true });
  }

  async #programOptions(): Promise<ProgramOptions> {
    return { httpPort: await freePort(), program: this.#options.program };
  }

  #broker(): PrivateRabbitmq {
    if (this.rabbitmq === undefined) throw new Error("the broker comes first");
    return this.rabbitmq;
  }
}

/** What an agent that is gone has left: its charons, known by their configuration below our directory. */
export function removeRouters(directory: string, routers: readonly string[]): void {
  // systemd would start again what got a signal.
  for (const template of templatesOf(directory)) removeTemplate(template);
  for (const [conf, charon] of findCharons(CHARON)) {
    if (conf.startsWith(`${directory}/`)) process.kill(charon.pid, "SIGKILL");
  }
  for (const id of routers) {
    if (existsSync(`/run/netns/qvpn-${id}`)) execFileSync("ip", ["netns", "delete", `qvpn-${id}`]);
    rmSync(`/run/charon.qvpn-${id}.vici`, { force: true });
  }
}

/** Builds everything at once. */
export async function startLab(options: LabOptions): Promise<Lab> {
  const builder = new LabBuilder(options);
  try {
    const [rabbitmq, world] = await Promise.all([builder.startBroker(), builder.buildWorld()]);
    const starts = options.startsController ?? true;
    const [controller, agents] = await Promise.all([
      starts ? builder.startController() : builder.configureController(),
      builder.startAgents(),
    ]);
    const agent = (host: string): Agent => {
      const found = agents.get(host);
      if (found === undefined) throw new Error(`no agent has host ${host}`);
      return found;
    };
    return {
      directory: builder.directory,
      documentsDirectory: builder.documentsDirectory,
      rabbitmq,
      world,
      controller,
      agents,
      agent,
      write: (documents) => builder.write(documents),
      destroy: () => builder.destroy(),
    };
  } catch (error) {
    await builder.destroy();
    throw error;
  }
}

/** Removes what killed owners of labs left behind. */
export function reapLabs(): readonly string[] {
  const reaped: string[] = [];
  for (const name of readdirSync(tmpdir())) {
    const [, pid, startTime] = DIRECTORY.exec(name) ?? [];
    if (pid === undefined || startTime === undefined || isRunning({ pid: Number(pid), startTime })) continue;
    const directory = path.join(tmpdir(), name);
    killMentioning(directory);
    const made = readMade(path.join(directory, "made.json"));
    removeRouters(directory, made.routers);
    for (const id of made.routers) deleteNamespace(routerNamespaceOf(id));
    if (made.prefix !== "") {
      for (const namespace of readdirSync("/run/netns"))
        if (namespace.startsWith(`${made.prefix}-`)) deleteNamespace(namespace);
      for (const link of readdirSync("/sys/class/net")) {
        if (link.startsWith(`${made.prefix}-`)) deleteLink(link);
      }
    }
    unmountBelow(directory);
    rmSync(directory, { recursive: true, force: true });
    reaped.push(`lab ${directory}`);
  }
  return reaped;
}

/** Owners of labs may have mounted small file systems in them, to fill them. */
function unmountBelow(directory: string): void {
  const mounts = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
  for (const point of mounts.flatMap((line) => line.split(" ")[4] ?? [])) {
    // Lazily: what a process still holds goes when it ends.
    if (point.startsWith(`${directory}/`)) execFileSync("umount", ["--lazy", point]);
  }
}

function readMade(file: string): { readonly prefix: string; readonly routers: readonly string[] } {
  try {
    return JSON.parse(readFileSync(file, "utf8")) as { prefix: string; routers: string[] };
  } catch {
    return { prefix: "", routers: [] };
  }
}

function deleteNamespace(name: string): void {
  if (existsSync(`/run/netns/${name}`)) execFileSync("ip", ["netns", "delete", name]);
}

/** One whose other end was in a namespace that is being taken away may go by itself in this moment. */
function deleteLink(name: string): void {
  try {
    execFileSync("ip", ["link", "delete", name], { stdio: "ignore" });
  } catch (error) {
    if (existsSync(`/sys/class/net/${name}`)) throw error;
  }
}

/** Agents and controllers of a lab have its directory in their arguments. */
function killMentioning(directory: string): void {
  for (const { pid } of readProcesses()) {
    if (!argumentsOf(pid).some((argument) => argument.includes(`${directory}/`))) continue;
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // it ended meanwhile
    }
  }
}
