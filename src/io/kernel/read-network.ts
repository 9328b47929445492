// Reads the network of one router: dumps of its namespace, and from elsewhere only what may be ours.
import { KernelError } from "../../core/errors.ts";
import {
  AGENT_NAMESPACE,
  BLOCKED_TABLE,
  CHARON_TABLE,
  DECRYPTED_TABLE,
  isSwitched,
  MAIN_TABLE,
  isOurProtocol,
  RULE_PREFERENCES,
  UNREACHABLE_TABLE,
  type LinkAddress,
  type Neighbour,
  type NetworkScope,
  type ObservedLink,
  type ObservedNetwork,
  type ObservedRoute,
  type Rule,
  type Sysctl,
} from "../../core/network.ts";
import type { UserlandPlane } from "../../core/data-plane.ts";
import { USERLAND_ESP_LINK } from "../../core/guard.ts";
import type { Netlink } from "./netlink.ts";
import { namespaceInode } from "./netns.ts";
import { offloadsChecksums } from "./offload.ts";
import {
  allAddresses,
  allLinks,
  allNeighbours,
  allRoutes,
  allRules,
  decodeAddress,
  decodeLink,
  decodeNeighbour,
  decodeRoute,
  decodeRule,
  linkNamed,
  readLinkSetting,
  RTM_GETADDR,
  RTM_GETLINK,
  RTM_GETNEIGH,
  RTM_GETROUTE,
  RTM_GETRULE,
  type RawLink,
  type RawRule,
} from "./rtnetlink.ts";
import type { Sockets } from "./sockets.ts";
import { readSysctls } from "./sysctl.ts";

// linux/rtnetlink.h: routes that come and go with addresses.
const RTPROT_KERNEL = 2;
const LINK_SETTING = /^net\/ipv([46])\/conf\/([^/]+)\/([^/]+)$/;

export async function readLinks(netlink: Netlink, namespace: string): Promise<readonly RawLink[]> {
  return (await netlink.dump(`list links of ${namespace}`, RTM_GETLINK, allLinks())).map(decodeLink);
}

export async function readLink(netlink: Netlink, namespace: string, name: string): Promise<RawLink | undefined> {
  try {
    const [message] = await netlink.request(`read link ${name} of ${namespace}`, RTM_GETLINK, linkNamed(name));
    return message === undefined ? undefined : decodeLink(message);
  } catch (error) {
    if (error instanceof KernelError && error.code === "ENODEV") return undefined;
    throw error;
  }
}

type Here = { readonly namespace: string; readonly links: readonly RawLink[] };

const NOTHING_OUTSIDE = { routerNamespaceExists: false, bridgeExists: false, sysctls: [] };

/** Everything but the guard and the policies of IPsec. */
export async function readNetwork(
  sockets: Sockets,
  scope: NetworkScope,
  signal: AbortSignal,
): Promise<Omit<ObservedNetwork, "guard" | "policies">> {
  const own = await readAll(sockets, scope.namespace);
  signal.throwIfAborted();
  if (scope.topology === "router") {
    return {
      ...NOTHING_OUTSIDE,
      namespaceExists: own !== undefined,
      links: own === undefined ? [] : own.links.map((link) => observedLink(link, own, [own], new Map())),
      addresses: own?.addresses ?? [],
      routes: own?.routes ?? [],
      rules: own?.rules ?? [],
    };
  }
  const agent = sockets.route(AGENT_NAMESPACE);
  const bridge = scope.bridge === undefined ? undefined : await readLink(agent, AGENT_NAMESPACE, scope.bridge);
  const names = outerNames(scope, own?.links ?? []);
  const here: Here = { namespace: AGENT_NAMESPACE, links: await readSome(agent, AGENT_NAMESPACE, names) };
  const { routerNamespace } = scope;
  const isThere = routerNamespace !== undefined && namespaceInode(routerNamespace) !== undefined;
  signal.throwIfAborted();
  const router = isThere ? await readRouter(sockets, routerNamespace, names) : undefined;
  const places: readonly Here[] = [
    ...(own === undefined ? [] : [own]),
    here,
    ...(router === undefined ? [] : [router]),
  ];
  const bridges = new Map(bridge === undefined ? [] : [[bridge.index, bridge.name]]);
  return {
    namespaceExists: own !== undefined,
    routerNamespaceExists: isThere,
    bridgeExists: bridge !== undefined,
    links: places.flatMap((place) =>
      place.links.map((link) => ({
        ...observedLink(link, place, places, bridges),
        ...(isPluggedInside(scope, place, link)
          ? { offloadsChecksums: offloadsChecksums(place.namespace, link.name) }
          : {}),
      })),
    ),
    addresses: [...(own?.addresses ?? []), ...(router?.addresses ?? [])],
    routes: [...(own?.routes ?? []), ...(router?.routes ?? [])],
    rules: [...(own?.rules ?? []), ...(router?.rules ?? [])],
    ...(own === undefined || !isSwitched(scope) ? {} : { neighbours: await readNeighbours(sockets, own) }),
    sysctls: places.flatMap((place) => readSettings(place, scope.sysctls)),
  };
}

const isPluggedInside = (scope: NetworkScope, { namespace }: Here, { name }: RawLink): boolean =>
  scope.veths.some(({ inner, port }) => port !== undefined && inner.namespace === namespace && inner.name === name);

async function readNeighbours(sockets: Sockets, { namespace, links }: Here): Promise<readonly Neighbour[]> {
  const names = new Map(links.map((link) => [link.index, link.name]));
  const messages = await sockets
    .route(namespace)
    .dump(`list neighbours of ${namespace}`, RTM_GETNEIGH, allNeighbours());
  return messages.flatMap((message) => {
    const found = decodeNeighbour(message);
    const link = found === undefined ? undefined : names.get(found.linkIndex);
    if (found === undefined || link === undefined) return [];
    const { address, macAddress, isKept } = found;
    return [{ namespace, link, address, macAddress, isKept }];
  });
}

/** The messages about links hold most of their settings; a file for each would be half the cost of a pass. */
function readSettings(here: Here, sysctls: readonly Sysctl[]): readonly Sysctl[] {
  const told: Sysctl[] = [];
  const untold: Sysctl[] = [];
  for (const sysctl of sysctls.filter(({ namespace }) => namespace === here.namespace)) {
    const [, family, name, setting = ""] = LINK_SETTING.exec(sysctl.name) ?? [];
    const link = here.links.find((one) => one.name === name);
    const value = link === undefined ? undefined : readLinkSetting(link, family === "4" ? 4 : 6, setting);
    if (value === undefined) untold.push(sysctl);
    else told.push({ ...sysctl, value });
  }
  return untold.length === 0 ? told : [...told, ...readSysctls(here.namespace, untold)];
}

/** Those of the configuration, and those that belong to inner ends which a former configuration left. */
function outerNames(scope: NetworkScope, inner: readonly RawLink[]): readonly string[] {
  const left = inner.filter((link) => link.kind === "veth").map((link) => `h${link.name.slice(1)}`);
  return [...new Set([...scope.veths.map((veth) => veth.outer.name), ...left])];
}

async function readSome(netlink: Netlink, namespace: string, names: readonly string[]): Promise<readonly RawLink[]> {
  const links = await Promise.all(names.map((name) => readLink(netlink, namespace, name)));
  return links.filter((link) => link !== undefined);
}

async function readAll(sockets: Sockets, namespace: string) {
  if (namespaceInode(namespace) === undefined) return undefined;
  const netlink = sockets.route(namespace);
  const links = await readLinks(netlink, namespace);
  const rules = await readRules(
    netlink,
    namespace,
    ({ rule, protocol }) => RULE_PREFERENCES.includes(rule.preference) || isOurProtocol(protocol),
  );
  const routes = await readRoutes(netlink, namespace, links);
  return {
    namespace,
    links,
    addresses: await readAddresses(netlink, namespace, links),
    routes: routes.filter(
      (route) =>
        [MAIN_TABLE, DECRYPTED_TABLE, BLOCKED_TABLE, UNREACHABLE_TABLE].includes(route.table) &&
        route.protocol !== RTPROT_KERNEL &&
        route.link !== USERLAND_ESP_LINK,
    ),
    rules,
  };
}

/** What leads to ESP in userland. */
export async function readUserlandPlane(sockets: Sockets, namespace: string): Promise<UserlandPlane> {
  const netlink = sockets.route(namespace);
  const links = await readSome(netlink, namespace, [USERLAND_ESP_LINK]);
  const routes = links.length === 0 ? [] : await readRoutes(netlink, namespace, links);
  const isUserlands = (route: ObservedRoute): boolean =>
    route.table === CHARON_TABLE && route.link === USERLAND_ESP_LINK;
  return {
    kind: "userland",
    hasLink: links.length > 0,
    destinations: new Set(routes.filter(isUserlands).map(({ destination }) => destination)),
  };
}

async function readRules(netlink: Netlink, namespace: string, isOurs: (rule: RawRule) => boolean): Promise<Rule[]> {
  const messages = await netlink.dump(`list rules of ${namespace}`, RTM_GETRULE, allRules());
  const found = messages.map(decodeRule).filter((raw) => raw !== undefined);
  return found.filter(isOurs).map(({ rule }) => ({ namespace, ...rule }));
}

async function readRouter(sockets: Sockets, namespace: string, names: readonly string[]) {
  const netlink = sockets.route(namespace);
  const links = await readSome(netlink, namespace, names);
  const routes = await readRoutes(netlink, namespace, links);
  return {
    namespace,
    links,
    addresses: await readAddresses(netlink, namespace, links),
    // What is not ours and does not lie on our link is the router's own business.
    routes: routes.filter(
      ({ table, protocol }) => [MAIN_TABLE, UNREACHABLE_TABLE].includes(table) && isOurProtocol(protocol),
    ),
    rules: await readRules(netlink, namespace, ({ protocol }) => isOurProtocol(protocol)),
  };
}

async function readAddresses(netlink: Netlink, namespace: string, links: readonly RawLink[]): Promise<LinkAddress[]> {
  const names = new Map(links.map((link) => [link.index, link.name]));
  const messages = await netlink.dump(`list addresses of ${namespace}`, RTM_GETADDR, allAddresses());
  return messages.flatMap((message) => {
    const found = decodeAddress(message);
    const link = found === undefined ? undefined : names.get(found.linkIndex);
    if (found === undefined || link === undefined) return [];
    return [{ namespace, link, address: found.address, prefixLength: found.prefixLength }];
  });
}

/** A link that is not among `links` shows as `#<index>`. */
async function readRoutes(netlink: Netlink, namespace: string, links: readonly RawLink[]): Promise<ObservedRoute[]> {
  const names = new Map(links.map((link) => [link.index, link.name]));
  const messages = await netlink.dump(`list routes of ${namespace}`, RTM_GETROUTE, allRoutes());
  return messages.flatMap(decodeRoute).map(({ linkIndex, ...route }) => ({
    ...route,
    namespace,
    link: linkIndex === 0 ? undefined : (names.get(linkIndex) ?? `#${linkIndex}`),
  }));
}

function observedLink(
  link: RawLink,
  here: Here,
  places: readonly Here[],
  bridges: ReadonlyMap<number, string>,
): ObservedLink {
  const isVeth = link.kind === "veth";
  const { namespace } = here;
  const { name, macAddress, mtuBytes, up, alias, masterIndex } = link;
  return {
    namespace,
    name,
    macAddress,
    mtuBytes,
    isVeth,
    up,
    alias,
    bridge: masterIndex === undefined ? undefined : (bridges.get(masterIndex) ?? `#${masterIndex}`),
    peer: isVeth ? peerOf(link, here, places) : undefined,
  };
}

// An index is unique in its namespace only; that each names the other's is proof enough, since one end cannot have two.
function peerOf(link: RawLink, here: Here, places: readonly Here[]): ObservedLink["peer"] {
  for (const place of places) {
    const peer = place.links.find(
      (other) => other.kind === "veth" && other.index === link.peerIndex && other.peerIndex === link.index,
    );
    if (peer !== undefined && place !== here) return { namespace: place.namespace, name: peer.name };
  }
  return undefined;
}
