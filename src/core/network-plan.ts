// From the network that is to the network that should be, as steps. Pure: nothing here can fail or wait.
import { addressBits, familyOf, linkLocalOf } from "./address.ts";
import { guardCovers, guardsEqual, guardUnion, type Guard, type GuardPair, USERLAND_ESP_LINK } from "./guard.ts";
import {
  BLOCKED_TABLE,
  CHARON_PREFERENCE,
  CHARON_TABLE,
  DECRYPTED_TABLE,
  LOCAL_TABLE,
  MAIN_TABLE,
  isOurProtocol,
  ownPolicyKey,
  RULE_PREFERENCES,
  STAND_IN_PREFERENCES,
  UNREACHABLE_TABLE,
  type LinkAddress,
  type LinkEnd,
  type NetworkConfig,
  type NetworkScope,
  type ObservedLink,
  type ObservedNetwork,
  type ObservedRoute,
  type OwnPolicy,
  type Route,
  type RouterConfig,
  type RouterScope,
  type Rule,
  type Sysctl,
  type TransitConfig,
  type TransitScope,
  type Veth,
} from "./network.ts";
import type { IpsecEntry } from "./data-plane.ts";
import type { Cidr } from "./model.ts";
import { isPlugged, strayPorts, type ObservedSwitch, type ObservedSwitchPort, type SwitchPort } from "./switch.ts";

export type LinkChange =
  | { readonly macAddress: string }
  | { readonly mtuBytes: number }
  | { readonly alias: string }
  | { readonly offloadsChecksums: false }
  | { readonly up: true };

export type NetworkStep =
  | { readonly kind: "createNamespace"; readonly namespace: string }
  | { readonly kind: "applyGuard"; readonly namespace: string; readonly guard: Guard }
  | { readonly kind: "removeGuard"; readonly namespace: string }
  /** States and policies that a charon may have left that was killed. `keepsBlocks`: but ours, which hold back what it carried. */
  | { readonly kind: "flushIpsec"; readonly namespace: string; readonly keepsBlocks: boolean }
  /** Some of them. */
  | { readonly kind: "removeIpsec"; readonly namespace: string; readonly entries: readonly IpsecEntry[] }
  | { readonly kind: "setSysctl"; readonly sysctl: Sysctl }
  | { readonly kind: "createVeth"; readonly veth: Veth }
  | { readonly kind: "setLink"; readonly namespace: string; readonly link: string; readonly change: LinkChange }
  | { readonly kind: "attachToBridge"; readonly namespace: string; readonly link: string; readonly bridge: string }
  | { readonly kind: "plugPort"; readonly port: SwitchPort }
  /** `isAwaited`: done when the switch has let the link go, as another one is about to get its name. */
  | { readonly kind: "unplugPort"; readonly name: string; readonly bridge: string; readonly isAwaited: boolean }
  | { readonly kind: "keepNeighbour"; readonly namespace: string; readonly link: string; readonly address: string }
  | { readonly kind: "deleteLink"; readonly namespace: string; readonly link: string }
  | { readonly kind: "addAddress"; readonly address: LinkAddress }
  | { readonly kind: "removeAddress"; readonly address: LinkAddress }
  | { readonly kind: "addRoute"; readonly route: Route }
  | { readonly kind: "removeRoute"; readonly route: ObservedRoute }
  | { readonly kind: "addRule"; readonly rule: Rule }
  | { readonly kind: "removeRule"; readonly rule: Rule }
  | { readonly kind: "addPolicy"; readonly policy: OwnPolicy }
  | { readonly kind: "removePolicy"; readonly policy: OwnPolicy }
  | { readonly kind: "deleteNamespace"; readonly namespace: string };

/** Empty when all is as wanted; nothing that is not ours is removed. */
export const planNetwork = (config: NetworkConfig, observed: ObservedNetwork): readonly NetworkStep[] =>
  config.topology === "transit" ? planTransit(config, observed) : planRouter(config, observed);

/** A namespace that is not there is waited for: then there is nothing to do. */
function planRouter(config: RouterConfig, observed: ObservedNetwork): readonly NetworkStep[] {
  if (!observed.namespaceExists) return [];
  const [guardFirst, guardLast] = planGuard(config, observed, undefined);
  return [
    ...guardFirst,
    ...missingPolicies(config, observed),
    ...planRoutes(config, observed),
    ...planRules(config, observed, config.namespace),
    ...planUserlandLink(config, observed),
    ...planStandInRemoval(config, observed),
    ...guardLast,
  ];
}

/** The guard comes before any link or forwarding. */
function planTransit(wanted: TransitConfig, observed: ObservedNetwork): readonly NetworkStep[] {
  const config = withLearned(wanted, observed);
  const [guardFirst, guardLast] = planGuard(config, observed, leftoverPair(config, observed));
  const stray = unplugged(config, observed);
  const doomed = doomedLinks(config, observed).filter(({ name }) => !stray.some((port) => port.name === name));
  const seen = withoutLinks(observed, doomed);
  // What needs a namespace that others make comes last, so that its absence does not hold up the rest.
  const isHere = (namespace: string): boolean => namespace !== config.routerNamespace || observed.routerNamespaceExists;
  const veths = [...config.veths].sort((a, b) => Number(isHere(b.outer.namespace)) - Number(isHere(a.outer.namespace)));
  return [
    ...(observed.namespaceExists ? [] : [{ kind: "createNamespace" as const, namespace: config.namespace }]),
    ...planLoopback(config, seen),
    ...guardFirst,
    ...stray.map(unplugStep),
    ...doomed.map(({ namespace, name }) => ({ kind: "deleteLink" as const, namespace, link: name })),
    ...planSysctls(config.sysctls.filter(isOfNamespace), seen),
    ...planAddresses(config, seen, (address) => address.link === "lo"),
    ...planRules(config, seen, config.namespace),
    ...missingPolicies(config, seen),
    ...veths.flatMap((veth) => planVeth(config, veth, seen)),
    ...planUserlandLink(config, seen),
    ...planNeighbour(config, seen),
    ...planRoutes(config, seen),
    ...planRules(config, seen, config.routerNamespace),
    ...veths.flatMap((veth) => planAttachment(veth, seen)),
    ...planLeftovers(config, seen),
    ...unwantedPolicies(config, seen),
    ...guardLast,
  ];
}

/** Takes away what is ours, and nothing else, after charon has ended. `isStillListed`: what is ordered stays guarded. */
export const planNetworkRemoval = (
  scope: NetworkScope,
  observed: ObservedNetwork,
  isStillListed = false,
): readonly NetworkStep[] =>
  scope.topology === "transit"
    ? planTransitRemoval(scope, observed, isStillListed)
    : planRouterRemoval(scope, observed, isStillListed);

/** A killed charon leaves its rules, and in the kernel its IPsec: nobody but us has any of that in there. */
function planRouterRemoval(
  { namespace }: RouterScope,
  observed: ObservedNetwork,
  isStillListed: boolean,
): readonly NetworkStep[] {
  if (!observed.namespaceExists) return [];
  const standIns = isStillListed ? [] : planStandInRemoval({ routes: [], rules: [], policies: [] }, observed);
  if (observed.guard.kind === "absent") return standIns;
  const rules = observed.rules.filter((rule) => rule.preference === CHARON_PREFERENCE && rule.table === CHARON_TABLE);
  return [
    ...rules.map((rule) => ({ kind: "removeRule" as const, rule })),
    ...standIns,
    { kind: "flushIpsec", namespace, keepsBlocks: isStillListed },
    ...(isStillListed ? [] : [{ kind: "removeGuard" as const, namespace }]),
  ];
}

/** In a router's own namespace: what stood in for a guard, and is not wanted. */
function planStandInRemoval(
  wanted: Pick<RouterConfig, "routes" | "rules" | "policies">,
  observed: ObservedNetwork,
): readonly NetworkStep[] {
  const routes = new Set(wanted.routes.map(routeKey));
  const rules = observed.rules.filter(
    (held) => STAND_IN_PREFERENCES.includes(held.preference) && !wanted.rules.some((one) => rulesEqual(one, held)),
  );
  return [
    ...rules.map((rule) => ({ kind: "removeRule" as const, rule })),
    ...observed.routes
      .filter((held) => held.table === UNREACHABLE_TABLE && isOurProtocol(held.protocol) && !routes.has(routeKey(held)))
      .map((route) => ({ kind: "removeRoute" as const, route })),
    ...unwantedPolicies(wanted, observed),
  ];
}

/**
 * Everything of a router, the namespace last: while it is there the alias in it says whose it is. Another agent of this
 * machine may have got the router already: then its namespace, and the routes into it, are its own. `isStillListed`: the
 * peers' subnets stay unreachable for the router, whose default route would take them out in clear.
 */
function planTransitRemoval(
  scope: TransitScope,
  observed: ObservedNetwork,
  isStillListed: boolean,
): readonly NetworkStep[] {
  const isAnothers = observed.namespaceExists && !isOurNamespace(scope, observed);
  const routes = observed.routes.filter(
    (route) =>
      !isAnothers &&
      isOurRoute(scope, route) &&
      route.namespace !== scope.namespace &&
      !(isStillListed && route.kind === "unreachable"),
  );
  const rules = observed.rules.filter((rule) => !isAnothers && !isStillListed && isIn(scope.routerNamespace)(rule));
  const isOurs = (link: ObservedLink): boolean => link.isVeth && link.alias === scope.alias;
  const inner = observed.links.filter((link) => link.namespace === scope.namespace && isOurs(link));
  const outer = observed.links.filter(
    (link) =>
      link.namespace !== scope.namespace &&
      isOurs(link) &&
      // Deleting one end deletes the other.
      !inner.some((end) => end.peer?.namespace === link.namespace && end.peer.name === link.name),
  );
  return [
    ...[...routes].sort(unicastFirst).map((route) => ({ kind: "removeRoute" as const, route })),
    ...rules.map((rule) => ({ kind: "removeRule" as const, rule })),
    ...unplugged({ ...scope, veths: [] }, observed).map(unplugStep),
    ...[...inner, ...outer].map(({ namespace, name }) => ({ kind: "deleteLink" as const, namespace, link: name })),
    ...(observed.namespaceExists && !isAnothers
      ? [{ kind: "deleteNamespace" as const, namespace: scope.namespace }]
      : []),
  ];
}

/** A switch that cannot be read is no reason to leave the rest undone, and none to remove anything. */
const unplugged = (scope: TransitScope, observed: ObservedNetwork): readonly ObservedSwitchPort[] =>
  observed.switch?.kind === "read"
    ? strayPorts(
        { router: scope.router, owner: scope.alias, wanted: scope.veths.flatMap(({ port }) => port ?? []) },
        observed.switch.ports,
      )
    : [];

const unplugStep = ({ name, bridge, type }: ObservedSwitchPort): NetworkStep => ({
  kind: "unplugPort",
  name,
  bridge,
  isAwaited: type === "internal",
});

/**
 * The gateway's link-local address follows from its MAC (RFC 4291, appendix A). Where that is not known any more, what it
 * was known by stays in force: a gateway that does not answer for a while has not moved for that.
 */
function withLearned(config: TransitConfig, observed: ObservedNetwork): TransitConfig {
  const { learned } = config;
  if (learned === undefined) return config;
  const macAddress = learnedMac(config, observed);
  const routes = learned.routes.flatMap((route): readonly Route[] => {
    if (macAddress !== undefined) return [{ ...route, via: linkLocalOf(macAddress) }];
    return observed.routes.filter(
      (held) => held.via !== undefined && routeKey({ ...held, via: undefined }) === routeKey(route),
    );
  });
  return { ...config, routes: [...config.routes, ...routes] };
}

/** Undefined: there is nothing to learn, or it is not known. */
export const learnedMac = ({ learned }: TransitConfig, { neighbours = [] }: ObservedNetwork): string | undefined =>
  learned === undefined ? undefined : neighbours.find((one) => isOf(learned, one))?.macAddress;

type OnLink = { readonly namespace: string; readonly link: string; readonly address: string };
const isOf = (one: OnLink, other: OnLink): boolean =>
  one.namespace === other.namespace && one.link === other.link && one.address === other.address;

function planNeighbour(
  { learned }: TransitConfig,
  { neighbours = [], links }: ObservedNetwork,
): readonly NetworkStep[] {
  if (learned === undefined) return [];
  const { namespace, link, address } = learned;
  const isLinked = links.some((held) => isSame(held, { namespace, name: link }));
  const isKept = isLinked && neighbours.some((held) => held.isKept && isOf(learned, held));
  return isKept ? [] : [{ kind: "keepNeighbour", namespace, link, address }];
}

/** It has our alias in it; or nothing yet, as a killed run leaves it. */
function isOurNamespace(scope: TransitScope, observed: ObservedNetwork): boolean {
  const links = observed.links.filter((link) => link.namespace === scope.namespace);
  return (
    links.every(({ name, alias }) => name === "lo" && alias === undefined) ||
    links.some(({ alias }) => alias === scope.alias)
  );
}

/** A guard that shrinks does so last, after the routes of what it no longer guards are gone. */
function planGuard(
  config: NetworkConfig,
  observed: ObservedNetwork,
  leftover: GuardPair | undefined,
): [NetworkStep[], NetworkStep[]] {
  const { namespace, guard: wanted } = config;
  const held = observed.guard.kind === "applied" && observed.namespaceExists ? observed.guard.guard : undefined;
  const apply = (guard: Guard): NetworkStep[] => [{ kind: "applyGuard", namespace, guard }];
  if (held === undefined) {
    return leftover === undefined
      ? [apply(wanted), []]
      : [apply({ ...wanted, pairs: [...wanted.pairs, leftover] }), apply(wanted)];
  }
  if (guardsEqual(held, wanted)) return [[], []];
  if (guardCovers(held, wanted) && !guardCovers(wanted, held)) return [[], apply(wanted)];
  return guardCovers(wanted, held) ? [apply(wanted), []] : [apply(guardUnion(wanted, held)), apply(wanted)];
}

/**
 * What the routes of an agent that was killed lead into the namespace, and nobody wants any more: nothing else tells what its
 * guard held. Any local subnet may have been its.
 */
function leftoverPair(config: TransitConfig, observed: ObservedNetwork): GuardPair | undefined {
  const { namespace, routerNamespace, guard } = config;
  const held = (isIt: (route: ObservedRoute) => boolean): readonly Cidr[] =>
    observed.routes.filter((route) => route.kind === "unicast" && isIt(route)).map(({ destination }) => destination);
  const localsHeld = held((route) => route.namespace === namespace && route.link === guard.transitLink);
  const peersHeld = held((route) => route.namespace === routerNamespace && isOurProtocol(route.protocol));
  const localSubnets = [...new Set([...guard.pairs.flatMap((pair) => pair.localSubnets), ...localsHeld])].sort();
  const peerSubnets = [...new Set([...guard.pairs.flatMap((pair) => pair.peerSubnets), ...peersHeld])].sort();
  const isWanted = (subnet: Cidr, key: "localSubnets" | "peerSubnets"): boolean =>
    guard.pairs.some((pair) => pair[key].includes(subnet));
  const isLeft =
    localsHeld.some((subnet) => !isWanted(subnet, "localSubnets")) ||
    peersHeld.some((subnet) => !isWanted(subnet, "peerSubnets"));
  return isLeft ? { localSubnets, peerSubnets, mtuBytes: undefined } : undefined;
}

const isSame = (a: { namespace: string; name: string }, b: { namespace: string; name: string } | undefined): boolean =>
  a.namespace === b?.namespace && a.name === b.name;
const find = (observed: ObservedNetwork, end: LinkEnd): ObservedLink | undefined =>
  observed.links.find((link) => isSame(link, end));

const isWhole = (veth: Veth, observed: ObservedNetwork): boolean => {
  const inner = find(observed, veth.inner);
  return inner?.isVeth === true && isSame(veth.outer, inner.peer) && find(observed, veth.outer)?.isVeth === true;
};

// The stock agent calls its ends so too. The router is ours by the list, so its leftovers are ours to replace.
const OUR_NAMES = /^v[gr][0-9a-f-]{12}$/;

/** Links that cannot stay: of a port that is no longer ours, or with a name of ours and another end than ours. */
function doomedLinks(config: TransitConfig, observed: ObservedNetwork): readonly ObservedLink[] {
  const wanted = config.veths.flatMap((veth) => (isWhole(veth, observed) ? [veth.inner, veth.outer] : []));
  const names = config.veths.flatMap((veth) => [veth.inner, veth.outer]);
  const doomed = observed.links.filter((link) => {
    if (wanted.some((end) => isSame(link, end))) return false;
    if (names.some((end) => isSame(link, end))) return true;
    const ours = link.alias === config.alias || (link.namespace === config.namespace && OUR_NAMES.test(link.name));
    return link.isVeth && ours;
  });
  // Both ends go with one: naming the second would be a step for nothing.
  return doomed.filter((link, index) => !doomed.slice(0, index).some((earlier) => isSame(link, earlier.peer)));
}

function withoutLinks(observed: ObservedNetwork, doomed: readonly ObservedLink[]): ObservedNetwork {
  const isGone = (namespace: string, name: string | undefined): boolean =>
    doomed.some(
      (link) => isSame(link, { namespace, name: name ?? "" }) || isSame({ namespace, name: name ?? "" }, link.peer),
    );
  return {
    ...observed,
    links: observed.links.filter((link) => !isGone(link.namespace, link.name)),
    addresses: observed.addresses.filter((address) => !isGone(address.namespace, address.link)),
    routes: observed.routes.filter((route) => !isGone(route.namespace, route.link)),
    sysctls: observed.sysctls.filter((sysctl) => !isGone(sysctl.namespace, linkOfSysctl(sysctl))),
  };
}

const LINK_SYSCTL = /^net\/ipv[46]\/conf\/(?!all\/|default\/)([^/]+)\//;
/** The link that a setting is of; undefined for those of the whole namespace. */
export const linkOfSysctl = (sysctl: Sysctl): string | undefined => LINK_SYSCTL.exec(sysctl.name)?.[1];
const isOfNamespace = (sysctl: Sysctl): boolean => linkOfSysctl(sysctl) === undefined;

function planSysctls(wanted: readonly Sysctl[], observed: ObservedNetwork): readonly NetworkStep[] {
  return wanted
    .filter(
      (sysctl) =>
        !observed.sysctls.some(
          (held) => held.namespace === sysctl.namespace && held.name === sysctl.name && held.value === sysctl.value,
        ),
    )
    .map((sysctl) => ({ kind: "setSysctl", sysctl }));
}

/** The alias on `lo` says whose the namespace is before there is a veth and after the last one is gone. */
function planLoopback(config: TransitConfig, observed: ObservedNetwork): readonly NetworkStep[] {
  const { namespace, alias } = config;
  const lo = observed.links.find((link) => isSame(link, { namespace, name: "lo" }));
  return planLink({ namespace, name: "lo" }, lo, [{ alias }, { up: true }]);
}

/** charon makes it and brings it up, once. */
function planUserlandLink({ namespace, guard }: NetworkConfig, observed: ObservedNetwork): readonly NetworkStep[] {
  const end = { namespace, name: USERLAND_ESP_LINK };
  const held = observed.links.find((link) => isSame(link, end));
  return guard.espBackEnd === "userland" && held !== undefined ? planLink(end, held, [{ up: true }]) : [];
}

function planLink(
  end: { readonly namespace: string; readonly name: string },
  held: ObservedLink | undefined,
  changes: readonly LinkChange[],
): readonly NetworkStep[] {
  return changes
    .filter(
      (change) => held === undefined || Object.entries(change).some(([key, value]) => valueOf(held, key) !== value),
    )
    .map((change) => ({ kind: "setLink", namespace: end.namespace, link: end.name, change }));
}

const valueOf = (link: ObservedLink, key: string): unknown => (link as Readonly<Record<string, unknown>>)[key];

/** Addresses before `up`: with the alias set first, a pair half made by a killed run is known as ours. */
function planVeth(config: TransitConfig, veth: Veth, observed: ObservedNetwork): readonly NetworkStep[] {
  const ends = [veth.inner, veth.outer];
  const { alias } = config;
  const whole = isWhole(veth, observed);
  const held = (end: LinkEnd): ObservedLink | undefined => (whole ? find(observed, end) : undefined);
  const sysctls = config.sysctls.filter((sysctl) =>
    ends.some((end) => end.namespace === sysctl.namespace && end.name === linkOfSysctl(sysctl)),
  );
  return [
    ...planLetGo(veth, observed),
    ...(whole ? [] : [{ kind: "createVeth" as const, veth }]),
    ...ends.flatMap((end) => planLink(end, held(end), [{ alias }])),
    // What a new pair is made with needs no step.
    ...ends.flatMap((end) => {
      const { macAddress, mtuBytes } = end;
      return whole ? planLink(end, held(end), [{ macAddress }, { mtuBytes }]) : [];
    }),
    ...planChecksums(veth, held(veth.inner), observed),
    ...planSysctls(sysctls, observed),
    // The bridge's port goes up when all else is done.
    ...ends.flatMap((end) => (end === veth.outer && isAttached(veth) ? [] : planLink(end, held(end), [{ up: true }]))),
    ...planAddresses(config, observed, (address) =>
      ends.some((end) => end.namespace === address.namespace && end.name === address.link),
    ),
  ];
}

/**
 * ovs-vswitchd (3.1) that switches in userland goes on reading from the link that is gone, when another of the same name comes:
 * what it sends gets through, and nothing comes in. A port that is taken out and plugged anew is opened anew.
 */
function planLetGo(veth: Veth, observed: ObservedNetwork): readonly NetworkStep[] {
  const { port } = veth;
  if (port === undefined || !isHeld(port, observed) || isPutUp(veth, observed)) return [];
  return [{ kind: "unplugPort", name: port.name, bridge: port.bridge, isAwaited: true }];
}

/**
 * The switch's end is put up last, and not while nobody knows what the switch holds: one that is down may have been made
 * while its database was away, and the switch may read from the one before.
 */
const isPutUp = (veth: Veth, observed: ObservedNetwork): boolean =>
  isWhole(veth, observed) && find(observed, veth.outer)?.up === true;

const isHeld = (port: SwitchPort, { switch: seen }: ObservedNetwork): boolean =>
  seen?.kind === "read" &&
  seen.ports.some(({ name, bridge, type }) => name === port.name && bridge === port.bridge && type === "");

const isAttached = ({ bridge, port }: Veth): boolean => bridge !== undefined || port !== undefined;

/** A switch in userland takes packets as they are, and would pass on checksums that nobody has computed yet. */
function planChecksums(
  { inner }: Veth,
  held: ObservedLink | undefined,
  { switch: seen }: ObservedNetwork,
): readonly NetworkStep[] {
  if (seen?.kind !== "read" || !seen.isUserland) return [];
  return planLink(inner, held, [{ offloadsChecksums: false }]);
}

function planAttachment(veth: Veth, observed: ObservedNetwork): readonly NetworkStep[] {
  const { bridge, outer, port } = veth;
  const held = isWhole(veth, observed) ? find(observed, outer) : undefined;
  if (port !== undefined) {
    return observed.switch?.kind === "read"
      ? [...planPort(veth, port, observed.switch, observed), ...planLink(outer, held, [{ up: true }])]
      : [];
  }
  if (bridge === undefined) return [];
  const { namespace, name: link } = outer;
  const attach: readonly NetworkStep[] =
    held?.bridge === bridge ? [] : [{ kind: "attachToBridge", namespace, link, bridge }];
  return [...attach, ...planLink(outer, held, [{ up: true }])];
}

function planPort(
  veth: Veth,
  port: SwitchPort,
  { ports }: Extract<ObservedSwitch, { kind: "read" }>,
  observed: ObservedNetwork,
): readonly NetworkStep[] {
  if (isPutUp(veth, observed) && ports.some((held) => isPlugged(port, held))) return [];
  return [{ kind: "plugPort", port }];
}

const isOnLink = (a: LinkAddress, b: LinkAddress): boolean => a.namespace === b.namespace && a.link === b.link;
const addressesEqual = (a: LinkAddress, b: LinkAddress): boolean =>
  isOnLink(a, b) && a.address === b.address && a.prefixLength === b.prefixLength;

/** Missing ones first: the kernel flushes the routes of a link that loses its last address. */
function planAddresses(
  config: TransitConfig,
  observed: ObservedNetwork,
  selected: (address: LinkAddress) => boolean,
): readonly NetworkStep[] {
  const missing = config.addresses
    .filter(selected)
    .filter((wanted) => !observed.addresses.some((held) => addressesEqual(held, wanted)));
  return missing.flatMap((address): readonly NetworkStep[] => {
    // IPv6 knows an address of a link once, whatever its prefix length.
    const inTheWay = observed.addresses.filter(
      (held) => familyOf(held.address) === 6 && isOnLink(held, address) && held.address === address.address,
    );
    return [
      ...inTheWay.map((held) => ({ kind: "removeAddress" as const, address: held })),
      { kind: "addAddress", address },
    ];
  });
}

/** On `lo` of the own namespace, and not what the kernel puts there. */
const isBorrowed = (config: TransitConfig, held: LinkAddress): boolean =>
  held.namespace === config.namespace &&
  held.link === "lo" &&
  held.address !== "::1" &&
  held.prefixLength === addressBits(familyOf(held.address));

// Keys and not comparisons in pairs: a router may have a thousand subnets of peers.
const routeKey = ({ namespace, table, destination, kind, via, link, metric }: Route): string =>
  [namespace, table, destination, kind, via, link, metric].join(" ");

/** `unreachable` goes first: from then on nothing takes the router's default route. */
function planRoutes(config: NetworkConfig, observed: ObservedNetwork): readonly NetworkStep[] {
  const held = new Set(observed.routes.map(routeKey));
  return config.routes.filter((wanted) => !held.has(routeKey(wanted))).map((route) => ({ kind: "addRoute", route }));
}

const rulesEqual = (a: Rule, b: Rule): boolean =>
  a.namespace === b.namespace &&
  a.family === b.family &&
  a.preference === b.preference &&
  a.table === b.table &&
  a.source === b.source &&
  a.destination === b.destination &&
  a.inputLink === b.inputLink &&
  a.skipsDefault === b.skipsDefault;

const isIn =
  (namespace: string | undefined) =>
  (rule: Rule): boolean =>
    rule.namespace === namespace;

/** A new namespace has the kernel's own rules, which an observation of nothing cannot show. */
function heldRules({ namespace }: NetworkConfig, observed: ObservedNetwork): readonly Rule[] {
  if (observed.namespaceExists) return observed.rules;
  const kernels = ([4, 6] as const).map((family): Rule => {
    return {
      namespace,
      family,
      preference: 0,
      table: LOCAL_TABLE,
      destination: undefined,
      inputLink: undefined,
      skipsDefault: false,
    };
  });
  return [...observed.rules, ...kernels];
}

function planRules(
  config: NetworkConfig,
  observed: ObservedNetwork,
  namespace: string | undefined,
): readonly NetworkStep[] {
  const held = heldRules(config, observed);
  return config.rules
    .filter((rule) => isIn(namespace)(rule) && !held.some((one) => rulesEqual(one, rule)))
    .map((rule) => ({ kind: "addRule", rule }));
}

/** A new namespace may have been seen by its name while an older one had it. */
function missingPolicies({ policies = [] }: NetworkConfig, observed: ObservedNetwork): readonly NetworkStep[] {
  const held = new Set(observed.namespaceExists ? observed.policies.map(ownPolicyKey) : []);
  return policies.filter((wanted) => !held.has(ownPolicyKey(wanted))).map((policy) => ({ kind: "addPolicy", policy }));
}

function unwantedPolicies(
  { policies = [] }: Pick<NetworkConfig, "policies">,
  observed: ObservedNetwork,
): readonly NetworkStep[] {
  const wanted = new Set(policies.map(ownPolicyKey));
  return observed.policies
    .filter((held) => !wanted.has(ownPolicyKey(held)))
    .map((policy) => ({ kind: "removePolicy", policy }));
}

/** Ours: in the router's namespace what has a protocol number of ours; in our own what lies on our links or in our table. */
function isOurRoute(scope: TransitScope, route: ObservedRoute): boolean {
  if (route.namespace !== scope.namespace) return isOurProtocol(route.protocol);
  const onOurLink = scope.veths.some((veth) => veth.inner.name === route.link);
  const inOurTable = route.table === MAIN_TABLE ? onOurLink : [DECRYPTED_TABLE, BLOCKED_TABLE].includes(route.table);
  return inOurTable || isOurProtocol(route.protocol);
}

const unicastFirst = (a: Route, b: Route): number => Number(a.kind !== "unicast") - Number(b.kind !== "unicast");

function planLeftovers(config: TransitConfig, observed: ObservedNetwork): readonly NetworkStep[] {
  const wantedRoutes = new Set(config.routes.map(routeKey));
  const routes = observed.routes.filter((held) => isOurRoute(config, held) && !wantedRoutes.has(routeKey(held)));
  const isOurLink = (address: LinkAddress): boolean =>
    isBorrowed(config, address) ||
    config.veths.some((veth) =>
      [veth.inner, veth.outer].some((end) => isSame(end, { namespace: address.namespace, name: address.link })),
    );
  const addresses = observed.addresses.filter(
    (held) =>
      isOurLink(held) &&
      !config.addresses.some(
        (wanted) =>
          addressesEqual(held, wanted) ||
          // Already removed to make room.
          (familyOf(held.address) === 6 && isOnLink(held, wanted) && held.address === wanted.address),
      ),
  );
  return [
    ...[...routes].sort(unicastFirst).map((route) => ({ kind: "removeRoute" as const, route })),
    ...addresses.map((address) => ({ kind: "removeAddress" as const, address })),
    ...unwantedRules(config, observed).map((rule) => ({ kind: "removeRule" as const, rule })),
  ];
}

function unwantedRules(config: TransitConfig, observed: ObservedNetwork): readonly Rule[] {
  const held = heldRules(config, observed);
  // charon's own stay, also where nothing needs them.
  const mayGo = held.filter(
    (rule) =>
      isIn(config.namespace)(rule) &&
      RULE_PREFERENCES.includes(rule.preference) &&
      rule.preference !== CHARON_PREFERENCE,
  );
  return [...mayGo, ...held.filter(isIn(config.routerNamespace))].filter(
    (rule) => !config.rules.some((wanted) => rulesEqual(rule, wanted)),
  );
}
