// Processes, as /proc tells of them.
import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";

export type Proc = {
  readonly pid: number;
  readonly parent: number;
  readonly command: string;
  readonly arguments: readonly string[];
  readonly environment: readonly string[];
  /** Number of its network namespace's inode. */
  readonly namespace: number;
};

const read = (pid: string, part: string): string => {
  try {
    return readFileSync(`/proc/${pid}/${part}`, "utf8");
  } catch {
    return ""; // gone, or not ours to see
  }
};

const namespaceOf = (pid: string): number => {
  try {
    return Number(/\[(\d+)\]/.exec(readlinkSync(`/proc/${pid}/ns/net`))?.[1]);
  } catch {
    return 0;
  }
};

export const readProcs = (): readonly Proc[] =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      const stat = read(name, "stat");
      // proc(5): the command stands in brackets, the state and the parent after it.
      const [state, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      if (state === undefined || state === "" || state === "Z") return [];
      return [
        {
          pid: Number(name),
          parent: Number(parent),
          command: stat.slice(stat.indexOf("(") + 1, stat.lastIndexOf(")")),
          arguments: read(name, "cmdline").split("\0"),
          environment: read(name, "environ").split("\0"),
          namespace: namespaceOf(name),
        },
      ];
    });

/** Undefined: there is no such namespace. */
export function inodeOf(namespace: string): number | undefined {
  try {
    return statSync(`/run/netns/${namespace}`).ino;
  } catch {
    return undefined;
  }
}
