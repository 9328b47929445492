// Two sites in one Neutron, each with a network, a router and an IPsec connection to the other: made by REST as the users'
// guide of VPN as a service does it, and what is the same whichever way Neutron's routers are realised.
import { existsSync } from "node:fs";
import path from "node:path";
import { until, type Agent } from "../../scripts/lab.ts";
import type { PrivateRabbitmq } from "../../scripts/private-rabbitmq.ts";
import { listConns } from "../../src/vici-client/commands.ts";
import type { ConnConfig } from "../../src/vici-client/conns.ts";
import { openViciSession } from "../../src/vici-client/session.ts";
import type { BrokerWay } from "./broker-way.ts";
import { worthReading } from "./lab.ts";
import type { NeutronApi, NeutronServer, Resource } from "./neutron-server.ts";

export const PHYSICAL_NETWORK = "physnet";
export const PSK = "correct horse battery staple";
export const SIDE_NAMES = ["left", "right"] as const;
export type SideName = (typeof SIDE_NAMES)[number];
export const otherSide = (name: SideName): SideName => (name === "left" ? "right" : "left");

const LAN = { left: "10.1.0", right: "10.2.0" };
const GATEWAY = { left: "203.0.113.10", right: "203.0.113.20" };

export type SiteNetworks = {
  readonly name: SideName;
  readonly router: string;
  readonly network: string;
  readonly subnet: string;
  readonly cidr: string;
  /** Of the router in its subnet, and of its host. */
  readonly routerAddress: string;
  readonly hostAddress: string;
  /** Of the router on the external network. */
  readonly gatewayAddress: string;
};

export type BySide<T> = Readonly<Record<SideName, T>>;
export const bySide = async <T>(make: (name: SideName) => Promise<T>): Promise<BySide<T>> => ({
  left: await make("left"),
  right: await make("right"),
});

/** `routerIsMade` comes between a router and its first interface: there it can be bound to an agent. */
export async function makeNetworks(
  api: NeutronApi,
  routerIsMade: (name: SideName, router: string) => Promise<void> = () => Promise.resolve(),
): Promise<BySide<SiteNetworks>> {
  const external = await api.create("networks", {
    name: "internet",
    "router:external": true,
    "provider:network_type": "flat",
    "provider:physical_network": PHYSICAL_NETWORK,
  });
  const outside = await api.create("subnets", {
    name: "internet-v4",
    network_id: external.id,
    ip_version: 4,
    cidr: "203.0.113.0/24",
    gateway_ip: "203.0.113.1",
    allocation_pools: [{ start: "203.0.113.10", end: "203.0.113.80" }],
    enable_dhcp: false,
  });
  return bySide(async (name) => {
    const network = await api.create("networks", { name: `${name}-lan` });
    const [cidr, routerAddress, hostAddress] = [`${LAN[name]}.0/24`, `${LAN[name]}.1`, `${LAN[name]}.9`];
    const subnet = await api.create("subnets", {
      name: `${name}-lan-v4`,
      network_id: network.id,
      ip_version: 4,
      cidr,
      gateway_ip: routerAddress,
      enable_dhcp: false,
    });
    const router = await api.create("routers", { name: `${name}-router` });
    await routerIsMade(name, router.id);
    await api.request("PUT", `routers/${router.id}/add_router_interface`, { subnet_id: subnet.id });
    await api.update("routers", router.id, {
      external_gateway_info: {
        network_id: external.id,
        external_fixed_ips: [{ subnet_id: outside.id, ip_address: GATEWAY[name] }],
      },
    });
    return {
      name,
      router: router.id,
      network: network.id,
      subnet: subnet.id,
      cidr,
      routerAddress,
      hostAddress,
      gatewayAddress: GATEWAY[name],
    };
  });
}

export type SiteVpn = {
  readonly service: string;
  /** Where the other side finds it. */
  readonly address: string;
  readonly localGroup: string;
  readonly peerGroup: string;
  readonly connection: string;
};

/** IKE policy, IPsec policy, services, endpoint groups, connections: in the order of the users' guide. */
export async function makeVpn(api: NeutronApi, networks: BySide<SiteNetworks>): Promise<BySide<SiteVpn>> {
  const suite = { encryption_algorithm: "aes-256", auth_algorithm: "sha256", pfs: "group14" };
  const ike = await api.create("vpn/ikepolicies", { name: "ike", ike_version: "v2", ...suite });
  const ipsec = await api.create("vpn/ipsecpolicies", { name: "ipsec", ...suite });
  const services = await bySide((name) =>
    api.create("vpn/vpnservices", { name: `${name}-vpn`, router_id: networks[name].router }),
  );
  const group = (name: string, type: "subnet" | "cidr", endpoint: string): Promise<Resource> =>
    api.create("vpn/endpoint-groups", { name, type, endpoints: [endpoint] });
  return bySide(async (name) => {
    const local = await group(`${name}-local`, "subnet", networks[name].subnet);
    const peer = await group(`${name}-peer`, "cidr", networks[otherSide(name)].cidr);
    const peerAddress = addressOf(services[otherSide(name)]);
    const connection = await api.create("vpn/ipsec-site-connections", {
      name: `${name}-connection`,
      vpnservice_id: services[name].id,
      ikepolicy_id: ike.id,
      ipsecpolicy_id: ipsec.id,
      local_ep_group_id: local.id,
      peer_ep_group_id: peer.id,
      peer_address: peerAddress,
      peer_id: peerAddress,
      psk: PSK,
      dpd: { action: "restart", interval: 5, timeout: 20 },
    });
    return {
      service: services[name].id,
      address: addressOf(services[name]),
      localGroup: local.id,
      peerGroup: peer.id,
      connection: connection.id,
    };
  });
}

function addressOf(service: Resource): string {
  const address = service["external_v4_ip"];
  if (typeof address !== "string") throw new Error(`no address: ${JSON.stringify(service)}`);
  return address;
}

/** Everything that `makeVpn` has made, connections first. */
export async function removeVpn(api: NeutronApi): Promise<void> {
  for (const of of [
    "vpn/ipsec-site-connections",
    "vpn/vpnservices",
    "vpn/endpoint-groups",
    "vpn/ipsecpolicies",
    "vpn/ikepolicies",
  ] as const) {
    for (const { id } of await api.list(of)) await api.remove(of, id);
  }
}

export type Site = {
  readonly neutron: NeutronServer;
  readonly rabbitmq: PrivateRabbitmq;
  /** The agents' way to it; the server has another one. */
  readonly way: BrokerWay;
  readonly networks: BySide<SiteNetworks>;
  /** Of a site's router; one agent may have both. */
  readonly agents: BySide<Agent>;
  /** From one site's host to the other's. */
  readonly reaches: (from: SideName) => Promise<boolean>;
};

/** Longer than from charon's first retransmission to its second (7.2 s), by which an attempt that seemed lost comes back. */
const SETTLED_MS = 8_000;

/** Asks for what is true of both sides, and shows what everybody had to say when it does not come true. */
export class SiteView {
  readonly site: Site;
  readonly vpn: BySide<SiteVpn>;

  constructor(site: Site, vpn: BySide<SiteVpn>) {
    this.site = site;
    this.vpn = vpn;
  }

  get api(): NeutronApi {
    return this.site.neutron.api;
  }

  update(side: SideName, fields: Readonly<Record<string, unknown>>): Promise<Resource> {
    return this.api.update("vpn/ipsec-site-connections", this.vpn[side].connection, fields);
  }

  async updateBoth(fields: Readonly<Record<string, unknown>>): Promise<void> {
    for (const side of SIDE_NAMES) await this.update(side, fields);
  }

  async until(
    what: string,
    check: () => Promise<boolean> | boolean,
    { timeoutMs = 30_000 }: { readonly timeoutMs?: number } = {},
  ): Promise<void> {
    try {
      await until(what, timeoutMs, check);
    } catch (error) {
      throw new Error(`${String(error)}\n${await this.#said()}`, { cause: error });
    }
  }

  async #said(): Promise<string> {
    const { agents, neutron } = this.site;
    const connections = await this.api.list("vpn/ipsec-site-connections").catch(String);
    const of = await Promise.all(
      [...new Set(Object.values(agents))].map(async (agent) => {
        const state = JSON.stringify((await agent.status().catch(() => undefined))?.routers);
        return `agent ${agent.host}: ${state}\n${worthReading(agent)}`;
      }),
    );
    return [JSON.stringify(connections), ...of, `server:\n${neutron.log()}`].join("\n");
  }

  /** What the server says of them. */
  async statusIs(side: SideName, status: "ACTIVE" | "DOWN" | "ERROR", timeoutMs?: number): Promise<void> {
    await this.until(
      `the server has the ${side} connection as ${status}`,
      async () => (await this.api.show("vpn/ipsec-site-connections", this.vpn[side].connection))["status"] === status,
      timeoutMs === undefined ? {} : { timeoutMs },
    );
  }

  async serviceIs(side: SideName, status: "ACTIVE" | "DOWN" | "ERROR"): Promise<void> {
    await this.until(
      `the server has the ${side} service as ${status}`,
      async () => (await this.api.show("vpn/vpnservices", this.vpn[side].service))["status"] === status,
    );
  }

  /** ACTIVE on the server, an SA in each charon, and packets both ways. */
  async works(timeoutMs?: number): Promise<void> {
    for (const side of SIDE_NAMES) await this.statusIs(side, "ACTIVE", timeoutMs);
    for (const side of SIDE_NAMES) {
      await this.until(`a child SA is installed on the ${side}`, async () => (await this.spis(side)).length > 0);
      await this.until(`the ${side} host reaches the other`, () => this.site.reaches(side));
    }
  }

  /** Of installed child SAs, inbound, as charon has them. */
  async spis(side: SideName): Promise<readonly string[]> {
    const sas = await this.site.agents[side].ikeSas(this.site.networks[side].router).catch(() => []);
    return sas
      .flatMap((sa) => sa.childSas)
      .filter((child) => child.state === "INSTALLED")
      .map((child) => child.spiIn ?? "?");
  }

  /**
   * SPIs of both sides once each has one child SA, and has had the same one for a while: of two IKE SAs that were begun at
   * once charon ends one after 10 s, or the agent after 12 s.
   */
  async settled(): Promise<readonly string[]> {
    let last = { text: "", sinceMs: 0 };
    await this.until(
      "one SA is left, and stays",
      async () => {
        const text = JSON.stringify([await this.spis("left"), await this.spis("right")]);
        if (text !== last.text) last = { text, sinceMs: performance.now() };
        const spis = JSON.parse(text) as readonly (readonly string[])[];
        return spis.every((one) => one.length === 1) && performance.now() - last.sinceMs >= SETTLED_MS;
      },
      { timeoutMs: 60_000 },
    );
    return this.allSpis();
  }

  async allSpis(): Promise<readonly string[]> {
    return [...(await this.spis("left")), ...(await this.spis("right"))];
  }

  /** What is loaded in charon. */
  async loaded(side: SideName): Promise<ConnConfig | undefined> {
    const socket = `/run/charon.qvpn-${this.site.networks[side].router}.vici`;
    if (!existsSync(socket)) return undefined;
    const vici = await openViciSession({ path: socket });
    try {
      return (await listConns(vici))[0];
    } finally {
      await vici.close();
    }
  }

  async loadedIs(what: string, side: SideName, check: (conn: ConnConfig) => boolean): Promise<void> {
    await this.until(`charon of the ${side} has ${what}`, async () => {
      const conn = await this.loaded(side).catch(() => undefined);
      return conn !== undefined && check(conn);
    });
  }

  /** What is left of charons once nothing is wanted of them. */
  leftovers(): readonly string[] {
    return SIDE_NAMES.flatMap((side) => {
      const { router } = this.site.networks[side];
      const agent = this.site.agents[side];
      const files = [
        `/run/netns/qvpn-${router}`,
        `/run/charon.qvpn-${router}.vici`,
        path.join(agent.runDirectory, `qvpn-${router}`),
      ];
      return [
        ...files.filter((file) => existsSync(file)),
        ...(agent.charon(router) === undefined ? [] : [`charon of the ${side}`]),
      ];
    });
  }
}
