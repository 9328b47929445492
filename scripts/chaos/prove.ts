// That the checker finds what it is there for: each bug in a copy of the program, and a short run with it.
import { BUGS, type Bug } from "./bugs.ts";
import type { EspBackEnd } from "./check/subject.ts";
import type { PlaceName } from "./places/places.ts";
import { copyProgram } from "./program-copy.ts";
import { runChaos } from "./run.ts";

export type Proof = { readonly bug: Bug; readonly isFound: boolean; readonly seconds: number };

const REPAIR_WITHIN_MS = 15_000;
const MOST_MS = 150_000;

export const bugNamed = (text: string, place: PlaceName, espBackEnd: EspBackEnd): readonly Bug[] =>
  BUGS.filter(({ places }) => places === undefined || places.includes(place))
    .filter(({ esp }) => esp === undefined || esp === espBackEnd)
    .filter(({ name, invariant }) => text === "all" || name === text || invariant === text);

export async function proveBug(
  bug: Bug,
  of: {
    readonly seed: number;
    readonly place: PlaceName;
    readonly espBackEnd: EspBackEnd;
    readonly say: (line: string) => void;
    readonly signal: AbortSignal;
  },
): Promise<Proof> {
  const startedAt = performance.now();
  const program = copyProgram(bug.mutations);
  try {
    const result = await runChaos(
      {
        ...of,
        program: program.main,
        perSide: 2,
        faults: 6,
        forMs: MOST_MS,
        // One that does nothing, where the bug needs none.
        kinds: bug.faults ?? ["message-duplicate"],
        ...(bug.changes === undefined ? {} : { changes: bug.changes }),
        repairWithinMs: REPAIR_WITHIN_MS,
        sought: bug.invariant,
      },
      () => Promise.resolve(),
    );
    const isFound = result.violations.some(({ invariant }) => invariant === bug.invariant);
    return { bug, isFound, seconds: Math.round((performance.now() - startedAt) / 1000) };
  } finally {
    program.remove();
  }
}
