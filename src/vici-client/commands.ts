// charon's commands with types: arguments in our words, answers judged (`success = no` throws) and decoded.
import { type ConnConfig, decodeConn } from "./conns.ts";
import { MalformedMessageError, ViciCommandError } from "./errors.ts";
import { decodeLogLine, type LogLine } from "./events.ts";
import { readInteger, readList, readSection, readText, requireInteger, requireText, sectionsOf } from "./fields.ts";
import type { Section, SectionInput } from "./message.ts";
import { decodeIkeSa, type IkeSa } from "./sas.ts";
import { type CommandOptions, DEFAULT_COMMAND_TIMEOUT_MS, type ViciRequester } from "./session.ts";

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
  /** Bytes of the heap, where libc tells them. */
  readonly heapUsedBytes: number | undefined;
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
    heapUsedBytes: readInteger(readSection(answer, "mallinfo"), "used"),
  };
}

function decodeJobCounts(section: Section): JobCounts {
  return {
    critical: requireInteger(section, "critical"),
    high: requireInteger(section, "high"),
    medium: requireInteger(section, "medium"),
    low: requireInteger(section, "low"),
  };
}

/** `config` is the section of swanctl.conf's `connections.<name>`, with every value as text. */
export async function loadConn(
  vici: ViciRequester,
  name: string,
  config: SectionInput,
  options?: CommandOptions,
): Promise<void> {
  await run(vici, "load-conn", new Map([[name, config]]), options);
}

/** SAs of the connection stay: terminate them before. */
export async function unloadConn(vici: ViciRequester, name: string, options?: CommandOptions): Promise<void> {
  await run(vici, "unload-conn", { name: printable("name", name) }, options);
}

export type SharedSecret = {
  readonly type: "IKE" | "EAP" | "XAUTH" | "NTLM" | "PPK";
  /** Without one, the secret can be neither listed nor unloaded nor replaced. */
  readonly id?: string;
  readonly data: string | Uint8Array;
  readonly owners: readonly string[];
};

export async function loadShared(vici: ViciRequester, secret: SharedSecret, options?: CommandOptions): Promise<void> {
  const { id, type, data, owners } = secret;
  await run(vici, "load-shared", { id: printable("id", id), type, data, owners }, options);
}

export async function unloadShared(vici: ViciRequester, id: string, options?: CommandOptions): Promise<void> {
  await run(vici, "unload-shared", { id: printable("id", id) }, options);
}

/** Ids of the secrets loaded over VICI; never their values. */
export async function getShared(vici: ViciRequester, options?: CommandOptions): Promise<readonly string[]> {
  return readList(await vici.request("get-shared", {}, options), "keys");
}

/** Names of the connections loaded over VICI. */
export async function getConns(vici: ViciRequester, options?: CommandOptions): Promise<readonly string[]> {
  return readList(await vici.request("get-conns", {}, options), "conns");
}

export type ConnFilter = { readonly ike?: string };

export async function listConns(
  vici: ViciRequester,
  filter: ConnFilter = {},
  options?: CommandOptions,
): Promise<readonly ConnConfig[]> {
  const found: ConnConfig[] = [];
  const take = (message: Section) => found.push(...sectionsOf(message).map(([name, conn]) => decodeConn(name, conn)));
  await vici.stream("list-conns", "list-conn", { ike: printable("ike", filter.ike) }, take, options);
  return found;
}

export type SaFilter = {
  readonly ike?: string;
  readonly ikeId?: number;
  readonly child?: string;
  readonly childId?: number;
  /** Skips SAs that charon is working on just then: absent is not down. */
  readonly isNonBlocking?: boolean;
};

export async function listSas(
  vici: ViciRequester,
  filter: SaFilter = {},
  options?: CommandOptions,
): Promise<readonly IkeSa[]> {
  const found: IkeSa[] = [];
  const take = (message: Section) => found.push(...sectionsOf(message).map(([name, sa]) => decodeIkeSa(name, sa)));
  const args = {
    ...selector(filter),
    // charon looks whether the key is there, not what it says: "no" would switch it on.
    noblock: filter.isNonBlocking === true ? "yes" : undefined,
  };
  await vici.stream("list-sas", "list-sa", args, take, options);
  return found;
}

/** charon's own time limit for a command that waits for the peer. */
export type WaitOptions = CommandOptions & {
  /**
   * How long charon waits before it refuses; it goes on trying behind our back. Undefined: it does not wait at all
   * and the answer says nothing about the outcome. Waiting for ever (its default) is not offered.
   */
  readonly waitMs?: number;
  /** Up to which level `onLog` is told what charon does meanwhile; it tells nothing when it does not wait. */
  readonly logLevel?: number;
  readonly onLog?: (line: LogLine) => void;
};

export type InitiateTarget = {
  readonly child?: string;
  /** Always worth giving: names of children may repeat. */
  readonly ike?: string;
};

export async function initiate(vici: ViciRequester, target: InitiateTarget, options: WaitOptions = {}): Promise<void> {
  await runWaiting(
    vici,
    "initiate",
    { child: printable("child", target.child), ike: printable("ike", target.ike) },
    options,
  );
}

export type SaSelector = {
  readonly child?: string;
  readonly ike?: string;
  readonly childId?: number;
  readonly ikeId?: number;
};

export type Terminated = { readonly matchCount: number; readonly terminatedCount: number };

/** With `child` or `childId` children go, else whole IKE SAs. Refused when nothing matches. */
export async function terminate(
  vici: ViciRequester,
  target: SaSelector & {
    /** Does not wait for the peer to agree. */
    readonly force?: boolean;
  },
  options: WaitOptions = {},
): Promise<Terminated> {
  const args = { ...selector(target), force: target.force === true ? "yes" : undefined };
  const answer = await runWaiting(vici, "terminate", args, options);
  return { matchCount: requireInteger(answer, "matches"), terminatedCount: requireInteger(answer, "terminated") };
}

/** Answers at once; what comes of it is told by events. Refused when nothing matches. */
export async function rekey(
  vici: ViciRequester,
  target: SaSelector & {
    /** IKEv2 IKE SAs only: authenticate anew, with new children. */
    readonly reauth?: boolean;
  },
  options?: CommandOptions,
): Promise<{ readonly matchCount: number }> {
  const args = { ...selector(target), reauth: target.reauth === true ? "yes" : undefined };
  const answer = await run(vici, "rekey", args, options);
  return { matchCount: requireInteger(answer, "matches") };
}

/**
 * charon reads an argument with a byte outside 0x20..0x7e as absent (5.9.8, vici_message.c, vget_str): a child's name
 * would drop out of a terminate and leave the whole IKE SA selected.
 */
function printable(key: string, value: string | undefined): string | undefined {
  if (value === undefined || /^[\x20-\x7e]+$/.test(value)) return value;
  throw new MalformedMessageError(`${key} ${JSON.stringify(value)} is not printable ASCII: charon would ignore it`);
}

function selector(target: SaSelector): Record<string, string | undefined> {
  return {
    child: printable("child", target.child),
    ike: printable("ike", target.ike),
    "child-id": target.childId?.toString(),
    "ike-id": target.ikeId?.toString(),
  };
}

async function run(
  vici: ViciRequester,
  command: string,
  args: SectionInput,
  options?: CommandOptions,
): Promise<Section> {
  return judge(command, await vici.request(command, args, options));
}

async function runWaiting(
  vici: ViciRequester,
  command: string,
  args: Record<string, string | undefined>,
  options: WaitOptions,
): Promise<Section> {
  const { waitMs, logLevel, onLog, signal } = options;
  const message = {
    ...args,
    timeout: String(waitMs === undefined ? -1 : Math.max(1, Math.ceil(waitMs))), // -1: answer at once, 0: wait for ever
    loglevel: logLevel?.toString(),
  };
  // charon's limit has to pass first: it answers with a reason, ours costs the session.
  const timeoutMs = options.timeoutMs ?? (waitMs ?? 0) + DEFAULT_COMMAND_TIMEOUT_MS;
  if (onLog === undefined) return judge(command, await vici.request(command, message, { timeoutMs, signal }));
  const onEvent = (line: Section) => onLog(decodeLogLine(line));
  return judge(command, await vici.stream(command, "control-log", message, onEvent, { timeoutMs, signal }));
}

function judge(command: string, answer: Section): Section {
  if (answer.get("success") === "yes") return answer;
  throw new ViciCommandError(command, readText(answer, "errmsg") ?? "without a reason");
}
