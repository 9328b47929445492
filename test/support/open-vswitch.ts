// A real Open vSwitch of its own: a database server and a daemon that switches in userland, ended by their pids. It touches
// no datapath of the kernel's, and nothing of an Open vSwitch that the machine may have.
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { closeSync, existsSync, openSync } from "node:fs";
import path from "node:path";
import type { Cleanup } from "./broker.ts";
import { eventually } from "./eventually.ts";
import { hasOvsdb, startLocal, type OvsdbServer } from "./ovsdb.ts";

const DAEMON = "/usr/sbin/ovs-vswitchd";

/** Whether there is one here; where nothing may be skipped, what is missing is an error. */
export function hasOpenVswitch(): boolean {
  if (!hasOvsdb()) return false;
  if (existsSync(DAEMON) && existsSync("/dev/net/tun")) return true;
  if (process.env["REQUIRE_NETNS"] === "1") throw new Error(`no Open vSwitch here: ${DAEMON} or /dev/net/tun missing`);
  return false;
}

export type OpenVswitchLab = {
  readonly database: OvsdbServer;
  /** Of the integration bridge: the name of a test's. */
  readonly bridge: string;
  readonly start: () => Promise<void>;
  readonly stop: (signal?: NodeJS.Signals) => Promise<void>;
  readonly vsctl: (...args: readonly string[]) => string;
};

export function spawnDaemon(command: string, args: readonly string[], directory: string): ChildProcess {
  const log = openSync(path.join(directory, `${path.basename(command)}.log`), "a", 0o600);
  const env = { ...process.env, OVS_RUNDIR: directory, OVN_RUNDIR: directory, OVS_LOGDIR: directory };
  const child = spawn(command, args, { stdio: ["ignore", log, log], env });
  closeSync(log);
  return child;
}

export async function endDaemon(child: ChildProcess | undefined, signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill(signal);
  await ended;
}

export async function startOpenVswitch(
  cleanup: Cleanup,
  ids: Readonly<Record<string, string>> = {},
): Promise<OpenVswitchLab> {
  const bridge = `t${randomBytes(3).toString("hex")}-int`;
  const database = await startLocal(cleanup, { "system-id": bridge, ...ids });
  const { directory, endpoint } = database;
  const vsctl = (...args: readonly string[]): string =>
    execFileSync("ovs-vsctl", [`--db=${endpoint}`, "--timeout=10", ...args], { encoding: "utf8" }).trim();
  let daemon: ChildProcess | undefined;
  const start = async (): Promise<void> => {
    // Datapaths of the kernel's that it does not know it would delete.
    const args = ["--disable-system", `--unixctl=${path.join(directory, "vswitchd.ctl")}`, "--no-chdir", endpoint];
    daemon = spawnDaemon(DAEMON, args, directory);
    await eventually(() => vsctl("get", "Bridge", bridge, "datapath_id") !== "[]", { what: "ovs-vswitchd is at work" });
  };
  const stop = (signal?: NodeJS.Signals): Promise<void> => endDaemon(daemon, signal);
  // Ended by a signal it leaves its TUN devices, for its successor.
  cleanup.add(async () => {
    if (daemon?.exitCode !== null || daemon.signalCode !== null) await start();
    const ended = daemon === undefined ? undefined : once(daemon, "exit");
    const target = `--target=${path.join(directory, "vswitchd.ctl")}`;
    execFileSync("ovs-appctl", [target, "--timeout=20", "exit", "--cleanup"]);
    await ended;
  });
  vsctl("--no-wait", "add-br", bridge, "--", "set", "Bridge", bridge, "datapath_type=netdev");
  await start();
  return { database, bridge, start, stop, vsctl };
}
