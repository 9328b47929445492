// At most so many at once; the others wait in the order in which they came.
import type { Clock } from "../core/ports.ts";

/** Far longer than the deadlines of all that a pass may wait for. */
export const STALL_MS = 120_000;

export class Turns {
  readonly #atOnce: number;
  readonly #clock: Clock;
  readonly #waiting: (() => void)[] = [];
  #running = 0;
  #isStalled = false;
  #unwatch: (() => void) | undefined;

  constructor(atOnce: number, clock: Clock) {
    this.#atOnce = atOnce;
    this.#clock = clock;
  }

  /** Whether some wait and no turn has ended for so long that none will. */
  get isStalled(): boolean {
    return this.#isStalled;
  }

  async take<T>(run: () => Promise<T>): Promise<T> {
    if (this.#running < this.#atOnce) {
      this.#running += 1;
    } else {
      const turn = new Promise<void>((resolve) => this.#waiting.push(resolve));
      if (this.#unwatch === undefined) this.#watch();
      await turn;
    }
    try {
      return await run();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running -= 1;
      // Turns that wait for nothing (thousands of routers that cannot be plumbed) would leave no time for sockets and timers.
      else setImmediate(next);
      this.#watch();
    }
  }

  /** By a timer, not by the time of day: that may jump. */
  #watch(): void {
    this.#isStalled = false;
    this.#unwatch?.();
    this.#unwatch =
      this.#waiting.length === 0 ? undefined : this.#clock.after(STALL_MS, () => (this.#isStalled = true));
  }

  /** Leaves no timer behind; turns that run end as they would. */
  close(): void {
    this.#unwatch?.();
  }
}
