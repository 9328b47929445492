// The processes of this machine, as /proc tells of them (proc(5)). It ends none.
import { readdirSync, readFileSync } from "node:fs";

/** The start time, in clock ticks since boot, makes a pid the name of one process for good. */
export type ProcessId = { readonly pid: number; readonly startTime: string };
export type ProcessEntry = ProcessId & { readonly parent: number; readonly command: string };

const readOf = (pid: number, part: "stat" | "cmdline" | "environ"): string => {
  try {
    return readFileSync(`/proc/${String(pid)}/${part}`, "utf8");
  } catch {
    return ""; // gone, or not ours to see
  }
};

/** Undefined when there is none, also when it has ended and nobody has waited for it yet. */
export function readProcess(pid: number): ProcessEntry | undefined {
  const text = readOf(pid, "stat");
  // The command stands in brackets and may hold blanks and brackets itself.
  const end = text.lastIndexOf(")");
  const [state, parent, ...others] = text.slice(end + 2).split(" ");
  const startTime = others[17];
  if (end < 0 || state === "Z" || startTime === undefined) return undefined;
  return { pid, startTime, parent: Number(parent), command: text.slice(text.indexOf("(") + 1, end) };
}

export const readProcesses = (): readonly ProcessEntry[] =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((name) => readProcess(Number(name)))
    .filter((found) => found !== undefined);

export const isRunning = ({ pid, startTime }: ProcessId): boolean => readProcess(pid)?.startTime === startTime;

export const argumentsOf = (pid: number): readonly string[] => readOf(pid, "cmdline").split("\0");
export const environmentOf = (pid: number): readonly string[] => readOf(pid, "environ").split("\0");

/** This process, for names that say whose a thing is. */
export function ownId(): ProcessId {
  const own = readProcess(process.pid);
  if (own === undefined) throw new Error("/proc does not show this process");
  return { pid: own.pid, startTime: own.startTime };
}
