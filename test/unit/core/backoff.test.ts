// Pauses: their growth, their cap, and which of two moments counts.
import { expect, test } from "vitest";
import { backoffMs, earlier } from "../../../src/core/backoff.ts";

test.each([
  [0, 0, 500],
  [0, 0.999_999, 1_000],
  [3, 0, 4_000],
  [3, 0.5, 6_000],
  [10, 0, 15_000],
  [10_000, 0.5, 22_500],
])("attempt %i with random %f waits %i ms", (attempt, random, expected) => {
  expect(backoffMs(attempt, 1_000, 30_000, random)).toBe(expected);
});

test("the earlier of two moments is the one that is set, or the lower", () => {
  expect([earlier(undefined, 5), earlier(5, undefined), earlier(7, 5)]).toEqual([5, 5, 5]);
  expect(earlier(undefined, undefined)).toBeUndefined();
});
