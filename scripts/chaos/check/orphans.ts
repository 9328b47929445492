// What is there and should not be: namespaces, processes, files, links and queues that no document wants.
import path from "node:path";
import { inodeOf, readProcs, type Proc } from "./proc.ts";
import { checkOf } from "./places.ts";
import { runJson } from "./run.ts";
import type { Finding, Invariant, Subject, SubjectRouter } from "./subject.ts";
import type { Wanted } from "./wanted.ts";
import { namesIn } from "./written.ts";

const finding = (invariant: Invariant, about: string, text: string): Finding => ({ invariant, about, text });

export async function checkOrphans(wanted: Wanted, subject: Subject): Promise<readonly Finding[]> {
  return [
    ...namespaces(wanted, subject),
    ...(await bridgePorts(wanted, subject)),
    ...processes(wanted, subject),
    ...files(wanted, subject),
    ...(await left(wanted, subject)),
  ];
}

const unwantedRouters = (wanted: Wanted, subject: Subject): readonly SubjectRouter[] =>
  subject.routers.filter(({ id }) => !wanted.routers.has(id));

const namespaces = (wanted: Wanted, subject: Subject): readonly Finding[] =>
  subject.routers
    .filter((router) => !wanted.routers.has(router.id) || !checkOf(router).isOwnNamespace)
    .filter(({ id }) => inodeOf(`qvpn-${id}`) !== undefined)
    .map(({ id }) => finding("orphan-namespace", id, `qvpn-${id} is there, unwanted`));

/** The program has so many ports on the internet's bridge as the routers' places want. */
async function bridgePorts(wanted: Wanted, subject: Subject): Promise<readonly Finding[]> {
  const ports = (await runJson("ip", "-j", "link", "show", "master", subject.bridge)) as readonly { ifname: string }[];
  const foreign = ports.filter(({ ifname }) => !subject.isOwnPort(ifname));
  const count = subject.routers
    .filter(({ id }) => wanted.routers.has(id))
    .reduce((sum, router) => sum + checkOf(router).bridgePorts, 0);
  if (foreign.length === count) return [];
  return [finding("network", subject.bridge, `has ${foreign.length} ports of routers, not ${count}`)];
}

function processes(wanted: Wanted, subject: Subject): readonly Finding[] {
  const procs = readProcs();
  const charons = procs.flatMap((proc) => {
    const conf = proc.environment.find((entry) => entry.startsWith(`STRONGSWAN_CONF=${subject.directory}/`));
    const [, id] = /qvpn-([0-9a-f-]{36})\//.exec(conf ?? "") ?? [];
    return proc.command.startsWith("charon") && id !== undefined ? [{ proc, id }] : [];
  });
  const unwanted = charons
    .filter(({ id }) => !wanted.routers.has(id))
    .map(({ proc, id }) => finding("orphan-process", id, `charon ${proc.pid} runs, unwanted`));
  const ids = charons.map(({ id }) => id);
  const doubles = [...new Set(ids.filter((id, index) => ids.indexOf(id) !== index))];
  return [
    ...unwanted,
    ...doubles.map((id) => finding("orphan-process", id, "more than one charon runs")),
    ...strays(procs, subject),
  ];
}

/** In a router's namespace only charon has anything to do. */
function strays(procs: readonly Proc[], subject: Subject): readonly Finding[] {
  const inodes = new Map(
    subject.routers.map((router) => [inodeOf(checkOf(router).namespaceOf(router.id)) ?? -1, router.id]),
  );
  return procs.flatMap((proc) => {
    const id = inodes.get(proc.namespace);
    if (id === undefined || proc.command.startsWith("charon") || proc.parent === process.pid) return [];
    return [finding("orphan-process", id, `${proc.command} ${proc.pid} runs in its namespace`)];
  });
}

function files(wanted: Wanted, subject: Subject): readonly Finding[] {
  const sockets = unwantedRouters(wanted, subject)
    .filter(({ id }) => namesIn("/run").includes(`charon.qvpn-${id}.vici`))
    .map(({ id }) => finding("orphan-file", id, `/run/charon.qvpn-${id}.vici is there, unwanted`));
  const ofAgents = subject.agents.flatMap(({ host, runDirectory, stateDirectory }) => {
    const routers = [...wanted.routers.values()].filter((router) => router.host === host);
    const runNames = new Set(routers.map(({ id }) => `qvpn-${id}`));
    return [
      ...namesIn(runDirectory).filter((name) => !runNames.has(name)),
      ...namesIn(stateDirectory).filter((name) => !["node.key", "snapshot"].includes(name)),
      ...[...runNames].flatMap((name) => temporaries(path.join(runDirectory, name))),
    ].map((name) => finding("orphan-file", host, `${name} is there, unwanted`));
  });
  return [...sockets, ...ofAgents];
}

/** All that a router's directory may hold beside the connections' files, which are compared elsewhere. */
const KNOWN_FILES = new Set(["strongswan.conf", "swanctl"]);
const temporaries = (directory: string): readonly string[] => [
  ...namesIn(directory)
    .filter((name) => !KNOWN_FILES.has(name))
    .map((name) => `${path.basename(directory)}/${name}`),
  ...namesIn(path.join(directory, "swanctl/conf.d"))
    .filter((name) => !name.endsWith(".conf"))
    .map((name) => `${path.basename(directory)}/swanctl/conf.d/${name}`),
];

async function left(wanted: Wanted, subject: Subject): Promise<readonly Finding[]> {
  const found = await Promise.all(
    unwantedRouters(wanted, subject).map((router) => checkOf(router).checkLeft(router, subject)),
  );
  return found.flat();
}

/** Reply queues of callers that are dead go after half an hour; those do not count as long as they are few. */
export async function checkQueues(subject: Subject): Promise<readonly Finding[]> {
  const listing = await subject.listQueues();
  if (listing === undefined) return [];
  const rows = listing
    .split("\n")
    .map((line) => line.split("\t"))
    .filter(([name, consumers]) => name !== undefined && /^\d+$/.test(consumers ?? ""));
  const known = new Set([
    "ipsec_driver",
    "swanherd.controller",
    ...subject.agents.map(({ host }) => `ipsec_agent.${host}`),
  ]);
  return rows.flatMap(([name = "", consumers = "0", messages = "0"]) => {
    if (subject.isOwnQueue(name)) return [];
    const isReply = /^reply_/.test(name);
    if (!isReply && !known.has(name)) return [finding("orphan-queue", name, "nobody wants this queue")];
    if (Number(messages) > 0) return [finding("orphan-queue", name, `holds ${messages} messages`)];
    if (isReply && Number(consumers) === 0) return [finding("orphan-queue", name, "nobody consumes it")];
    return [];
  });
}
