// Topology `transit` with Linux bridges: a VPN namespace, and links and routes in the router's own.
import { has, missing, networkFinding, readLinks, readOurRoutes, readRules, unique, type Link } from "./kernel.ts";
import type { PlaceCheck } from "./places.ts";
import type { Finding, Subject, SubjectRouter } from "./subject.ts";
import { checkVpnGuard, checkVpnNamespace, linkProblems, TRANSIT } from "./vpn-namespace.ts";
import type { WantedRouter } from "./wanted.ts";

/** What keeps a router's default route from taking what is for a peer, should the routes of table main be gone. */
const STAND_IN = { table: "215", rules: ["32764: main but its default", "32765: 215"] };

export const transit: PlaceCheck = {
  namespaceOf: (id) => `qvpn-${id}`,
  isOwnNamespace: true,
  bridgePorts: 1,
  checkNetwork,
  checkGuard: checkVpnGuard,
  checkLeft,
};

async function checkNetwork(
  router: WantedRouter,
  { isOwnLink }: SubjectRouter,
  { espBackEnd }: Subject,
): Promise<readonly Finding[]> {
  const own = `qrouter-${router.id}`;
  const [vpn, ownLinks, ownRoutes, ownRules] = await Promise.all([
    checkVpnNamespace(router, espBackEnd),
    readLinks(own),
    readOurRoutes(own, "table", "all"),
    readRules(own),
  ]);
  if (ownLinks === undefined || ownRoutes === undefined || ownRules === undefined)
    throw new Error(`${own} is gone, and nobody may take it`);
  const near = ownLinks.find((link) => has(link, TRANSIT.near, TRANSIT.prefix));
  const strangers = ownLinks.filter((link) => link !== near && !isOwnLink(link.ifname));
  return [
    ...vpn.problems,
    ...linkProblems("near", near, undefined),
    ...strangers.map(({ ifname }) => `${ifname} is a stranger in ${own}`),
    ...missing(wantedOwnRoutes(router, near), ownRoutes, own),
    ...missing(router.connections.length === 0 ? [] : STAND_IN.rules, ownRules, own),
  ].map((text) => networkFinding(router.id, text));
}

/** A peer's subnet is reached through the VPN namespace or not at all. */
const wantedOwnRoutes = (router: WantedRouter, near: Link | undefined): readonly string[] =>
  unique(router.connections.flatMap(({ peerSubnets }) => peerSubnets)).flatMap((subnet) => [
    `${subnet} via ${TRANSIT.far} dev ${String(near?.ifname)}`,
    `unreachable ${subnet}`,
    `unreachable ${subnet} table ${STAND_IN.table}`,
  ]);

/** In the router's own namespace nothing of the program's stays. */
async function checkLeft({ id, isOwnLink }: SubjectRouter): Promise<readonly Finding[]> {
  const own = `qrouter-${id}`;
  const [links, routes, rules] = await Promise.all([
    readLinks(own),
    readOurRoutes(own, "table", "all"),
    readRules(own),
  ]);
  return [
    ...(links ?? []).filter(({ ifname }) => !isOwnLink(ifname)).map(({ ifname }) => `link ${ifname}`),
    ...(routes ?? []).map((route) => `route ${route}`),
    ...(rules ?? []).map((rule) => `rule ${rule}`),
  ].map((what) => networkFinding(id, `${what} is left of it`));
}
