// Never in clear: what leads into a router's VPN namespace without being guarded there.
import type { EspBackEnd, Guard } from "../../../src/core/guard.ts";
import type { RouterId } from "../../../src/core/ids.ts";
import type { Cidr, DesiredRouter } from "../../../src/core/model.ts";
import { namespaceName } from "../../../src/core/names.ts";
import { ROUTE_PROTOCOL } from "../../../src/core/network.ts";
import type { FakeIke } from "../fake-ike.ts";
import type { FakeNetwork } from "../fake-network.ts";

type Keys = { readonly pairs: ReadonlySet<string>; readonly peers: ReadonlySet<Cidr> };
const KEYS = new WeakMap<Guard, Keys>();

function keysOf(guard: Guard): Keys {
  const known = KEYS.get(guard);
  if (known !== undefined) return known;
  const pairs = guard.pairs.flatMap(({ localSubnets, peerSubnets }) =>
    localSubnets.flatMap((local) => peerSubnets.map((peer) => `${local} ${peer}`)),
  );
  const keys = { pairs: new Set(pairs), peers: new Set(guard.pairs.flatMap((pair) => pair.peerSubnets)) };
  KEYS.set(guard, keys);
  return keys;
}

const isOneFamily = (a: Cidr, b: Cidr): boolean => a.includes(":") === b.includes(":");

const everything = (cidr: Cidr): Cidr => (cidr.includes(":") ? "::/0" : "0.0.0.0/0");

/**
 * Pairs of subnets between which a packet finds its way into the namespace, and the guard does not know them: those of
 * connections that the agent has been told of, whatever their state, and of every SA that is installed, by which the peer's
 * packets come without a route; they leave in clear where there is a default route and no other. `*`: nobody knows from where, and no pair of the guard has this peer.
 */
export function openingsOf(
  network: FakeNetwork,
  ike: FakeIke,
  router: RouterId,
  known: DesiredRouter | undefined,
  espBackEnd: EspBackEnd,
): readonly string[] {
  const own = network.namespaces.get(namespaceName(router));
  const outside = network.namespaces.get(`qrouter-${router}`);
  // A pair whose inner end was taken elsewhere leads there.
  const leadsThere = (link: string | undefined): boolean =>
    outside?.links.get(link ?? "")?.peer?.namespace === namespaceName(router);
  const routed = (outside?.routes ?? [])
    .filter(({ kind, protocol, link }) => kind === "unicast" && protocol === ROUTE_PROTOCOL && leadsThere(link))
    .map(({ destination }) => destination);
  if (own === undefined) return [];
  const guard = own.guard?.espBackEnd === espBackEnd ? keysOf(own.guard) : undefined;
  const open: string[] = [];
  const look = (locals: readonly Cidr[], peers: readonly Cidr[]): void => {
    for (const peer of peers) {
      for (const local of locals) {
        const pair = `${local} ${peer}`;
        const isGuarded = guard?.pairs.has(pair) === true || guard?.pairs.has(`${local} ${everything(peer)}`) === true;
        if (isOneFamily(local, peer) && !isGuarded) open.push(pair);
      }
    }
  };
  for (const { guarded } of known?.connections ?? []) {
    look(
      guarded.localSubnets,
      guarded.peerSubnets.filter((peer) => routed.includes(peer)),
    );
  }
  const leadsOut = own.routes.some(({ destination, kind }) => kind === "unicast" && /[/]0$/.test(destination));
  for (const sa of leadsOut && ike.isRunning(router) ? ike.charon(router).ikeSas : []) {
    // What a peer was granted again comes up between two looks, and the next one ends it: no step opens it.
    for (const { child } of sa.children.filter(({ isGrantedAgain }) => isGrantedAgain !== true)) {
      look(child.localSubnets, child.peerSubnets);
    }
  }
  for (const peer of routed) {
    if (guard?.peers.has(peer) !== true && guard?.peers.has(everything(peer)) !== true) open.push(`* ${peer}`);
  }
  return open;
}
