// The tables of docs/updates.md: one for each place and ESP back end, between two comments, written by the test that
// measures.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { format } from "prettier";
import type { EspBackEnd } from "../../src/core/guard.ts";
import type { Place } from "./places.ts";
import type { Version } from "./update-documents.ts";
import type { Cost, UpdateRow } from "./update-rows.ts";

export type Measured = {
  /** Of the hosts on the left, and of those on the right. */
  readonly sent: readonly [number, number];
  readonly lost: readonly [number, number];
  readonly longestGapMs: number;
  readonly made: Cost["made"];
  /** The connection of the same router to another peer. */
  readonly neighbour: { readonly keptSpis: boolean; readonly lost: number };
};

const FILE = fileURLToPath(new URL("../../docs/updates.md", import.meta.url));
const HEAD = [
  "| change | sides | IKEv1: lost | longest gap | new SAs | IKEv2: lost | longest gap | new SAs | neighbour |",
  "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
];

const between = (text: string, place: Place, backEnd: EspBackEnd): readonly [string, string, string] => {
  const name = place === "transit" ? backEnd : `${place}, ${backEnd}`;
  const [begin, end] = [`<!-- measured: ${name} -->`, `<!-- end: ${name} -->`];
  const [from, to] = [text.indexOf(begin) + begin.length, text.indexOf(end)];
  if (from < begin.length || to < from) throw new Error(`docs/updates.md has no table for ${name}`);
  return [text.slice(0, from), text.slice(from, to), text.slice(to)];
};

/** The kinds of change that it has a line for. */
export function readUpdatesTable(place: Place, backEnd: EspBackEnd): readonly string[] {
  const [, table] = between(readFileSync(FILE, "utf8"), place, backEnd);
  const lines = table.split("\n").filter((line) => line.startsWith("|"));
  return lines.slice(HEAD.length).map((line) => line.split("|")[1]?.trim() ?? "");
}

/** Replaces one table, and leaves the rest as it is. `measured` is by kind and version. */
export async function writeUpdatesTable(
  place: Place,
  backEnd: EspBackEnd,
  rows: readonly UpdateRow[],
  measured: ReadonlyMap<string, Measured>,
): Promise<void> {
  const lines = rows.map((row) => lineOf(row, measured));
  const [before, , after] = between(readFileSync(FILE, "utf8"), place, backEnd);
  const text = [before, "", ...HEAD, ...lines, "", after].join("\n");
  writeFileSync(FILE, await format(text, { parser: "markdown", printWidth: 120 }));
}

function lineOf({ what, sides }: UpdateRow, measured: ReadonlyMap<string, Measured>): string {
  const of = (version: Version): Measured => {
    const found = measured.get(`${what} ${version}`);
    if (found === undefined) throw new Error(`${what} was not measured with IKE${version}`);
    return found;
  };
  const both = [of("v1"), of("v2")];
  const cells = both.flatMap(({ lost, longestGapMs, made }) => [
    lost.join(" + "),
    longestGapMs === 0 ? "–" : `${String(longestGapMs)} ms`,
    made === "nothing" ? "none" : made === "child" ? "CHILD" : "IKE, CHILD",
  ]);
  const kept = both.every(({ neighbour }) => neighbour.keptSpis) ? "kept" : "new SAs";
  const neighbour = `${kept}, ${both.map((one) => one.neighbour.lost).join(" + ")}`;
  return `| ${[what, sides === "both" ? "both" : sides, ...cells, neighbour].join(" | ")} |`;
}
