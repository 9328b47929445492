// IKE daemons of somebody else in a router's namespace: of two, the second one gets no UDP port and hears nothing. Neutron's
// stock agent calls its namespaces as we do, and leaves its charons running when it ends.
import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { AgentError, UnavailableError } from "../../core/errors.ts";
import { aliveSince, endCharon, orUndefined, strongswanConfOf } from "./process.ts";
import { unitOfCgroup } from "./unit.ts";

export type OtherDaemon = {
  readonly pid: number;
  readonly startTime: string;
  readonly name: string;
  /** The systemd unit of this namespace that it is, which would start it again. */
  readonly unit: string | undefined;
};

type Candidate = OtherDaemon & { readonly parentPid: number };

/** 500 and 4500, as /proc/net/udp writes them. */
const IKE_PORTS: ReadonlySet<string> = new Set(["01F4", "1194"]);
/** strongSwan's old way to run a charon; it starts the next one when that ends (starter.c). */
const STARTER = "starter";

/** Pids of all processes, by the inode of their network namespace. */
export function processesByNamespace(): ReadonlyMap<number, readonly number[]> {
  const found = new Map<number, number[]>();
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    const inode = orUndefined(() => statSync(`/proc/${entry}/ns/net`).ino);
    if (inode === undefined) continue;
    const pids = found.get(inode) ?? [];
    pids.push(Number(entry));
    found.set(inode, pids);
  }
  return found;
}

/**
 * Whoever of these, all in one namespace, holds an IKE port in it, and what would start it again, that one first. `own` is
 * the strongswan.conf of the charon that may.
 */
export function findOtherDaemons(pids: readonly number[], namespace: string, own: string): readonly OtherDaemon[] {
  const sockets = new Set(ikeSockets(pids));
  if (sockets.size === 0) return [];
  const inside = pids.flatMap((pid) => inspect(pid, namespace) ?? []);
  const holders = inside.filter(
    ({ pid }) => socketsOf(pid).some((inode) => sockets.has(inode)) && strongswanConfOf(pid) !== own,
  );
  const starters = inside.filter(({ pid, name }) => name === STARTER && holders.some((one) => one.parentPid === pid));
  return [...starters, ...holders];
}

/** Rejects with UnavailableError where we may not. */
export async function endOtherDaemon(daemon: OtherDaemon, signal: AbortSignal): Promise<void> {
  try {
    await endCharon(daemon, signal);
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof AgentError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new UnavailableError("IKE_PORTS_TAKEN", `cannot end ${daemon.name} (pid ${String(daemon.pid)}): ${why}`, {
      cause: error,
    });
  }
}

function inspect(pid: number, namespace: string): Candidate | undefined {
  const startTime = aliveSince(pid);
  const status = orUndefined(() => readFileSync(`/proc/${String(pid)}/status`, "utf8"));
  if (startTime === undefined || status === undefined) return undefined;
  const field = (name: string): string => new RegExp(`^${name}:\\s*(.*)$`, "m").exec(status)?.[1] ?? "";
  const cgroup = orUndefined(() => readFileSync(`/proc/${String(pid)}/cgroup`, "utf8")) ?? "";
  const unit = unitOfCgroup(cgroup, namespace);
  return { pid, startTime, name: field("Name"), parentPid: Number(field("PPid")), unit };
}

/** Inodes of sockets on an IKE port: each process has the tables of its namespace (proc(5)), and may end any moment. */
function ikeSockets(pids: readonly number[]): readonly string[] {
  const table = (pid: number, name: string): string | undefined =>
    orUndefined(() => readFileSync(`/proc/${String(pid)}/net/${name}`, "utf8"));
  for (const pid of pids) {
    const udp = table(pid, "udp");
    // A kernel without IPv6 has no second one.
    if (udp !== undefined)
      return [udp, table(pid, "udp6") ?? ""].flatMap((text) => text.split("\n").flatMap(ikeSocketOf));
  }
  return [];
}

function ikeSocketOf(line: string): readonly string[] {
  const [, local = "", , , , , , , , inode] = line.trim().split(/\s+/);
  return inode !== undefined && IKE_PORTS.has(local.split(":")[1] ?? "") ? [inode] : [];
}

function socketsOf(pid: number): readonly string[] {
  const directory = `/proc/${String(pid)}/fd`;
  const entries = orUndefined(() => readdirSync(directory)) ?? [];
  return entries.flatMap((fd) => {
    const target = orUndefined(() => readlinkSync(`${directory}/${fd}`)) ?? "";
    return /^socket:\[(\d+)\]$/.exec(target)?.[1] ?? [];
  });
}
