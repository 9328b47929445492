// charons as processes, found by what they are: executable, namespace and the STRONGSWAN_CONF in their environment.
// Nothing is ended that cannot be proved to be ours.
import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { basename, dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { DeadlineError } from "../../core/errors.ts";
import { stopUnit } from "./systemctl.ts";
import { unitOfCgroup } from "./unit.ts";

export type CharonProcess = {
  readonly pid: number;
  /** Clock ticks since boot (proc(5), stat field 22): with the pid it names one process for good. */
  readonly startTime: string;
  readonly strongswanConf: string;
  /** Inode of its network namespace. */
  readonly namespaceInode: number | undefined;
  /** The systemd unit that it is, whoever asked for it; undefined for a process of nobody's. */
  readonly unit: string | undefined;
};

type Living = Pick<CharonProcess, "pid" | "startTime">;

export const orUndefined = <T>(read: () => T): T | undefined => {
  try {
    return read();
  } catch {
    return undefined; // the process ended meanwhile
  }
};

/** Start time and state of a process; undefined when there is none or only a zombie is left. */
export function aliveSince(pid: number): string | undefined {
  const stat = orUndefined(() => readFileSync(`/proc/${String(pid)}/stat`, "utf8"));
  // The name in parentheses may hold anything; what follows the last one is regular.
  const fields = stat?.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields === undefined || fields[0] === "Z" || fields[0] === "X" ? undefined : fields[19];
}

/** USER_HZ, which what the kernel tells of processes is counted in, is 100 on every machine that Linux runs on. */
const TICK_MS = 10;

/**
 * Unix time. Both are counted from the machine's start, but where a container has an uptime of its own; /proc/uptime is exact
 * to 10 ms.
 */
export function startedAtMs({ startTime }: Pick<CharonProcess, "startTime">): number {
  const upSeconds = Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]);
  return Date.now() - Math.max(0, upSeconds * 1_000 - Number(startTime) * TICK_MS);
}

export function strongswanConfOf(pid: number): string | undefined {
  const environment = orUndefined(() => readFileSync(`/proc/${String(pid)}/environ`, "utf8"));
  const entry = environment?.split("\0").find((line) => line.startsWith("STRONGSWAN_CONF="));
  return entry?.slice("STRONGSWAN_CONF=".length);
}

/** What a pid is, when it is a charon with a STRONGSWAN_CONF of its own. */
export function inspectCharon(pid: number, executable: string): CharonProcess | undefined {
  const exe = orUndefined(() => readlinkSync(`/proc/${String(pid)}/exe`));
  // After an upgrade of the package the link says "… (deleted)".
  if (exe === undefined || basename(exe).replace(/ \(deleted\)$/, "") !== basename(executable)) return undefined;
  const strongswanConf = strongswanConfOf(pid);
  const startTime = aliveSince(pid);
  if (strongswanConf === undefined || startTime === undefined) return undefined;
  const cgroup = orUndefined(() => readFileSync(`/proc/${String(pid)}/cgroup`, "utf8")) ?? "";
  return {
    pid,
    startTime,
    strongswanConf,
    namespaceInode: orUndefined(() => statSync(`/proc/${String(pid)}/ns/net`).ino),
    unit: unitOfCgroup(cgroup, basename(dirname(strongswanConf))),
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

export const isAlive = (charon: Living): boolean => aliveSince(charon.pid) === charon.startTime;

/** The right way for whoever started it: systemd would start one again that got a signal. */
export const endCharon = (charon: Living & Pick<CharonProcess, "unit">, signal: AbortSignal): Promise<void> =>
  charon.unit === undefined ? stopCharon(charon, signal) : stopUnit(charon.unit, signal);

const POLL_MS = 10;
/** A process that the kernel holds (state D) does not even end by force: its router's queue must not wait for ever. */
const STOP_LIMITS = { killAfterMs: 3_000, giveUpAfterMs: 10_000 };

/** Ends a charon in peace (it tells its peers), then by force. The pid is checked against its start time each time. */
export async function stopCharon(charon: Living, signal: AbortSignal, limits = STOP_LIMITS): Promise<void> {
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
    await sleep(POLL_MS);
  }
}

function sendSignal(charon: Living, name: "SIGTERM" | "SIGKILL"): void {
  try {
    if (isAlive(charon)) process.kill(charon.pid, name);
  } catch (error) {
    // It ended between the look and the signal.
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
  }
}
