// The benchmark: prints a table of figures and writes them as JSON. docs/benchmark.md says what they mean.
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus, loadavg, release } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { measureCodec } from "./bench/codec.ts";
import { median, quantile, tableOf, type Row } from "./bench/figures.ts";
import { Fleet, type ColdStart } from "./bench/fleet.ts";

type Effort = {
  readonly codec: { readonly rounds: number; readonly roundMs: number };
  /** Routers of the cold starts, and how often each is done. */
  readonly sizes: readonly number[];
  readonly rounds: number;
  /** Routers of the idle passes, each measured over so many intervals. */
  readonly idleSizes: readonly number[];
  readonly idleIntervals: number;
  readonly updates: number;
};

const FULL: Effort = {
  codec: { rounds: 9, roundMs: 150 },
  sizes: [1, 10, 50],
  rounds: 5,
  idleSizes: [10, 50],
  idleIntervals: 6,
  updates: 100,
};
const QUICK: Effort = {
  codec: { rounds: 3, roundMs: 20 },
  sizes: [1, 3],
  rounds: 1,
  idleSizes: [3],
  idleIntervals: 1,
  updates: 5,
};

const stop = new AbortController();
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(name, () => stop.abort(new Error(`ended by ${name}`)));
}

const routers = (count: number): string => (count === 1 ? "1 router" : `${String(count)} routers`);
const say = (text: string): void => void process.stderr.write(`${text}\n`);

async function measureFleet(effort: Effort): Promise<readonly Row[]> {
  const rows: Row[] = [];
  const fleet = new Fleet(Math.max(...effort.sizes, ...effort.idleSizes), stop.signal);
  try {
    say("building a broker and the routers");
    await fleet.build();
    await fleet.prepare();
    for (const size of effort.sizes) rows.push(...(await coldStarts(fleet, size, effort.rounds)));
    for (const size of effort.idleSizes) {
      say(`passes with nothing to do, ${routers(size)}`);
      await fleet.startAgentCold(size);
      const idle = await fleet.measureIdle(effort.idleIntervals);
      const row = (what: string, value: number, unit: Row["unit"], samples: number): Row => ({
        name: `idle, ${routers(size)}: ${what}`,
        value,
        unit,
        samples,
      });
      rows.push(
        row("CPU of one pass over one router", idle.cpuMsPerPass, "ms", idle.passes),
        row("processes started", idle.processesStarted, "", 1),
        row("resident memory of the agent", idle.residentMiB, "MiB", 1),
      );
      if (size === Math.max(...effort.idleSizes)) rows.push(...(await updates(fleet, size, effort.updates)));
      await fleet.takeDown();
    }
    return rows;
  } finally {
    say("removing everything that was made");
    await fleet.destroy();
  }
}

/** The agent and the floor by turns, so that a slower minute of the machine is a slower minute for both. */
async function coldStarts(fleet: Fleet, size: number, rounds: number): Promise<readonly Row[]> {
  const agent: ColdStart[] = [];
  const floor: number[] = [];
  for (let round = 1; round <= rounds; round += 1) {
    say(`cold start, ${routers(size)}: round ${String(round)} of ${String(rounds)}`);
    agent.push(await fleet.startAgentCold(size));
    await fleet.takeDown();
    floor.push(await fleet.runFloor(size));
  }
  const totalMs = median(agent.map((one) => one.totalMs));
  const fromListMs = median(agent.map((one) => one.fromListMs));
  const floorMs = median(floor);
  const row = (what: string, value: number, unit: Row["unit"]): Row => ({
    name: `cold start, ${routers(size)}: ${what}`,
    value,
    unit,
    samples: rounds,
  });
  return [
    row("floor", floorMs, "ms"),
    row("agent, list fetched to all loaded", fromListMs, "ms"),
    row("agent, process started to all loaded", totalMs, "ms"),
    row("list fetched to all loaded / floor", fromListMs / floorMs, "×"),
    row("process started to all loaded / floor", totalMs / floorMs, "×"),
  ];
}

async function updates(fleet: Fleet, size: number, count: number): Promise<readonly Row[]> {
  say(`${String(count)} updates among ${routers(size)}`);
  const taken = await fleet.measureUpdates(size, count);
  const row = (what: string, part: number): Row => ({
    name: `update among ${routers(size)}, cast to read back from charon: ${what}`,
    value: quantile(taken, part),
    unit: "ms",
    samples: count,
  });
  return [row("p50", 0.5), row("p99", 0.99)];
}

const outputOf = (file: string, ...args: readonly string[]): string => {
  try {
    return execFileSync(file, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  } catch {
    return "unknown"; // not a checkout, or not Debian
  }
};

const machine = (): Readonly<Record<string, string | number>> => ({
  processors: cpus().length,
  model: cpus()[0]?.model ?? "unknown",
  kernel: release(),
  node: process.version,
  strongSwan: outputOf("dpkg-query", "-W", "-f=${Version}", "charon-systemd"),
  rabbitmq: outputOf("dpkg-query", "-W", "-f=${Version}", "rabbitmq-server"),
});

async function main(): Promise<number> {
  const { values } = parseArgs({ options: { quick: { type: "boolean" }, json: { type: "string" } } });
  if (process.getuid?.() !== 0) {
    say("the benchmark makes network namespaces and runs strongSwan in them: run it as root");
    return 77;
  }
  const effort = values.quick === true ? QUICK : FULL;
  const file = values.json ?? "bench-results/latest.json";
  const [loadBefore] = loadavg();
  try {
    say("VICI codec");
    const rows = [...measureCodec(effort.codec), ...(await measureFleet(effort))];
    const commit = outputOf("git", "rev-parse", "--short", "HEAD");
    mkdirSync(path.dirname(file), { recursive: true });
    const at = new Date().toISOString();
    const result = { commit, at, isQuick: values.quick === true, loadBefore, machine: machine(), rows };
    writeFileSync(file, `${JSON.stringify(result, undefined, 2)}\n`);
    process.stdout.write(`${tableOf(rows)}\n`);
    say(`written to ${file}`);
    return 0;
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    say("interrupted");
    return 130;
  }
}

process.exitCode = await main();
