// A scrape of /metrics as values by series, the way Prometheus would keep them.
import type { Agent } from "../../scripts/lab.ts";

export type Scrape = {
  /** Every metric that is declared, by its `# TYPE` line. */
  readonly names: readonly string[];
  /** The sum of all series of this name that have these labels; undefined when there is none. */
  readonly value: (name: string, labels?: Readonly<Record<string, string>>) => number | undefined;
};

const SERIES = /^(?<name>\w+)(?:\{(?<labels>.*)\})? (?<value>\S+)$/;

function decodeMetrics(text: string): Scrape {
  const lines = text.split("\n");
  const series = lines.flatMap((line) => {
    const { name, labels = "", value } = SERIES.exec(line)?.groups ?? {};
    if (name === undefined) return [];
    const pairs = [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key = "", found = ""]) => [key, found]);
    return [{ name, labels: Object.fromEntries(pairs) as Record<string, string>, value: Number(value) }];
  });
  return {
    names: lines.flatMap((line) => /^# TYPE (\w+) /.exec(line)?.[1] ?? []),
    value(name, labels = {}) {
      const wanted = Object.entries(labels);
      const found = series.filter(
        (one) => one.name === name && wanted.every(([key, value]) => one.labels[key] === value),
      );
      return found.length === 0 ? undefined : found.reduce((sum, one) => sum + one.value, 0);
    },
  };
}

export async function scrape(agent: Agent): Promise<Scrape> {
  const response = await fetch(`http://127.0.0.1:${String(agent.httpPort)}/metrics`);
  return decodeMetrics(await response.text());
}
