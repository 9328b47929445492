// A clock that moves only when told to: the core's Clock and io/rabbit's Timing.
import type { Timing } from "../../src/io/rabbit/timing.ts";

export type FakeTiming = Timing & {
  /** Moves on, calling back what falls due in order, and lets promises settle in between. */
  advance(byMs: number): Promise<void>;
};

const settle = () => new Promise<void>((resolve) => setImmediate(resolve));

export function fakeTiming(random = 0): FakeTiming {
  let nowMs = 0;
  const due = new Set<{ readonly atMs: number; readonly callback: () => void }>();
  return {
    nowMs: () => nowMs,
    random: () => random,
    after(delayMs, callback) {
      const timer = { atMs: nowMs + delayMs, callback };
      due.add(timer);
      return () => void due.delete(timer);
    },
    async advance(byMs) {
      const untilMs = nowMs + byMs;
      await settle();
      for (;;) {
        const [next] = [...due].filter(({ atMs }) => atMs <= untilMs).sort((a, b) => a.atMs - b.atMs);
        if (next === undefined) break;
        due.delete(next);
        nowMs = next.atMs;
        next.callback();
        await settle();
      }
      nowMs = untilMs;
    },
  };
}
