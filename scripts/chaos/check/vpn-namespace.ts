// A namespace of the program's own, as topology `transit` has one for each router, with its packet filter.
import { checkTables } from "./guard.ts";
import { CHARON_LINK, has, missing, readLinks, readOurRoutes, readRules, unique, type Link } from "./kernel.ts";
import type { EspBackEnd, Finding } from "./subject.ts";
import type { WantedRouter } from "./wanted.ts";

// Both ends of the link between a VPN namespace and the router.
export const TRANSIT = { near: "169.254.0.1", far: "169.254.0.2", prefix: 28 };

export type VpnLinks = { readonly outside: Link | undefined; readonly inside: Link | undefined };

/** A namespace of the program's own: two links, and routes to the internet and to the LAN. */
export async function checkVpnNamespace(
  router: WantedRouter,
  esp: EspBackEnd,
): Promise<{ readonly problems: readonly string[]; readonly links: VpnLinks }> {
  const vpn = `qvpn-${router.id}`;
  const [links, routes, rules] = await Promise.all([
    readLinks(vpn),
    readOurRoutes(vpn, "table", "all"),
    readRules(vpn),
  ]);
  if (links === undefined || routes === undefined || rules === undefined) {
    return { problems: ["its namespace is not there"], links: { outside: undefined, inside: undefined } };
  }
  const outside = links.find((link) => has(link, router.address, 24));
  const inside = links.find((link) => has(link, TRANSIT.far, TRANSIT.prefix));
  const problems = [
    ...linkProblems("outside", outside, router.mtu),
    ...linkProblems("inside", inside, undefined),
    ...surplusLinks(links, esp, outside, inside),
    ...missing([...wantedRoutes(router, outside, inside), ...(esp === "kernel" ? [] : deadEnds(router))], routes, vpn),
    ...missing(
      router.connections.length === 0 || esp === "kernel"
        ? []
        : [`${DEAD_END}: ${DEAD_END} iif ${String(inside?.ifname)}`],
      rules.filter((rule) => rule.startsWith(`${DEAD_END}: `)),
      vpn,
    ),
  ];
  return { problems, links: { outside, inside } };
}

export function linkProblems(what: string, link: Link | undefined, mtu: number | undefined): readonly string[] {
  if (link === undefined) return [`no link has the ${what} address`];
  const extra = (link.addr_info ?? []).filter(({ family }) => family === "inet").length - 1;
  return [
    ...(link.flags.includes("LOWER_UP") && link.flags.includes("UP") ? [] : [`${link.ifname} is not up`]),
    ...(mtu === undefined || link.mtu === mtu ? [] : [`${link.ifname} has MTU ${link.mtu}, not ${mtu}`]),
    ...(extra === 0 ? [] : [`${link.ifname} has ${extra} addresses too many`]),
  ];
}

function surplusLinks(
  links: readonly Link[],
  esp: EspBackEnd,
  ...expected: readonly (Link | undefined)[]
): readonly string[] {
  const others = esp === "kernel" ? ["lo"] : ["lo", CHARON_LINK];
  return links
    .filter((link) => !expected.includes(link) && !others.includes(link.ifname))
    .map(({ ifname }) => `${ifname} is a stranger in its namespace`);
}

/** Table, and preference of the rule, by which what comes from the router for a peer goes nowhere but to ESP. */
const DEAD_END = 222;

const wantedRoutes = (router: WantedRouter, outside: Link | undefined, inside: Link | undefined): readonly string[] => [
  `default via ${router.gateway} dev ${String(outside?.ifname)}`,
  ...unique(router.connections.flatMap(({ localSubnets }) => localSubnets)).map(
    (subnet) => `${subnet} via ${TRANSIT.near} dev ${String(inside?.ifname)}`,
  ),
];

const deadEnds = (router: WantedRouter): readonly string[] =>
  unique(router.connections.flatMap(({ peerSubnets }) => peerSubnets)).map(
    (subnet) => `blackhole ${subnet} table ${DEAD_END}`,
  );

export const checkVpnGuard = (router: WantedRouter): Promise<readonly Finding[]> =>
  checkTables(router, `qvpn-${router.id}`);
