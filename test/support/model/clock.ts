// Time of the model: it moves only when told to, from timer to timer. Timers belong to somebody, and die with him.
import type { Clock } from "../../../src/core/ports.ts";

type Timer = { readonly atMs: number; readonly owner: object; readonly callback: () => void };

/** Lets every promise settle that waits for no timer: all fakes answer within microtasks. */
export const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export class ModelClock {
  #nowMs = 0;
  readonly #timers = new Set<Timer>();

  nowMs(): number {
    return this.#nowMs;
  }

  after(owner: object, delayMs: number, callback: () => void): () => void {
    const timer = { atMs: this.#nowMs + delayMs, owner, callback };
    this.#timers.add(timer);
    return () => void this.#timers.delete(timer);
  }

  /** The clock of one agent: a dead one is called back by nothing. */
  for(owner: object): Clock {
    return {
      nowMs: () => this.#nowMs,
      random: () => 0.5,
      after: (delayMs, callback) => this.after(owner, delayMs, callback),
    };
  }

  forget(owner: object): void {
    for (const timer of this.#timers) if (timer.owner === owner) this.#timers.delete(timer);
  }

  /** Once all has settled: goes on to the next timer, at most until `limitMs`, and calls it back; false when there was none. */
  async step(limitMs: number): Promise<boolean> {
    let next: Timer | undefined;
    for (const timer of this.#timers) if (next === undefined || timer.atMs < next.atMs) next = timer;
    if (next === undefined || next.atMs > limitMs) {
      this.#nowMs = Math.max(this.#nowMs, limitMs);
      return false;
    }
    this.#timers.delete(next);
    this.#nowMs = Math.max(this.#nowMs, next.atMs);
    next.callback();
    await settle();
    return true;
  }
}
