// Deterministic names of what we make, and back again: a name is the proof that a thing is ours to remove.
import { createHash } from "node:crypto";
import { isUuid, routerId, type PortId, type RouterId } from "./ids.ts";

// IFNAMSIZ is 16 with its NUL (linux/if.h).
const MAX_INTERFACE_NAME_BYTES = 15;
const NAMESPACE_PREFIX = "qvpn-";

/** Neutron's own name for the namespace of a router's VPN: `qvpn-<router id>`. */
export const namespaceName = (router: RouterId): string => `${NAMESPACE_PREFIX}${router}`;

/** The router of a namespace name, undefined when the name is not of our scheme. */
export function routerOfNamespace(name: string): RouterId | undefined {
  if (!name.startsWith(NAMESPACE_PREFIX)) return undefined;
  const rest = name.slice(NAMESPACE_PREFIX.length);
  return isUuid(rest) ? routerId(rest) : undefined;
}

/** Both ends of a veth pair: `inner` lives in the router's VPN namespace, `outer` where it is attached. */
export type VethNames = { readonly inner: string; readonly outer: string };

const portName = (prefix: string, port: PortId): string => `${prefix}${port}`.slice(0, MAX_INTERFACE_NAME_BYTES - 1);

/** vg…: the stock agent's name for the external end (prefix and port id, cut to 14); the host end gets the prefix `hg`. */
export const externalVeth = (port: PortId): VethNames => ({ inner: portName("vg", port), outer: portName("hg", port) });

/** vr…: the internal end; `hr…` is in the router's own namespace. */
export const transitVeth = (port: PortId): VethNames => ({ inner: portName("vr", port), outer: portName("hr", port) });

/** The alias on our veths that tells them from the stock agent's and from another swanherd's on the same machine. */
export const ownerAlias = (host: string): string => `swanherd:${host}`;

/** The chain that tells our tables in a router's own namespace from those of another agent on the same machine. */
export const ownerChain = (alias: string): string => `owner_${hexDigest(alias, 12)}`;

/** RFC 9562, section 5.5 (version 5): the same id for the same name of the same namespace, everywhere and for ever. */
export function uuidOfName(namespace: string, name: string): string {
  const hash = createHash("sha1")
    .update(Buffer.from(namespace.replaceAll("-", ""), "hex"))
    .update(name, "utf8")
    .digest()
    .subarray(0, 16);
  hash[6] = ((hash[6] ?? 0) & 0x0f) | 0x50;
  hash[8] = ((hash[8] ?? 0) & 0x3f) | 0x80;
  const hex = hash.toString("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

const hexDigest = (text: string, characters: number): string =>
  createHash("sha256").update(text).digest("hex").slice(0, characters);

declare const peerBrand: unique symbol;
/** Name of a VICI connection: one for each (local address, peer address, local id, peer id) of a router. */
export type PeerName = string & { readonly [peerBrand]: "PeerName" };

const PEER_NAME = /^peer-[0-9a-f]{12}$/;
export const isPeerName = (raw: string): raw is PeerName => PEER_NAME.test(raw);

/** Under which a peer is loaded to see whether charon would take it. */
export const trialName = (peer: PeerName): string => `try-${peer}`;
export const isTrialName = (raw: string): boolean => raw.startsWith("try-") && isPeerName(raw.slice("try-".length));

export function peerName(localAddress: string, peerAddress: string, localId: string, peerId: string): PeerName {
  return `peer-${hexDigest(JSON.stringify([localAddress, peerAddress, localId, peerId]), 12)}` as PeerName;
}

/** Suffix of a child that carries one pair of subnets only (IKEv1). Stable under changes of the other pairs. */
export const pairSuffix = (localSubnet: string, peerSubnet: string): string =>
  hexDigest(JSON.stringify([localSubnet, peerSubnet]), 8);
