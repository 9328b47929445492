// The fault matrix in short: faults of many kinds that have to be survived, and bugs that have to be found. What it found
// first has tests of its own: charon's own rule (agent/drift.test.ts), a full disk (unit/io/private-file.test.ts).
import { readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { BUGS } from "../../scripts/chaos/bugs.ts";
import { firstModel } from "../../scripts/chaos/model.ts";
import { faultKindsOf, PLACES, type PlaceName } from "../../scripts/chaos/places/places.ts";
import { copyProgram, occurrencesOf } from "../../scripts/chaos/program-copy.ts";
import { bugNamed, proveBug } from "../../scripts/chaos/prove.ts";
import { randomPrefix, runChaos, type RunResult } from "../../scripts/chaos/run.ts";
import { patiently } from "../../scripts/patience.ts";
import { espBackEndHere } from "../support/kernel-esp.ts";

// More than the kernel lab's guest can carry, where time runs unevenly: what is measured here is time.
const matrix = test.skipIf(process.env["KERNEL_LAB"] !== undefined);
const LIMIT_MS = patiently(240_000);
const ESP = await espBackEndHere();

async function run(
  of: { readonly place: PlaceName; readonly seed: number; readonly perSide: number; readonly faults: number },
  signal: AbortSignal,
): Promise<RunResult> {
  const program = copyProgram();
  const said: string[] = [];
  const prefix = randomPrefix();
  try {
    const times = { forMs: 45_000, repairWithinMs: patiently(60_000) };
    const what = { ...of, kinds: faultKindsOf(of.place, ESP), espBackEnd: ESP, prefix, program: program.main };
    const result = await runChaos({ ...what, ...times, say: (line) => said.push(line), signal }, () =>
      Promise.resolve(),
    );
    expect(result.violations, said.join("\n")).toEqual([]);
    return result;
  } finally {
    program.remove();
    expect(tracesOf(prefix, of.perSide)).toEqual([]);
  }
}

/** What there is of a run by name: namespaces, links and the VICI sockets of charons. */
function tracesOf(prefix: string, perSide: number): readonly string[] {
  const ids = firstModel(prefix, perSide).routers.map(({ id }) => id);
  return ["/run/netns", "/sys/class/net", "/run"]
    .flatMap((directory) => readdirSync(directory))
    .filter((name) => name.startsWith(`${prefix}-`) || ids.some((id) => name.includes(id)));
}

matrix(
  "six routers survive faults of all kinds, and nothing is left of them",
  async ({ signal }) => {
    const { rounds } = await run({ place: "transit", seed: 101, perSide: 3, faults: 8 }, signal);
    expect(rounds.flatMap(({ faults }) => faults)).not.toEqual([]);
  },
  LIMIT_MS,
);

const isThere = (place: PlaceName): boolean =>
  process.env["KERNEL_LAB"] === undefined && PLACES[place].lacks() === undefined;
const others: readonly PlaceName[] = ["router", "ovs"];
matrix.for(others.filter(isThere))(
  "four routers survive faults in place %s, and nothing is left of them",
  { timeout: LIMIT_MS },
  async (place, { signal }) => {
    const { rounds } = await run({ place, seed: 201, perSide: 2, faults: 4 }, signal);
    expect(rounds.flatMap(({ faults }) => faults)).not.toEqual([]);
  },
);

test("every bug is one of the program as it is", () => {
  const missed = BUGS.flatMap(({ mutations }) => mutations).filter((mutation) => occurrencesOf(mutation) !== 1);
  expect(missed).toEqual([]);
});

matrix.for(["guard", "reported"])(
  "the checker finds the bug that breaks its invariant: %s",
  { timeout: LIMIT_MS },
  async (invariant, { signal }) => {
    const said: string[] = [];
    for (const bug of bugNamed(invariant, "transit", ESP)) {
      const proof = await proveBug(bug, {
        place: "transit",
        espBackEnd: ESP,
        seed: 1,
        say: (line) => said.push(line),
        signal,
      });
      expect(proof.isFound, said.join("\n")).toBe(true);
    }
    expect.hasAssertions();
  },
);
