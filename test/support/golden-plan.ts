// Plans as text, compared with what is recorded in test/golden/plans.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { expect } from "vitest";

/** A file that is deleted is recorded anew, but never where nobody would look at it. */
export function expectGoldenPlan(name: string, text: string): void {
  const file = new URL(`../golden/plans/${name}.txt`, import.meta.url);
  if (!existsSync(file) && process.env["CI"] !== "true") writeFileSync(file, text);
  expect(text).toBe(readFileSync(file, "utf8"));
}
