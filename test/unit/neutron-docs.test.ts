// docs/neutron.md names a test for every defect of the stock agent, or says why there is none.
import { existsSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";

const DEFECTS = 46;

type Row = { readonly number: string; readonly proof: string };

const rows: readonly Row[] = readFileSync("docs/neutron.md", "utf8")
  .split("\n")
  .flatMap((line) => {
    const [number = "", , , proof] = line.replace(/^\| | \|$/g, "").split(" | ");
    return number.startsWith("B-") && proof !== undefined ? [{ number: number.trim(), proof: proof.trim() }] : [];
  });

test("every defect has its row", () => {
  const numbers = Array.from({ length: DEFECTS }, (_, at) => `B-${String(at + 1).padStart(2, "0")}`);
  expect(rows.map(({ number }) => number)).toEqual(numbers);
});

test.each(rows)("$number: its test is there under that name, or the reason why there is none", ({ number, proof }) => {
  const [, file, name] = /^test: `([^:]+)::(.+)`$/.exec(proof) ?? [];
  if (file === undefined || name === undefined) {
    expect(proof).toMatch(/^not (testable|there yet): ./);
    return;
  }
  expect(name.startsWith(`${number}: `)).toBe(true);
  expect(existsSync(file)).toBe(true);
  const text = readFileSync(file, "utf8");
  expect(text.includes(`"${name}"`) || text.includes(`\`${name}\``)).toBe(true);
});
