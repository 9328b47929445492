// A site behind a real OVN router, as Neutron makes it: a network with a machine in it, a gateway port that translates, and for
// a VPN what its service driver adds.
import { execFileSync } from "node:child_process";
import { until } from "../../scripts/lab.ts";
import type { World } from "../../scripts/world.ts";
import { linkLocalOf } from "../../src/core/address.ts";
import { AGENT_NAMESPACE } from "../../src/core/network.ts";
import { computeChecksums } from "../../src/io/kernel/offload.ts";
import type { Cleanup } from "./broker.ts";
import { startOpenVswitch, type OpenVswitchLab } from "./open-vswitch.ts";
import { startOvn, type OvnLab } from "./ovn.ts";

const TRANSIT_MAC = "fa:16:3e:01:01:01";
const LAN_MAC = "fa:16:3e:01:01:02";
const GATEWAY_MAC = "fa:16:3e:01:01:03";
const GATEWAY = "203.0.113.110";

/** A port of the agent's, with what OVN binds it by. */
export type Plugged = { readonly name: string; readonly port: string; readonly mac: string };

export type OvnSite = {
  readonly ovs: OpenVswitchLab;
  readonly ovn: OvnLab;
  /** MAC address of the router on the transit network. */
  readonly transitMac: string;
  /** Of the agent, by the beginning of its name. */
  readonly plugged: (begins: "hg" | "hr") => Plugged | undefined;
  /** Makes the router and its networks, and plugs the host of that name in. */
  readonly make: (world: World, host: string) => void;
  /** Waits for the agent's ports and makes them known, with the routes to the peers' subnets. */
  readonly bindVpn: (peers: readonly string[]) => Promise<void>;
};

const ip = (...args: readonly string[]): string => execFileSync("ip", args, { encoding: "utf8" });

export async function startOvnSite(cleanup: Cleanup): Promise<OvnSite> {
  const ovs = await startOpenVswitch(cleanup);
  const prefix = ovs.bridge.replace(/-int$/, "");
  const external = `${prefix}-ex`;
  ovs.vsctl("add-br", external, "--", "set", "Bridge", external, "datapath_type=netdev");
  const ovn = await startOvn(cleanup, ovs, `physnet:${external}`);
  const { nbctl } = ovn;

  const plugged = (begins: "hg" | "hr"): Plugged | undefined => {
    const ports = ovs.vsctl("list-ports", ovs.bridge).split("\n");
    const name = ports.find((one) => one.startsWith(begins));
    if (name === undefined) return undefined;
    const id = (key: string): string => ovs.vsctl("get", "Interface", name, `external_ids:${key}`).replaceAll('"', "");
    return { name, port: id("iface-id"), mac: id("attached-mac") };
  };

  /** The internet's Linux bridge as a physical network of OVN's. */
  const joinInternet = (bridge: string): void => {
    const [near, far] = [`${prefix}-o0`, `${prefix}-o1`];
    ip("link", "add", near, "type", "veth", "peer", "name", far);
    cleanup.add(() => ip("link", "del", near));
    // What gateways in the kernel send would reach a switch in userland without checksums.
    computeChecksums(AGENT_NAMESPACE, near);
    ip("link", "set", near, "master", bridge, "up");
    ip("link", "set", far, "up");
    ovs.vsctl("add-port", external, far);
  };

  const addSwitch = (name: string, mac: string, ...addresses: readonly string[]): void => {
    nbctl("lrp-add", "router", `lrp-${name}`, mac, ...addresses);
    nbctl("ls-add", name, "--", "lsp-add", name, `${name}-router`, "--", "lsp-set-type", `${name}-router`, "router");
    nbctl("lsp-set-addresses", `${name}-router`, "router");
    nbctl("lsp-set-options", `${name}-router`, `router-port=lrp-${name}`);
  };

  const make = (world: World, host: string): void => {
    joinInternet(world.bridge);
    nbctl("lr-add", "router");
    addSwitch("lan", LAN_MAC, "10.1.0.1/24", "fd00:1::1/64");
    addSwitch("external", GATEWAY_MAC, `${GATEWAY}/24`, "2001:db8:ff::110/64");
    nbctl("lsp-add", "external", "provnet", "--", "lsp-set-addresses", "provnet", "unknown");
    nbctl("lsp-set-type", "provnet", "localnet", "--", "lsp-set-options", "provnet", "network_name=physnet");
    nbctl("lrp-set-gateway-chassis", "lrp-external", ovs.bridge);
    nbctl("lr-nat-add", "router", "snat", GATEWAY, "10.1.0.0/24");
    nbctl("lr-route-add", "router", "0.0.0.0/0", "203.0.113.1");
    nbctl("lr-route-add", "router", "::/0", "2001:db8:ff::1");
    const [port, namespace] = [world.hostPorts.get(host) ?? "", world.hostNamespaces.get(host) ?? ""];
    const [link] = JSON.parse(ip("-j", "-n", namespace, "link", "show", "eth0")) as readonly { address: string }[];
    nbctl("lsp-add", "lan", "host", "--", "lsp-set-addresses", "host", `${link?.address ?? ""} 10.1.0.9 fd00:1::9`);
    ovs.vsctl("add-port", ovs.bridge, port, "--", "set", "Interface", port, "external_ids:iface-id=host");
  };

  /** As Neutron's service driver makes it for a VPN (services/vpn/service_drivers/ovn_ipsec.py). */
  const bindVpn = async (peers: readonly string[]): Promise<void> => {
    const [outside, transit] = await Promise.all(
      (["hg", "hr"] as const).map((begins) => until(`${begins}… is plugged`, 20_000, () => plugged(begins))),
    );
    if (outside === undefined || transit === undefined) throw new Error("both were waited for");
    nbctl("lsp-add", "external", outside.port);
    nbctl("lsp-set-addresses", outside.port, `${outside.mac} 203.0.113.10 2001:db8:ff::10`);
    addSwitch("transit", TRANSIT_MAC, "169.254.0.1/28");
    nbctl("lsp-add", "transit", transit.port);
    nbctl("lsp-set-addresses", transit.port, `${transit.mac} 169.254.0.2`);
    for (const peer of peers) {
      // Neutron's next hop is 169.254.0.2 for IPv6, too, which OVN takes since 25.03; those before it want one of IPv6.
      const next = peer.includes(":") ? [linkLocalOf(transit.mac), "lrp-transit"] : ["169.254.0.2"];
      nbctl("lr-route-add", "router", peer, ...next);
    }
  };

  return { ovs, ovn, transitMac: TRANSIT_MAC, plugged, make, bindVpn };
}
