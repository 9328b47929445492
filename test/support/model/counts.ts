// How often each thing happened in all cases of a run: a law that was never put to the test is no law.

export class Counts {
  readonly #counts = new Map<string, Map<string, number>>();
  cases = 0;

  /** Of these groups each name is to be reached; others are only told. */
  constructor(expected: Readonly<Record<string, readonly string[]>>) {
    for (const [group, names] of Object.entries(expected)) {
      this.#counts.set(group, new Map(names.map((name) => [name, 0])));
    }
  }

  add(group: string, name: string): void {
    const counts = this.#counts.get(group) ?? new Map<string, number>();
    this.#counts.set(group, counts.set(name, (counts.get(name) ?? 0) + 1));
  }

  /** What was reached less often than `least`. */
  below(least: number, groups: readonly string[]): readonly string[] {
    return groups.flatMap((group) =>
      [...(this.#counts.get(group) ?? [])]
        .filter(([, count]) => count < least)
        .map(([name, count]) => `${group} ${name}: ${count}`),
    );
  }

  text(): string {
    const lines = [...this.#counts].map(([group, counts]) => {
      const names = [...counts].sort(([a], [b]) => (a < b ? -1 : 1));
      return `${group}: ${names.map(([name, count]) => `${name} ${count}`).join(", ")}`;
    });
    return [`cases: ${this.cases}`, ...lines].join("\n");
  }
}
