// When to do something next.

/**
 * Exponential backoff with full jitter in its upper half: between 50 % and 100 % of `baseMs · 2^attempt`, capped.
 * `attempt` counts from 0; `random` is in [0, 1).
 */
export function backoffMs(attempt: number, baseMs: number, capMs: number, random: number): number {
  const ceiling = Math.min(capMs, baseMs * 2 ** Math.min(attempt, 30));
  return Math.round(ceiling * (0.5 + random / 2));
}

/** The earlier of two moments of which either may not be set. */
export const earlier = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined ? b : b === undefined ? a : Math.min(a, b);
