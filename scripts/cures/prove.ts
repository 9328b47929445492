// One test, run by its name in a copy of the working tree: whether it passes as it stands, and fails with its cure reverted.
import { readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { stripVTControlCharacters } from "node:util";
import { execa } from "execa";
import { environmentOf, readProcesses } from "../processes.ts";
import type { TreeCopy } from "./copy.ts";
import { isIntegration, type Cure } from "./cures.ts";
import { patternOf } from "./defects.ts";

/** In the environment of all that is started in a copy: its directory. */
const MARK = "SWANHERD_CURES";

/** `isProof`: each test of that name passed, or one of them failed by an expectation, whichever was wanted. */
export type Verdict = { readonly isProof: boolean; readonly what: string; readonly seconds: number };

type Told = {
  readonly testResults: readonly {
    readonly message: string;
    readonly assertionResults: readonly {
      readonly fullName: string;
      readonly status: string;
      readonly failureMessages: readonly string[];
    }[];
  }[];
};

/** Of one that waits for a condition, the deadline is the expectation (`until`, `eventually`); of a law, its counterexample. */
const EXPECTATION = /^(?:AssertionError: |(?:\w*Error: )+not within \d+ ms: |Error: Property failed after )/;

const MAX_WHY = 160;

export async function passes(cure: Cure, copy: TreeCopy, signal: AbortSignal): Promise<Verdict> {
  const { tests, seconds, trouble } = await runTest(cure, copy, signal);
  if (tests.length === 0) return { isProof: false, what: trouble, seconds };
  const failed = tests.find(({ status }) => status === "failed");
  return { isProof: failed === undefined, what: failed === undefined ? "passes" : whyOf(failed), seconds };
}

export async function fails(cure: Cure, copy: TreeCopy, signal: AbortSignal): Promise<Verdict> {
  const takeOut = copy.change(cure.reversal);
  try {
    const { tests, seconds, trouble } = await runTest(cure, copy, signal);
    if (tests.length === 0) return { isProof: false, what: trouble, seconds };
    const failed = tests.filter(({ status }) => status === "failed");
    const byExpectation = failed.find((test) => EXPECTATION.test(whyOf(test)));
    if (byExpectation !== undefined) return { isProof: true, what: whyOf(byExpectation), seconds };
    const [other] = failed;
    return { isProof: false, what: other === undefined ? "STILL PASSES" : `fails otherwise: ${whyOf(other)}`, seconds };
  } finally {
    takeOut();
  }
}

type TestResult = Told["testResults"][number]["assertionResults"][number];

/** Its begin: `connectionIs` tells a whole connection, and the log of its agent. */
const whyOf = ({ status, failureMessages }: TestResult): string =>
  stripVTControlCharacters(failureMessages[0] ?? `is ${status}`)
    .split("\n")[0]
    ?.slice(0, MAX_WHY) ?? "";

async function runTest(
  cure: Cure,
  copy: TreeCopy,
  signal: AbortSignal,
): Promise<{ readonly tests: readonly TestResult[]; readonly seconds: number; readonly trouble: string }> {
  const { number, test } = cure;
  const report = path.join(copy.directory, "report.json");
  rmSync(report, { force: true });
  const startedAt = performance.now();
  const seconds = (): number => (performance.now() - startedAt) / 1000;
  // The agents and controllers of integration tests are the built program's.
  const problem = isIntegration(cure) ? await build(copy, signal) : undefined;
  if (problem !== undefined) return { tests: [], seconds: seconds(), trouble: `does not compile: ${problem}` };
  const { exitCode, said } = await run(
    copy,
    "node_modules/.bin/vitest",
    [
      ...["run", "--config", "scripts/vitest.config.ts", test.file, "--testNamePattern", patternOf(test.name)],
      // Of several, as of rows, the first that fails settles it.
      ...["--bail=1", "--reporter=json", `--outputFile.json=${report}`],
    ],
    signal,
  );
  const told = readReport(report);
  if (told === undefined)
    return { tests: [], seconds: seconds(), trouble: `was not run, exit code ${String(exitCode)}: ${said}` };
  const isNamed = ({ fullName, status }: TestResult): boolean => fullName.includes(`${number}: `) && isRun(status);
  const trouble = told.testResults.map(({ message }) => message).find((message) => message !== "");
  return {
    tests: told.testResults.flatMap(({ assertionResults }) => assertionResults.filter(isNamed)),
    seconds: seconds(),
    trouble: `was not run: ${trouble ?? "no test has that name, or it was skipped"}`,
  };
}

const isRun = (status: string): boolean => status === "passed" || status === "failed";

function readReport(file: string): Told | undefined {
  try {
    return JSON.parse(readFileSync(file, "utf8")) as Told;
  } catch {
    return undefined; // vitest did not come to write it
  }
}

async function build(copy: TreeCopy, signal: AbortSignal): Promise<string | undefined> {
  // The first time takes longest: then only what has changed is compiled.
  const how = ["-p", "scripts/tsconfig.build.json", "--incremental", "--tsBuildInfoFile", "build.tsbuildinfo"];
  const { exitCode, said } = await run(copy, "node_modules/.bin/tsc", how, signal);
  return exitCode === 0 ? undefined : said;
}

async function run(
  { directory }: TreeCopy,
  file: string,
  args: readonly string[],
  signal: AbortSignal,
): Promise<{ readonly exitCode: number | undefined; readonly said: string }> {
  signal.throwIfAborted();
  const { exitCode, all: said } = await execa(file, args, {
    cwd: directory,
    env: { [MARK]: directory, REQUIRE_NETNS: "1", LC_ALL: "C.UTF-8", CI: "true" },
    stdin: "ignore",
    all: true,
    reject: false,
    cancelSignal: signal,
  });
  // A test that failed half-way, or was interrupted, may have left what goes on by itself, such as a ping.
  endAll(directory);
  signal.throwIfAborted();
  return { exitCode, said };
}

function endAll(directory: string): void {
  for (const { pid } of readProcesses()) {
    if (!environmentOf(pid).includes(`${MARK}=${directory}`)) continue;
    try {
      process.kill(pid, "SIGKILL");
    } catch (error) {
      // It ended between the look and the signal.
      if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
    }
  }
}
