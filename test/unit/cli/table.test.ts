// Tables as they stand on a terminal, letter by letter.
import { expect, test } from "vitest";
import { tableLines } from "../../../src/cli/table.ts";

const cells = (...texts: string[]) => texts.map((text) => ({ text }));

test("columns are as wide as their widest cell, and no line ends in blanks", () => {
  expect(tableLines(["A", "LONG"], [cells("wider", "x"), cells("y", "")])).toEqual(["A      LONG", "wider  x", "y"]);
});

test("colour does not count as width", () => {
  const paint = (text: string): string => `<green>${text}</green>`;
  expect(tableLines(["S", "B"], [[{ text: "up", paint }, { text: "b" }], cells("down", "b")])).toEqual([
    "S     B",
    "<green>up</green>    b",
    "down  b",
  ]);
});

test("the last column is cut where the terminal ends, the others never", () => {
  expect(tableLines(["ID", "WHY"], [cells("12345678", "a long reason")], 16)).toEqual([
    "ID        WHY",
    "12345678  a lon…",
  ]);
  expect(tableLines(["ID", "WHY"], [cells("12345678", "a long reason")], 4)[1]).toContain("12345678");
});

test("a name that holds control characters cannot move the cursor", () => {
  expect(tableLines(["N"], [cells("a\x1b[1Ab")])).toEqual(["N", "a?[1Ab"]);
});
