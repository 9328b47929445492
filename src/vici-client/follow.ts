// initiate and terminate as they go: charon's log lines one by one, then the outcome.
import {
  initiate,
  type InitiateTarget,
  terminate,
  type Terminated,
  type TerminateTarget,
  type WaitOptions,
} from "./commands.ts";
import type { LogLine } from "./events.ts";
import type { ViciRequester } from "./session.ts";

/** charon tells only while it waits, so a time to wait is needed. */
export type FollowOptions = Omit<WaitOptions, "onLog" | "waitMs"> & { readonly waitMs: number };

/**
 * Starts when the first line is asked for. charon is read no further than one line ahead of the loop, but the deadline
 * does not wait for it. Ends as initiate does: throws what that rejects with. Leaving the loop early drops the lines
 * still to come and lets the command go on; the session has its answer before it sends another. To give up use `signal`.
 */
export function followInitiate(
  vici: ViciRequester,
  target: InitiateTarget,
  options: FollowOptions,
): AsyncGenerator<LogLine, void, undefined> {
  return follow((onLog) => initiate(vici, target, { ...options, onLog }));
}

/** As followInitiate; returns (to who calls next() to the end) what terminate does. */
export function followTerminate(
  vici: ViciRequester,
  target: TerminateTarget,
  options: FollowOptions,
): AsyncGenerator<LogLine, Terminated, undefined> {
  return follow((onLog) => terminate(vici, target, { ...options, onLog }));
}

async function* follow<Outcome>(
  start: (onLog: (line: LogLine) => Promise<void> | undefined) => Promise<Outcome>,
): AsyncGenerator<LogLine, Outcome, undefined> {
  const offered: { readonly line: LogLine; readonly taken: () => void }[] = [];
  const state = { isLeft: false, isOver: false };
  let wake: () => void = () => undefined;

  const outcome = start((line) => {
    if (state.isLeft) return undefined;
    return new Promise<void>((taken) => {
      offered.push({ line, taken });
      wake();
    });
  });
  const end = () => {
    state.isOver = true;
    wake();
  };
  // Handled here, also for a loop that was left and will not ask.
  outcome.then(end, end);
  try {
    for (;;) {
      const [next] = offered;
      if (next !== undefined) {
        yield next.line;
        offered.shift();
        next.taken();
        continue;
      }
      if (state.isOver) return await outcome;
      await new Promise<void>((resolve) => (wake = resolve));
    }
  } finally {
    state.isLeft = true;
    for (const { taken } of offered) taken();
  }
}
