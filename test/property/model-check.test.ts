// The plan, model-checked: a whole agent over a whole router, through random changes, drift, failures and deaths.
import fc from "fast-check";
import { expect, test } from "vitest";
import { patiently } from "../../scripts/patience.ts";
import { runCase } from "../support/model/case.ts";
import { Counts } from "../support/model/counts.ts";
import { DRIFTS } from "../support/model/drift.ts";
import { anyCase } from "../support/model/generate.ts";
import { CHANGES } from "../support/model/specs.ts";
import { MISHAP_NAMES, STEP_KINDS, type StepKind } from "../support/model/steps.ts";

const ALL = { step: STEP_KINDS, drift: DRIFTS, change: CHANGES, mishap: MISHAP_NAMES };
/** What fits into every run; all of them, and the counts that they have to reach, are in scripts/model-check. */
const DEFAULT_CASES = 1_000;
/** A slow machine does fewer of those. */
const DEFAULT_LIMIT_MS = 20_000;

const numberOf = (name: string): number | undefined => {
  const text = process.env[name];
  return text === undefined || text === "" ? undefined : Number(text);
};

const CASES = numberOf("MODEL_CASES") ?? DEFAULT_CASES;
const LIMIT = numberOf("MODEL_CASES") === undefined ? { interruptAfterTimeLimit: DEFAULT_LIMIT_MS } : {};
/** Every step, kind of drift and crash point is to be reached so often; 0: they are only counted. */
const LEAST = numberOf("MODEL_LEAST") ?? 0;
/** Every step, pass and answer as it comes: for one case. */
const TRACE = process.env["MODEL_TRACE"] === undefined ? undefined : (line: string): void => console.log(line);
/** The same cases in every run, so that a run tells of what was changed; scripts/model-check takes others each time. */
const SEED = numberOf("MODEL_SEED") ?? 1;

test(
  "whatever is asked for, drifts, fails or dies, the agent converges, removes nothing it may not, and is never open",
  async () => {
    const counts = new Counts(ALL);
    const path = process.env["MODEL_PATH"];
    const startMs = performance.now();
    try {
      await fc.assert(
        fc.asyncProperty(anyCase, async (one) => {
          const violations = await runCase(one, counts, undefined, TRACE);
          if (violations.length > 0) throw new Error(violations.join("\n"));
        }),
        { numRuns: CASES, seed: SEED, ...LIMIT, ...(path === undefined ? {} : { path }) },
      );
    } finally {
      const seconds = ((performance.now() - startMs) / 1_000).toFixed(1);
      console.log(`MODEL_SEED=${SEED}, ${seconds} s\n${counts.text()}`);
    }
    expect(counts.below(LEAST, Object.keys(ALL))).toEqual([]);
  },
  patiently(60_000 + CASES * 200),
);

// What the model would not see if its laws were too weak: a world that says of a step that it is done, and does nothing.
const LEFT_OUT: readonly StepKind[] = [
  "applyGuard",
  "setLink",
  "removeAddress",
  "removeRoute",
  "removeRule",
  "loadPeer",
  "unloadSecret",
  "commit",
  "deleteNamespace",
];
test.each(LEFT_OUT)(
  "a world that leaves out %s is found out",
  async (kind) => {
    const outcome = await fc.check(
      fc.asyncProperty(anyCase, async (one) => {
        expect(await runCase(one, new Counts({}), (step) => step.kind === kind)).toEqual([]);
      }),
      { numRuns: 2_000, seed: SEED, endOnFailure: true },
    );
    expect(outcome.failed).toBe(true);
  },
  patiently(180_000),
);
