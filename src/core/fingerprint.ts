// Keyed fingerprints of the parts of a connection, and the marker in charon that records which of them are in force.
// Keyed, because charon logs and lists ids: a plain hash of a PSK could be guessed offline.
import { createHmac } from "node:crypto";
import { connectionId, isUuid, type ConnectionId } from "./ids.ts";
import type { Tunnel } from "./model.ts";
import type { Member, Peer } from "./peers.ts";

declare const fingerprintBrand: unique symbol;
/** 16 hex characters of an HMAC-SHA256 under this node's key. */
export type Fingerprint = string & { readonly [fingerprintBrand]: "Fingerprint" };

const FINGERPRINT_CHARACTERS = 16;

/** This node's random key (32 bytes). Never printed. */
export type NodeKey = Uint8Array;

function fingerprint(key: NodeKey, part: string, value: unknown): Fingerprint {
  const text = JSON.stringify([part, value]);
  return createHmac("sha256", key).update(text).digest("hex").slice(0, FINGERPRINT_CHARACTERS) as Fingerprint;
}

/**
 * What is in force for one connection, by how a change of it is applied: `secret` re-authenticates, `ike` replaces the
 * IKE SA, `terms` makes another IKE SA before it ends the old one, `child` replaces the CHILD SAs, `selectors` adds the
 * new before it removes the old, `soft` is only loaded.
 */
export type Fingerprints = {
  readonly secret: Fingerprint;
  readonly ike: Fingerprint;
  readonly terms: Fingerprint;
  readonly child: Fingerprint;
  readonly selectors: Fingerprint;
  readonly soft: Fingerprint;
};

export const FINGERPRINT_PARTS = ["secret", "ike", "terms", "child", "selectors", "soft"] as const;

/** The fingerprints of a member under its peer: the IKE parts are the leader's. */
export function fingerprintsOf(key: NodeKey, peer: Peer, member: Member): Fingerprints {
  const { leader } = peer;
  const { tunnel, children } = member;
  const { ipsec } = tunnel;
  return {
    secret: secretFingerprint(key, leader),
    ike: fingerprint(key, "ike", [
      leader.ike.version,
      leader.ike.version === 1 ? leader.ike.mode : "",
      leader.ike.encryption,
      leader.ike.authentication,
      leader.ike.dhGroup,
    ]),
    terms: termsFingerprint(key, peer),
    child: fingerprint(key, "child", [
      ipsec.protocol,
      ipsec.mode,
      ipsec.encryption,
      ipsec.authentication,
      ipsec.dhGroup,
    ]),
    selectors: fingerprint(key, "selectors", children),
    soft: fingerprint(key, "soft", [ipsec.lifetime, tunnel.dpd.action, tunnel.initiator]),
  };
}

/** All that the IKE part of a config says beside secret and algorithms. */
export const termsFingerprint = (key: NodeKey, { leader, hasOwnIdentities }: Peer): Fingerprint =>
  fingerprint(key, "terms", [
    leader.ike.lifetime,
    leader.dpd.action === "disabled" ? 0 : leader.dpd.intervalSeconds,
    leader.ike.version === 1 ? leader.dpd.timeoutSeconds : 0,
    leader.initiator,
    hasOwnIdentities,
  ]);

export const secretFingerprint = (key: NodeKey, tunnel: Tunnel): Fingerprint =>
  pskFingerprint(key, tunnel.localId, tunnel.peerId, tunnel.psk.reveal());

export const pskFingerprint = (key: NodeKey, localId: string, peerId: string, psk: string): Fingerprint =>
  fingerprint(key, "secret", [localId, peerId, psk]);

/** For people to compare: enough to tell two secrets apart, too little to be looked for by guessing. */
export const shortFingerprint = (text: string): string => text.slice(0, 8);

/** A fingerprint of all that a connection asks for: what was refused is worth another try only when it changes. */
export const tunnelFingerprint = (key: NodeKey, tunnel: Tunnel): Fingerprint =>
  fingerprint(key, "tunnel", [tunnel, tunnel.psk.reveal()]);

/** A fingerprint of any other value of ours that is compared only for equality, e.g. a file's text. */
export const textFingerprint = (key: NodeKey, text: string): Fingerprint => fingerprint(key, "text", text);

/** The commit record of one connection, loaded last: its presence in charon says that all its parts are in force. */
export type Marker = {
  readonly connection: ConnectionId;
  readonly leads: boolean;
  readonly fingerprints: Fingerprints;
};

const MARKER_PREFIX = "ntlm-swanherd-";
const MARKER = /^ntlm-swanherd-([0-9a-f-]{36})-([lm])([0-9a-f]{96})$/;

/** The id of the marker secret: a legal section name, so that swanctl's files can hold it. */
export const encodeMarker = (marker: Marker): string =>
  `${MARKER_PREFIX}${marker.connection}-${marker.leads ? "l" : "m"}${FINGERPRINT_PARTS.map((part) => marker.fingerprints[part]).join("")}`;

export const isMarkerId = (secretId: string): boolean => secretId.startsWith(MARKER_PREFIX);

/** The marker that a secret id stands for; undefined for every other secret. */
export function decodeMarker(secretId: string): Marker | undefined {
  const match = MARKER.exec(secretId);
  const [, id, role, hex] = match ?? [];
  if (id === undefined || hex === undefined || !isUuid(id)) return undefined;
  const part = (index: number): Fingerprint =>
    hex.slice(index * FINGERPRINT_CHARACTERS, (index + 1) * FINGERPRINT_CHARACTERS) as Fingerprint;
  return {
    connection: connectionId(id),
    leads: role === "l",
    fingerprints: {
      secret: part(0),
      ike: part(1),
      terms: part(2),
      child: part(3),
      selectors: part(4),
      soft: part(5),
    },
  };
}

/** The id of a peer's PSK in charon: replaceable and removable on its own. */
export const secretId = (peer: string, secret: Fingerprint): string => `ike-${peer}-${secret}`;

/** The peer whose PSK a secret id names; undefined for a secret that is not of our scheme. */
export function peerOfSecretId(id: string): string | undefined {
  return /^ike-(peer-[0-9a-f]{12})-[0-9a-f]{16}$/.exec(id)?.[1];
}
