// What the agents told about services and connections, kept over restarts. It refuses to know what a status means.
import { readFile } from "node:fs/promises";
import type { Logger } from "pino";
import { writePrivateFile } from "../io/private-file.ts";
import { decodeStatusReport, isPending, type StatusEntry } from "../wire/neutron/status.ts";

/** `sinceMs`: Unix time of the last change. */
export type KeptStatus = { readonly status: string; readonly sinceMs: number };

export type Statuses = {
  of(id: string): KeptStatus;
  /** One `status` argument of update_status. Throws PayloadError, and then nothing is taken. */
  take(report: unknown): void;
  /** Ids that exist from now on: the others are forgotten, and a new one is pending. */
  setKnown(ids: ReadonlySet<string>): void;
  /** The file is written from now on: before, it may be that of somebody who serves the bus already. */
  begin(): void;
  /** Resolves when everything taken so far is on disk, so that what was answered outlives a crash. */
  written(): Promise<void>;
};

// What Neutron gives every new row.
const FIRST_STATUS = "PENDING_CREATE";
const FILE_VERSION = 1;

export type StatusesOptions = { readonly file: string; readonly log: Logger; readonly nowMs: () => number };

export async function openStatuses({ file, log, nowMs }: StatusesOptions): Promise<Statuses> {
  const kept = await readKept(file, log);
  let known: ReadonlySet<string> | undefined;
  let hasBegun = false;
  let isDirty = false;
  let writing: Promise<void> | undefined;

  function set(id: string, status: string): void {
    if (kept.get(id)?.status === status) return;
    kept.set(id, { status, sinceMs: nowMs() });
    save();
  }

  /** A report has many entries, and agents report side by side: what changes in one turn is one write. */
  function save(): void {
    isDirty = true;
    if (hasBegun) writing ??= new Promise<void>((resolve) => setImmediate(resolve)).then(write);
  }

  function write(): void {
    writing = undefined;
    isDirty = false;
    try {
      const text = JSON.stringify({ version: FILE_VERSION, statuses: Object.fromEntries(kept) });
      writePrivateFile(file, text, { isKept: true });
    } catch (err) {
      log.error({ file, err }, "reported status cannot be kept");
    }
  }

  function takeOne({ id, status, overwritesPending }: StatusEntry): void {
    const current = kept.get(id);
    if (known !== undefined && (current === undefined || !known.has(id))) {
      log.warn({ id, status }, "status of something unknown ignored");
      return;
    }
    // The server's rule (db/vpn/vpn_db.py): a pending status yields only to who says that it was pending.
    if (current !== undefined && isPending(current.status) && !overwritesPending) return;
    if (current?.status !== status) log.info({ id, from: current?.status, to: status }, "status reported");
    set(id, status);
  }

  return {
    of: (id) => kept.get(id) ?? { status: FIRST_STATUS, sinceMs: nowMs() },
    take(report) {
      const { services, connections } = decodeStatusReport(report);
      for (const entry of [...services, ...connections]) takeOne(entry);
    },
    setKnown(ids) {
      known = ids;
      for (const id of [...kept.keys()].filter((candidate) => !ids.has(candidate))) {
        kept.delete(id);
        save();
      }
      for (const id of ids) if (!kept.has(id)) set(id, FIRST_STATUS);
    },
    begin() {
      hasBegun = true;
      if (isDirty) save();
    },
    written: async () => {
      await writing;
    },
  };
}

async function readKept(file: string, log: Logger): Promise<Map<string, KeptStatus>> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (err) {
    // The first start has none.
    if (!(err instanceof Error && "code" in err && err.code === "ENOENT")) {
      log.warn({ file, err }, "reported status cannot be read, everything is pending again");
    }
    return new Map();
  }
  const kept = decodeKept(text);
  if (kept === undefined) log.warn({ file }, "reported status is not readable, everything is pending again");
  return kept ?? new Map<string, KeptStatus>();
}

function decodeKept(text: string): Map<string, KeptStatus> | undefined {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    // A disk that was full once; told by the caller.
    return undefined;
  }
  if (typeof json !== "object" || json === null || !("version" in json) || json.version !== FILE_VERSION)
    return undefined;
  const statuses: unknown = "statuses" in json ? json.statuses : undefined;
  if (typeof statuses !== "object" || statuses === null) return undefined;
  return new Map(
    Object.entries(statuses).flatMap(([id, value]: [string, unknown]): [string, KeptStatus][] =>
      isKept(value) ? [[id, { status: value.status, sinceMs: value.sinceMs }]] : [],
    ),
  );
}

const isKept = (value: unknown): value is KeptStatus =>
  typeof value === "object" &&
  value !== null &&
  "status" in value &&
  typeof value.status === "string" &&
  "sinceMs" in value &&
  typeof value.sinceMs === "number";
