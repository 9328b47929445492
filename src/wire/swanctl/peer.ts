// A Peer and its members as swanctl sections: the only place that knows charon's key names for configuration
// (swanctl.conf(5); VICI README, load-conn and load-shared).
import { encodeMarker, secretId, type Fingerprint, type Marker } from "../../core/fingerprint.ts";
import type { Lifetime, Tunnel } from "../../core/model.ts";
import type { Child, Member, Peer } from "../../core/peers.ts";
import { mayInitiate } from "../../core/plan-peer.ts";
import { ahProposal, espProposal, ikeProposal } from "./algorithms.ts";
import type { Section } from "./section.ts";

import type { EspBackEnd } from "../../core/guard.ts";

const seconds = (value: number): string => `${value}s`;

/** Soft and hard limits: rekeying begins at 90 % (75 % of short ones), spread over 5 % so that peers do not collide. */
function timeLimits(totalSeconds: number): { rekey: number; over: number; spread: number } {
  const rekey = Math.floor(totalSeconds * (totalSeconds < 120 ? 0.75 : 0.9));
  return { rekey, over: totalSeconds - rekey, spread: Math.floor(totalSeconds * 0.05) };
}

function ikeLifetime(lifetime: Lifetime): Section {
  if (lifetime.kind === "kilobytes") return {};
  const { rekey, over, spread } = timeLimits(lifetime.seconds);
  return { rekey_time: seconds(rekey), over_time: seconds(over), rand_time: seconds(spread), reauth_time: "0s" };
}

function childLifetime(lifetime: Lifetime): Section {
  if (lifetime.kind === "kilobytes") {
    const bytes = lifetime.kilobytes * 1024;
    return {
      life_bytes: String(bytes),
      rekey_bytes: String(Math.floor(bytes * 0.9)),
      rand_bytes: String(Math.floor(bytes * 0.05)),
    };
  }
  const { rekey, spread } = timeLimits(lifetime.seconds);
  return { life_time: seconds(lifetime.seconds), rekey_time: seconds(rekey), rand_time: seconds(spread) };
}

/** charon's dpd_action. A side that must not initiate clears; traps revive nothing under kernel-libipsec. */
function dpdAction(tunnel: Tunnel, backEnd: EspBackEnd): string {
  switch (tunnel.dpd.action) {
    case "clear":
    case "disabled":
      return "clear";
    case "hold":
      return !mayInitiate(tunnel) || backEnd === "userland" ? "clear" : "trap";
    case "restart":
    case "restart-by-peer":
      return mayInitiate(tunnel) ? "restart" : "clear";
  }
}

/**
 * `trap` and an explicit initiate, never `start`: with `start`, replacing or unloading a config terminates its SAs
 * (swanctl.conf, start_action).
 */
function childSection(tunnel: Tunnel, child: Child, backEnd: EspBackEnd): Section {
  const action = mayInitiate(tunnel) && backEnd === "kernel" ? "trap" : "none";
  const { ipsec } = tunnel;
  const proposals: Section =
    ipsec.protocol === "ah" ? { ah_proposals: [ahProposal(ipsec)] } : { esp_proposals: [espProposal(ipsec)] };
  return {
    mode: ipsec.mode,
    local_ts: child.localSubnets,
    remote_ts: child.peerSubnets,
    ...proposals,
    ...childLifetime(ipsec.lifetime),
    start_action: action,
    close_action: action,
    dpd_action: dpdAction(tunnel, backEnd),
  };
}

/**
 * charon's comparison of configs leaves dpd_timeout out (peer_cfg.c, equals; 5.9.8 and 6.0.1): another one alone would be
 * taken for no change. An EAP identity is compared, and means nothing beside a pre-shared key. Only IKEv1 has the timeout.
 */
const distinction = ({ ike, dpd }: Tunnel): Section =>
  ike.version === 1 ? { eap_id: `dpd-timeout-${dpd.timeoutSeconds}.swanherd.invalid` } : {};

function ikeSection(peer: Peer): Section {
  const { leader } = peer;
  const dpdOn = leader.dpd.action !== "disabled" && leader.dpd.intervalSeconds > 0;
  return {
    version: String(leader.ike.version),
    local_addrs: [leader.localAddress],
    remote_addrs: [leader.peerAddress],
    ...(leader.ike.version === 1 ? { aggressive: leader.ike.mode === "aggressive" ? "yes" : "no" } : {}),
    proposals: [ikeProposal(leader.ike)],
    ...ikeLifetime(leader.ike.lifetime),
    dpd_delay: seconds(dpdOn ? leader.dpd.intervalSeconds : 0),
    ...(dpdOn && leader.ike.version === 1 ? { dpd_timeout: seconds(leader.dpd.timeoutSeconds) } : {}),
    mobike: "no",
    fragmentation: "yes",
    send_certreq: "no",
    unique: peer.hasOwnIdentities ? "replace" : "never",
    keyingtries: mayInitiate(leader) ? "0" : "1",
    local: { auth: "psk", id: leader.localId, ...distinction(leader) },
    remote: { auth: "psk", id: leader.peerId },
  };
}

const children = (members: readonly Member[], backEnd: EspBackEnd): Section =>
  Object.fromEntries(
    members.flatMap((m) => m.children.map((c) => [c.name, childSection(m.tunnel, c, backEnd)] as const)),
  );

/** What load-conn takes under the peer's name: the IKE part and the children of all members. */
export const peerSection = (peer: Peer, backEnd: EspBackEnd): Section => ({
  ...ikeSection(peer),
  children: children(peer.members, backEnd),
});

/**
 * The owners of a PSK. Neutron's ids may be the address itself; an address beside the ids helps IKEv1 main mode, where
 * the responder must choose the key before it has seen an identity (RFC 2409 5.4).
 */
export function secretOwners(leader: Tunnel): readonly string[] {
  const owners = [leader.localId, leader.peerId];
  if (leader.ike.version === 1 && leader.peerAddress !== "%any") owners.push(leader.peerAddress);
  return [...new Set(owners)];
}

/** An owner that no peer can have: the marker takes part in no negotiation. */
const markerOwner = (marker: Marker): string => `fqdn:${marker.connection}.marker.swanherd.invalid`;

export type SharedSecret = {
  readonly id: string;
  readonly type: "IKE" | "NTLM";
  readonly owners: readonly string[];
};

export const peerSecret = (peer: Peer, secret: Fingerprint): SharedSecret => ({
  id: secretId(peer.name, secret),
  type: "IKE",
  owners: secretOwners(peer.leader),
});

export const markerSecret = (marker: Marker): SharedSecret => ({
  id: encodeMarker(marker),
  type: "NTLM",
  owners: [markerOwner(marker)],
});

/**
 * The conf file of one member: the peer's identical IKE part, its own children, the secret and its marker. swanctl merges
 * the equally named sections of all files into the same connection that VICI was given. `0s` is base64, which swanctl
 * decodes (swanctl.conf, secrets).
 */
export function memberFile(
  peer: Peer,
  member: Member,
  parts: {
    readonly secret: Fingerprint;
    readonly marker: Marker;
    readonly markerData: string;
    readonly backEnd: EspBackEnd;
  },
): Section {
  const shared = peerSecret(peer, parts.secret);
  const marker = markerSecret(parts.marker);
  const owners = (list: readonly string[]): Section =>
    Object.fromEntries(list.map((o, i) => [`id-${String(i + 1)}`, o]));
  const psk = Buffer.from(peer.leader.psk.reveal(), "utf8").toString("base64");
  return {
    connections: {
      [peer.name]: { ...ikeSection(peer), children: children([member], parts.backEnd) },
    },
    secrets: {
      [shared.id]: { ...owners(shared.owners), secret: `0s${psk}` },
      [marker.id]: { ...owners(marker.owners), secret: parts.markerData },
    },
  };
}
