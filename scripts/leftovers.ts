// What a test run may leave on the machine: `list` prints it, `reap` removes what killed runs left.
// It removes only what its name proves to be a test's, and nothing that somebody may still be using.
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readlinkSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { listTemplates, listUnits, removeTemplate, UNIT_DIRECTORY } from "./lab-units.ts";
import { reapLabs } from "./lab.ts";
import { reapStale } from "./private-rabbitmq.ts";
import { argumentsOf, environmentOf, isRunning, readProcesses } from "./processes.ts";

/** In the environment of everything that a run starts: `<pid>-<start time>` of the run. */
const RUN_MARK = "SWANHERD_TEST_RUN";
const NAMESPACES = "/run/netns";
const WATCHED_COMMANDS = new Set([
  "charon-systemd",
  "beam.smp",
  "epmd",
  "ovsdb-server",
  "ovs-vswitchd",
  "ovn-controller",
  "ovn-northd",
  "mariadbd",
  "neutron-server",
]);
/** Longer than any one test file runs: younger things may belong to a run that goes on beside us. */
const SETTLED_MS = 10 * 60_000;

/** Names that only tests give: `t-<8 hex>`, and `t<6 hex>-…` for what makes up one little world. */
export const isTestName = (name: string): boolean => /^t-[0-9a-f]{8}$|^t[0-9a-f]{6}-/.test(name);

const TEST_DIRECTORY = /^(?:swanherd-|charon-lab-|fake-vici-)/;
const TEST_OWNER_ALIAS = /\balias swanherd:t[0-9a-f]{6}\b/;

const readOr = <T>(fallback: T, read: () => T): T => {
  try {
    return read();
  } catch {
    // Gone between the listing and the look, or not ours to see.
    return fallback;
  }
};

const namesIn = (directory: string): readonly string[] => readOr<string[]>([], () => readdirSync(directory));

const run = (file: string, ...args: readonly string[]): string =>
  readOr("", () => execFileSync(file, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }));

/** One line for each thing that a clean run leaves as it was. */
function listTraces(): readonly string[] {
  const watched = readProcesses().filter(({ command }) => WATCHED_COMMANDS.has(command));
  return [
    ...namesIn(NAMESPACES).map((name) => `namespace ${name}`),
    ...watched.map(({ command, pid, startTime }) => `process ${command} ${pid} started ${startTime}`),
    ...run("nft", "list", "tables")
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => `nft ${line}`),
    ...namesIn("/sys/class/net").map((name) => `link ${name}`),
    ...listUnits("*charon@*").map((name) => `unit ${name}`),
    ...listTemplates().map((name) => `template ${name}`),
    ...namesIn(tmpdir())
      .filter((name) => TEST_DIRECTORY.test(name))
      .map((name) => `directory ${path.join(tmpdir(), name)}`),
    ...namesIn("/run")
      .filter((name) => name.startsWith("charon.") || name.startsWith("swanherd"))
      .map((name) => `file /run/${name}`),
  ].sort();
}

const isSettled = (file: string): boolean => readOr(false, () => Date.now() - statSync(file).mtimeMs > SETTLED_MS);

/** Ends what a dead run started: its mark is in the environment, which no other program would set. */
function reapProcesses(): readonly string[] {
  return readProcesses().flatMap(({ pid, startTime, command }) => {
    const mark = environmentOf(pid)
      .find((entry) => entry.startsWith(`${RUN_MARK}=`))
      ?.slice(RUN_MARK.length + 1);
    const [, owner, ownerStart] = /^(\d+)-(\d+)$/.exec(mark ?? "") ?? [];
    if (owner === undefined || ownerStart === undefined || isRunning({ pid: Number(owner), startTime: ownerStart }))
      return [];
    if (!isRunning({ pid, startTime })) return [];
    readOr(false, () => process.kill(pid, "SIGKILL"));
    return [`process ${command} ${pid}`];
  });
}

/** A namespace is a test's by its own name, by the alias of the veths in it, or by the LAN that only our worlds have. */
function isTestNamespace(name: string): boolean {
  if (isTestName(name)) return true;
  if (!/^(?:qvpn|qrouter)-/.test(name)) return false;
  const links = run("ip", "-n", name, "-d", "-o", "link", "show");
  return TEST_OWNER_ALIAS.test(links) || (name.startsWith("qrouter-") && / lan: .* bridge /.test(links));
}

function reapNamespaces(): readonly string[] {
  const inUse = new Set(readProcesses().map(({ pid }) => readOr("", () => readlinkSync(`/proc/${pid}/ns/net`))));
  return namesIn(NAMESPACES).flatMap((name) => {
    const file = path.join(NAMESPACES, name);
    const inode = readOr(0, () => statSync(file).ino);
    if (inUse.has(`net:[${inode}]`) || !isSettled(file) || !isTestNamespace(name)) return [];
    run("ip", "netns", "delete", name);
    rmSync(`/run/charon.${name}.vici`, { force: true });
    return [`namespace ${name}`];
  });
}

const reapLinks = (): readonly string[] =>
  namesIn("/sys/class/net")
    .filter((name) => isTestName(name) && isSettled(`/sys/class/net/${name}`))
    .map((name) => {
      run("ip", "link", "delete", name);
      return `link ${name}`;
    });

function reapDirectories(): readonly string[] {
  const mentioned = readProcesses()
    .flatMap(({ pid }) => [...environmentOf(pid), ...argumentsOf(pid)])
    .join("\0");
  return namesIn(tmpdir())
    .filter((name) => TEST_DIRECTORY.test(name))
    .map((name) => path.join(tmpdir(), name))
    .filter((directory) => isSettled(directory) && !mentioned.includes(directory))
    .map((directory) => {
      rmSync(directory, { recursive: true, force: true });
      return `directory ${directory}`;
    });
}

const reapSockets = (): readonly string[] =>
  namesIn("/run")
    .filter((name) => /^charon\.t-[0-9a-f]{8}\.vici$/.test(name))
    .filter((name) => !existsSync(path.join(NAMESPACES, name.split(".")[1] ?? "")) && isSettled(`/run/${name}`))
    .map((name) => {
      rmSync(`/run/${name}`, { force: true });
      return `file /run/${name}`;
    });

const reapTemplates = (): readonly string[] =>
  listTemplates()
    .filter((name) => isTestName(name) && isSettled(path.join(UNIT_DIRECTORY, name)))
    .map((name) => {
      removeTemplate(name);
      return `template ${name}`;
    });

async function reap(): Promise<readonly string[]> {
  const killed = reapProcesses();
  const brokers = await reapStale();
  return [
    ...killed,
    ...brokers,
    ...reapLabs(),
    ...reapTemplates(),
    ...reapNamespaces(),
    ...reapLinks(),
    ...reapDirectories(),
    ...reapSockets(),
  ];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , command] = process.argv;
  if (command === "list") {
    process.stdout.write(
      listTraces()
        .map((line) => `${line}\n`)
        .join(""),
    );
  } else if (command === "reap") {
    for (const line of await reap()) process.stdout.write(`removed what a killed run left: ${line}\n`);
  } else {
    process.stderr.write("usage: leftovers.ts list|reap\n");
    process.exitCode = 64;
  }
}
