// Links as ports of a real Open vSwitch: plugged, looked at, mended after what people and restarts do to them, taken out.
import { randomBytes, randomUUID } from "node:crypto";
import { execa } from "execa";
import { afterEach, describe, expect, test } from "vitest";
import { routerId } from "../../../src/core/ids.ts";
import { networkFindings } from "../../../src/core/drift.ts";
import type { NetworkConfig } from "../../../src/core/network.ts";
import { planNetwork, planNetworkRemoval, type NetworkStep } from "../../../src/core/network-plan.ts";
import { portState } from "../../../src/core/switch.ts";
import { KernelNetwork } from "../../../src/io/kernel/network.ts";
import { applyGuardByNft } from "../../../src/io/nft/nft.ts";
import { OpenVswitch } from "../../../src/io/ovn/switch.ts";
import { SwitchedNetwork } from "../../../src/io/ovn/switched-network.ts";
import { createCleanup, rememberingLog } from "../../support/broker.ts";
import { eventually } from "../../support/eventually.ts";
import { anOvsConfig, DUAL_STACK, somePlumbing } from "../../support/network-builders.ts";
import { hasOpenVswitch, startOpenVswitch, type OpenVswitchLab } from "../../support/open-vswitch.ts";
import { systemClock } from "../../support/system-clock.ts";

const never = new AbortController().signal;
const cleanup = createCleanup();
afterEach(() => cleanup.run());

const sh = async (namespace: string, command: string): Promise<string> =>
  (await execa("ip", ["netns", "exec", namespace, "sh", "-c", command])).stdout;

const HEAR = "import socket; s=socket.socket(type=socket.SOCK_DGRAM); s.bind(('',7)); print(s.recv(9).decode())";
const SAY = `bash -c 'printf hello >/dev/udp/169.254.0.1/7'`;
const GATEWAY_MAC = "fa:16:3e:0a:0b:0c";

type Lab = {
  readonly ovs: OpenVswitchLab;
  readonly network: SwitchedNetwork;
  readonly config: NetworkConfig;
  readonly plan: () => Promise<readonly NetworkStep[]>;
  readonly converge: () => Promise<readonly NetworkStep[]>;
  readonly remove: () => Promise<void>;
  readonly names: { readonly external: string; readonly transit: string };
};

async function makeLab(): Promise<Lab> {
  const ovs = await startOpenVswitch(cleanup);
  const kernel = new KernelNetwork(applyGuardByNft);
  const { log } = rememberingLog();
  const unused = { privateKey: "/", certificate: "/", caCertificate: "/" };
  const openVswitch = new OpenVswitch({ localDatabase: ovs.database.endpoint, clock: systemClock, log, ...unused });
  const network = new SwitchedNetwork(kernel, openVswitch);
  const config = anOvsConfig({
    pairs: [DUAL_STACK],
    plumbing: somePlumbing("203.0.113.10", "2001:db8:ff::10"),
    router: routerId(randomUUID()),
    host: `t${randomBytes(3).toString("hex")}`,
    integrationBridge: ovs.bridge,
  });
  const plan = async (): Promise<readonly NetworkStep[]> => planNetwork(config, await network.observe(config, never));
  const converge = async (): Promise<readonly NetworkStep[]> => {
    const steps = await plan();
    for (const step of steps) await network.apply(step, never);
    return steps;
  };
  const remove = async (): Promise<void> => {
    const steps = planNetworkRemoval(config, await network.observe(config, never));
    for (const step of steps) await network.apply(step, never);
  };
  cleanup.add(async () => {
    await openVswitch.close();
    // Also where its ports cannot be reached any more.
    for (const step of planNetworkRemoval(config, await kernel.observe(config, never))) await kernel.apply(step, never);
    network.close();
  });
  await network.listOwned(config.alias, never);
  const [external = "", transit = ""] = config.veths.map(({ outer }) => outer.name);
  return { ovs, network, config, plan, converge, remove, names: { external, transit } };
}

/** As OVN's router answers on the transit switch. */
async function plugGateway({ ovs }: Lab): Promise<string> {
  const namespace = `${ovs.bridge}-gw`;
  const port = `${ovs.bridge.slice(0, 7)}-g`;
  await execa("ip", ["netns", "add", namespace]);
  cleanup.add(() => execa("ip", ["netns", "del", namespace], { reject: false }));
  await execa("ip", ["link", "add", port, "type", "veth", "peer", "name", "gw", "netns", namespace]);
  await execa("ip", ["link", "set", port, "up"]);
  await sh(
    namespace,
    `sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.gw.accept_dad=0; ip link set gw address ${GATEWAY_MAC}; ip addr add 169.254.0.1/28 dev gw; ip link set lo up; ip link set gw up`,
  );
  ovs.vsctl("--may-exist", "add-port", ovs.bridge, port);
  return namespace;
}

const idsOf = ({ ovs }: Lab, name: string): string => ovs.vsctl("get", "Interface", name, "external_ids");

/** Waits until the agent is told of it, and gives what the next plan finds. */
async function found(lab: Lab, act: () => unknown): Promise<readonly string[]> {
  let calls = 0;
  const stop = lab.network.watch(lab.config, "userland", () => (calls += 1));
  try {
    await act();
    await eventually(() => calls > 0, { what: "the agent is told" });
    return await eventually(
      async () => {
        const what = networkFindings(await lab.plan()).map((one) => one.what);
        return what.length > 0 && what;
      },
      { what: "something is to be mended" },
    );
  } finally {
    stop();
  }
}

const states = async ({ network, config }: Lab): Promise<readonly string[]> => {
  const seen = (await network.observe(config, never)).switch;
  return config.veths.flatMap(({ port }) => (port === undefined ? [] : [portState(port, seen).why ?? "bound"]));
};

/** The MAC of the gateway is known when it has answered, and then the plan goes on. */
const settled = (lab: Lab): Promise<true> =>
  eventually(async () => (await lab.converge()).length === 0, { what: "nothing is left to do" });

describe.skipIf(!hasOpenVswitch())("ports of a real Open vSwitch", () => {
  test("a router is plugged in as OVN wants it, its gateway found by asking, and taken out without a trace", async () => {
    const lab = await makeLab();
    const gateway = await plugGateway(lab);
    const kinds = (await lab.converge()).map(({ kind }) => kind);
    expect(kinds.filter((kind) => kind === "plugPort")).toHaveLength(2);
    await settled(lab);
    const [external, transit] = lab.config.veths;
    for (const veth of [external, transit]) {
      const ids = idsOf(lab, veth?.outer.name ?? "");
      expect(ids).toContain(`iface-id="${veth?.port?.port ?? "?"}"`);
      expect(ids).toContain(`attached-mac="${veth?.inner.macAddress ?? "?"}"`);
      expect(ids).toContain("iface-status=active");
    }
    const { namespace } = lab.config;
    await eventually(
      async () => {
        await lab.converge();
        return (await sh(namespace, "ip -6 route show fd00:1::/64")).includes("via fe80::f816:3eff:fe0a:b0c ");
      },
      { what: "the gateway has answered" },
    );
    expect(await sh(namespace, "ip route show 10.1.0.0/24")).toContain("via 169.254.0.1 ");
    expect(await sh(namespace, "ping -c1 -W5 169.254.0.1")).toContain("1 received");
    expect(await sh(gateway, "ping -c1 -W5 169.254.0.2")).toContain("1 received");
    await eventually(async () => (await states(lab)).every((why) => why.startsWith("waiting for OVN to bind port ")), {
      what: "the switch has taken the links in",
    });
    for (const name of Object.values(lab.names))
      lab.ovs.vsctl("set", "Interface", name, "external_ids:ovn-installed=true");
    await eventually(async () => (await states(lab)).join() === "bound,bound", { what: "both are bound" });

    // The switch in userland gets checksums as they are: without one that is computed nobody would hear this.
    const heard = sh(gateway, `timeout 20 python3 -c "${HEAR}"`);
    const saying = setInterval(() => void sh(namespace, SAY).catch(() => undefined), 200);
    expect(await heard.finally(() => clearInterval(saying))).toBe("hello");

    await lab.remove();
    expect(lab.ovs.vsctl("list-ports", lab.ovs.bridge)).not.toMatch(/^h/m);
    expect(await lab.network.listOwned(lab.config.alias, never)).toEqual([]);
    expect((await execa("ip", ["-o", "link"])).stdout).not.toContain(lab.names.external);
  });

  test("what somebody does to a port is told at once, and mended", async () => {
    const lab = await makeLab();
    await plugGateway(lab);
    await settled(lab);
    const { external, transit } = lab.names;
    const { bridge } = lab.ovs;
    const lost = `port ${transit} of ${bridge} is missing or changed`;
    expect(await found(lab, () => lab.ovs.vsctl("del-port", bridge, transit))).toEqual([lost]);
    await settled(lab);
    expect(await found(lab, () => lab.ovs.vsctl("set", "Interface", transit, "external_ids:iface-id=another"))).toEqual(
      [lost],
    );
    await settled(lab);
    expect(idsOf(lab, transit)).toContain(`iface-id="${lab.config.veths[1]?.port?.port ?? "?"}"`);
    const pair = await found(lab, () => execa("ip", ["link", "del", external]));
    expect(pair.join("\n")).toMatch(/^veth pair .* is missing/m);
    await settled(lab);
    await eventually(async () => (await states(lab)).every((why) => why.startsWith("waiting for OVN")), {
      what: "the switch has taken the new link in",
    });
    const { namespace } = lab.config;
    await found(lab, () => sh(namespace, `ip neigh del 169.254.0.1 dev ${lab.config.veths[1]?.inner.name ?? ""}`));
    await settled(lab);
    expect(await sh(namespace, "ping -c1 -W5 169.254.0.1")).toContain("1 received");
  });

  test("restarts of the database and of the switch lose nothing, and a database that stays away is said so", async () => {
    const lab = await makeLab();
    const gateway = await plugGateway(lab);
    await settled(lab);
    await lab.ovs.database.stop();
    // For a moment what it said holds, so that a restart is no fault.
    expect((await lab.network.observe(lab.config, never)).switch?.kind).toBe("read");
    await lab.ovs.database.start();
    await eventually(() => found(lab, () => lab.ovs.vsctl("del-port", lab.ovs.bridge, lab.names.external)), {
      what: "the new server is watched",
    });
    await settled(lab);
    await lab.ovs.stop("SIGKILL");
    await lab.ovs.start();
    await settled(lab);
    expect(await sh(gateway, "ping -c3 -W5 -i0.2 169.254.0.2")).toMatch(/[123] received/);

    await lab.ovs.database.stop();
    const seen = await eventually(
      async () => {
        const { switch: held } = await lab.network.observe(lab.config, never);
        return held?.kind === "unreachable" && held;
      },
      { what: "the loss is told" },
    );
    expect(seen.why).toMatch(/Open vSwitch database is not reachable: .*ENOENT|ECONNREFUSED|closed/);
    expect((await lab.plan()).map(({ kind }) => kind)).toEqual([]);
    const port = lab.config.veths[0]?.port;
    if (port === undefined) throw new Error("no port");
    await expect(lab.network.apply({ kind: "plugPort", port }, never)).rejects.toMatchObject({ code: "OVSDB_DOWN" });
    await lab.ovs.database.start();
    await eventually(async () => (await lab.network.observe(lab.config, never)).switch?.kind === "read", {
      timeoutMs: 20_000,
      what: "it is back",
    });
    expect(await lab.plan()).toEqual([]);
  });

  test("the port of the stock agent, which has the same id and another name, gives way to ours", async () => {
    const lab = await makeLab();
    const [external, transit] = lab.config.veths;
    const stock = transit?.inner.name ?? "";
    const ids = [`external_ids:iface-id=${transit?.port?.port ?? ""}`, "external_ids:iface-status=active"];
    const { bridge } = lab.ovs;
    lab.ovs.vsctl("add-port", bridge, stock, "--", "set", "Interface", stock, "type=internal", ...ids);
    await execa("ip", ["netns", "add", lab.config.namespace]);
    await execa("ip", ["link", "set", stock, "netns", lab.config.namespace]);
    await eventually(
      async () => {
        const seen = (await lab.network.observe(lab.config, never)).switch;
        return seen?.kind === "read" && seen.ports.length === 1;
      },
      { what: "it is seen" },
    );
    const steps = await lab.converge();
    expect(steps.map(({ kind }) => kind)).toContain("unplugPort");
    await settled(lab).catch(() => undefined);
    expect(lab.ovs.vsctl("list-ports", bridge).split("\n").sort()).toEqual(
      [external?.outer.name, transit?.outer.name].sort(),
    );
    expect(await sh(lab.config.namespace, `ip -d link show ${stock}`)).toContain("veth");
  });

  test("a link that the switch cannot use is said to be so, in its words", async () => {
    const lab = await makeLab();
    const port = lab.config.veths[0]?.port;
    if (port === undefined) throw new Error("no port");
    const { name } = port;
    await lab.network.apply({ kind: "plugPort", port }, never);
    cleanup.add(() => lab.ovs.vsctl("--if-exists", "del-port", name));
    const [why] = await eventually(
      async () => {
        const all = await states(lab);
        return all[0]?.startsWith("Open vSwitch cannot use") === true && all;
      },
      { what: "the switch complains" },
    );
    expect(why).toBe(`Open vSwitch cannot use ${name}: could not open network device ${name} (No such device)`);
  });
});
