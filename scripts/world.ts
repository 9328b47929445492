// The little world around a gateway, as Neutron or a machine's owner would have made it: a bridge that is the internet,
// routers with their LANs, and hosts. It makes nothing that the agent makes, and removes only what it made.
import { execa, type ResultPromise } from "execa";

export type WorldHost = {
  readonly name: string;
  /** With prefix length: `10.1.0.9/24`. */
  readonly addresses: readonly string[];
  readonly gateways: readonly string[];
};

export type WorldSide = {
  readonly routerId: string;
  /** Addresses of the router on its LAN, with prefix length. */
  readonly lan: readonly string[];
  readonly hosts: readonly WorldHost[];
  /** The router's own way to the internet beside any VPN; absent: it has none. */
  readonly egress?: WorldEgress;
  /** Absent: links are called otherwise than by Neutron's L3 agent, and no router leads outside. */
  readonly l3Agent?: WorldL3Agent;
  /** The router is a switch's own: it has no namespace, and the ports of hosts are left to be plugged. */
  readonly isSwitched?: boolean;
};

/** The gateway port of the router, as Neutron's L3 agent plugs it. Addresses with prefix length. */
export type WorldL3Agent = { readonly addresses: readonly string[]; readonly gateways: readonly string[] };

/** Names of a router's ports in its own namespace, where Neutron's L3 agent plugs them. */
export const QR_LINK = "qr-11111111-22";
export const QG_LINK = "qg-33333333-44";

/** A leg of the router on the internet's bridge, which masquerades. Addresses with prefix length. */
export type WorldEgress = { readonly addresses: readonly string[]; readonly gateways: readonly string[] };

/** Name of that leg's link in the router's own namespace. */
export const EGRESS_LINK = "egress";

export type WorldOptions = {
  /** At most 8 characters: names of links are made of it. */
  readonly prefix: string;
  readonly sides: readonly WorldSide[];
  /** Addresses of the machine that stands for the rest of the internet. */
  readonly internet?: readonly string[];
  /** A network behind a router that masquerades; absent: there is none. */
  readonly nat?: WorldNat;
};

/** Addresses of the router that masquerades, with prefix length. */
export type WorldNat = { readonly inside: readonly string[]; readonly outside: readonly string[] };

export type Ping = { readonly received: number; readonly output: string };
export type PingOptions = { readonly count?: number; readonly timeoutSeconds?: number; readonly sizeBytes?: number };

export type World = {
  /** In the namespace of the caller. It has no address: this machine does not route between the sides. */
  readonly bridge: string;
  readonly internetNamespace: string;
  /** As `bridge`, for the network behind NAT. */
  readonly natBridge: string | undefined;
  readonly hostNamespaces: ReadonlyMap<string, string>;
  readonly routerNamespaces: readonly string[];
  /** By the name of the host; of routers without a namespace of their own. */
  readonly hostPorts: ReadonlyMap<string, string>;
  /** Makes a router with `l3Agent` anew, as Neutron's L3 agent does when its namespace is gone. */
  readonly remakeRouter: (routerId: string) => Promise<void>;
  /** `from` is the name of a host, or of a namespace. */
  readonly ping: (from: string, to: string, options?: PingOptions) => Promise<Ping>;
  readonly destroy: () => Promise<void>;
};

/** Most packets that a ping sends at once; more are 100 ms apart. */
const BURST = 5;
const INTERNET_ADDRESSES = ["203.0.113.1/24", "2001:db8:ff::1/64"] as const;

export const routerNamespaceOf = (routerId: string): string => `qrouter-${routerId}`;

const ip = (...args: readonly string[]): ResultPromise => execa("ip", args);
const inside = (namespace: string, ...command: readonly string[]): ResultPromise =>
  execa("ip", ["netns", "exec", namespace, ...command]);

export async function createWorld(options: WorldOptions): Promise<World> {
  const { prefix, sides, internet = INTERNET_ADDRESSES, nat } = options;
  const undo: (() => Promise<unknown>)[] = [];
  const destroy = async (): Promise<void> => {
    for (let step = undo.pop(); step !== undefined; step = undo.pop()) {
      // What is gone already needs no removal.
      await step().catch(() => undefined);
    }
  };
  const bridge = `${prefix}-inet`;
  const internetNamespace = `${prefix}-internet`;
  const natBridge = nat === undefined ? undefined : `${prefix}-priv`;
  const hostNamespaces = new Map<string, string>();
  const hostPorts = new Map<string, string>();
  let made = 0;

  const addNamespace = async (name: string): Promise<void> => {
    await ip("netns", "add", name);
    undo.push(() => ip("netns", "del", name));
    await ip("-n", name, "link", "set", "lo", "up");
    // Addresses work at once, and only those that are given.
    await inside(name, "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.default.accept_ra=0");
  };
  const address = async (namespace: string, link: string, addresses: readonly string[]): Promise<void> => {
    for (const one of addresses) await ip("-n", namespace, "addr", "add", one, "dev", link);
    await ip("-n", namespace, "link", "set", link, "up");
  };
  const route = async (namespace: string, gateways: readonly string[]): Promise<void> => {
    for (const gateway of gateways) {
      await ip("-n", namespace, ...(gateway.includes(":") ? ["-6"] : []), "route", "add", "default", "via", gateway);
    }
  };

  const addBridge = async (name: string): Promise<void> => {
    await ip("link", "add", name, "type", "bridge");
    undo.push(() => ip("link", "del", name));
    await execa("sysctl", ["-qw", `net.ipv6.conf.${name}.disable_ipv6=1`]);
    await ip("link", "set", name, "up");
  };
  const addPair = async (port: string, namespace: string, link: string): Promise<void> => {
    await ip("link", "add", port, "type", "veth", "peer", "name", link, "netns", namespace);
    undo.push(() => ip("link", "del", port));
    await ip("link", "set", port, "up");
  };
  /** `link` of the namespace on the bridge, whose port is `port`. */
  const plug = async (port: string, on: string, namespace: string, link: string): Promise<void> => {
    await addPair(port, namespace, link);
    await ip("link", "set", port, "master", on);
  };

  const masquerade = (namespace: string, link: string): Promise<unknown> =>
    inside(
      namespace,
      "nft",
      `table inet nat { chain out { type nat hook postrouting priority srcnat; oifname ${link} masquerade; }; }`,
    );

  /** Bridge of the LAN of a router with `l3Agent`, and the other ends of its links. */
  const namesOf = (index: number) => ({
    lanBridge: `${prefix}-l${index + 1}`,
    inner: `${prefix}-q${index + 1}`,
    outer: `${prefix}-g${index + 1}`,
  });
  const addRouter = async (routerId: string): Promise<string> => {
    const router = routerNamespaceOf(routerId);
    await addNamespace(router);
    await inside(router, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1");
    return router;
  };
  const plugRouter = async (router: string, side: WorldSide, l3Agent: WorldL3Agent, index: number): Promise<void> => {
    const { lanBridge, inner, outer } = namesOf(index);
    // Neutron's ports keep their MAC addresses, by which neighbours go on finding a router that is made anew.
    const macOf = (end: string): string => `fa:16:3e:00:${(index + 1).toString(16).padStart(2, "0")}:${end}`;
    const setMac = (link: string, end: string): ResultPromise =>
      ip("-n", router, "link", "set", link, "address", macOf(end));
    await plug(inner, lanBridge, router, QR_LINK);
    await setMac(QR_LINK, "01");
    await address(router, QR_LINK, side.lan);
    await plug(outer, bridge, router, QG_LINK);
    await setMac(QG_LINK, "02");
    await address(router, QG_LINK, l3Agent.addresses);
    await route(router, l3Agent.gateways);
  };
  const remakeRouter = async (routerId: string): Promise<void> => {
    const index = sides.findIndex((side) => side.routerId === routerId);
    const side = sides[index];
    if (side?.l3Agent === undefined) throw new Error(`no L3 agent has router ${routerId}`);
    const { inner, outer } = namesOf(index);
    // The kernel takes them away with the namespace, but not at once.
    for (const port of [inner, outer]) await execa("ip", ["link", "del", port], { reject: false });
    await plugRouter(await addRouter(routerId), side, side.l3Agent, index);
  };

  try {
    await addBridge(bridge);
    await addNamespace(internetNamespace);
    await plug(`${prefix}-ip`, bridge, internetNamespace, "eth0");
    await address(internetNamespace, "eth0", internet);

    if (nat !== undefined && natBridge !== undefined) {
      const namespace = `${prefix}-nat`;
      await addBridge(natBridge);
      await addNamespace(namespace);
      await plug(`${prefix}-no`, bridge, namespace, "outside");
      await plug(`${prefix}-ni`, natBridge, namespace, "inside");
      await address(namespace, "outside", nat.outside);
      await address(namespace, "inside", nat.inside);
      await inside(namespace, "sysctl", "-qw", "net.ipv4.ip_forward=1");
      await masquerade(namespace, "outside");
    }

    for (const [index, side] of sides.entries()) {
      const { lanBridge } = namesOf(index);
      const router = side.isSwitched === true ? "" : await addRouter(side.routerId);
      if (side.l3Agent !== undefined) {
        await addBridge(lanBridge);
        await plugRouter(router, side, side.l3Agent, index);
      } else if (side.isSwitched !== true) {
        await ip("-n", router, "link", "add", "lan", "type", "bridge");
        await address(router, "lan", side.lan);
      }
      if (side.egress !== undefined) {
        await plug(`${prefix}-e${index + 1}`, bridge, router, EGRESS_LINK);
        await address(router, EGRESS_LINK, side.egress.addresses);
        await route(router, side.egress.gateways);
        await masquerade(router, EGRESS_LINK);
      }
      for (const host of side.hosts) {
        const namespace = `${prefix}-${host.name}`;
        await addNamespace(namespace);
        hostNamespaces.set(host.name, namespace);
        made += 1;
        const port = `${prefix}-h${made}`;
        if (side.isSwitched === true) {
          await addPair(port, namespace, "eth0");
          hostPorts.set(host.name, port);
        } else if (side.l3Agent === undefined) {
          const leg = `lan${made}`;
          await ip("-n", router, "link", "add", leg, "type", "veth", "peer", "name", "eth0", "netns", namespace);
          await ip("-n", router, "link", "set", leg, "master", "lan", "up");
        } else {
          await plug(port, lanBridge, namespace, "eth0");
        }
        await address(namespace, "eth0", host.addresses);
        await route(namespace, host.gateways);
      }
    }
  } catch (error) {
    await destroy();
    throw error;
  }

  const ping = async (from: string, to: string, options: PingOptions = {}): Promise<Ping> => {
    const { count = 1, timeoutSeconds = 1, sizeBytes } = options;
    const size = sizeBytes === undefined ? [] : ["-s", String(sizeBytes)];
    // For the last answers ping waits no longer than its interval, once one has come (iputils, schedule_exit): few are sent
    // at once, with an interval that is the time for all of them.
    const pace = count <= BURST ? ["-l", String(count), "-i", String(timeoutSeconds)] : ["-i", "0.1"];
    const args = ["-n", ...pace, "-c", String(count), "-W", String(timeoutSeconds), ...size, to];
    const namespace = hostNamespaces.get(from) ?? from;
    const { stdout } = await execa("ip", ["netns", "exec", namespace, "ping", ...args], { reject: false });
    return { received: Number(/(\d+) received/.exec(stdout)?.[1] ?? 0), output: stdout };
  };

  const routerNamespaces = sides
    .filter((side) => side.isSwitched !== true)
    .map((side) => routerNamespaceOf(side.routerId));
  const names = { bridge, internetNamespace, natBridge, hostNamespaces, hostPorts, routerNamespaces };
  return { ...names, remakeRouter, ping, destroy };
}

export type Capture = {
  /** A line for each packet so far. */
  readonly seen: () => readonly string[];
  readonly stop: () => Promise<readonly string[]>;
};

/** Resolves when tcpdump sees packets; `stop` gives one line a packet. `netns` undefined: the caller's namespace. */
export async function startCapture(of: {
  readonly interface: string;
  readonly netns?: string;
  readonly filter?: string;
}): Promise<Capture> {
  const enter = of.netns === undefined ? [] : ["ip", "netns", "exec", of.netns];
  const tcpdump = ["tcpdump", "--immediate-mode", "-l", "-n", "-i", of.interface, ...(of.filter ?? "").split(" ")];
  const [file = "", ...args] = [...enter, ...tcpdump].filter((word) => word !== "");
  const process = execa(file, args, { reject: false });
  await new Promise<void>((resolve, reject) => {
    let heard = "";
    process.stderr.on("data", (chunk: Buffer) => {
      heard += chunk.toString();
      if (heard.includes("listening on")) resolve();
    });
    process.once("exit", () => {
      reject(new Error(`tcpdump ended: ${heard}`));
    });
  });
  let seen = "";
  process.stdout.on("data", (chunk: Buffer) => (seen += chunk.toString()));
  return {
    seen: () => linesOf(seen),
    stop: async () => {
      process.kill("SIGINT");
      const { stdout } = await process;
      return linesOf(stdout);
    },
  };
}

const linesOf = (text: string): readonly string[] => text.split("\n").filter((line) => line !== "");
