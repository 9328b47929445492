// What a benchmark has to tell: rows of figures, how they are drawn from samples, and how they are printed.

export type Row = {
  /** Says what was measured; the same in every run. */
  readonly name: string;
  readonly value: number;
  readonly unit: "×" | "ms" | "MB/s" | "MiB" | "";
  /** How many samples the value comes from. */
  readonly samples: number;
};

/** The value below which this part of the samples lies (nearest rank). */
export function quantile(samples: readonly number[], part: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const found = sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)];
  if (found === undefined) throw new Error("nothing was measured");
  return found;
}

export const median = (samples: readonly number[]): number => quantile(samples, 0.5);

const shown = (value: number): string => (value >= 100 || value === 0 ? value.toFixed(0) : value.toPrecision(3));

export function tableOf(rows: readonly Row[]): string {
  const width = Math.max(...rows.map(({ name }) => name.length));
  return rows
    .map(({ name, value, unit, samples }) => {
      const figure = shown(value).padStart(8);
      return `${name.padEnd(width)}  ${figure} ${unit.padEnd(4)}  of ${String(samples)}`;
    })
    .join("\n");
}
