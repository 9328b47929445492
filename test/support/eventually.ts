// Waiting for a condition with a deadline, instead of sleeping and hoping.
import { setTimeout as delay } from "node:timers/promises";
import { patiently } from "../../scripts/patience.ts";

const POLL_MS = 10;

/** Calls `fn` until it neither throws nor returns false or undefined, and gives back what it returned. */
export async function eventually<T>(
  fn: () => T | Promise<T>,
  { timeoutMs = 10_000, what }: { timeoutMs?: number; what: string },
): Promise<Exclude<T, false | undefined>> {
  const limitMs = patiently(timeoutMs);
  const deadline = performance.now() + limitMs;
  let lastError: unknown;
  for (;;) {
    try {
      const value = await fn();
      if (value !== false && value !== undefined) return value as Exclude<T, false | undefined>;
      lastError = undefined;
    } catch (error) {
      lastError = error;
    }
    if (performance.now() > deadline) {
      throw new Error(`not within ${limitMs} ms: ${what}`, { cause: lastError });
    }
    await delay(POLL_MS);
  }
}
