// The list of cures that are taken out again (scripts/cures) keeps up with the sources and with docs/neutron.md.
import { existsSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { DEFECTS_FILE, patternOf, readDefects, testOf } from "../../scripts/cures/defects.ts";
import { REVERSALS } from "../../scripts/cures/list.ts";

const defects = readDefects(readFileSync(DEFECTS_FILE, "utf8"));

test("every defect that has a test has a cure that can be taken out, and no other has", () => {
  const tested = defects.filter((defect) => testOf(defect) !== undefined).map(({ number }) => number);
  expect(Object.keys(REVERSALS)).toEqual(tested);
});

describe.each(Object.entries(REVERSALS))("%s", (number, { changes, runs }) => {
  test("changes what stands in its source exactly once", () => {
    expect(changes.length).toBeGreaterThan(0);
    for (const { file, from, to } of changes) {
      expect(file).toMatch(/^src\//);
      expect(readFileSync(file, "utf8").split(from), from).toHaveLength(2);
      expect(to).not.toBe(from);
    }
  });

  test("runs the test that is named, or a row of it", () => {
    const defect = defects.find((one) => one.number === number);
    const named = defect === undefined ? undefined : testOf(defect);
    expect(runs?.name ?? named?.name).toMatch(new RegExp(`^${patternOf(named?.name ?? "")}$`));
    const file = runs?.file ?? named?.file ?? "";
    expect(file).toMatch(/\.test\.ts$/);
    expect(existsSync(file)).toBe(true);
  });
});
