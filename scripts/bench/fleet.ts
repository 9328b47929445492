// Many routers on one machine: what an agent does with them, and what the least is that could be done.
import { execFileSync } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { findCharons } from "../../src/io/charon/process.ts";
import { getShared, listConns } from "../../src/vici-client/commands.ts";
import { openViciSession, type ViciSession } from "../../src/vici-client/session.ts";
import { CHARON, LabBuilder, removeRouters, until, type Agent, type LabDocument } from "../lab.ts";
import { traceProcesses } from "../process-trace.ts";
import {
  benchDocuments,
  INITIAL_DPD_SECONDS,
  startControlPlane,
  type BenchRouter,
  type ControlPlane,
} from "./control-plane.ts";
import type { FloorOrders } from "./floor.ts";

const FLOOR = fileURLToPath(new URL("floor.ts", import.meta.url));
const PASS_INTERVAL_SECONDS = 5;
const DEFAULT_PASS_INTERVAL_SECONDS = 60;
const CHANGE_PAUSE_MS = 150;
const UNSEEN_MS = 3000;
/** Marks the routes that an agent leaves in a router's own namespace when it takes a router away. */
const PROTOCOLS = ["215", "216"];
const TICK_MS = 1000 / Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));

export type ColdStart = {
  /** From the start of the agent's process until every connection is loaded and read back. */
  readonly totalMs: number;
  /** The part of it after the list was fetched. */
  readonly fromListMs: number;
};

export type IdlePasses = {
  readonly cpuMsPerPass: number;
  readonly passes: number;
  readonly processesStarted: number;
  readonly residentMiB: number;
};

/** A bridge, the routers' own namespaces, a broker and a control plane; an agent, when it is started. */
export class Fleet {
  readonly #signal: AbortSignal;
  readonly #lab: LabBuilder;
  readonly #host: string;
  readonly #routers: readonly BenchRouter[];
  #controlPlane: ControlPlane | undefined;
  #agent: Agent | undefined;
  #espBackEnd: FloorOrders["espBackEnd"] = "kernel";

  constructor(routerCount: number, signal: AbortSignal) {
    // As tests name things: what a killed run leaves is found by that.
    const prefix = `t${randomBytes(3).toString("hex")}`;
    this.#signal = signal;
    this.#host = prefix;
    this.#routers = Array.from({ length: routerCount }, (_, index) => ({ id: randomUUID(), number: index + 1 }));
    this.#lab = new LabBuilder({
      prefix,
      sides: this.#routers.map(({ id, number }) => ({
        host: this.#host,
        routerId: id,
        lan: [`10.${number}.0.1/24`],
        hosts: [],
      })),
      documents: benchDocuments(this.#routers.slice(0, 1), this.#host),
      agentConfig: {
        passIntervalSeconds: PASS_INTERVAL_SECONDS,
        listSasIntervalSeconds: 0,
        log: { level: "info", pretty: "off" },
      },
    });
  }

  async build(): Promise<void> {
    const [broker] = await Promise.all([this.#lab.startBroker(), this.#lab.buildWorld()]);
    this.#controlPlane = await startControlPlane({
      url: broker.url,
      documents: this.#lab.documentsDirectory,
      stateDirectory: path.join(this.#lab.directory, "control-plane"),
    });
    this.#agent = await this.#lab.configureAgent(this.#host);
  }

  async destroy(): Promise<void> {
    await this.#controlPlane?.close();
    await this.#lab.destroy();
  }

  /** A first start for all routers; what the agent learns of them is what the floor is told. */
  async prepare(): Promise<void> {
    const { agent } = this.#built;
    await this.startAgentCold(this.#routers.length);
    this.#espBackEnd = (await agent.status()).espBackEnd;
    cpSync(agent.stateDirectory, this.#floorState, { recursive: true });
    await this.takeDown();
  }

  /** The agent has nothing and knows nothing; what it should have waits for it. */
  async startAgentCold(count: number): Promise<ColdStart> {
    const { agent } = this.#built;
    await this.#want(count);
    for (const directory of [agent.stateDirectory, agent.runDirectory]) {
      rmSync(directory, { recursive: true, force: true });
    }
    const startedAtMs = Date.now();
    await agent.start();
    let listAtMs: number | undefined;
    for (;;) {
      this.#signal.throwIfAborted();
      const state = await agent.status();
      const endedAtMs = Date.now();
      // The first: a later one is caused by what changed meanwhile.
      listAtMs ??= state.lastFetchAtMs;
      const connections = state.routers.flatMap((router) => router.connections);
      if (connections.length === count && connections.every((connection) => connection.inSync)) {
        return {
          totalMs: endedAtMs - startedAtMs,
          fromListMs: endedAtMs - (listAtMs ?? Number.NaN),
        };
      }
      if (endedAtMs - startedAtMs > 120_000)
        throw new Error(`not loaded after two minutes:\n${agent.log().slice(-2000)}`);
      // To ask often would be to slow it down.
      await sleep(count >= 50 ? 40 : 10);
    }
  }

  /** Takes every router away and stops the agent; nothing of it is left for the next one to find. */
  async takeDown(): Promise<void> {
    const { agent } = this.#built;
    await agent.order("teardown");
    await agent.stop();
    await this.#clean();
  }

  /** The same routers, by a process that does nothing but what must be done. */
  async runFloor(count: number): Promise<number> {
    const { agent, bridge } = this.#built;
    const runDirectory = path.join(this.#lab.directory, "floor");
    const orders: FloorOrders = {
      stateDirectory: this.#floorState,
      runDirectory,
      routers: this.#routers.slice(0, count).map(({ id }) => id),
      bridge,
      host: agent.host,
      espBackEnd: this.#espBackEnd,
      charonPath: CHARON,
    };
    try {
      const { stdout } = await execa(process.execPath, ["--import", "tsx", FLOOR, JSON.stringify(orders)], {
        cancelSignal: this.#signal,
      });
      return (JSON.parse(stdout) as { ms: number }).ms;
    } finally {
      await this.#clean();
    }
  }

  /** With the agent running and done: what passes cost that find nothing to do. */
  async measureIdle(intervals: number): Promise<IdlePasses> {
    const { agent } = this.#built;
    await until(
      "a round of passes has nothing to do",
      60_000,
      async () => {
        const before = await this.#total("swanherd_steps_total");
        await this.#rounds(1);
        return (await this.#total("swanherd_steps_total")) === before;
      },
      this.#signal,
    );
    const passesBefore = await this.#total("swanherd_passes_total");
    const cpuBefore = cpuMsOf(agent);
    await this.#rounds(intervals);
    const cpuMs = cpuMsOf(agent) - cpuBefore;
    const passes = (await this.#total("swanherd_passes_total")) - passesBefore;
    // Apart, since a traced process takes longer for everything.
    const trace = await traceProcesses(agent.pid);
    let processesStarted: number;
    try {
      await this.#rounds(1);
      processesStarted = trace.forked().length;
    } finally {
      await trace.stop();
    }
    return { cpuMsPerPass: cpuMs / passes, passes, processesStarted, residentMiB: residentMiBOf(agent) };
  }

  /** From the cast to the moment at which charon shows the changed connection and its marker; milliseconds of each. */
  async measureUpdates(count: number, updates: number): Promise<readonly number[]> {
    await this.#passEvery(DEFAULT_PASS_INTERVAL_SECONDS);
    const routers = this.#routers.slice(0, count);
    const dpdSeconds = new Map<number, number>();
    const sessions = new Map<number, ViciSession>();
    const taken: number[] = [];
    try {
      for (let update = 0; update < updates; update += 1) {
        this.#signal.throwIfAborted();
        const router = routers[update % count];
        if (router === undefined) throw new Error("there are no routers");
        const vici =
          sessions.get(router.number) ?? (await openViciSession({ path: `/run/charon.qvpn-${router.id}.vici` }));
        sessions.set(router.number, vici);
        const wanted = (dpdSeconds.get(router.number) ?? INITIAL_DPD_SECONDS) + 1;
        dpdSeconds.set(router.number, wanted);
        const before = await markersOf(vici);
        const castAt = await this.#change(benchDocuments(routers, this.#host, dpdSeconds));
        taken.push(await readBack(vici, before, wanted, castAt));
      }
    } finally {
      await Promise.all([...sessions.values()].map((vici) => vici.close()));
    }
    return taken;
  }

  get #built(): { readonly agent: Agent; readonly controlPlane: ControlPlane; readonly bridge: string } {
    if (this.#agent === undefined || this.#controlPlane === undefined) throw new Error("the fleet is not built");
    return { agent: this.#agent, controlPlane: this.#controlPlane, bridge: this.#lab.builtWorld().bridge };
  }

  get #floorState(): string {
    return path.join(this.#lab.directory, "floor-state");
  }

  async #want(count: number): Promise<void> {
    this.#lab.write(benchDocuments(this.#routers.slice(0, count), this.#host));
    const { service } = this.#built.controlPlane;
    await until("the documents are in force", 20_000, () => service.statusRows().length === count, this.#signal);
  }

  /** Changes one connection, and gives the moment of the cast. */
  async #change(documents: readonly LabDocument[]): Promise<number> {
    for (;;) {
      // A file that is replaced twice in a moment is seen once.
      await sleep(CHANGE_PAUSE_MS, undefined, { signal: this.#signal });
      const cast = this.#built.controlPlane.nextCast(UNSEEN_MS);
      this.#lab.write(documents);
      const castAt = await cast;
      if (castAt !== undefined) return castAt;
    }
  }

  async #passEvery(seconds: number): Promise<void> {
    const { agent } = this.#built;
    const text = readFileSync(agent.configFile, "utf8");
    writeFileSync(agent.configFile, text.replace(/^passIntervalSeconds: .*$/m, `passIntervalSeconds: ${seconds}`));
    agent.signal("SIGHUP");
    const isInForce = (): boolean => agent.log().slice(-2000).includes("configuration changed, in force now");
    await until("the interval is in force", 5_000, isInForce, this.#signal);
    // It looks at every router then.
    await sleep(2_000, undefined, { signal: this.#signal });
  }

  async #clean(): Promise<void> {
    const directory = `${this.#lab.directory}/`;
    const ids = this.#routers.map(({ id }) => id);
    removeRouters(this.#lab.directory, ids);
    await until("charons are gone", 20_000, () =>
      [...findCharons(CHARON).keys()].every((conf) => !conf.startsWith(directory)),
    );
    for (const id of ids) {
      for (const protocol of PROTOCOLS) {
        execFileSync("ip", ["-n", `qrouter-${id}`, "route", "flush", "table", "all", "proto", protocol]);
        execFileSync("ip", ["-n", `qrouter-${id}`, "rule", "flush", "protocol", protocol]);
      }
    }
  }

  /** Waits for as many rounds of passes over everything. */
  async #rounds(rounds: number): Promise<void> {
    await sleep(rounds * PASS_INTERVAL_SECONDS * 1000 + 200, undefined, { signal: this.#signal });
  }

  async #total(metric: string): Promise<number> {
    const text = await this.#built.agent.metric(`${metric}{`);
    return [...text.matchAll(/ (\d+)$/gm)].reduce((sum, [, value]) => sum + Number(value), 0);
  }
}

async function markersOf(vici: ViciSession): Promise<string> {
  const ids = await getShared(vici);
  return ids
    .filter((id) => id.startsWith("ntlm-"))
    .sort()
    .join();
}

/** Asks charon until it shows both; the agent commits by a marker, when all else is loaded. */
async function readBack(vici: ViciSession, before: string, dpdSeconds: number, castAt: number): Promise<number> {
  for (;;) {
    const marker = await markersOf(vici);
    const elapsedMs = performance.now() - castAt;
    if (marker !== "" && marker !== before && !marker.includes(",")) {
      const [connection] = await listConns(vici);
      if (connection?.dpdDelaySeconds === dpdSeconds) return elapsedMs;
    }
    if (elapsedMs > 30_000) throw new Error("an update was not loaded within 30 s");
    await sleep(1);
  }
}

function cpuMsOf({ pid }: Agent): number {
  const text = readFileSync(`/proc/${String(pid)}/stat`, "utf8");
  // proc(5): fields 14 and 15, of which the second, in brackets, may hold blanks.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}

function residentMiBOf({ pid }: Agent): number {
  const text = readFileSync(`/proc/${String(pid)}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(text)?.[1]) / 1024;
}
