// Counters with made-up answers.
import { expect, test } from "vitest";
import * as counters from "../../../src/vici-client/counters.ts";
import { readSection } from "../../../src/vici-client/fields.ts";
import { aCharon, recorded } from "./requesters.ts";

test("each scope is asked for by what it leaves out", async () => {
  const { vici, sent } = aCharon({ success: "yes" });
  await counters.resetCounters(vici);
  await counters.resetConnCounters(vici, "peer-1");
  await counters.resetAllConnCounters(vici);
  expect(sent.map(({ args }) => Object.fromEntries(args))).toEqual([{}, { name: "peer-1" }, { all: "yes" }]);
});

test("a name that charon would read as absent is refused: it would mean all connections together", async () => {
  const { vici, sent } = aCharon({ success: "yes" });
  await expect(counters.resetConnCounters(vici, "größe")).rejects.toThrow(/charon would ignore it/);
  await expect(counters.getConnCounters(vici, "")).rejects.toThrow(/charon would ignore it/);
  expect(sent).toEqual([]);
});

test("the plugin that is missing is a refusal", async () => {
  const { vici } = aCharon({ success: "no", errmsg: "no counters available (plugin missing?)" });
  await expect(counters.getCounters(vici)).rejects.toThrow(/plugin missing/);
});

test("every counter of a real charon is told, none is made up, and one that is missing is refused by name", async () => {
  const answer = await recorded("get-counters").request("get-counters");
  const section = readSection(readSection(answer, "counters"), "");
  const numbered = new Map([...section.keys()].map((name, nth) => [name, String(nth + 1)]));
  const told = Object.values(counters.decodeCounters(numbered));
  expect([...told].sort((a, b) => a - b)).toEqual([...numbered.values()].map(Number));
  for (const name of section.keys()) {
    const without = new Map([...section].filter(([key]) => key !== name));
    expect(() => counters.decodeCounters(without)).toThrow(`${name} is missing`);
  }
});
