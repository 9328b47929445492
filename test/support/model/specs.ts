// What the control plane may ask for, as small values, and how it may change its mind.
import { portId, routerId, type RouterId } from "../../../src/core/ids.ts";
import type { DesiredConnection, DesiredRouter, Plumbing, Tunnel } from "../../../src/core/model.ts";
import { Secret } from "../../../src/core/secret.ts";
import {
  aConnection,
  aDisabledConnection,
  anIkePolicy,
  anIpsecPolicy,
  anUnusableConnection,
  aRouterWith,
  aTunnel,
} from "../builders.ts";
import { PLUMBING, ROUTER } from "../network-builders.ts";

export const NEIGHBOUR = routerId("40000000-0000-4000-8000-000000000002");

export type ConnectionSpec = {
  readonly number: number;
  /** Last byte of its address; below 10 it is the side that initiates first. */
  readonly peer: number;
  readonly version: 1 | 2;
  readonly psk: string;
  readonly ikeGroup: string;
  readonly ikeSeconds: number;
  readonly espGroup: string;
  readonly espSeconds: number;
  readonly dpdSeconds: number;
  readonly family: 4 | 6;
  readonly locals: readonly number[];
  readonly peers: readonly number[];
  readonly isResponder: boolean;
  readonly state: "usable" | "disabled" | "unusable";
  readonly mtuBytes: number;
};

export type RouterSpec = {
  readonly connections: readonly ConnectionSpec[];
  readonly address: number;
  readonly prefixLength6: number;
  readonly linkMtuBytes: number;
  readonly gateway: number;
  readonly transitPrefixLength: number;
  readonly port: number;
  readonly mac: number;
};

const subnet = (family: 4 | 6, side: 1 | 2, net: number, number: number): string => {
  // 9: everything, as a hub's only peer has it.
  if (net === 9) return family === 4 ? "0.0.0.0/0" : "::/0";
  return family === 4 ? `10.${side}${net}.${number}.0/24` : `fd00:${side}:${net}:${number}::/64`;
};

function tunnelOf(spec: ConnectionSpec, router: RouterId): Tunnel {
  const peerAddress = `203.0.113.${spec.peer}`;
  return aTunnel(router === NEIGHBOUR ? spec.number + 100 : spec.number, {
    peerAddress,
    peerId: peerAddress,
    psk: new Secret(spec.psk),
    localSubnets: spec.locals.map((net) => subnet(spec.family, 1, net, spec.number)),
    peerSubnets: spec.peers.map((net) => subnet(spec.family, 2, net, spec.number)),
    ike: anIkePolicy({
      version: spec.version,
      dhGroup: spec.ikeGroup,
      lifetime: { kind: "seconds", seconds: spec.ikeSeconds },
    }),
    ipsec: anIpsecPolicy({ dhGroup: spec.espGroup, lifetime: { kind: "seconds", seconds: spec.espSeconds } }),
    initiator: spec.isResponder ? "response-only" : "bi-directional",
    dpd: { action: "restart", intervalSeconds: spec.dpdSeconds, timeoutSeconds: 120 },
    mtuBytes: spec.mtuBytes,
  });
}

function connectionOf(spec: ConnectionSpec, router: RouterId): DesiredConnection {
  const tunnel = tunnelOf(spec, router);
  if (spec.state === "usable") return aConnection(tunnel);
  return spec.state === "disabled" ? aDisabledConnection(tunnel) : anUnusableConnection(tunnel);
}

const PORTS = ["11111111-2222-4333-8444-555555555501", "11111112-2222-4333-8444-555555555501"];

function plumbingOf(spec: RouterSpec, router: RouterId): Plumbing {
  const { external, transit } = PLUMBING;
  const isNeighbour = router === NEIGHBOUR;
  const own = (port: string): string => (isNeighbour ? port.replace(/^1/, "7").replace(/^a/, "b") : port);
  const mac = (last: number): string => `fa:16:3e:00:${isNeighbour ? "01" : "00"}:${last}`;
  return {
    external: {
      ...external,
      port: portId(own(PORTS[spec.port % 2] ?? external.port)),
      macAddress: mac(10 + spec.mac),
      mtuBytes: spec.linkMtuBytes,
      addresses: [
        { address: `203.0.113.${spec.address}`, prefixLength: 24 },
        { address: "2001:db8:ff::10", prefixLength: spec.prefixLength6 },
      ],
      gateways: [`203.0.113.${spec.gateway}`, "2001:db8:ff::1"],
    },
    transit: {
      ...transit,
      port: portId(own(transit.port)),
      macAddress: mac(20),
      addresses: [{ address: "169.254.0.2", prefixLength: spec.transitPrefixLength }],
    },
  };
}

export const desiredOf = (spec: RouterSpec, router: RouterId = ROUTER): DesiredRouter =>
  aRouterWith(
    spec.connections.map((one) => connectionOf(one, router)),
    { id: router, plumbing: { kind: "known", value: plumbingOf(spec, router) } },
  );

export const CHANGES = [
  "nothing",
  "connectionAdded",
  "connectionRemoved",
  "psk",
  "pskOfOne",
  "ikeProposal",
  "ikeVersion",
  "terms",
  "dpd",
  "childProposal",
  "childLifetime",
  "selectorAdded",
  "selectorRemoved",
  "selectorReplaced",
  "localReplaced",
  "everything",
  "adminState",
  "allDisabled",
  "unusable",
  "initiator",
  "peerMoved",
  "tunnelMtu",
  "linkMtu",
  "address",
  "prefixLength",
  "gateway",
  "transit",
  "port",
  "mac",
  "routerRemoved",
] as const;
export type Change = (typeof CHANGES)[number];

const CHANGES_OF_USE: ReadonlySet<Change> = new Set<Change>(["adminState", "unusable", "connectionRemoved"]);

const other = <T>(a: T, b: T, held: T): T => (held === a ? b : a);
const cycle = (all: readonly number[], held: number): number => all[(all.indexOf(held) + 1) % all.length] ?? held;

/** Undefined: the router leaves the list. */
export function changed(spec: RouterSpec, change: Change, pick: number, spare: ConnectionSpec): RouterSpec | undefined {
  const { connections } = spec;
  // What is not in use hardly shows a change.
  const inUse = connections.filter(({ state }) => state === "usable");
  const choice = inUse.length === 0 || CHANGES_OF_USE.has(change) ? connections : inUse;
  const chosen = choice[pick % Math.max(1, choice.length)];
  const one = (more: (held: ConnectionSpec) => Partial<ConnectionSpec>): RouterSpec => ({
    ...spec,
    connections: connections.map((held) => (held === chosen ? { ...held, ...more(held) } : held)),
  });
  // What connections to one peer must have in common.
  const peer = (more: (held: ConnectionSpec) => Partial<ConnectionSpec>): RouterSpec => ({
    ...spec,
    connections: connections.map((held) => (held.peer === chosen?.peer ? { ...held, ...more(held) } : held)),
  });
  switch (change) {
    case "nothing":
      return spec;
    case "connectionAdded": {
      const numbers = connections.map(({ number }) => number);
      const number = [1, 2, 3, 4, 5].find((free) => !numbers.includes(free));
      return number === undefined ? spec : { ...spec, connections: [...connections, { ...spare, number }] };
    }
    case "connectionRemoved":
      return { ...spec, connections: connections.filter((held) => held !== chosen) };
    case "psk":
      return peer((held) => ({ psk: other("a", "b", held.psk) }));
    case "pskOfOne":
      return one((held) => ({ psk: other("a", "b", held.psk) }));
    case "ikeProposal":
      return peer((held) => ({ ikeGroup: other("group14", "group19", held.ikeGroup) }));
    case "ikeVersion":
      return peer((held) => ({ version: held.version === 1 ? 2 : 1 }));
    case "terms":
      return peer((held) => ({ ikeSeconds: other(3600, 7200, held.ikeSeconds) }));
    case "dpd":
      return peer((held) => ({ dpdSeconds: other(30, 10, held.dpdSeconds) }));
    case "childProposal":
      return one((held) => ({ espGroup: other("group14", "group19", held.espGroup) }));
    case "childLifetime":
      return one((held) => ({ espSeconds: other(3600, 7200, held.espSeconds) }));
    case "selectorAdded":
      return one((held) => ({ peers: [...new Set([...held.peers, [2, 3, 4][pick % 3] ?? 2])] }));
    case "selectorRemoved":
      return one((held) => ({ peers: held.peers.length > 1 ? held.peers.slice(1) : held.peers }));
    case "selectorReplaced":
      return one((held) => ({ peers: [cycle([2, 3, 4], held.peers[0] ?? 2)] }));
    case "localReplaced":
      return one((held) => ({ locals: [cycle([2, 3, 4], held.locals[0] ?? 2)] }));
    case "everything":
      return one((held) => ({ peers: held.peers.includes(9) ? [2] : [9] }));
    case "adminState":
      return one((held) => ({ state: held.state === "usable" ? "disabled" : "usable" }));
    case "allDisabled":
      return { ...spec, connections: connections.map((held) => ({ ...held, state: "disabled" })) };
    case "unusable":
      return one((held) => ({ state: held.state === "usable" ? "unusable" : "usable" }));
    case "initiator":
      return one((held) => ({ isResponder: !held.isResponder }));
    case "peerMoved":
      return one((held) => ({ peer: other(5, 20, held.peer) }));
    case "tunnelMtu":
      return one((held) => ({ mtuBytes: other(1500, 1400, held.mtuBytes) }));
    case "linkMtu":
      return { ...spec, linkMtuBytes: other(1500, 1400, spec.linkMtuBytes) };
    case "address":
      return { ...spec, address: other(10, 11, spec.address) };
    case "prefixLength":
      return { ...spec, prefixLength6: other(64, 60, spec.prefixLength6) };
    case "gateway":
      return { ...spec, gateway: other(1, 2, spec.gateway) };
    case "transit":
      return { ...spec, transitPrefixLength: other(28, 30, spec.transitPrefixLength) };
    case "port":
      return { ...spec, port: 1 - spec.port };
    case "mac":
      return { ...spec, mac: 1 - spec.mac };
    case "routerRemoved":
      return undefined;
    default:
      return change satisfies never;
  }
}
