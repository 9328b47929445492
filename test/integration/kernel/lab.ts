// One router in a world of its own, with random names, and a stand-in for charon's TUN device.
import { randomBytes, randomUUID } from "node:crypto";
import { execa } from "execa";
import { onTestFinished } from "vitest";
import { createWorld, type World, type WorldHost } from "../../../scripts/world.ts";
import { routerId } from "../../../src/core/ids.ts";
import type { NetworkConfig } from "../../../src/core/network.ts";
import { planNetwork, planNetworkRemoval, type NetworkStep } from "../../../src/core/network-plan.ts";
import { KernelNetwork } from "../../../src/io/kernel/network.ts";
import { applyGuardByNft } from "../../../src/io/nft/nft.ts";
import { aNetworkConfig, somePlumbing, type Pair } from "../../support/network-builders.ts";

export const never = new AbortController().signal;

export const sh = async (namespace: string, command: string): Promise<string> =>
  (await execa("ip", ["netns", "exec", namespace, "sh", "-c", command])).stdout;

export type Lab = {
  readonly world: World;
  readonly network: KernelNetwork;
  readonly config: NetworkConfig;
  readonly configOf: (pairs: readonly Pair[]) => NetworkConfig;
  /** One pass; gives the steps that it took. */
  readonly converge: (config?: NetworkConfig) => Promise<readonly NetworkStep[]>;
  readonly plan: (config?: NetworkConfig) => Promise<readonly NetworkStep[]>;
  readonly remove: () => Promise<void>;
};

const USUAL_LAN = ["10.1.0.1/24", "fd00:1::1/64"];
const USUAL_HOST: WorldHost = {
  name: "host",
  addresses: ["10.1.0.9/24", "fd00:1::9/64"],
  gateways: ["10.1.0.1", "fd00:1::1"],
};

/** Cleaned up when the test ends, however it ends. */
export async function makeLab(of: {
  readonly pairs: readonly Pair[];
  readonly lan?: readonly string[];
  readonly hosts?: readonly WorldHost[];
}): Promise<Lab> {
  const id = routerId(randomUUID());
  const network = new KernelNetwork(applyGuardByNft);
  const prefix = `t${randomBytes(3).toString("hex")}`;
  const side = { routerId: id, lan: of.lan ?? USUAL_LAN, hosts: of.hosts ?? [USUAL_HOST] };
  const world = await createWorld({ prefix, sides: [side] });
  const plumbing = somePlumbing("203.0.113.10", "2001:db8:ff::10");
  const configOf = (pairs: readonly Pair[]): NetworkConfig =>
    aNetworkConfig({ pairs, plumbing, router: id, bridge: world.bridge, host: prefix });
  const config = configOf(of.pairs);
  const plan = async (wanted = config): Promise<readonly NetworkStep[]> =>
    planNetwork(wanted, await network.observe(wanted, never));
  const converge = async (wanted = config): Promise<readonly NetworkStep[]> => {
    const steps = await plan(wanted);
    for (const step of steps) await network.apply(step, never);
    return steps;
  };
  const remove = async (): Promise<void> => {
    const steps = planNetworkRemoval(config, await network.observe(config, never));
    for (const step of steps) await network.apply(step, never);
  };
  onTestFinished(async () => {
    await remove().finally(() => {
      network.close();
      return world.destroy();
    });
  });
  return { world, network, config, configOf, converge, plan, remove };
}

/** A link called as charon's TUN device, with a machine of the peer's network behind it, and charon's table 220. */
export async function plugTunnel(
  lab: Lab,
  peerAddresses: readonly string[],
  peerNets: readonly string[],
): Promise<string> {
  const { namespace } = lab.config;
  const peer = `${lab.world.bridge}-peer`;
  await execa("ip", ["netns", "add", peer]);
  onTestFinished(async () => {
    await execa("ip", ["netns", "del", peer], { reject: false });
  });
  await execa("ip", ["-n", namespace, "link", "add", "ipsec0", "type", "veth", "peer", "name", "tun", "netns", peer]);
  await sh(
    namespace,
    "ip addr add 192.0.2.1/30 dev ipsec0; ip -6 addr add fe80::1/64 dev ipsec0 nodad; ip link set ipsec0 up",
  );
  await sh(
    peer,
    "ip addr add 192.0.2.2/30 dev tun; ip -6 addr add fe80::2/64 dev tun nodad; ip link set tun up; ip link set lo up",
  );
  for (const address of peerAddresses) await sh(peer, `ip addr add ${address} dev lo`);
  const [source4] = peerAddresses.filter((address) => !address.includes(":"));
  const from = source4 === undefined ? "" : `src ${source4.replace(/\/.*/, "")}`;
  await sh(peer, `ip route add default via 192.0.2.1 ${from}; ip -6 route add default via fe80::1 dev tun`);
  for (const net of peerNets) {
    const via = net.includes(":") ? "fe80::2 dev ipsec0" : "192.0.2.2";
    await sh(namespace, `ip route add ${net} via ${via} table 220`);
  }
  await sh(namespace, "ip rule add pref 220 lookup 220; ip -6 rule add pref 220 lookup 220");
  return peer;
}
