// Durations, sizes and counts at the edges of their units.
import { expect, test } from "vitest";
import { bytesWords, countWords, durationWords, printable } from "../../../src/cli/words.ts";

test.each([
  [-5, "0s"],
  [999, "0s"],
  [59_999, "59s"],
  [60_000, "1m00s"],
  [192_000, "3m12s"],
  [3_600_000, "1h00m"],
  [7_500_000, "2h05m"],
  [86_400_000, "1d00h"],
  [356_400_000, "4d03h"],
])("%d ms are told as %s", (milliseconds, words) => {
  expect(durationWords(milliseconds)).toBe(words);
});

test.each([
  [0, "0 B"],
  [999, "999 B"],
  [1000, "1.0 KiB"],
  [1229, "1.2 KiB"],
  [14_680_064, "14 MiB"],
  [1_073_741_824, "1.0 GiB"],
  [1_048_500, "1.0 MiB"],
])("%d bytes are told as %s", (bytes, words) => {
  expect(bytesWords(bytes)).toBe(words);
});

test("one of a thing is not many", () => {
  expect([countWords(0, "router"), countWords(1, "router"), countWords(2, "router")]).toEqual([
    "0 routers",
    "1 router",
    "2 routers",
  ]);
});

test("text from elsewhere cannot steer the terminal", () => {
  expect(printable("a\x1b[2Jb\nc\u202Ed é")).toBe("a?[2Jb?c?d é");
});
