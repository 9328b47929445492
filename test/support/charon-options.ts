// What planning a charon needs to know, with a fixed node key and the real texts of files and sections.
import type { CharonPlanOptions } from "../../src/core/charon-step.ts";
import type { EspBackEnd } from "../../src/core/guard.ts";
import { comparisons } from "../../src/io/charon/texts.ts";

export const NODE_KEY = new Uint8Array(32).fill(7);

export function charonOptions(
  more: Partial<CharonPlanOptions> = {},
  backEnd: EspBackEnd = "kernel",
): CharonPlanOptions {
  const key = more.key ?? NODE_KEY;
  return {
    espBackEnd: backEnd,
    key,
    splitChildren: false,
    updateWindowMs: 5_000,
    differingGraceMs: 30_000,
    connectTimeoutMs: 30_000,
    yieldMs: 1_000,
    duplicateGraceMs: 3_000,
    ...comparisons(key, backEnd),
    ...more,
  };
}
