// A real OVN of one machine: both databases, northd, and the controller of the Open vSwitch that is given. All of it is
// private, below the test's own directories, and ended by its pids.
import { execFileSync, type ChildProcess } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import type { Cleanup } from "./broker.ts";
import { eventually } from "./eventually.ts";
import { endDaemon, hasOpenVswitch, spawnDaemon, type OpenVswitchLab } from "./open-vswitch.ts";
import { startOvsdb, type OvsdbServer } from "./ovsdb.ts";

const NORTHD = "/usr/bin/ovn-northd";
const CONTROLLER = "/usr/bin/ovn-controller";

/** Whether it is here; where nothing may be skipped, what is missing is an error. */
export function hasOvn(): boolean {
  if (!hasOpenVswitch()) return false;
  const missing = [NORTHD, CONTROLLER].filter((file) => !existsSync(file));
  if (missing.length === 0) return true;
  if (process.env["REQUIRE_NETNS"] === "1") throw new Error(`no OVN here: ${missing.join(", ")} missing`);
  return false;
}

export type OvnLab = {
  readonly northbound: OvsdbServer;
  readonly southbound: OvsdbServer;
  /** Several commands in one transaction have `--` between them. */
  readonly nbctl: (...args: readonly string[]) => string;
  readonly sbctl: (...args: readonly string[]) => string;
};

export type OvnOptions = {
  /** Where the databases listen beside their sockets, for who cannot reach those: `ptcp:<port>:<address>`. */
  readonly northboundRemotes?: readonly string[];
  readonly southboundRemotes?: readonly string[];
  /** `external_ids` of the chassis, beside what it needs. */
  readonly ids?: Readonly<Record<string, string>>;
};

/** `mappings`: which bridge leads to which physical network, as `network:bridge`. */
export async function startOvn(
  cleanup: Cleanup,
  ovs: OpenVswitchLab,
  mappings: string,
  { northboundRemotes = [], southboundRemotes = [], ids: more = {} }: OvnOptions = {},
): Promise<OvnLab> {
  const northbound = await startOvsdb(cleanup, { databases: ["OVN_Northbound"], remotes: northboundRemotes });
  const southbound = await startOvsdb(cleanup, { databases: ["OVN_Southbound"], remotes: southboundRemotes });
  const ctl =
    (program: string, db: string) =>
    (...args: readonly string[]): string =>
      execFileSync(program, [`--db=${db}`, "--timeout=10", ...args], { encoding: "utf8" }).trim();
  const nbctl = ctl("ovn-nbctl", northbound.endpoint);
  const sbctl = ctl("ovn-sbctl", southbound.endpoint);
  const daemons: ChildProcess[] = [];
  cleanup.add(async () => {
    for (const daemon of daemons.reverse()) await endDaemon(daemon);
  });
  nbctl("init");
  const remotes = [`--ovnnb-db=${northbound.endpoint}`, `--ovnsb-db=${southbound.endpoint}`];
  const { directory } = northbound;
  daemons.push(spawnDaemon(NORTHD, [...remotes, `--unixctl=${path.join(directory, "northd.ctl")}`], directory));
  const ids = {
    hostname: ovs.bridge,
    "ovn-remote": southbound.endpoint,
    "ovn-encap-type": "geneve",
    "ovn-encap-ip": "127.0.0.1",
    "ovn-bridge": ovs.bridge,
    "ovn-bridge-datapath-type": "netdev",
    "ovn-bridge-mappings": mappings,
    ...more,
  };
  ovs.vsctl("set", "Open_vSwitch", ".", ...Object.entries(ids).map(([key, value]) => `external_ids:${key}="${value}"`));
  const own = ovs.database.directory;
  daemons.push(spawnDaemon(CONTROLLER, [ovs.database.endpoint], own));
  await eventually(() => sbctl("--columns=name", "--bare", "list", "Chassis") === ovs.bridge, {
    timeoutMs: 20_000,
    what: "ovn-controller has announced its chassis",
  }).catch((cause: unknown) => {
    const log = readFileSync(path.join(own, "ovn-controller.log"), "utf8").slice(-3000);
    throw new Error(`ovn-controller is not at work:\n${log}`, { cause });
  });
  return { northbound, southbound, nbctl, sbctl };
}
