// Supervisor `process`: charon in a session of its own that outlives the agent, for machines where systemd does not run.
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { DeadlineError, UnavailableError } from "../../core/errors.ts";
import { endCharon, inspectCharon } from "./process.ts";
import type { Supervisor } from "./supervisor.ts";
import { stopUnit } from "./systemctl.ts";

/**
 * Starts charon inside a namespace; nsenter becomes charon (exec), so the pid is charon's. Returns at once.
 * `onExit` tells of an end while this agent lives; an adopted charon's end is seen by its VICI socket.
 */
function startCharon(of: {
  readonly executable: string;
  readonly namespacePath: string;
  readonly strongswanConf: string;
  readonly onExit: (how: string) => void;
}): number {
  const child = execa("nsenter", [`--net=${of.namespacePath}`, "--", of.executable], {
    env: { STRONGSWAN_CONF: of.strongswanConf, PATH: "/usr/sbin:/usr/bin:/sbin:/bin" },
    extendEnv: false,
    cwd: "/",
    stdio: "ignore",
    detached: true, // a session of its own: a signal to the agent's group is not for it
    cleanup: false, // it outlives us
    reject: false,
    buffer: false,
  });
  child.unref();
  void child.then((result) => {
    of.onExit(result.signal === undefined ? `exit code ${String(result.exitCode)}` : `signal ${result.signal}`);
  });
  if (child.pid === undefined) {
    throw new UnavailableError("CHARON_DOWN", `${of.executable} could not be started in ${of.namespacePath}`);
  }
  return child.pid;
}

/** A charon on a busy machine takes a few hundred milliseconds; one that needs longer is not coming. */
const EXEC_TIMEOUT_MS = 10_000;
const EXEC_POLL_MS = 5;

export type ProcessOptions = { readonly executable: string; readonly namespacePath: (name: string) => string };

export const processSupervisor = ({ executable, namespacePath }: ProcessOptions): Supervisor => ({
  kind: "process",

  async start({ namespace, strongswanConf, former }, signal) {
    // Else systemd would start another one beside ours.
    if (former?.unit !== undefined) await stopUnit(former.unit, signal);
    let ended: string | undefined;
    const startedAt = performance.now();
    const pid = startCharon({
      executable,
      namespacePath: namespacePath(namespace),
      strongswanConf,
      onExit: (how) => {
        ended = how;
      },
    });
    // The pid becomes charon's when nsenter has become charon.
    for (;;) {
      const charon = inspectCharon(pid, executable);
      if (charon !== undefined) return charon;
      if (ended !== undefined) throw new UnavailableError("CHARON_DOWN", `${executable} ended at once: ${ended}`);
      if (performance.now() - startedAt > EXEC_TIMEOUT_MS) {
        throw new DeadlineError(`${executable} (pid ${String(pid)}) did not begin in ${String(EXEC_TIMEOUT_MS)} ms`);
      }
      signal.throwIfAborted();
      await sleep(EXEC_POLL_MS);
    }
  },

  async stop(_namespace, charon, signal) {
    if (charon !== undefined) await endCharon(charon, signal);
  },
});
