// The fault matrix: seeds one after the other, each a world of its own, and what was found. docs/chaos.md says more.
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { apiClient } from "../src/io/api/client.ts";
import { socketOf } from "./chaos/check/loaded.ts";
import { run } from "./chaos/check/run.ts";
import type { EspBackEnd } from "./chaos/check/subject.ts";
import { CHANGE_KINDS } from "./chaos/changes.ts";
import type { FaultKind } from "./chaos/faults/kinds.ts";
import { faultKindsOf, isPlaceName, PLACES, type PlaceName } from "./chaos/places/places.ts";
import type { Place } from "./chaos/places/place.ts";
import { copyProgram } from "./chaos/program-copy.ts";
import { bugNamed, proveBug } from "./chaos/prove.ts";
import { figuresText, rowsOf, tableOf } from "./chaos/report.ts";
import { runChaos, type Keep, type RunResult } from "./chaos/run.ts";
import { espBackEndHere } from "../test/support/kernel-esp.ts";
import { ownId } from "./processes.ts";

const RESULTS = "chaos-results";
const DOCS = "docs/chaos.md";
const stop = new AbortController();
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(name, () => stop.abort(new Error(`ended by ${name}`)));
}
const say = (line: string): void => void process.stderr.write(`${line}\n`);

async function keepAnswer(file: string, asked: Promise<unknown>): Promise<void> {
  const answer = await asked.catch((error: unknown) => ({ error: String(error) }));
  writeFileSync(file, `${JSON.stringify(answer, undefined, 2)}\n`);
}

/** What programs and charons say of themselves, logs, documents and the course of things; the world is gone afterwards. */
const keep: Keep = async (world, result) => {
  const directory = path.join(RESULTS, result.place, `seed-${result.seed}`);
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  cpSync(world.lab.documentsDirectory, path.join(directory, "documents"), { recursive: true });
  for (const program of [...Object.values(world.agents), world.controller]) {
    const name = path.join(directory, path.basename(program.directory));
    writeFileSync(`${name}.log`, program.log());
    await keepAnswer(`${name}.status.json`, program.status());
  }
  for (const agent of Object.values(world.agents)) {
    await keepAnswer(path.join(directory, `${agent.host}.diff.json`), apiClient(agent.socket).diff());
  }
  for (const router of world.model.routers) {
    const { id, number } = router;
    const uri = `unix://${socketOf(id)}`;
    const { charonNamespace } = world.site.groundOf(router);
    const shown = [
      await run("swanctl", "--list-sas", "--uri", uri),
      await run("swanctl", "--list-conns", "--uri", uri),
      ...(world.espBackEnd === "kernel"
        ? [
            await run("ip", "-n", charonNamespace, "xfrm", "policy", "list", "nosock"),
            await run("ip", "-n", charonNamespace, "xfrm", "state", "list", "nokeys"),
          ]
        : []),
    ];
    writeFileSync(path.join(directory, `charon-${number}.txt`), shown.map((text) => text ?? "no answer").join("\n"));
  }
  writeFileSync(path.join(directory, "result.json"), `${JSON.stringify(result, undefined, 2)}\n`);
  say(`kept in ${directory}`);
};

/** Replaces what stands between the place's marks. */
function writeFigures({ place, espBackEnd }: RunResult, figures: string): void {
  const what = espBackEnd === "kernel" ? `${place} with kernel ESP` : place;
  const text = readFileSync(DOCS, "utf8");
  const marks = new RegExp(`(<!-- figures of ${what}: .*? -->\\n)[^]*?(<!-- end of figures of ${what} -->)`);
  if (!marks.test(text)) throw new Error(`${DOCS} has no room for figures of ${what}`);
  writeFileSync(
    DOCS,
    text.replace(marks, (_, begin: string, end: string) => `${begin}\n${figures}\n${end}`),
  );
}

/** `all`, an invariant or the name of a bug. */
async function prove(which: string, place: PlaceName, espBackEnd: EspBackEnd, seed: number): Promise<number> {
  const bugs = bugNamed(which, place, espBackEnd);
  let missed = bugs.length === 0 ? 1 : 0;
  for (const bug of bugs) {
    say(`${bug.invariant}: ${bug.name}`);
    const { isFound, seconds } = await proveBug(bug, { seed, place, espBackEnd, say, signal: stop.signal });
    say(`${isFound ? "found" : "NOT FOUND"} after ${seconds} s: ${bug.invariant}: ${bug.name}`);
    if (!isFound) missed += 1;
  }
  return missed === 0 ? 0 : 1;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      place: { type: "string", default: "transit" },
      seed: { type: "string", default: "1" },
      seeds: { type: "string", default: "1" },
      faults: { type: "string", default: "30" },
      minutes: { type: "string", default: "5" },
      routers: { type: "string" },
      only: { type: "string", multiple: true },
      without: { type: "string", multiple: true, default: [] },
      change: { type: "string", multiple: true },
      prove: { type: "string" },
      json: { type: "string" },
      from: { type: "string", multiple: true, default: [] },
      "write-docs": { type: "boolean", default: false },
    },
  });
  if (process.getuid?.() !== 0) {
    say("chaos makes network namespaces and runs strongSwan in them: run it as root");
    return 77;
  }
  const { place: name } = values;
  if (!isPlaceName(name)) {
    say(`--place wants one of ${Object.keys(PLACES).join(", ")}`);
    return 64;
  }
  const place: Place = PLACES[name];
  const lacking = place.lacks();
  if (lacking !== undefined) {
    say(lacking);
    return 77;
  }
  const espBackEnd = await espBackEndHere();
  const allFaults = faultKindsOf(name, espBackEnd);
  const areKnown = [
    isOneOf("only", values.only ?? [], allFaults),
    isOneOf("without", values.without, allFaults),
    isOneOf("change", values.change ?? [], CHANGE_KINDS),
  ];
  if (areKnown.includes(false)) return 64;
  const isChosen = (kind: FaultKind): boolean => values.only?.includes(kind) ?? true;
  const kinds = allFaults.filter((kind) => isChosen(kind) && !values.without.includes(kind));
  if (kinds.length === 0) {
    say("--without leaves no kind of fault");
    return 64;
  }
  const changes = CHANGE_KINDS.filter((kind) => values.change?.includes(kind) ?? true);
  // As a run of the tests marks what it starts: what this one leaves when it is killed is found by it.
  const { pid, startTime } = ownId();
  process.env["SWANHERD_TEST_RUN"] ??= `${pid}-${startTime}`;
  if (values.prove !== undefined) return prove(values.prove, name, espBackEnd, Number(values.seed));
  if (values.from.length > 0) return report(values.from.map(readRuns), values["write-docs"]);
  const results: RunResult[] = [];
  const commit =
    process.env["CHAOS_COMMIT"] ?? execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim();
  const runs: Runs = { commit, machine: cpus().length === 1 ? "1 processor" : `${cpus().length} processors`, results };
  const program = copyProgram();
  try {
    for (let seed = Number(values.seed); seed < Number(values.seed) + Number(values.seeds); seed += 1) {
      say(`seed ${seed}`);
      const perSide = Math.max(2, Math.floor(Number(values.routers ?? place.routers) / 2));
      const forMs = Number(values.minutes) * 60_000;
      const options = {
        seed,
        place: name,
        espBackEnd,
        program: program.main,
        perSide,
        faults: Number(values.faults),
        forMs,
        kinds,
        changes,
      };
      results.push(await runChaos({ ...options, repairWithinMs: 60_000, say, signal: stop.signal }, keep));
      // After each of them, so that an interruption takes none of those that ended.
      if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(runs, undefined, 2)}\n`);
    }
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    say("interrupted");
    return 130;
  } finally {
    program.remove();
  }
  return report([runs], values["write-docs"]);
}

function isOneOf(option: string, named: readonly string[], known: readonly string[]): boolean {
  const unknown = named.filter((kind) => !known.includes(kind));
  if (unknown.length > 0) say(`--${option} ${unknown.join(", ")}: wants some of ${known.join(", ")}`);
  return unknown.length === 0;
}

/** What `--json` writes. */
type Runs = { readonly commit: string; readonly machine: string; readonly results: readonly RunResult[] };

function readRuns(file: string): Runs {
  const runs = JSON.parse(readFileSync(file, "utf8")) as Runs;
  // Those from before there were places, and ESP in the kernel.
  const defaults = { place: "transit", espBackEnd: "userland" } as const;
  return { ...runs, results: runs.results.map((result) => ({ ...defaults, ...result })) };
}

function report(all: readonly Runs[], writesDocs: boolean): number {
  const results = all.flatMap((runs) => runs.results);
  const each = (of: (runs: Runs) => string): string => [...new Set(all.map(of))].join(", ");
  const commit = each((runs) => runs.commit);
  const machine = each((runs) => runs.machine);
  const [first] = results;
  if (writesDocs && first !== undefined) writeFigures(first, figuresText(results, commit, machine));
  process.stdout.write(`${tableOf(rowsOf(results))}\n`);
  return results.some(({ violations }) => violations.length > 0) ? 1 : 0;
}

process.exitCode = await main();
