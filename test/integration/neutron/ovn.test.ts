// A real neutron-server with the service plugin `ovn-vpnaas`, a real OVN of one chassis with an Open vSwitch in userland, and
// one agent, to which both routers are scheduled: Neutron makes the logical network, the agent plugs its ports into it.
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import path from "node:path";
import { execa } from "execa";
import { afterAll, expect, test } from "vitest";
import { freePort } from "../../../scripts/free-port.ts";
import { Agent, removeRouters } from "../../../scripts/lab.ts";
import { startPrivateRabbitmq } from "../../../scripts/private-rabbitmq.ts";
import { createCleanup } from "../../support/broker.ts";
import { startBrokerWay } from "../../support/broker-way.ts";
import { eventually } from "../../support/eventually.ts";
import { worthReading } from "../../support/lab.ts";
import { keepLogs, startNeutron, whyNoNeutron } from "../../support/neutron-server.ts";
import { testMessages } from "../../support/neutron-shape.ts";
import {
  bySide,
  makeNetworks,
  otherSide,
  PHYSICAL_NETWORK,
  SIDE_NAMES,
  type Site,
  type SiteNetworks,
} from "../../support/neutron-site.ts";
import { AGENT_CONFIG, testBroker, testRemoval, testVpn } from "../../support/neutron-vpn-tests.ts";
import { startOpenVswitch, type OpenVswitchLab } from "../../support/open-vswitch.ts";
import { hasOvn, startOvn } from "../../support/ovn.ts";
import { ownDirectory } from "../../support/ovsdb.ts";

const cleanup = createCleanup();
const whyNot = (await whyNoNeutron()) ?? (hasOvn() ? undefined : "there is no OVN");
if (whyNot === undefined) await theseTests();
else test.skip(`a Neutron server with OVN: ${whyNot}`);

type OvnSite = Site & { readonly ovs: OpenVswitchLab; readonly agent: Agent };

async function startSite(): Promise<OvnSite> {
  const prefix = `t${randomBytes(3).toString("hex")}`;
  const rabbitmq = await startPrivateRabbitmq();
  cleanup.add(() => rabbitmq.stop());
  const way = await startBrokerWay(cleanup, rabbitmq);
  const ovs = await startOpenVswitch(cleanup);
  const external = `${prefix}-ex`;
  ovs.vsctl("add-br", external, "--", "set", "Bridge", external, "datapath_type=netdev");
  const [northPort, southPort] = [await freePort(), await freePort()];
  const ovn = await startOvn(cleanup, ovs, `${PHYSICAL_NETWORK}:${external}`, {
    northboundRemotes: [`ptcp:${String(northPort)}:127.0.0.1`],
    southboundRemotes: [`ptcp:${String(southPort)}:127.0.0.1`],
    ids: { "ovn-cms-options": "enable-chassis-as-gw" },
  });
  const neutron = await startNeutron(cleanup, rabbitmq.url, {
    DEFAULT: { service_plugins: "ovn-router,ovn-vpnaas" },
    ml2: {
      type_drivers: "flat,geneve",
      tenant_network_types: "geneve",
      mechanism_drivers: "ovn",
      extension_drivers: "port_security",
    },
    ml2_type_flat: { flat_networks: PHYSICAL_NETWORK },
    ml2_type_geneve: { vni_ranges: "1:1000", max_header_size: 38 },
    ovn: {
      ovn_nb_connection: `tcp:127.0.0.1:${String(northPort)}`,
      ovn_sb_connection: `tcp:127.0.0.1:${String(southPort)}`,
    },
    service_providers: {
      service_provider:
        "VPN:strongswan:neutron_vpnaas.services.vpn.service_drivers.ovn_ipsec.IPsecOvnVPNDriver:default",
    },
  });
  // The name of the chassis' machine, by which the server knows the agent.
  const host = ovn.sbctl("--bare", "--columns=hostname", "list", "Chassis");
  const networks = await makeNetworks(neutron.api);
  const hosts = await bySide((name) => plugHost(neutron.api, networks[name], { ovs, prefix, host }));

  const directory = path.join(ownDirectory(cleanup), host);
  const agent = new Agent(
    host,
    directory,
    {
      transportUrl: way.url,
      supervisor: "process",
      attachment: { kind: "ovs", integrationBridge: ovs.bridge },
      ovn: { enabled: true, localDatabase: ovs.database.endpoint },
      ...AGENT_CONFIG,
    },
    { httpPort: await freePort() },
  );
  cleanup.add(async () => {
    keepLogs(directory);
    if (agent.isRunning) await agent.order("teardown").catch(() => undefined);
    await agent.stop();
    removeRouters(
      directory,
      SIDE_NAMES.map((name) => networks[name].router),
    );
  });
  await agent.start();
  return {
    neutron,
    rabbitmq,
    way,
    networks,
    agents: { left: agent, right: agent },
    agent,
    ovs,
    reaches: async (from) => {
      const to = networks[otherSide(from)].hostAddress;
      const args = ["netns", "exec", hosts[from], "ping", "-n", "-c1", "-W1", to];
      return (await execa("ip", args, { reject: false })).exitCode === 0;
    },
  };
}

function ip(...args: readonly string[]): void {
  execFileSync("ip", args, { stdio: "pipe" });
}

/** A machine in a site's network, as a hypervisor would plug it. The name of its namespace. */
async function plugHost(
  api: Site["neutron"]["api"],
  of: SiteNetworks,
  { ovs, prefix, host }: { readonly ovs: OpenVswitchLab; readonly prefix: string; readonly host: string },
): Promise<string> {
  const { id, mac_address: mac } = await api.create("ports", {
    name: `${of.name}-host`,
    network_id: of.network,
    fixed_ips: [{ subnet_id: of.subnet, ip_address: of.hostAddress }],
    port_security_enabled: false,
    "binding:host_id": host,
    device_owner: "compute:nova",
  });
  const namespace = `${prefix}-${of.name}`;
  ip("netns", "add", namespace);
  cleanup.add(() => ip("netns", "del", namespace));
  const link = `${prefix}-h${of.name.slice(0, 1)}`;
  ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "address", String(mac), "netns", namespace);
  ip("link", "set", link, "up");
  ip("-n", namespace, "addr", "add", `${of.hostAddress}/24`, "dev", "eth0");
  ip("-n", namespace, "link", "set", "eth0", "up");
  ip("-n", namespace, "route", "add", "default", "via", of.routerAddress);
  ovs.vsctl("add-port", ovs.bridge, link, "--", "set", "Interface", link, `external_ids:iface-id=${id}`);
  return namespace;
}

async function theseTests(): Promise<void> {
  afterAll(() => cleanup.run(), 60_000);
  const site = await startSite().catch(async (error: unknown) => {
    await cleanup.run();
    throw error;
  });

  test("an agent that announces itself in OVN is a VPN agent of Neutron's, and alive", async () => {
    await eventually(
      async () => {
        const agents = await site.neutron.api.list("agents");
        return agents.some((one) => one["agent_type"] === "VPN Agent" && one["alive"] === true);
      },
      { timeoutMs: 30_000, what: "the server has the agent" },
    ).catch(async (cause: unknown) => {
      const agents = JSON.stringify(await site.neutron.api.list("agents"));
      throw new Error(`${agents}\n${worthReading(site.agent)}\n${site.neutron.log()}`, { cause });
    });
    expect((await site.agent.status()).ovn).toMatchObject({ registered: true });
  });

  const ruleset = async (router: string): Promise<string> =>
    (await execa("ip", ["netns", "exec", `qvpn-${router}`, "nft", "list", "ruleset"])).stdout;

  const view = testVpn(site, ruleset);

  testMessages(view, "ovn");
  testBroker(view, ruleset);
  testRemoval(view, () =>
    Promise.resolve(
      site.ovs
        .vsctl("list-ports", site.ovs.bridge)
        .split("\n")
        .filter((name) => /^h[gr]/.test(name)),
    ),
  );
}
