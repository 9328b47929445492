// Who runs charons and starts them again: systemd, or nobody but this agent. What is found running is adopted alike.
import type { CharonProcess } from "./process.ts";

export type CharonPlace = {
  readonly namespace: string;
  /** Written before the start. */
  readonly strongswanConf: string;
  /** The last one that ran here, and has ended. */
  readonly former: CharonProcess | undefined;
};

export type Supervisor = {
  readonly kind: "systemd" | "process";
  /** Starts charon where none runs. Its VICI may not answer yet. */
  readonly start: (place: CharonPlace, signal: AbortSignal) => Promise<CharonProcess>;
  /**
   * Ends a charon for good, whoever started it, so that nobody starts it again. `charon` runs, or ran last; undefined when
   * none is known.
   */
  readonly stop: (namespace: string, charon: CharonProcess | undefined, signal: AbortSignal) => Promise<void>;
};
