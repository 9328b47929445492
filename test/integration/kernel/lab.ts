// One router in a world of its own, with random names, and a stand-in for charon's TUN device.
import { randomBytes, randomUUID } from "node:crypto";
import { execa } from "execa";
import { onTestFinished } from "vitest";
import { createWorld, type World, type WorldHost } from "../../../scripts/world.ts";
import type { EspBackEnd } from "../../../src/core/guard.ts";
import { routerId } from "../../../src/core/ids.ts";
import { planNetwork, planNetworkRemoval, type NetworkStep } from "../../../src/core/network-plan.ts";
import { KernelNetwork } from "../../../src/io/kernel/network.ts";
import { applyGuardByNft } from "../../../src/io/nft/nft.ts";
import { aNetworkConfig, somePlumbing, type BridgeConfig, type Pair } from "../../support/network-builders.ts";

export const never = new AbortController().signal;

export const sh = async (namespace: string, command: string): Promise<string> =>
  (await execa("ip", ["netns", "exec", namespace, "sh", "-c", command])).stdout;

export type Lab = {
  readonly world: World;
  readonly network: KernelNetwork;
  readonly config: BridgeConfig;
  readonly configOf: (pairs: readonly Pair[]) => BridgeConfig;
  /** One pass; gives the steps that it took. */
  readonly converge: (config?: BridgeConfig) => Promise<readonly NetworkStep[]>;
  readonly plan: (config?: BridgeConfig) => Promise<readonly NetworkStep[]>;
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
  readonly espBackEnd?: EspBackEnd;
}): Promise<Lab> {
  const id = routerId(randomUUID());
  const network = new KernelNetwork(applyGuardByNft);
  const prefix = `t${randomBytes(3).toString("hex")}`;
  const side = { routerId: id, lan: of.lan ?? USUAL_LAN, hosts: of.hosts ?? [USUAL_HOST] };
  const world = await createWorld({ prefix, sides: [side] });
  const plumbing = somePlumbing("203.0.113.10", "2001:db8:ff::10");
  const { espBackEnd = "userland" } = of;
  const configOf = (pairs: readonly Pair[]): BridgeConfig =>
    aNetworkConfig({ pairs, plumbing, router: id, bridge: world.bridge, host: prefix, espBackEnd });
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

/**
 * A tunnel in the way of the lab's back end, with a machine of the peer's network at its end; gives that machine's
 * namespace. Without charon: the keys are anybody's.
 */
export const plugTunnel = (lab: Lab, peerAddresses: readonly string[], peerNets: readonly string[]): Promise<string> =>
  lab.config.guard.espBackEnd === "kernel"
    ? plugXfrm(lab, peerAddresses, peerNets)
    : plugTun({ bridge: lab.world.bridge, namespace: lab.config.namespace }, peerAddresses, peerNets);

const KEYS = `auth 'hmac(sha256)' 0x${"a5".repeat(32)} enc 'cbc(aes)' 0x${"5a".repeat(16)}`;

/** The peer's gateway on the bridge, 203.0.113.20, with states and policies as charon would install them. */
async function plugXfrm(lab: Lab, peerAddresses: readonly string[], peerNets: readonly string[]): Promise<string> {
  const { namespace } = lab.config;
  const peer = `${lab.world.bridge}-peer`;
  const port = `${lab.world.bridge}p`;
  await execa("ip", ["netns", "add", peer]);
  onTestFinished(async () => {
    await execa("ip", ["netns", "del", peer], { reject: false });
  });
  await execa("ip", ["link", "add", port, "type", "veth", "peer", "name", "tun", "netns", peer]);
  await execa("ip", ["link", "set", port, "master", lab.world.bridge, "up"]);
  await sh(
    peer,
    "ip link set lo up; ip addr add 203.0.113.20/24 dev tun; ip -6 addr add 2001:db8:ff::20/64 dev tun nodad; ip link set tun up",
  );
  for (const address of peerAddresses) await sh(peer, `ip addr add ${address} dev lo`);
  const source = (family: 4 | 6): string => {
    const found = peerAddresses.find((address) => address.includes(":") === (family === 6));
    return found === undefined ? "" : `src ${found.replace(/\/.*/, "")}`;
  };
  await sh(
    peer,
    `ip route add default via 203.0.113.10 ${source(4)}; ip -6 route add default via 2001:db8:ff::10 ${source(6)}`,
  );
  const pairs = lab.config.guard.pairs.flatMap(({ localSubnets }) =>
    localSubnets.flatMap((local) =>
      peerNets.flatMap((net) => (net.includes(":") === local.includes(":") ? [{ local, net }] : [])),
    ),
  );
  const gateways = { here: "203.0.113.10", there: "203.0.113.20" };
  const state = (from: string, to: string): string =>
    `xfrm state add src ${from} dst ${to} proto esp spi 0x1000 reqid 1 mode tunnel flag af-unspec ${KEYS}`;
  const policy = (from: string, to: string, direction: string, outer: readonly [string, string]): string =>
    `xfrm policy add src ${from} dst ${to} dir ${direction} tmpl src ${outer[0]} dst ${outer[1]} proto esp reqid 1 mode tunnel`;
  const out = [gateways.here, gateways.there] as const;
  const back = [gateways.there, gateways.here] as const;
  const states = [state(...out), state(...back)];
  const ours = pairs.flatMap(({ local, net }) => [
    policy(local, net, "out", out),
    policy(net, local, "in", back),
    policy(net, local, "fwd", back),
  ]);
  const theirs = pairs.flatMap(({ local, net }) => [policy(net, local, "out", back), policy(local, net, "in", out)]);
  const batch = (lines: readonly string[]): string => `ip -b - <<'END'\n${lines.join("\n")}\nEND`;
  await sh(peer, batch([...states, ...theirs]));
  await sh(namespace, batch([...states, ...ours]));
  return peer;
}

/** A link called as charon's TUN device, with a machine of the peer's network behind it, and charon's table 220. */
export async function plugTun(
  { bridge, namespace }: { readonly bridge: string; readonly namespace: string },
  peerAddresses: readonly string[],
  peerNets: readonly string[],
): Promise<string> {
  const peer = `${bridge}-peer`;
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
