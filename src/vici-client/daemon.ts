// The process itself: version, stats, reload-settings.
import { readList, readSection, requireInteger, requireText } from "./fields.ts";
import type { Section } from "./message.ts";
import { run } from "./run.ts";
import type { CommandOptions, ViciRequester } from "./session.ts";

export type Version = {
  readonly daemon: string;
  readonly version: string;
  readonly sysname: string;
  readonly release: string;
  readonly machine: string;
};

export async function version(vici: ViciRequester, options?: CommandOptions): Promise<Version> {
  const answer = await vici.request("version", {}, options);
  return {
    daemon: requireText(answer, "daemon"),
    version: requireText(answer, "version"),
    sysname: requireText(answer, "sysname"),
    release: requireText(answer, "release"),
    machine: requireText(answer, "machine"),
  };
}

export type Stats = {
  readonly uptime: {
    /** For people, e.g. "5 minutes". */
    readonly running: string;
    /**
     * Local time of charon as it prints it, e.g. "Nov 21 06:31:07 2026". Calculated anew from the clock at each call: may
     * differ by a second, and more once the clock was set.
     */
    readonly since: string;
  };
  readonly workers: { readonly total: number; readonly idle: number; readonly active: JobCounts };
  readonly queues: JobCounts;
  readonly scheduledCount: number;
  readonly ikeSas: { readonly total: number; readonly halfOpen: number };
  readonly plugins: readonly string[];
  /** Where libc tells (mallinfo); of the C heap only. */
  readonly heap:
    | {
        readonly sbrkBytes: number;
        readonly mmapBytes: number;
        readonly usedBytes: number;
        readonly freeBytes: number;
      }
    | undefined;
  /** Where charon was built with leak-detective. */
  readonly leakDetective: { readonly totalBytes: number; readonly allocationCount: number } | undefined;
};

/** Jobs by priority. */
export type JobCounts = {
  readonly critical: number;
  readonly high: number;
  readonly medium: number;
  readonly low: number;
};

export async function stats(vici: ViciRequester, options?: CommandOptions): Promise<Stats> {
  const answer = await vici.request("stats", {}, options);
  const uptime = readSection(answer, "uptime");
  const workers = readSection(answer, "workers");
  const ikeSas = readSection(answer, "ikesas");
  return {
    uptime: { running: requireText(uptime, "running"), since: requireText(uptime, "since") },
    workers: {
      total: requireInteger(workers, "total"),
      idle: requireInteger(workers, "idle"),
      active: decodeJobCounts(readSection(workers, "active")),
    },
    queues: decodeJobCounts(readSection(answer, "queues")),
    scheduledCount: requireInteger(answer, "scheduled"),
    ikeSas: { total: requireInteger(ikeSas, "total"), halfOpen: requireInteger(ikeSas, "half-open") },
    plugins: readList(answer, "plugins"),
    heap: answer.has("mallinfo") ? decodeHeap(readSection(answer, "mallinfo")) : undefined,
    leakDetective: answer.has("mem") ? decodeLeakDetective(readSection(answer, "mem")) : undefined,
  };
}

function decodeHeap(section: Section): Stats["heap"] {
  return {
    sbrkBytes: requireInteger(section, "sbrk"),
    mmapBytes: requireInteger(section, "mmap"),
    usedBytes: requireInteger(section, "used"),
    freeBytes: requireInteger(section, "free"),
  };
}

function decodeLeakDetective(section: Section): Stats["leakDetective"] {
  return { totalBytes: requireInteger(section, "total"), allocationCount: requireInteger(section, "allocs") };
}

function decodeJobCounts(section: Section): JobCounts {
  return {
    critical: requireInteger(section, "critical"),
    high: requireInteger(section, "high"),
    medium: requireInteger(section, "medium"),
    low: requireInteger(section, "low"),
  };
}

/**
 * Reads strongswan.conf again, for the loggers and for plugins that take part. Connections, secrets and the sockets stay
 * as they are. Refused when the file cannot be read or parsed.
 */
export async function reloadSettings(vici: ViciRequester, options?: CommandOptions): Promise<void> {
  await run(vici, "reload-settings", {}, options);
}
