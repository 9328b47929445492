// The cures that can be proved: a row of docs/neutron.md with its test, and how to take the cure out again.
import { readFileSync } from "node:fs";
import type { Mutation } from "../chaos/program-copy.ts";
import { DEFECTS_FILE, readDefects, testOf, type NamedTest } from "./defects.ts";
import { REVERSALS } from "./list.ts";

export type Cure = { readonly number: string; readonly reversal: readonly Mutation[]; readonly test: NamedTest };

export const readCures = (): readonly Cure[] =>
  readDefects(readFileSync(DEFECTS_FILE, "utf8")).flatMap((defect) => {
    const named = testOf(defect);
    const reversal = REVERSALS[defect.number];
    if (named === undefined || reversal === undefined) return [];
    return [{ number: defect.number, reversal: reversal.changes, test: { ...named, ...reversal.runs } }];
  });

export const isIntegration = ({ test }: Cure): boolean => test.file.startsWith("test/integration/");
