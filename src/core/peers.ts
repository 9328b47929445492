// Connections of one router to one peer share an IKE config; each is its children. Here is who shares with whom,
// whose IKE part counts, and who cannot take part.
import type { ConnectionId } from "./ids.ts";
import type { Cidr, Tunnel } from "./model.ts";
import { pairSuffix, peerName, type PeerName } from "./names.ts";
import type { Reason } from "./reason.ts";

export type Child = {
  readonly name: string;
  readonly localSubnets: readonly Cidr[];
  readonly peerSubnets: readonly Cidr[];
};

/** A connection within its peer. `held` members differ from the leader: they keep what is installed, for a while. */
export type Member = { readonly tunnel: Tunnel; readonly children: readonly Child[] };

export type Peer = {
  readonly name: PeerName;
  /** The member whose IKE part and PSK are in force. */
  readonly leader: Tunnel;
  readonly members: readonly Member[];
  /** Whether no other peer of this router has the same pair of identities: then a new IKE SA replaces the old one. */
  readonly hasOwnIdentities: boolean;
};

export type Conflict = { readonly reason: Omit<Reason, "sinceMs">; readonly peer?: PeerName };

export type Grouping = {
  readonly peers: readonly Peer[];
  readonly conflicts: ReadonlyMap<ConnectionId, Conflict>;
};

export const peerNameOf = (tunnel: Tunnel): PeerName =>
  peerName(tunnel.localAddress, tunnel.peerAddress, tunnel.localId, tunnel.peerId);

/**
 * The children of a connection. IKEv1 carries one pair of selectors a CHILD SA (RFC 2409 5.5), so there it is one child
 * a pair; in IKEv2 one child carries them all, unless `splitChildren` is asked for.
 */
export function childrenOf(tunnel: Tunnel, splitChildren: boolean): readonly Child[] {
  if (tunnel.ike.version === 2 && !splitChildren) {
    return [{ name: tunnel.id, localSubnets: tunnel.localSubnets, peerSubnets: tunnel.peerSubnets }];
  }
  return tunnel.localSubnets.flatMap((local) =>
    tunnel.peerSubnets.map((peer) => ({
      name: `${tunnel.id}-${pairSuffix(local, peer)}`,
      localSubnets: [local],
      peerSubnets: [peer],
    })),
  );
}

/** In which parts of IKE a member differs from its leader; empty when both can share one IKE SA. */
function differences(member: Tunnel, leader: Tunnel): string[] {
  const found: string[] = [];
  if (member.psk.reveal() !== leader.psk.reveal()) found.push("psk");
  if (member.ike.version !== leader.ike.version) found.push("ike_version");
  if (member.ike.version === 1 && member.ike.mode !== leader.ike.mode) found.push("phase1_negotiation_mode");
  for (const key of ["encryption", "authentication", "dhGroup"] as const) {
    if (member.ike[key] !== leader.ike[key]) found.push(NEUTRON_NAMES[key]);
  }
  return found;
}

const NEUTRON_NAMES = {
  encryption: "ike encryption_algorithm",
  authentication: "ike auth_algorithm",
  dhGroup: "ike pfs",
} as const;

const byText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/**
 * Groups a router's usable connections by peer. `committed` are those that charon holds already (leaders among them in
 * `leaders`): they win against newcomers, so that creating a connection never takes a working one down.
 */
export function groupPeers(
  tunnels: readonly Tunnel[],
  held: { readonly committed: ReadonlySet<ConnectionId>; readonly leaders: ReadonlySet<ConnectionId> },
  splitChildren: boolean,
): Grouping {
  const rank = (t: Tunnel): number => (held.leaders.has(t.id) ? 0 : held.committed.has(t.id) ? 1 : 2);
  const ordered = [...tunnels].sort((a, b) => rank(a) - rank(b) || byText(a.id, b.id));

  const conflicts = new Map<ConnectionId, Conflict>();
  const ownerOfPair = new Map<string, ConnectionId>();
  const groups = new Map<PeerName, Tunnel[]>();
  for (const tunnel of ordered) {
    const name = peerNameOf(tunnel);
    const group = groups.get(name) ?? [];
    const leader = group[0];
    const differing = leader === undefined ? [] : differences(tunnel, leader);
    if (leader !== undefined && differing.length > 0) {
      const text = `differs from connection ${leader.id} to the same peer in: ${differing.join(", ")}; make them equal`;
      conflicts.set(tunnel.id, { peer: name, reason: { code: "differs-from-leader", text } });
      continue;
    }
    const pairs = tunnel.localSubnets.flatMap((l) => tunnel.peerSubnets.map((p) => `${l} === ${p}`));
    const taken = pairs.find((pair) => ownerOfPair.has(pair));
    if (taken !== undefined) {
      const text = `${taken} belongs to connection ${String(ownerOfPair.get(taken))} of this router already; change one of them`;
      conflicts.set(tunnel.id, { reason: { code: "conflicts-with-connection", text } });
      continue;
    }
    for (const pair of pairs) ownerOfPair.set(pair, tunnel.id);
    groups.set(name, [...group, tunnel]);
  }

  const identityUse = new Map<string, number>();
  const identities = (t: Tunnel): string => JSON.stringify([t.localId, t.peerId]);
  for (const [leader] of groups.values()) {
    if (leader !== undefined) identityUse.set(identities(leader), (identityUse.get(identities(leader)) ?? 0) + 1);
  }
  const peers: Peer[] = [];
  for (const [name, members] of groups) {
    const [leader] = members;
    if (leader === undefined) continue;
    peers.push({
      name,
      leader,
      members: [...members]
        .sort((a, b) => byText(a.id, b.id))
        .map((tunnel) => ({ tunnel, children: childrenOf(tunnel, splitChildren) })),
      hasOwnIdentities: identityUse.get(identities(leader)) === 1,
    });
  }
  return { peers: peers.sort((a, b) => byText(a.name, b.name)), conflicts };
}
