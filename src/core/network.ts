// What the network of one router should be, and what it is, as comparable values; what it should be in topology `router` is
// in router-network.ts. It says nothing about the order in which one becomes the other.
import {
  canonicalAddress,
  canonicalCidr,
  addressBits,
  cidrContains,
  familyOf,
  lastAddress,
  linkLocalOf,
  parseCidr,
  addressText,
} from "./address.ts";
import {
  USERLAND_ESP_LINK,
  type EspBackEnd,
  type Guard,
  type GuardPair,
  type RouterGuard,
  type TransitGuard,
} from "./guard.ts";
import type { ConnectionId, PortId, RouterId } from "./ids.ts";
import type { Cidr, DesiredConnection, DesiredRouter, Guarded, InterfaceAddress, IpFamily, Plumbing } from "./model.ts";
import { externalVeth, namespaceName, ownerAlias, transitVeth } from "./names.ts";
import { switchPort, type ObservedSwitch, type SwitchPort } from "./switch.ts";

/** The agent's own namespace, in fields that hold the name of one. No file in /run/netns can be called so. */
export const AGENT_NAMESPACE = ".";

/** Marks our routes and rules (rtm_protocol). Free in linux/rtnetlink.h, iproute2's rt_protos and FRR. */
export const ROUTE_PROTOCOL = 215;
/** Marks what stands in for something else of ours: who flushes all of one protocol does not take both. */
export const UNREACHABLE_PROTOCOL = 216;
export const MAIN_TABLE = 254;
export const LOCAL_TABLE = 255;
/** charon's routes, which lead to ESP in userland. */
export const CHARON_TABLE = 220;
/** Routes to the local subnets for decrypted packets, where a default route of charon's table would win. */
export const DECRYPTED_TABLE = 221;
/** In the router's own namespace: makes the peers' subnets unreachable where the main table knows nothing but a default. */
export const UNREACHABLE_TABLE = 215;
/** In a namespace of ours, with ESP in userland: where ends what comes from the router for a peer and has no way to ESP. */
export const BLOCKED_TABLE = 222;

export const protocolOf = ({ table }: Pick<Route, "table">): number =>
  [UNREACHABLE_TABLE, BLOCKED_TABLE].includes(table) ? UNREACHABLE_PROTOCOL : ROUTE_PROTOCOL;
export const protocolOfRule = ({ preference }: Pick<Rule, "preference">): number =>
  [...STAND_IN_PREFERENCES, BLOCKED_PREFERENCE].includes(preference) ? UNREACHABLE_PROTOCOL : ROUTE_PROTOCOL;
export const isOurProtocol = (protocol: number): boolean =>
  protocol === ROUTE_PROTOCOL || protocol === UNREACHABLE_PROTOCOL;

// The kernel's own rule has preference 0, main's 32766.
const KERNEL_LOCAL_PREFERENCE = 0;
const LOOPBACK_PREFERENCE = 50;
const DECRYPTED_PREFERENCE = 60;
const MOVED_LOCAL_PREFERENCE = 100;
/** charon makes the rule when it starts and takes it along when it ends (kernel_netlink_net.c). */
export const CHARON_PREFERENCE = 220;
/** After charon's, before the main table, in which the gateway's own default route is. */
const BLOCKED_PREFERENCE = 222;
export const RULE_PREFERENCES: readonly number[] = [
  KERNEL_LOCAL_PREFERENCE,
  LOOPBACK_PREFERENCE,
  DECRYPTED_PREFERENCE,
  MOVED_LOCAL_PREFERENCE,
  CHARON_PREFERENCE,
  BLOCKED_PREFERENCE,
];

// In the router's own namespace, after all that others may have there before the main table.
const SPECIFIC_PREFERENCE = 32_764;
const UNREACHABLE_PREFERENCE = 32_765;
export const STAND_IN_PREFERENCES: readonly number[] = [SPECIFIC_PREFERENCE, UNREACHABLE_PREFERENCE];

const UNREACHABLE_METRIC = 1_000_000;
const BOTH_FAMILIES = [4, 6] as const;

export type LinkEnd = {
  readonly namespace: string;
  readonly name: string;
  readonly macAddress: string;
  readonly mtuBytes: number;
};

/** `inner` is in the router's VPN namespace, `outer` where it is attached; `bridge` if that is a Linux bridge's port. */
export type Veth = {
  readonly inner: LinkEnd;
  readonly outer: LinkEnd;
  readonly bridge: string | undefined;
  /** What `outer` is on a switch of Open vSwitch. */
  readonly port?: SwitchPort;
};

export type LinkAddress = InterfaceAddress & { readonly namespace: string; readonly link: string };

export type Route = {
  readonly namespace: string;
  readonly table: number;
  readonly destination: Cidr;
  /** What takes a blackhole gets no answer, as what the guard drops. */
  readonly kind: "unicast" | "unreachable" | "blackhole";
  readonly via: string | undefined;
  readonly link: string | undefined;
  /** The next hop is on the link although no address of ours says so. */
  readonly onlink: boolean;
  readonly metric: number;
};

export type Rule = {
  readonly namespace: string;
  readonly family: IpFamily;
  readonly preference: number;
  readonly table: number;
  readonly source?: Cidr;
  readonly destination: Cidr | undefined;
  readonly inputLink: string | undefined;
  /** The table's default route does not count (suppress_prefixlength 0). */
  readonly skipsDefault: boolean;
};

/** An IPsec policy of ours in the kernel. */
export type OwnPolicy = Exemption | Block;

/**
 * A kind of ICMPv6 that no policy of charon's touches. Without it a pair that holds the gateways' own addresses (transport
 * mode, ::/0 on both sides) would have the neighbours of the gateway ask for an SA before they have found each other.
 */
export type Exemption = {
  readonly kind: "exemption";
  readonly namespace: string;
  readonly direction: "in" | "out";
  readonly icmpv6Type: number;
};

/** Comes after all of charon's: holds back what they do not encrypt, also when both tables of the packet filter are gone. */
export type Block = {
  readonly kind: "block";
  readonly namespace: string;
  readonly source: Cidr;
  readonly destination: Cidr;
};

export const ownPolicyKey = (policy: OwnPolicy): string =>
  policy.kind === "exemption"
    ? `${policy.direction} for ICMPv6 type ${policy.icmpv6Type}`
    : `out that blocks from ${policy.source} to ${policy.destination}`;

/** `name` is the path below /proc/sys: a link's name may hold dots. */
export type Sysctl = { readonly namespace: string; readonly name: string; readonly value: string };

/** An entry of the table of neighbours. */
export type Neighbour = {
  readonly namespace: string;
  readonly link: string;
  readonly address: string;
  /** Undefined: it does not answer, or has not yet. */
  readonly macAddress: string | undefined;
  /** The kernel goes on asking for it without being asked itself (NTF_EXT_MANAGED). */
  readonly isKept: boolean;
};

/** A next hop that is known by its IPv4 address only, and what leads to the link-local address that its MAC gives it. */
export type LearnedGateway = {
  readonly namespace: string;
  readonly link: string;
  readonly address: string;
  /** Without `via`. */
  readonly routes: readonly Route[];
};

/** Linux bridges, and the router's own namespace for the transit link. */
export type BridgeAttachment = {
  readonly attachedBy: "bridge";
  readonly bridge: string;
  readonly routerNamespace: string;
};
/** The integration bridge of Open vSwitch for both links: routers are OVN's, and have no namespace. */
export type OvsAttachment = {
  readonly attachedBy: "ovs";
  readonly integrationBridge: string;
  readonly bridge: undefined;
  readonly routerNamespace: undefined;
};
/** Where the links of topology `transit` go. */
export type Attachment = BridgeAttachment | OvsAttachment;

export const ovsAttachment = (integrationBridge: string): OvsAttachment => ({
  attachedBy: "ovs",
  integrationBridge,
  bridge: undefined,
  routerNamespace: undefined,
});

type CommonScope = {
  readonly router: RouterId;
  /** Where charon is. */
  readonly namespace: string;
  readonly alias: string;
  /** Empty when only a removal is wanted. */
  readonly veths: readonly Veth[];
  readonly sysctls: readonly Sysctl[];
  /** Undefined where they go with all that is there. */
  readonly policies: readonly OwnPolicy[] | undefined;
};

/** Topology `transit`: the namespace is ours. */
export type TransitScope = Attachment & CommonScope & { readonly topology: "transit" };

/** Topology `router`: the namespace is the router's own, which we never make or remove. */
export type RouterScope = CommonScope & {
  readonly topology: "router";
  /** All names that the router's namespace may have; `namespace` is the one that counts now. */
  readonly candidates: readonly string[];
};

/** Where to look: enough to observe and to remove a router whose configuration nobody knows any more. */
export type NetworkScope = TransitScope | RouterScope;

export type TransitConfig = TransitScope & {
  readonly addresses: readonly LinkAddress[];
  readonly routes: readonly Route[];
  readonly rules: readonly Rule[];
  readonly learned?: LearnedGateway;
  readonly guard: TransitGuard;
};

export type RouterConfig = RouterScope & {
  readonly routes: readonly Route[];
  readonly rules: readonly Rule[];
  readonly guard: RouterGuard;
};

export type NetworkConfig = TransitConfig | RouterConfig;

/** Where something of the router, or of ours for it, may be; the agent's own namespace is not among them. */
export function namespacesOf(scope: NetworkScope): readonly string[] {
  if (scope.topology === "router") return scope.candidates;
  const { namespace, routerNamespace } = scope;
  return routerNamespace === undefined ? [namespace] : [namespace, routerNamespace];
}

/** Are its links ports of Open vSwitch? */
export const isSwitched = (scope: NetworkScope): scope is TransitScope & OvsAttachment =>
  scope.topology === "transit" && scope.attachedBy === "ovs";

export type ObservedLink = LinkEnd & {
  readonly isVeth: boolean;
  readonly up: boolean;
  readonly alias: string | undefined;
  readonly bridge: string | undefined;
  /** Leaves checksums to whoever takes its packets over; read for veths of a switch only. */
  readonly offloadsChecksums?: boolean | undefined;
  /** The other end of a veth, when it was found in a namespace that we look at. */
  readonly peer: { readonly namespace: string; readonly name: string } | undefined;
};

export type ObservedRoute = Route & { readonly protocol: number };

export type ObservedGuard =
  | { readonly kind: "absent" }
  /** Somebody else changed the rules, or they were made before we started. */
  | { readonly kind: "unknown" }
  | { readonly kind: "applied"; readonly guard: Guard };

/** Links, addresses, routes and rules of the own namespace, and of elsewhere what may be ours. */
export type ObservedNetwork = {
  readonly namespaceExists: boolean;
  readonly routerNamespaceExists: boolean;
  readonly bridgeExists: boolean;
  readonly links: readonly ObservedLink[];
  readonly addresses: readonly LinkAddress[];
  readonly routes: readonly ObservedRoute[];
  readonly rules: readonly Rule[];
  readonly sysctls: readonly Sysctl[];
  /** Of the own namespace; none where the scope asks for none. */
  readonly policies: readonly OwnPolicy[];
  readonly guard: ObservedGuard;
  /** Of the own namespace; undefined where nothing is to be learned from them. */
  readonly neighbours?: readonly Neighbour[];
  /** Undefined where nothing is attached to one. */
  readonly switch?: ObservedSwitch;
};

/** Of a connection, or of subnets of one, that left the list while an SA stands for it. */
export type Lingering = { readonly kind: "lingering"; readonly id: ConnectionId; readonly guarded: Guarded };

/** A router with what has to be guarded in it. */
export type GuardedRouter = Omit<DesiredRouter, "connections"> & {
  readonly connections: readonly (DesiredConnection | Lingering)[];
};

/** What to look at when only the id of a router is known, for instance after its connections left the list. */
export const networkScope = (router: RouterId, attachment: Attachment, host: string): TransitScope => ({
  topology: "transit",
  router,
  namespace: namespaceName(router),
  ...attachment,
  alias: ownerAlias(host),
  veths: [],
  sysctls: [],
  policies: undefined,
});

export function networkConfig(of: {
  readonly router: GuardedRouter;
  readonly plumbing: Plumbing;
  readonly attachment: Attachment;
  readonly host: string;
  readonly espBackEnd: EspBackEnd;
}): TransitConfig {
  const { router, plumbing, attachment, espBackEnd } = of;
  const scope = networkScope(router.id, attachment, of.host);
  const external = externalPair(scope, plumbing);
  const transit = transitPair(scope, plumbing);
  const pairs = guardPairs(router);
  const locals = unique(pairs.flatMap((pair) => pair.localSubnets));
  const peers = unique(pairs.flatMap((pair) => pair.peerSubnets));
  const loopbackAddresses = espBackEnd === "userland" ? unique(locals.flatMap(loopbackAddressOf)) : [];
  const decryptedFrom = espBackEnd === "userland" ? USERLAND_ESP_LINK : external.inner.name;
  const toLocals = localRoutes(transit, plumbing, locals, peers);
  const isLearned = ({ destination }: Route): boolean => scope.attachedBy === "ovs" && familyOf(destination) === 6;
  const learned = toLocals.filter(isLearned).map((route) => ({ ...route, via: undefined }));
  const { namespace, name: link } = transit.inner;
  return {
    ...scope,
    veths: [external, transit],
    sysctls: [...namespaceSysctls(scope.namespace), ...linkSysctls(scope, external, transit)],
    policies:
      espBackEnd === "kernel"
        ? [...neighbourDiscovery(scope.namespace), ...blocksOf(scope.namespace, pairs, isNoMirror)]
        : [],
    addresses: [
      ...plumbedAddresses(scope, external, transit, plumbing),
      ...loopbackAddresses.map((address) => ({
        namespace: scope.namespace,
        link: "lo",
        address,
        prefixLength: addressBits(familyOf(address)),
      })),
    ],
    routes: [
      ...defaultRoutes(external.inner, plumbing),
      ...toLocals.filter((route) => !isLearned(route)),
      // OVN's routers have theirs from the control plane.
      ...(scope.attachedBy === "ovs" ? [] : peerRoutes(transit, plumbing, peers)),
      ...(espBackEnd === "userland" ? peers.map((peer) => deadEnd(namespace, BLOCKED_TABLE, peer)) : []),
    ],
    ...(learned.length === 0
      ? {}
      : { learned: { namespace, link, address: plumbing.transit.gatewayAddress, routes: learned } }),
    rules: [
      ...rules(scope.namespace, loopbackAddresses, decryptedFrom, familiesOfEverything([...locals, ...peers])),
      ...(espBackEnd === "userland" && router.connections.some(({ kind }) => kind === "usable")
        ? charonRules(scope.namespace)
        : []),
      ...(espBackEnd === "userland" ? familiesIn(peers).map((family) => deadEndRule(transit.inner, family)) : []),
      ...(scope.routerNamespace === undefined ? [] : routerRules(scope.routerNamespace, peers)),
    ],
    guard: {
      espBackEnd,
      loopbackAddresses,
      transitLink: transit.inner.name,
      pairs,
    },
  };
}

/** A peer's subnet without a local one of its family is nobody's to reach: no route may lead into the gateway. */
export function guardPairs(router: Pick<GuardedRouter, "connections">): readonly GuardPair[] {
  return [...router.connections]
    .sort((a, b) => (a.id < b.id ? -1 : 1))
    .flatMap((connection) => {
      const { localSubnets, peerSubnets } = connection.guarded;
      const both = BOTH_FAMILIES.filter((family) =>
        [localSubnets, peerSubnets].every((subnets) => subnets.some((cidr) => familyOf(cidr) === family)),
      );
      const usable = (subnets: readonly Cidr[]): readonly Cidr[] =>
        unique(subnets.filter((cidr) => both.includes(familyOf(cidr))).map(canonicalCidr));
      if (both.length === 0) return [];
      const mtuBytes = connection.kind === "usable" ? connection.tunnel.mtuBytes : undefined;
      return [{ localSubnets: usable(localSubnets), peerSubnets: usable(peerSubnets), mtuBytes }];
    });
}

/**
 * kernel-libipsec installs a child only if the namespace has an address inside the local selector; a gateway has none.
 * Any address may be borrowed, even one in use: the rules keep packets for it from being taken as ours. Everything
 * (/0) has the gateway's own addresses already, or failing that an address that is nobody's.
 */
export function loopbackAddressOf(cidr: Cidr): readonly string[] {
  const { family, bytes, prefixLength } = parseCidr(cidr);
  if (family === 4) {
    // 0.0.0.0/8 cannot be assigned. 192.0.0.8 is IPv4's dummy address (RFC 7600).
    if (bytes[0] !== 0) return [addressText(bytes)];
    return ["192.0.0.8", "1.0.0.0"].filter((address) => cidrContains(cidr, address)).slice(0, 1);
  }
  // Not the first: it is the subnet-router anycast address (RFC 4291, 2.6.1), and some clouds make it the gateway.
  // The last one of a short prefix is multicast; 100::/64 is the discard prefix (RFC 6666).
  return prefixLength < 8 ? ["100::1"].filter((address) => cidrContains(cidr, address)) : [lastAddress(cidr)];
}

// A bridge without a fixed address takes the lowest of its ports' (br_stp_recalculate_bridge_id): fe: is never that.
function outerMac(portMac: string): string {
  const rest = portMac.toLowerCase().slice(2);
  return portMac.toLowerCase().startsWith("fe") ? `f2${rest}` : `fe${rest}`;
}

function externalPair(scope: TransitScope, { external }: Plumbing): Veth {
  const names = externalVeth(external.port);
  const { mtuBytes } = external;
  const mac = external.macAddress.toLowerCase();
  return {
    inner: { namespace: scope.namespace, name: names.inner, macAddress: mac, mtuBytes },
    outer: { namespace: AGENT_NAMESPACE, name: names.outer, macAddress: outerMac(mac), mtuBytes },
    bridge: scope.bridge,
    ...pluggedAs(scope, external.port, names.outer, mac),
  };
}

function transitPair(scope: TransitScope, { external, transit }: Plumbing): Veth {
  const names = transitVeth(transit.port);
  const { mtuBytes } = external;
  const mac = transit.macAddress.toLowerCase();
  return {
    inner: { namespace: scope.namespace, name: names.inner, macAddress: mac, mtuBytes },
    outer: {
      namespace: scope.routerNamespace ?? AGENT_NAMESPACE,
      name: names.outer,
      macAddress: outerMac(mac),
      mtuBytes,
    },
    bridge: undefined,
    ...pluggedAs(scope, transit.port, names.outer, mac),
  };
}

const pluggedAs = (scope: TransitScope, port: PortId, name: string, macAddress: string): Pick<Veth, "port"> =>
  scope.attachedBy === "ovs"
    ? {
        port: switchPort({
          bridge: scope.integrationBridge,
          name,
          port,
          macAddress,
          router: scope.router,
          owner: scope.alias,
        }),
      }
    : {};

function plumbedAddresses(
  scope: TransitScope,
  external: Veth,
  transit: Veth,
  plumbing: Plumbing,
): readonly LinkAddress[] {
  const on = (end: LinkEnd, addresses: readonly InterfaceAddress[]): readonly LinkAddress[] =>
    [...addresses, { address: linkLocalOf(end.macAddress), prefixLength: 64 }].map(({ address, prefixLength }) => ({
      namespace: end.namespace,
      link: end.name,
      address: canonicalAddress(address),
      prefixLength,
    }));
  const { addresses, gatewayAddress } = plumbing.transit;
  const sameFamily = addresses.find((one) => familyOf(one.address) === familyOf(gatewayAddress));
  const prefixLength = sameFamily?.prefixLength ?? addressBits(familyOf(gatewayAddress));
  return [
    ...on(external.inner, plumbing.external.addresses),
    ...on(transit.inner, addresses),
    ...(scope.attachedBy === "ovs" ? [] : on(transit.outer, [{ address: gatewayAddress, prefixLength }])),
  ];
}

// What the kernel calls no metric: 0 in IPv4, IP6_RT_PRIO_USER in IPv6.
const usualMetric = (family: IpFamily): number => (family === 4 ? 0 : 1024);
const everything = (family: IpFamily): Cidr => (family === 4 ? "0.0.0.0/0" : "::/0");

function unicast(end: LinkEnd, destination: Cidr, via: string, more: Partial<Route> = {}): Route {
  const metric = usualMetric(familyOf(destination));
  const common = { namespace: end.namespace, link: end.name, table: MAIN_TABLE, onlink: false, metric };
  return { ...common, destination, kind: "unicast", via: canonicalAddress(via), ...more };
}

function defaultRoutes(inner: LinkEnd, { external }: Plumbing): readonly Route[] {
  const onLink = [...external.addresses.map((one) => `${one.address}/${one.prefixLength}`), "fe80::/10"];
  return external.gateways.map((gateway) =>
    unicast(inner, everything(familyOf(gateway)), gateway, {
      onlink: !onLink.some((cidr) => cidrContains(cidr, gateway)),
    }),
  );
}

function localRoutes(transit: Veth, plumbing: Plumbing, locals: readonly Cidr[], peers: readonly Cidr[]): Route[] {
  const selective = familiesOfEverything([...locals, ...peers]);
  return locals.flatMap((local) => {
    const family = familyOf(local);
    const via = family === 4 ? plumbing.transit.gatewayAddress : linkLocalOf(transit.outer.macAddress);
    const route = unicast(transit.inner, local, via);
    const forDecrypted = selective.includes(family) ? [{ ...route, table: DECRYPTED_TABLE }] : [];
    // In the main table it would be the default route, which is the gateway's own way to its peers.
    return local === everything(family) ? forDecrypted : [route, ...forDecrypted];
  });
}

function peerRoutes(transit: Veth, plumbing: Plumbing, peers: readonly Cidr[]): readonly Route[] {
  const own4 = plumbing.transit.addresses.find((one) => familyOf(one.address) === 4)?.address;
  return peers.flatMap((peer) => {
    const via = familyOf(peer) === 4 ? own4 : linkLocalOf(transit.inner.macAddress);
    // Better than what others set without a metric in IPv6; in IPv4 0 is the best there is.
    const metric = familyOf(peer) === 4 ? 0 : 1;
    const unreachable: Route = { ...deadEnd(transit.outer.namespace, MAIN_TABLE, peer), kind: "unreachable" };
    const isEverything = peer === everything(familyOf(peer));
    const block = isEverything ? [unreachable] : [unreachable, { ...unreachable, table: UNREACHABLE_TABLE }];
    return via === undefined ? block : [...block, unicast(transit.outer, peer, via, { metric })];
  });
}

/**
 * Without these the router's default route would take packets out in clear as soon as somebody deleted our routes in the
 * main table. Two rules whatever the number of subnets: the kernel walks through rules one by one for every packet. A
 * route of the main table goes before them, so what the router reaches by routes of its own it reaches as ever.
 */
const routerRules = (namespace: string, peers: readonly Cidr[]): readonly Rule[] =>
  BOTH_FAMILIES.filter((family) =>
    peers.some((peer) => familyOf(peer) === family && peer !== everything(family)),
  ).flatMap((family) => {
    const rule = { namespace, family, destination: undefined, inputLink: undefined };
    return [
      specificRule(namespace, family),
      { ...rule, preference: UNREACHABLE_PREFERENCE, table: UNREACHABLE_TABLE, skipsDefault: false },
    ];
  });

const specificRule = (namespace: string, family: IpFamily): Rule => ({
  namespace,
  family,
  preference: SPECIFIC_PREFERENCE,
  table: MAIN_TABLE,
  destination: undefined,
  inputLink: undefined,
  skipsDefault: true,
});

/**
 * In the router's own namespace with ESP in userland: what charon's routes do not take goes nowhere, also when both tables of
 * the packet filter are gone, where the router's default route would take it out in clear. A rule for each pair: what is of no
 * pair goes its way.
 */
export function standIns(
  namespace: string,
  pairs: readonly GuardPair[],
  isBlocked: IsBlocked,
): { readonly routes: readonly Route[]; readonly rules: readonly Rule[] } {
  const blocks = blocksOf(namespace, pairs, isBlocked);
  const families = familiesIn(blocks.map(({ source }) => source));
  const rule = { namespace, preference: UNREACHABLE_PREFERENCE, table: UNREACHABLE_TABLE, inputLink: undefined };
  return {
    routes: families.map((family) => deadEnd(namespace, UNREACHABLE_TABLE, everything(family))),
    rules: [
      ...families.map((family) => specificRule(namespace, family)),
      ...blocks.map(({ source, destination }) => ({
        ...rule,
        family: familyOf(source),
        source,
        destination,
        skipsDefault: false,
      })),
    ],
  };
}

/**
 * The rule for table `local` makes room for rules that forward what is for a borrowed address. The address stays in
 * table `local`, where the kernel looks when charon names it as a route's source.
 */
function rules(
  namespace: string,
  loopbackAddresses: readonly string[],
  decryptedFrom: string,
  selective: readonly IpFamily[],
): readonly Rule[] {
  const anywhere = { namespace, destination: undefined, inputLink: undefined, skipsDefault: false };
  return BOTH_FAMILIES.flatMap((family): readonly Rule[] => {
    const borrowed = loopbackAddresses.filter((address) => familyOf(address) === family);
    const preference = borrowed.length === 0 ? KERNEL_LOCAL_PREFERENCE : MOVED_LOCAL_PREFERENCE;
    const decrypted = { preference: DECRYPTED_PREFERENCE, table: DECRYPTED_TABLE, inputLink: decryptedFrom };
    return [
      ...borrowed.map((address) => {
        const destination = `${address}/${addressBits(family)}`;
        return { ...anywhere, family, preference: LOOPBACK_PREFERENCE, table: MAIN_TABLE, destination };
      }),
      ...(selective.includes(family) ? [{ ...anywhere, family, ...decrypted }] : []),
      { ...anywhere, family, preference, table: LOCAL_TABLE },
    ];
  });
}

/**
 * Holds back what is for a peer when both tables of the packet filter are gone; charon's routes to ESP go before. With ESP in the
 * kernel it would take the packets before they are encrypted.
 */
const deadEnd = (namespace: string, table: number, destination: Cidr): Route => ({
  namespace,
  table,
  destination,
  kind: "blackhole",
  via: undefined,
  link: undefined,
  onlink: false,
  metric: UNREACHABLE_METRIC,
});

/** What one peer sends to another goes to the router: the other's subnet is a local one of the connection that it came by. */
const deadEndRule = ({ namespace, name }: LinkEnd, family: IpFamily): Rule => ({
  namespace,
  family,
  preference: BLOCKED_PREFERENCE,
  table: BLOCKED_TABLE,
  destination: undefined,
  inputLink: name,
  skipsDefault: false,
});

/** Without them nothing leads to ESP in userland any more, and charon does not miss them. */
export const charonRules = (namespace: string): readonly Rule[] =>
  BOTH_FAMILIES.map((family) => ({
    namespace,
    family,
    preference: CHARON_PREFERENCE,
    table: CHARON_TABLE,
    destination: undefined,
    inputLink: undefined,
    skipsDefault: false,
  }));

// Neighbour solicitation and advertisement (RFC 4861, 4.3 and 4.4). The guard lets them pass, too.
const neighbourDiscovery = (namespace: string): readonly Exemption[] =>
  [135, 136].flatMap((icmpv6Type) =>
    (["in", "out"] as const).map((direction) => ({ kind: "exemption", namespace, direction, icmpv6Type })),
  );

/** For which pairs of a local and a peer's subnet one is wanted. */
export type IsBlocked = (local: Cidr, peer: Cidr) => boolean;

/** With ESP in the kernel the same on both sides is `unsupported`, and the gateway's own traffic is in it. */
const isNoMirror: IsBlocked = (local, peer) => local !== peer;

export function blocksOf(namespace: string, pairs: readonly GuardPair[], isBlocked: IsBlocked): readonly Block[] {
  const blocks = pairs.flatMap(({ localSubnets, peerSubnets }) =>
    localSubnets.flatMap((source) =>
      peerSubnets
        .filter((destination) => familyOf(destination) === familyOf(source) && isBlocked(source, destination))
        .map((destination): Block => ({ kind: "block", namespace, source, destination })),
    ),
  );
  return [...new Map(blocks.map((block) => [ownPolicyKey(block), block])).values()];
}

function namespaceSysctls(namespace: string): readonly Sysctl[] {
  const v4 = ["all", "default"].flatMap((scope) => [
    [`net/ipv4/conf/${scope}/rp_filter`, "0"],
    [`net/ipv4/conf/${scope}/send_redirects`, "0"],
  ]);
  const v6 = ["all", "default"].flatMap((scope) => [
    [`net/ipv6/conf/${scope}/accept_ra`, "0"],
    [`net/ipv6/conf/${scope}/accept_dad`, "0"],
  ]);
  // promote_secondaries: else removing one address takes the others of its subnet along.
  const rest = [
    ["net/ipv4/conf/all/promote_secondaries", "1"],
    ["net/ipv6/conf/default/addr_gen_mode", "1"],
    ["net/ipv4/ip_forward", "1"],
    ["net/ipv6/conf/all/forwarding", "1"],
  ];
  return [...v4, ...v6, ...rest].map(([name = "", value = ""]) => ({ namespace, name, value }));
}

// addr_gen_mode 1: no link-local address but the one we set. accept_dad 0: addresses work at once.
function linkSysctls(scope: TransitScope, external: Veth, transit: Veth): readonly Sysctl[] {
  const gateway = (end: LinkEnd): readonly (readonly [string, string])[] => [
    [`net/ipv4/conf/${end.name}/rp_filter`, "0"],
    [`net/ipv4/conf/${end.name}/send_redirects`, "0"],
    ...routed(end),
  ];
  const routed = (end: LinkEnd): readonly (readonly [string, string])[] => [
    [`net/ipv4/conf/${end.name}/forwarding`, "1"],
    [`net/ipv6/conf/${end.name}/forwarding`, "1"],
    [`net/ipv6/conf/${end.name}/addr_gen_mode`, "1"],
    [`net/ipv6/conf/${end.name}/accept_ra`, "0"],
    [`net/ipv6/conf/${end.name}/accept_dad`, "0"],
  ];
  const named = (end: LinkEnd, pairs: readonly (readonly [string, string])[]): readonly Sysctl[] =>
    pairs.map(([name, value]) => ({ namespace: end.namespace, name, value }));
  return [
    ...named(external.inner, gateway(external.inner)),
    // Packets from a borrowed address would be martians.
    ...named(transit.inner, [...gateway(transit.inner), [`net/ipv4/conf/${transit.inner.name}/accept_local`, "1"]]),
    ...(scope.attachedBy === "ovs" ? [] : named(transit.outer, routed(transit.outer))),
    // The port of a bridge needs no address of the machine's own.
    ...(scope.attachedBy === "ovs" ? [external.outer, transit.outer] : [external.outer]).flatMap((end) =>
      named(end, [[`net/ipv6/conf/${end.name}/disable_ipv6`, "1"]]),
    ),
  ];
}

const familiesOfEverything = (cidrs: readonly Cidr[]): readonly IpFamily[] =>
  BOTH_FAMILIES.filter((family) => cidrs.includes(everything(family)));
const familiesIn = (cidrs: readonly Cidr[]): readonly IpFamily[] =>
  BOTH_FAMILIES.filter((family) => cidrs.some((cidr) => familyOf(cidr) === family));
const unique = (texts: readonly string[]): readonly string[] => [...new Set(texts)].sort();
