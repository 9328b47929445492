// docs/neutron.md names a test for every defect of the stock agent, or says why there is none.
import { existsSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { DEFECTS_FILE, readDefects, testOf } from "../../scripts/cures/defects.ts";

const DEFECTS = 46;

const rows = readDefects(readFileSync(DEFECTS_FILE, "utf8"));

test("every defect has its row", () => {
  const numbers = Array.from({ length: DEFECTS }, (_, at) => `B-${String(at + 1).padStart(2, "0")}`);
  expect(rows.map(({ number }) => number)).toEqual(numbers);
});

test.each(rows)("$number: its test is there under that name, or the reason why there is none", (defect) => {
  const named = testOf(defect);
  if (named === undefined) {
    expect(defect.proof).toMatch(/^not (testable|there yet): ./);
    return;
  }
  const { file, name } = named;
  expect(name.startsWith(`${defect.number}: `)).toBe(true);
  expect(existsSync(file)).toBe(true);
  const text = readFileSync(file, "utf8");
  expect(text.includes(`"${name}"`) || text.includes(`\`${name}\``)).toBe(true);
});
