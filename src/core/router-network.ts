// What is ours in a router's own namespace (topology `router`): two tables of nft, what stands in for them, and what charon
// needs. All the rest there is Neutron's L3 agent's.
import { familyOf } from "./address.ts";
import type { EspBackEnd } from "./guard.ts";
import type { RouterId } from "./ids.ts";
import { ownerAlias, ownerChain } from "./names.ts";
import { doOverlap } from "./read-address.ts";
import {
  blocksOf,
  charonRules,
  guardPairs,
  standIns,
  type GuardedRouter,
  type IsBlocked,
  type RouterConfig,
  type RouterScope,
} from "./network.ts";

/** A router's ports on its networks; with DVR those in `snat-…`. What leads outside is called `qg-…` (neutron, l3/agent.py). */
const INNER_LINKS = ["qr-*", "sg-*"];

/** The names that the namespace of a router may have, and the one that counts now, whether it is there or not. */
export type RouterPlace = { readonly namespace: string; readonly candidates: readonly string[] };

export const routerScope = (router: RouterId, place: RouterPlace, host: string): RouterScope => ({
  topology: "router",
  router,
  ...place,
  alias: ownerAlias(host),
  veths: [],
  sysctls: [],
  policies: [],
});

/** Those that overlap are `unsupported` here. */
const isApart: IsBlocked = (local, peer) => !doOverlap(local, peer);

export function routerConfig(of: {
  readonly router: GuardedRouter;
  readonly place: RouterPlace;
  readonly host: string;
  readonly espBackEnd: EspBackEnd;
}): RouterConfig {
  const { router, place, espBackEnd } = of;
  const scope = routerScope(router.id, place, of.host);
  const tunnels = router.connections.flatMap((one) => (one.kind === "usable" ? [one.tunnel] : []));
  const local = tunnels.map(({ localAddress }) => localAddress).filter((address) => familyOf(address) === 4);
  const pairs = guardPairs(router);
  // What the router itself says to its networks would be among what such policies hold back.
  const locals = pairs.flatMap((pair) => pair.localSubnets);
  const isApartFromAll: IsBlocked = (_local, peer) => locals.every((one) => isApart(one, peer));
  const standIn = espBackEnd === "userland" ? standIns(scope.namespace, pairs, isApart) : undefined;
  return {
    ...scope,
    policies: espBackEnd === "kernel" ? blocksOf(scope.namespace, pairs, isApartFromAll) : [],
    routes: standIn?.routes ?? [],
    rules: [
      ...(espBackEnd === "userland" && tunnels.length > 0 ? charonRules(scope.namespace) : []),
      ...(standIn?.rules ?? []),
    ],
    guard: {
      espBackEnd,
      // The router has addresses of its own in the local subnets: kernel-libipsec needs no borrowed one.
      loopbackAddresses: [],
      pairs,
      innerLinks: INNER_LINKS,
      ikeAddresses: [...new Set(local)].sort(),
      ownerChain: ownerChain(scope.alias),
    },
  };
}
