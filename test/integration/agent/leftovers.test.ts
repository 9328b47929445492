// What a killed owner leaves is found and taken away, and what a killed agent leaves goes with its lab.
import { execa } from "execa";
import { existsSync, readdirSync, readlinkSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { demoDocuments } from "../../../scripts/lab-documents.ts";
import { until } from "../../../scripts/lab.ts";
import {
  argumentsOf,
  environmentOf,
  isRunning,
  readProcess,
  readProcesses,
  type ProcessId,
} from "../../../scripts/processes.ts";
import { connectionIs, labForThisFile } from "../../support/lab.ts";
import type { OwnedLab } from "../../support/lab-owner.ts";

const TSX = fileURLToPath(new URL("../../../node_modules/.bin/tsx", import.meta.url));
const OWNER = fileURLToPath(new URL("../../support/lab-owner.ts", import.meta.url));
const LEFTOVERS = fileURLToPath(new URL("../../../scripts/leftovers.ts", import.meta.url));

const lab = await labForThisFile({ documents: demoDocuments });

const namesIn = (directory: string): readonly string[] => (existsSync(directory) ? readdirSync(directory) : []);

/** Ports of a bridge, by name: the host ends of veths. */
const portsOf = (bridge: string): readonly string[] =>
  namesIn("/sys/class/net").filter((link) => {
    const master = `/sys/class/net/${link}/master`;
    return existsSync(master) && readlinkSync(master).endsWith(`/${bridge}`);
  });

/** Every process whose arguments or environment name one of the directories. */
const processesNaming = (...directories: readonly string[]): readonly number[] =>
  readProcesses()
    .map(({ pid }) => pid)
    .filter((pid) => {
      const texts = [...argumentsOf(pid), ...environmentOf(pid)];
      return directories.some((directory) => texts.some((text) => text.includes(directory)));
    });

/** Throws for a process that is not there. */
function identify(pid: number): ProcessId {
  const found = readProcess(pid);
  if (found === undefined) throw new Error(`process ${String(pid)} is not running`);
  return found;
}

/** Everything that there is of a lab, by name. */
const tracesOf = (of: Omit<OwnedLab, "pids" | "bridge">, links: readonly string[] = []): readonly string[] => [
  ...namesIn("/run/netns").filter(
    (name) => name.startsWith(`${of.prefix}-`) || of.routers.some((router) => name.endsWith(router)),
  ),
  ...namesIn("/run").filter((name) => of.routers.some((router) => name.includes(router))),
  ...namesIn("/sys/class/net").filter((name) => name.startsWith(`${of.prefix}-`) || links.includes(name)),
  ...[of.directory, of.brokerDirectory].filter((directory) => existsSync(directory)),
  ...processesNaming(of.directory, of.brokerDirectory).map((pid) => `process ${String(pid)}`),
];

const reap = async (): Promise<string> => (await execa(TSX, [LEFTOVERS, "reap"])).stdout;

test("a lab whose owner was killed is taken away whole: namespaces, processes, links, directories, sockets", async () => {
  const owner = execa(TSX, [OWNER], { reject: false, stdin: "pipe", buffer: false });
  let owned: OwnedLab | undefined;
  try {
    createInterface({ input: owner.stdout }).on("line", (line) => {
      owned ??= JSON.parse(line) as OwnedLab;
    });
    const made = await until("the owner's tunnel is up", 60_000, () => {
      if (owner.exitCode !== null) throw new Error(`the owner ended with ${String(owner.exitCode)}`);
      return owned;
    });
    const started = made.pids.map(identify);
    const links = portsOf(made.bridge);
    // The internet's port and one of each gateway.
    expect(links).toHaveLength(3);
    expect(started.filter(isRunning)).toEqual(started);

    // tsx runs the program in a process of its own.
    const ownerPid = Number(/swanherd-lab-(\d+)-/.exec(made.directory)?.[1]);
    const ownerId = identify(ownerPid);
    process.kill(ownerPid, "SIGKILL");
    await owner;
    await until("the owner is gone", 10_000, () => !isRunning(ownerId));
    const left = tracesOf(made, links);
    expect(left).toContain(`qvpn-${String(made.routers[0])}`);
    expect(left).toContain(`charon.qvpn-${String(made.routers[0])}.vici`);
    expect(started.filter(isRunning)).toEqual(started);

    expect(await reap()).toContain(`removed what a killed run left: lab ${made.directory}`);
    await until("nothing is left", 10_000, () => tracesOf(made, links).length === 0).catch(() => {
      expect(tracesOf(made, links)).toEqual([]);
    });
    expect(started.filter(isRunning)).toEqual([]);
  } finally {
    owner.kill("SIGKILL");
    await owner;
    await reap();
  }
});

test("a lab of somebody who lives is not touched", async () => {
  await connectionIs(lab.left, "to-right", "ACTIVE");
  expect(await reap()).not.toContain(lab.directory);
  await connectionIs(lab.left, "to-right", "ACTIVE");
  expect((await lab.world.ping("left", "10.2.0.9", { count: 2 })).received).toBe(2);
});

test("killed agents leave their tunnels up, and destroying their lab leaves nothing of them", async () => {
  const owned = {
    prefix: lab.world.bridge.replace(/-inet$/, ""),
    routers: [lab.routers.left, lab.routers.right],
    directory: lab.directory,
    brokerDirectory: lab.rabbitmq.directory,
  };
  const links = portsOf(lab.world.bridge);
  const found = [lab.left.charon(lab.routers.left), lab.right.charon(lab.routers.right)];
  const charons = found.flatMap((charon) => (charon === undefined ? [] : identify(charon.pid)));
  await Promise.all([lab.left.kill(), lab.right.kill()]);
  expect((await lab.world.ping("left", "10.2.0.9", { count: 2 })).received).toBe(2);
  expect(charons.filter(isRunning)).toHaveLength(2);
  await lab.destroy();
  await until("nothing is left", 10_000, () => tracesOf(owned, links).length === 0).catch(() => {
    expect(tracesOf(owned, links)).toEqual([]);
  });
  expect(charons.filter(isRunning)).toEqual([]);
});
