// The clock and the dice of this folder, so that tests can hold both.

export type Timing = {
  /** Monotonic. */
  nowMs(): number;
  /** In [0, 1). */
  random(): number;
  /** Calls back once, after `delayMs`; the returned function takes it back. */
  after(delayMs: number, callback: () => void): () => void;
};

export const systemTiming: Timing = {
  nowMs: () => performance.now(),
  random: () => Math.random(),
  after(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
    return () => clearTimeout(timer);
  },
};

/** Waits; an abort ends the wait early and is no error, for whoever waits looks at the signal anyway. */
export function pause(timing: Timing, delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const finish = () => {
      cancel();
      signal.removeEventListener("abort", finish);
      resolve();
    };
    const cancel = timing.after(delayMs, finish);
    signal.addEventListener("abort", finish);
  });
}
