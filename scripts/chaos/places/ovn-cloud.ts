// Routers of a real OVN behind one real Open vSwitch, as Neutron makes them: each with a LAN, a host on it and a gateway port
// that translates, and for a VPN what its service driver adds.
import { execFileSync } from "node:child_process";
import { createCleanup } from "../../../test/support/broker.ts";
import { startOpenVswitch, type OpenVswitchLab } from "../../../test/support/open-vswitch.ts";
import { startOvn, type OvnLab } from "../../../test/support/ovn.ts";
import { AGENT_NAMESPACE } from "../../../src/core/network.ts";
import { computeChecksums } from "../../../src/io/kernel/offload.ts";
import { until } from "../../lab.ts";
import type { World } from "../../world.ts";
import {
  addressOf,
  egressAddressOf,
  hostAddressOf,
  LAN_OCTETS,
  lanAddressOf,
  subnetOf,
  type SiteRouter,
} from "../model.ts";
import type { OpenVswitch } from "./place.ts";

const INTERNET = "203.0.113.1";
const SETTLED_MS = 30_000;

export type OvnCloud = OpenVswitch & {
  /** The routers and their networks, with the hosts plugged in. */
  readonly make: (world: World) => Promise<void>;
  /** Waits for the agent's ports and makes them known, with routes to all subnets of these peers. */
  readonly bindVpns: (peers: readonly SiteRouter[]) => Promise<void>;
  readonly close: () => Promise<void>;
};

const ip = (...args: readonly string[]): string => execFileSync("ip", args, { encoding: "utf8" });
const hex = (number: number): string => number.toString(16).padStart(2, "0");
const macOf = ({ number }: SiteRouter, port: number): string => `fa:16:3e:01:${hex(number)}:${hex(port)}`;

export async function startOvnCloud(prefix: string, routers: readonly SiteRouter[]): Promise<OvnCloud> {
  const cleanup = createCleanup();
  try {
    const ovs = await startOpenVswitch(cleanup);
    const external = ovs.bridge.replace(/-int$/, "-ex");
    ovs.vsctl("add-br", external, "--", "set", "Bridge", external, "datapath_type=netdev");
    const ovn = await startOvn(cleanup, ovs, `physnet:${external}`);
    return new Cloud(prefix, routers, ovs, ovn, external, cleanup);
  } catch (error) {
    await cleanup.run();
    throw error;
  }
}

class Cloud implements OvnCloud {
  readonly routers: readonly SiteRouter[];
  readonly bridge: string;
  readonly database: string;
  readonly vsctl: OpenVswitchLab["vsctl"];
  readonly #prefix: string;
  readonly #ovs: OpenVswitchLab;
  readonly #nbctl: OvnLab["nbctl"];
  readonly #external: string;
  readonly #cleanup: ReturnType<typeof createCleanup>;
  #world: World | undefined;
  #hasDatabase = true;

  constructor(
    prefix: string,
    routers: readonly SiteRouter[],
    ovs: OpenVswitchLab,
    ovn: OvnLab,
    external: string,
    cleanup: ReturnType<typeof createCleanup>,
  ) {
    this.routers = routers;
    this.bridge = ovs.bridge;
    this.database = ovs.database.endpoint;
    this.vsctl = ovs.vsctl;
    this.#prefix = prefix;
    this.#ovs = ovs;
    this.#nbctl = ovn.nbctl;
    this.#external = external;
    this.#cleanup = cleanup;
  }

  make(world: World): Promise<void> {
    this.#world = world;
    this.#joinInternet(world.bridge);
    this.#nbctl("ls-add", "external", "--", "lsp-add", "external", "provnet");
    this.#nbctl("lsp-set-addresses", "provnet", "unknown", "--", "lsp-set-type", "provnet", "localnet");
    this.#nbctl("lsp-set-options", "provnet", "network_name=physnet");
    for (const router of this.routers) {
      this.#makeRouter(router);
      this.#plugHost(world, router);
    }
    return Promise.resolve();
  }

  /** The internet's Linux bridge as a physical network of OVN's. */
  #joinInternet(bridge: string): void {
    const [near, far] = [`${this.#prefix}-o0`, `${this.#prefix}-o1`];
    ip("link", "add", near, "type", "veth", "peer", "name", far);
    this.#cleanup.add(() => ip("link", "del", near));
    // What gateways in the kernel send would reach a switch in userland without checksums.
    computeChecksums(AGENT_NAMESPACE, near);
    ip("link", "set", near, "master", bridge, "up");
    ip("link", "set", far, "up");
    this.vsctl("add-port", this.#external, far);
  }

  #makeRouter(router: SiteRouter): void {
    const { number } = router;
    const name = `router-${number}`;
    this.#nbctl("lr-add", name);
    this.#nbctl("ls-add", `lan-${number}`);
    this.#join(
      router,
      `lan-${number}`,
      macOf(router, 1),
      ...LAN_OCTETS.map((octet) => `${lanAddressOf(router, octet)}/24`),
    );
    const gateway = this.#join(router, "external", macOf(router, 2), `${egressAddressOf(router)}/24`);
    this.#nbctl("lrp-set-gateway-chassis", gateway, this.bridge);
    this.#nbctl("lr-nat-add", name, "snat", egressAddressOf(router), `10.${number}.0.0/16`);
    this.#nbctl("lr-route-add", name, "0.0.0.0/0", INTERNET);
  }

  /** A port of the router's on a switch of OVN's; its name. */
  #join({ number }: SiteRouter, network: string, mac: string, ...addresses: readonly string[]): string {
    const [near, far] = [`lrp-${number}-${network}`, `${network}-router-${number}`];
    this.#nbctl("lrp-add", `router-${number}`, near, mac, ...addresses);
    this.#nbctl("lsp-add", network, far, "--", "lsp-set-type", far, "router", "--", "lsp-set-addresses", far, "router");
    this.#nbctl("lsp-set-options", far, `router-port=${near}`);
    return near;
  }

  #plugHost(world: World, router: SiteRouter): void {
    const name = `h${router.number}`;
    const [port, namespace] = [world.hostPorts.get(name) ?? "", world.hostNamespaces.get(name) ?? ""];
    const [link] = JSON.parse(ip("-j", "-n", namespace, "link", "show", "eth0")) as readonly { address: string }[];
    const addresses = [link?.address ?? "", ...LAN_OCTETS.map((octet) => hostAddressOf(router, octet))].join(" ");
    this.#nbctl("lsp-add", `lan-${router.number}`, name, "--", "lsp-set-addresses", name, addresses);
    this.vsctl("add-port", this.bridge, port, "--", "set", "Interface", port, `external_ids:iface-id=${name}`);
  }

  /** As Neutron's service driver makes it for a VPN (services/vpn/service_drivers/ovn_ipsec.py). */
  async bindVpns(peers: readonly SiteRouter[]): Promise<void> {
    for (const router of this.routers) {
      const { id, number } = router;
      const port = (begins: string) =>
        until(`${begins}… of router ${number} is plugged`, 20_000, () => this.#portOf(id, begins));
      const [outside, inside] = [await port("hg"), await port("hr")];
      this.#nbctl("lsp-add", "external", outside.port);
      this.#nbctl("lsp-set-addresses", outside.port, `${outside.mac} ${addressOf(router)}`);
      const transit = `transit-${number}`;
      this.#nbctl("ls-add", transit);
      this.#join(router, transit, macOf(router, 3), "169.254.0.1/28");
      this.#nbctl("lsp-add", transit, inside.port);
      this.#nbctl("lsp-set-addresses", inside.port, `${inside.mac} 169.254.0.2`);
      for (const peer of peers) {
        for (const octet of LAN_OCTETS)
          this.#nbctl("lr-route-add", `router-${number}`, subnetOf(peer, octet), "169.254.0.2");
      }
    }
  }

  #portOf(routerId: string, begins: string): { readonly port: string; readonly mac: string } | undefined {
    const find = ["--bare", "--columns=name", "find", "Interface", `external_ids:swanherd-router=${routerId}`];
    const name = this.vsctl(...find)
      .split("\n")
      .find((one) => one.startsWith(begins));
    if (name === undefined) return undefined;
    const id = (key: string): string => this.vsctl("get", "Interface", name, `external_ids:${key}`).replaceAll('"', "");
    return { port: id("iface-id"), mac: id("attached-mac") };
  }

  killSwitch(): Promise<void> {
    return this.#ovs.stop("SIGKILL");
  }

  startSwitch(): Promise<void> {
    return this.#ovs.start();
  }

  async stopDatabase(): Promise<void> {
    await this.#ovs.database.stop();
    this.#hasDatabase = false;
  }

  async startDatabase(): Promise<void> {
    await this.#ovs.database.start();
    this.#hasDatabase = true;
  }

  async settled(): Promise<void> {
    const world = this.#world;
    if (world === undefined) return;
    const isAnswered = ({ number }: SiteRouter) =>
      until(`host ${number} reaches the internet`, SETTLED_MS, async () => {
        const { received } = await world.ping(`h${number}`, INTERNET);
        return received > 0;
      });
    await Promise.allSettled(this.routers.map(isAnswered));
  }

  async close(): Promise<void> {
    // What is taken away first wants to say so to it.
    if (!this.#hasDatabase) await this.startDatabase();
    await this.#cleanup.run();
  }
}
