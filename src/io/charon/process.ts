// Supervisor `process`: charon as a process of its own session that outlives the agent, found again by what it is:
// executable, namespace and the STRONGSWAN_CONF in its environment. It ends no process that it cannot prove to be ours.
import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { basename } from "node:path";
import { execa } from "execa";
import { DeadlineError, UnavailableError } from "../../core/errors.ts";

export type CharonProcess = {
  readonly pid: number;
  /** Clock ticks since boot (proc(5), stat field 22): with the pid it names one process for good. */
  readonly startTime: string;
  readonly strongswanConf: string;
  /** Inode of its network namespace. */
  readonly namespaceInode: number | undefined;
};

const orUndefined = <T>(read: () => T): T | undefined => {
  try {
    return read();
  } catch {
    return undefined; // the process ended meanwhile
  }
};

/** Start time and state of a process; undefined when there is none or only a zombie is left. */
function aliveSince(pid: number): string | undefined {
  const stat = orUndefined(() => readFileSync(`/proc/${String(pid)}/stat`, "utf8"));
  // The name in parentheses may hold anything; what follows the last one is regular.
  const fields = stat?.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields === undefined || fields[0] === "Z" || fields[0] === "X" ? undefined : fields[19];
}

/** What a pid is, when it is a charon with a STRONGSWAN_CONF of its own. */
export function inspectCharon(pid: number, executable: string): CharonProcess | undefined {
  const exe = orUndefined(() => readlinkSync(`/proc/${String(pid)}/exe`));
  // After an upgrade of the package the link says "… (deleted)".
  if (exe === undefined || basename(exe).replace(/ \(deleted\)$/, "") !== basename(executable)) return undefined;
  const environment = orUndefined(() => readFileSync(`/proc/${String(pid)}/environ`, "utf8"));
  const entry = environment?.split("\0").find((line) => line.startsWith("STRONGSWAN_CONF="));
  const startTime = aliveSince(pid);
  if (entry === undefined || startTime === undefined) return undefined;
  return {
    pid,
    startTime,
    strongswanConf: entry.slice("STRONGSWAN_CONF=".length),
    namespaceInode: orUndefined(() => statSync(`/proc/${String(pid)}/ns/net`).ino),
  };
}

/** Every running charon with a STRONGSWAN_CONF of its own, by that path. */
export function findCharons(executable: string): ReadonlyMap<string, CharonProcess> {
  const found = new Map<string, CharonProcess>();
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    const charon = inspectCharon(Number(entry), executable);
    if (charon !== undefined) found.set(charon.strongswanConf, charon);
  }
  return found;
}

export const isAlive = (charon: CharonProcess): boolean => aliveSince(charon.pid) === charon.startTime;

/**
 * Starts charon inside a namespace; nsenter becomes charon (exec), so the pid is charon's. Returns at once.
 * `onExit` tells of an end while this agent lives; an adopted charon's end is seen by its VICI socket.
 */
export function startCharon(of: {
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

const POLL_MS = 10;
/** A process that the kernel holds (state D) does not even end by force: its router's queue must not wait for ever. */
const STOP_LIMITS = { killAfterMs: 3_000, giveUpAfterMs: 10_000 };

/** Ends a charon in peace (it tells its peers), then by force. The pid is checked against its start time each time. */
export async function stopCharon(charon: CharonProcess, signal: AbortSignal, limits = STOP_LIMITS): Promise<void> {
  const startedAt = performance.now();
  let isForced = false;
  sendSignal(charon, "SIGTERM");
  while (isAlive(charon)) {
    signal.throwIfAborted();
    const elapsedMs = performance.now() - startedAt;
    if (!isForced && elapsedMs > limits.killAfterMs) {
      isForced = true;
      sendSignal(charon, "SIGKILL");
    }
    if (elapsedMs > limits.giveUpAfterMs) {
      throw new DeadlineError(`charon (pid ${String(charon.pid)}) did not end in ${String(limits.giveUpAfterMs)} ms`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

function sendSignal(charon: CharonProcess, name: "SIGTERM" | "SIGKILL"): void {
  try {
    if (isAlive(charon)) process.kill(charon.pid, name);
  } catch (error) {
    // It ended between the look and the signal.
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
  }
}
