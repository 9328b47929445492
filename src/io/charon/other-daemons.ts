// IKE daemons of somebody else in a router's namespace: of two, the second one gets no UDP port and hears nothing. Neutron's
// stock agent calls its namespaces as we do, and leaves its charons running when it ends.
import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { aliveSince, orUndefined, strongswanConfOf } from "./process.ts";

export type OtherDaemon = { readonly pid: number; readonly startTime: string; readonly name: string };

type Candidate = OtherDaemon & { readonly parentPid: number };

/** 500 and 4500, as /proc/net/udp writes them. */
const IKE_PORTS: ReadonlySet<string> = new Set(["01F4", "1194"]);
/** strongSwan's old way to run a charon; it starts the next one when that ends (starter.c). */
const STARTER = "starter";

/**
 * Whoever holds an IKE port in the namespace with this inode, and what would start it again, that one first. `own` is the
 * strongswan.conf of the charon that may.
 */
export function findOtherDaemons(namespaceInode: number, own: string): readonly OtherDaemon[] {
  const inside = readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .flatMap((entry) => inspect(Number(entry), namespaceInode) ?? []);
  const [first] = inside;
  if (first === undefined) return [];
  const sockets = new Set(["udp", "udp6"].flatMap((table) => ikeSockets(first.pid, table)));
  if (sockets.size === 0) return [];
  const holders = inside.filter(
    ({ pid }) => socketsOf(pid).some((inode) => sockets.has(inode)) && strongswanConfOf(pid) !== own,
  );
  const starters = inside.filter(({ pid, name }) => name === STARTER && holders.some((one) => one.parentPid === pid));
  return [...starters, ...holders];
}

function inspect(pid: number, namespaceInode: number): Candidate | undefined {
  if (orUndefined(() => statSync(`/proc/${String(pid)}/ns/net`).ino) !== namespaceInode) return undefined;
  const startTime = aliveSince(pid);
  const status = orUndefined(() => readFileSync(`/proc/${String(pid)}/status`, "utf8"));
  if (startTime === undefined || status === undefined) return undefined;
  const field = (name: string): string => new RegExp(`^${name}:\\s*(.*)$`, "m").exec(status)?.[1] ?? "";
  return { pid, startTime, name: field("Name"), parentPid: Number(field("PPid")) };
}

/** Inodes of sockets on an IKE port; the table is that of the process's namespace (proc(5)). */
function ikeSockets(pid: number, table: string): readonly string[] {
  const text = orUndefined(() => readFileSync(`/proc/${String(pid)}/net/${table}`, "utf8")) ?? "";
  return text.split("\n").flatMap((line) => {
    const [, local = "", , , , , , , , inode] = line.trim().split(/\s+/);
    return inode !== undefined && IKE_PORTS.has(local.split(":")[1] ?? "") ? [inode] : [];
  });
}

function socketsOf(pid: number): readonly string[] {
  const directory = `/proc/${String(pid)}/fd`;
  const entries = orUndefined(() => readdirSync(directory)) ?? [];
  return entries.flatMap((fd) => {
    const target = orUndefined(() => readlinkSync(`${directory}/${fd}`)) ?? "";
    return /^socket:\[(\d+)\]$/.exec(target)?.[1] ?? [];
  });
}
