// A real neutron-server with the service plugin `vpnaas`, and agents with topology `router` on the machines of two L3
// agents. Those are not there: the server hears of them, and their namespaces are made as they would make them.
import { randomBytes } from "node:crypto";
import { execa } from "execa";
import { afterAll, test } from "vitest";
import { startPrivateRabbitmq } from "../../../scripts/private-rabbitmq.ts";
import { LabBuilder, type LabSide } from "../../../scripts/lab.ts";
import { createCleanup } from "../../support/broker.ts";
import { startBrokerWay } from "../../support/broker-way.ts";
import { writeNeutronChains } from "../../support/l3-agent.ts";
import { keepLogs, startNeutron, whyNoNeutron } from "../../support/neutron-server.ts";
import { testMessages } from "../../support/neutron-shape.ts";
import { makeNetworks, otherSide, PHYSICAL_NETWORK, SIDE_NAMES, type Site } from "../../support/neutron-site.ts";
import { AGENT_CONFIG, testBroker, testRemoval, testVpn } from "../../support/neutron-vpn-tests.ts";

const cleanup = createCleanup();
const whyNot = await whyNoNeutron();
if (whyNot === undefined) await theseTests();
else test.skip(`a Neutron server with L3 agents: ${whyNot}`);

async function startSite(): Promise<Site> {
  const prefix = `t${randomBytes(3).toString("hex")}`;
  const hostOf = (name: string): string => `${prefix}-${name}`;
  const rabbitmq = await startPrivateRabbitmq();
  cleanup.add(() => rabbitmq.stop());
  const way = await startBrokerWay(cleanup, rabbitmq);
  const neutron = await startNeutron(cleanup, rabbitmq.url, {
    DEFAULT: { service_plugins: "router,vpnaas" },
    ml2: { type_drivers: "flat,vxlan", tenant_network_types: "vxlan", mechanism_drivers: "openvswitch" },
    ml2_type_flat: { flat_networks: PHYSICAL_NETWORK },
    ml2_type_vxlan: { vni_ranges: "1:1000" },
    service_providers: {
      service_provider: "VPN:strongswan:neutron_vpnaas.services.vpn.service_drivers.ipsec.IPsecVPNDriver:default",
    },
  });
  await neutron.reportL3Agents(...SIDE_NAMES.map(hostOf));
  const l3Agents = await neutron.api.list("agents");
  const networks = await makeNetworks(neutron.api, async (name, router) => {
    const agent = l3Agents.find((one) => one["host"] === hostOf(name));
    await neutron.api.request("POST", `agents/${agent?.id ?? "?"}/l3-routers`, { router_id: router });
  });
  const sides = SIDE_NAMES.map((name): LabSide => {
    const { router, routerAddress, hostAddress, gatewayAddress } = networks[name];
    return {
      host: hostOf(name),
      routerId: router,
      lan: [`${routerAddress}/24`],
      hosts: [{ name, addresses: [`${hostAddress}/24`], gateways: [routerAddress] }],
      l3Agent: { addresses: [`${gatewayAddress}/24`], gateways: ["203.0.113.1"] },
    };
  });
  const lab = new LabBuilder({
    prefix,
    sides,
    documents: [],
    agentConfig: {
      topology: "router",
      supervisor: "process",
      transportUrl: way.url,
      ...AGENT_CONFIG,
    },
  });
  cleanup.add(() => {
    for (const { directory } of lab.agents.values()) keepLogs(directory);
    return lab.destroy();
  });
  lab.rabbitmq = rabbitmq;
  const world = await lab.buildWorld();
  for (const name of SIDE_NAMES) {
    const { router, gatewayAddress } = networks[name];
    await writeNeutronChains({ namespace: `qrouter-${router}`, external: gatewayAddress });
  }
  const agents = await lab.startAgents();
  const agentOf = (name: string) => {
    const agent = agents.get(hostOf(name));
    if (agent === undefined) throw new Error(`no agent of ${hostOf(name)}`);
    return agent;
  };
  return {
    neutron,
    rabbitmq,
    way,
    networks,
    agents: { left: agentOf("left"), right: agentOf("right") },
    reaches: async (from) => (await world.ping(from, networks[otherSide(from)].hostAddress)).received > 0,
  };
}

async function theseTests(): Promise<void> {
  afterAll(() => cleanup.run());
  const site = await startSite().catch(async (error: unknown) => {
    await cleanup.run();
    throw error;
  });
  const ruleset = async (router: string): Promise<string> =>
    (await execa("ip", ["netns", "exec", `qrouter-${router}`, "nft", "list", "ruleset"])).stdout;

  const view = testVpn(site, ruleset);

  testMessages(view, "l3");
  testBroker(view, ruleset);
  testRemoval(view, async () => {
    const found = await Promise.all(SIDE_NAMES.map((name) => ruleset(site.networks[name].router)));
    return found.filter((rules) => rules.includes("swanherd"));
  });
}
