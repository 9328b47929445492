// Figures of many runs: faults by kind, and how long it took until everything was right again.
import { CHANGE_KINDS } from "./changes.ts";
import { FAULT_KINDS, type FaultKind } from "./faults/kinds.ts";
import { faultKindsOf } from "./places/places.ts";
import type { RunResult } from "./run.ts";

export type KindRow = {
  readonly kind: FaultKind | "none";
  readonly injected: number;
  readonly survived: number;
  /** Of those that were survived alone. */
  readonly repairSeconds: readonly number[];
};

/**
 * A repair begins when the fault was over, and ends when everything was found right. Only where a fault was alone in its
 * round that time is its own; survived it may be in any company.
 */
export function rowsOf(results: readonly RunResult[]): readonly KindRow[] {
  const rounds = results.flatMap((result) => result.rounds);
  const ofFaults = FAULT_KINDS.map((kind): KindRow => {
    const all = rounds.flatMap(({ faults, rightMs }) =>
      faults
        .filter((fault) => fault.kind === kind)
        .map(({ overMs }) => ({ overMs, rightMs, isAlone: faults.length === 1 })),
    );
    return rowOf(kind, all);
  });
  const quiet = rounds.filter(({ faults, changes }) => faults.length === 0 && changes.length > 0);
  const withoutFault = rowOf(
    "none",
    quiet.map(({ quietMs, rightMs }) => ({ overMs: quietMs, rightMs, isAlone: true })),
  );
  return [...ofFaults, withoutFault].filter(({ injected }) => injected > 0);
}

function rowOf(
  kind: KindRow["kind"],
  all: readonly { readonly overMs: number; readonly rightMs: number | undefined; readonly isAlone: boolean }[],
): KindRow {
  const survived = all.filter(({ rightMs }) => rightMs !== undefined).length;
  const repairSeconds = all.flatMap(({ overMs, rightMs, isAlone }) =>
    rightMs === undefined || !isAlone ? [] : [(rightMs - overMs) / 1000],
  );
  return { kind, injected: all.length, survived, repairSeconds };
}

/** The smallest value that is not below this part of all. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)] ?? Number.NaN;
}

const seconds = (value: number): string => (Number.isNaN(value) ? "-" : value.toFixed(1));

export function tableOf(rows: readonly KindRow[]): string {
  const lines = rows.map(({ kind, injected, survived, repairSeconds }) => {
    const [p50, p99, most] = [0.5, 0.99, 1].map((part) => seconds(quantile(repairSeconds, part)));
    return [kind, injected, survived, repairSeconds.length, p50, p99, most].map(String);
  });
  const head = ["fault", "times", "survived", "alone", "p50 s", "p99 s", "most s"];
  const widths = head.map((title, column) => Math.max(title.length, ...lines.map((line) => line[column]?.length ?? 0)));
  const text = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0))).join(" | ")} |`;
  const rule = widths.map((width, column) => (column === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`));
  return [text(head), `| ${rule.join(" | ")} |`, ...lines.map(text)].join("\n");
}

/** What stands between the two marks of docs/chaos.md. */
export function figuresText(results: readonly RunResult[], commit: string, machine: string): string {
  const rounds = results.flatMap((result) => result.rounds);
  const count = (of: (round: (typeof rounds)[number]) => number): number =>
    rounds.reduce((sum, round) => sum + of(round), 0);
  const kinds = new Set(results.flatMap(({ place, espBackEnd }) => faultKindsOf(place, espBackEnd))).size;
  const failed = results.filter(({ violations }) => violations.length > 0).map(({ seed }) => seed);
  const minutes = results.reduce((sum, { durationMs }) => sum + durationMs, 0) / 60_000;
  const seeds = results.map(({ seed }) => seed);
  const first = `${seeds.length} seeds of ${Math.min(...seeds)} to ${Math.max(...seeds)} at commit ${commit}, ${machine}: `;
  const lines = [
    `${first}${rounds.length} rounds, ${count(({ faults }) => faults.length)} faults of ${kinds} kinds and`,
    `${count(({ changes }) => changes.length)} changes of ${CHANGE_KINDS.length} kinds in ${Math.round(minutes)} minutes.`,
    failed.length === 0 ? "No invariant was violated." : `Invariants were violated in seeds ${failed.join(", ")}.`,
  ];
  return `${lines.join("\n")}\n\n${tableOf(rowsOf(results))}\n`;
}
