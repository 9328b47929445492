// Which processes a running program starts: strace on all its threads, read when it has seen enough.
import { execa } from "execa";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { until } from "./lab.ts";

export type ProcessTrace = {
  /** Base names of what was executed since the last look. */
  readonly executed: () => readonly string[];
  /** Calls that made a process, not a thread, since the last look. */
  readonly forked: () => readonly string[];
  readonly stop: () => Promise<void>;
};

const CALLS = "execve,execveat,fork,vfork,clone,clone3";

const isTraced = (pid: number): boolean =>
  readdirSync(`/proc/${String(pid)}/task`).every((task) => {
    const status = readFileSync(`/proc/${String(pid)}/task/${task}/status`, "utf8");
    return !/^TracerPid:\s+0$/m.test(status);
  });

/** Resolves when every thread is watched. */
export async function traceProcesses(pid: number): Promise<ProcessTrace> {
  const directory = mkdtempSync(path.join(tmpdir(), "swanherd-test-trace-"));
  const file = path.join(directory, "trace");
  const args = ["-f", "-qq", "-e", `trace=${CALLS}`, "-e", "signal=none", "-o", file, "-p", String(pid)];
  const strace = execa("strace", args, { reject: false });
  const stop = async (): Promise<void> => {
    strace.kill("SIGINT");
    await strace;
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    await until("every thread is watched", 10_000, () => {
      if (strace.exitCode !== null) throw new Error(`strace ended with ${String(strace.exitCode)}`);
      return isTraced(pid);
    });
  } catch (error) {
    await stop();
    throw error;
  }
  const reader = (pick: (line: string) => string | undefined): (() => readonly string[]) => {
    let seen = 0;
    return () => {
      const lines = readFileSync(file, "utf8").split("\n");
      // The last line may still be written to.
      const fresh = lines.slice(seen, -1);
      seen += fresh.length;
      return fresh.flatMap((line) => pick(line) ?? []);
    };
  };
  return {
    executed: reader((line) => {
      const found = /execve(?:at)?\(.*?"([^"]*)"/.exec(line)?.[1];
      return found === undefined ? undefined : path.basename(found);
    }),
    forked: reader((line) => (/ (?:v?fork|clone3?)\(/.test(line) && !line.includes("CLONE_THREAD") ? line : undefined)),
    stop,
  };
}
