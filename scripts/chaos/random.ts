// Chance that a number brings back: the same seed makes the same choices in the same order.

export type Random = {
  /** Below 1, at least 0. */
  readonly next: () => number;
  /** Both ends included. */
  readonly whole: (from: number, to: number) => number;
  readonly chance: (part: number) => boolean;
  readonly pick: <T>(of: readonly T[]) => T;
  readonly shuffled: <T>(of: readonly T[]) => readonly T[];
};

/** mulberry32, a generator of 32 bits of state; nothing here wants more. */
export function seeded(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const whole = (from: number, to: number): number => from + Math.floor(next() * (to - from + 1));
  return {
    next,
    whole,
    chance: (part) => next() < part,
    pick: (of) => {
      const found = of[whole(0, of.length - 1)];
      if (found === undefined) throw new Error("there is nothing to choose from");
      return found;
    },
    shuffled: (of) => {
      const left = [...of];
      return of.map(() => left.splice(whole(0, left.length - 1), 1)).flat();
    },
  };
}
