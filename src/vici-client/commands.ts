// Connections, shared secrets and SAs with types: arguments in our words, answers judged and decoded.
import { type ConnConfig, decodeConn } from "./conns.ts";
import { decodeLogLine, type LogLine } from "./events.ts";
import { readList, requireInteger, sectionsOf } from "./fields.ts";
import type { Section, SectionInput } from "./message.ts";
import { type AtLeastOne, collect, judge, printable, run, yesOrAbsent } from "./run.ts";
import { decodeIkeSa, type IkeSa } from "./sas.ts";
import { type CommandOptions, DEFAULT_COMMAND_TIMEOUT_MS, type ViciRequester } from "./session.ts";

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
  const decode = (message: Section) => sectionsOf(message).map(([name, conn]) => decodeConn(name, conn));
  return (
    await collect(vici, "list-conns", "list-conn", { ike: printable("ike", filter.ike) }, decode, options)
  ).flat();
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
  const decode = (message: Section) => sectionsOf(message).map(([name, sa]) => decodeIkeSa(name, sa));
  const args = {
    ...selector(filter),
    // charon looks whether the key is there, not what it says: "no" would switch it on.
    noblock: yesOrAbsent(filter.isNonBlocking),
  };
  return (await collect(vici, "list-sas", "list-sa", args, decode, options)).flat();
}

/** charon's own time limit for a command that waits for the peer. */
export type WaitOptions = CommandOptions & {
  /**
   * How long charon waits before it refuses; it goes on trying behind our back. Undefined: it does not wait at all
   * and the answer says nothing about the outcome. Waiting for ever (its default) is not offered.
   */
  readonly waitMs?: number;
  readonly logLevel?: LogLevel;
  /**
   * Told what charon does meanwhile; nothing when it does not wait. Must not throw. A promise that it returns is waited
   * for, as with OnEvent.
   */
  readonly onLog?: (line: LogLine) => unknown;
};

/**
 * The finest lines wanted: 0 outcome, 1 steps, 2 details. Default: 1. With level 3 charon 5.9.8 comes to a standstill after
 * some dozens of attempts, and level 4 has keys in its dumps: neither is offered.
 */
export type LogLevel = 0 | 1 | 2;

export type InitiateTarget = AtLeastOne<{
  /** Without it the IKE SA comes up without a child. */
  readonly child: string;
  /** Always worth giving: names of children may repeat. */
  readonly ike: string;
}> & {
  /** Lets charon refuse for its own limits (`half_open_limit`, `ikesa_limit`, …), "at the moment". */
  readonly respectsLimits?: boolean;
};

export async function initiate(vici: ViciRequester, target: InitiateTarget, options: WaitOptions = {}): Promise<void> {
  const { child, ike, respectsLimits } = target;
  const args = {
    child: printable("child", child),
    ike: printable("ike", ike),
    "init-limits": yesOrAbsent(respectsLimits),
  };
  await runWaiting(vici, "initiate", args, options);
}

/** Ids are the unique ones of list-sas. All that is given has to match. */
export type ChildSelector = AtLeastOne<{ readonly child: string; readonly childId: number }> & {
  readonly ike?: string;
  readonly ikeId?: number;
};

/**
 * Not both: without a child charon takes what matches either of them (vici_control.c), so the id would not narrow down
 * the name but add to it.
 */
export type IkeSelector = { readonly child?: undefined; readonly childId?: undefined } & (
  { readonly ike: string; readonly ikeId?: undefined } | { readonly ike?: undefined; readonly ikeId: number }
);

export type SaSelector = ChildSelector | IkeSelector;

export type TerminateTarget = SaSelector & {
  /** Does not wait for the peer to agree. */
  readonly force?: boolean;
};

export type Terminated = { readonly matchCount: number; readonly terminatedCount: number };

/**
 * With `child` or `childId` children go, else whole IKE SAs. Refused when nothing matches, and when not all that matched
 * were terminated in time.
 */
export async function terminate(
  vici: ViciRequester,
  target: TerminateTarget,
  options: WaitOptions = {},
): Promise<Terminated> {
  const args = { ...selector(target), force: yesOrAbsent(target.force) };
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
  const args = { ...selector(target), reauth: yesOrAbsent(target.reauth) };
  const answer = await run(vici, "rekey", args, options);
  return { matchCount: requireInteger(answer, "matches") };
}

/** All that is given has to match. */
export type RedirectSelector = AtLeastOne<{
  readonly ike: string;
  readonly ikeId: number;
  /** Address, subnet or range ("192.0.2.1-192.0.2.9") of the peer. */
  readonly peerIp: string;
  /** Identity of the peer, which may have wildcards. */
  readonly peerId: string;
}>;

/**
 * Sends clients elsewhere (RFC 5685). Answers at once; what comes of it depends on the peer. Refused when nothing matches:
 * IKEv2 only.
 */
export async function redirect(
  vici: ViciRequester,
  /** The README does not list `gateway`, charon demands it (vici_control.c): an address or a domain name. */
  target: RedirectSelector & { readonly gateway: string },
  options?: CommandOptions,
): Promise<{ readonly matchCount: number }> {
  const args = {
    gateway: printable("gateway", target.gateway),
    ike: printable("ike", target.ike),
    "ike-id": target.ikeId?.toString(),
    "peer-ip": printable("peer-ip", target.peerIp),
    "peer-id": printable("peer-id", target.peerId),
  };
  const answer = await run(vici, "redirect", args, options);
  return { matchCount: requireInteger(answer, "matches") };
}

function selector(target: SaSelector | SaFilter): Record<string, string | undefined> {
  return {
    child: printable("child", target.child),
    ike: printable("ike", target.ike),
    "child-id": target.childId?.toString(),
    "ike-id": target.ikeId?.toString(),
  };
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
