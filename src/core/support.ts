// What cannot be carried, by this ESP back end or at all, known before anything is loaded: never a silent fallback.
import { addressBits, cidrContains, familyOf } from "./address.ts";
import { isAead, type CharonAlgorithms, type KernelEsp } from "./algorithms.ts";
import type { EspBackEnd } from "./guard.ts";
import type { Cidr, DesiredConnection, DesiredRouter, IkePolicy, Tunnel } from "./model.ts";

export type Abilities = {
  readonly espBackEnd: EspBackEnd;
  /** What the kernel takes; undefined: it has no ESP. */
  readonly kernelEsp: KernelEsp | undefined;
  /** What the router's charon has plugins for; undefined until one has told. */
  readonly charon: CharonAlgorithms | undefined;
  readonly topology?: "transit" | "router";
};

/** Why this gateway cannot carry the tunnel; undefined when it can. */
export function unsupported(tunnel: Tunnel, abilities: Abilities): string | undefined {
  return (
    (abilities.topology === "router" ? unsupportedAmongOwn(tunnel) : undefined) ??
    unsupportedMode(tunnel, abilities.espBackEnd) ??
    unsupportedIke(tunnel.ike, abilities.charon) ??
    unsupportedChild(tunnel, abilities)
  );
}

/** In a router's own namespace charon's policies and routes would take what its networks say to each other and to it. */
function unsupportedAmongOwn({ localSubnets, peerSubnets }: Tunnel): string | undefined {
  for (const peer of peerSubnets) {
    const local = localSubnets.find((subnet) => cidrContains(peer, subnet) || cidrContains(subnet, peer));
    if (local !== undefined) {
      return `the peer's ${peer} and the local ${local} overlap, which topology router cannot carry: make one side narrower`;
    }
  }
  return undefined;
}

function unsupportedMode(tunnel: Tunnel, backEnd: EspBackEnd): string | undefined {
  const without = "needs kernel ESP, and this gateway runs ESP in userland (kernel-libipsec)";
  if (backEnd === "userland") {
    if (tunnel.ipsec.protocol === "ah") return `transform_protocol "ah" ${without}; use esp`;
    if (tunnel.ipsec.mode === "transport") return `encapsulation_mode "transport" ${without}; use tunnel`;
    return undefined;
  }
  return tunnel.ipsec.mode === "transport" ? notHostToHost(tunnel) : sameOnBothSides(tunnel);
}

// What charon says about a connection that it has loaded, and cannot compute, is "no acceptable proposal" of its own.
const NO_PLUGIN =
  "charon has no plugin for it here: install strongSwan's extra plugins, or use another; then `swanherd teardown` and `swanherd sync` this router";

function unsupportedIke(ike: IkePolicy, charon: CharonAlgorithms | undefined): string | undefined {
  const { version, encryption, authentication, dhGroup } = ike;
  const named = (key: string, word: string): string => `ikepolicy ${key} "${word}"`;
  if (version === 1) {
    // charon proposes such an IKE SA and then cannot derive its keys (5.9.8 and 6.0.1); RFC 2409 knows hashes only.
    const use = "cannot protect an IKEv1 SA: use another, or IKEv2";
    if (isAead(encryption) || encryption.endsWith("-ctr")) return `${named("encryption_algorithm", encryption)} ${use}`;
    if (authentication.startsWith("aes-")) return `${named("auth_algorithm", authentication)} ${use}`;
  }
  if (charon === undefined) return undefined;
  if (!charon.encryption.has(encryption)) return `${named("encryption_algorithm", encryption)}: ${NO_PLUGIN}`;
  const isAuthenticated = isAead(encryption) || charon.authentication.has(authentication);
  if (!isAuthenticated || !charon.prf.has(authentication))
    return `${named("auth_algorithm", authentication)}: ${NO_PLUGIN}`;
  return charon.dhGroups.has(dhGroup) ? undefined : `${named("pfs", dhGroup)}: ${NO_PLUGIN}`;
}

function unsupportedChild({ ike, ipsec }: Tunnel, { espBackEnd, kernelEsp, charon }: Abilities): string | undefined {
  const { protocol, encryption, authentication, dhGroup } = ipsec;
  const named = (key: string, word: string): string => `ipsecpolicy ${key} "${word}"`;
  const needsAuthentication = protocol === "ah" || !isAead(encryption);
  if (ike.version === 1 && needsAuthentication && authentication === "aes-cmac") {
    // IANA has no number for it among IKEv1's IPsec SA attributes: charon proposes none at all.
    return `${named("auth_algorithm", authentication)} cannot be asked for by IKEv1: use another, or IKEv2`;
  }
  if (espBackEnd === "kernel" && kernelEsp === undefined)
    return "espBackEnd is kernel, and this machine's kernel has no ESP";
  if (protocol === "ah" && kernelEsp?.hasAh === false)
    return `${named("transform_protocol", "ah")}: the kernel has no AH`;
  const carrier = espBackEnd === "kernel" ? kernelEsp : charon;
  const why = espBackEnd === "kernel" ? "this machine's kernel does not take it, use another" : NO_PLUGIN;
  if (carrier !== undefined) {
    if (protocol === "esp" && !carrier.encryption.has(encryption))
      return `${named("encryption_algorithm", encryption)}: ${why}`;
    if (needsAuthentication && !carrier.authentication.has(authentication))
      return `${named("auth_algorithm", authentication)}: ${why}`;
  }
  return charon === undefined || charon.dhGroups.has(dhGroup) ? undefined : `${named("pfs", dhGroup)}: ${NO_PLUGIN}`;
}

/**
 * The kernel's policies know addresses only: what was decrypted, and goes to the local subnet, matches the way out again,
 * and what comes from there matches what must have been encrypted. Between the subnets nothing would pass at all.
 */
function sameOnBothSides({ localSubnets, peerSubnets }: Tunnel): string | undefined {
  const both = localSubnets.find((subnet) => peerSubnets.includes(subnet));
  if (both === undefined) return undefined;
  return `${both} is on both sides, and ESP in the kernel cannot tell what goes there from what comes from there; make one side narrower`;
}

/**
 * charon takes no other selectors in transport mode: it leaves them out, and the peer is told of a mismatch (5.9.8 and
 * 6.0.1: TS_UNACCEPTABLE in IKEv2, "traffic selector missing in configuration" in IKEv1).
 */
function notHostToHost({ localAddress, localSubnets, peerAddress, peerSubnets }: Tunnel): string | undefined {
  const isOnly = (subnets: readonly Cidr[], address: string): boolean => {
    const [subnet = "", ...more] = subnets;
    const [host = "", length] = subnet.split("/");
    if (more.length > 0 || Number(length) !== addressBits(familyOf(host))) return false;
    return address === "%any" || host === address;
  };
  if (isOnly(localSubnets, localAddress) && isOnly(peerSubnets, peerAddress)) return undefined;
  const pair = `${localSubnets.join(" ")} === ${peerSubnets.join(" ")}`;
  return (
    'encapsulation_mode "transport" carries only what the two gateways themselves say to each other ' +
    `(${localAddress} === ${peerAddress}), and not ${pair}; use tunnel`
  );
}

/** The router with every connection that cannot be carried marked as unusable; it stays guarded. */
export function judged(router: DesiredRouter, abilities: Abilities): DesiredRouter {
  return { ...router, connections: router.connections.map((connection) => judgedConnection(connection, abilities)) };
}

function judgedConnection(connection: DesiredConnection, abilities: Abilities): DesiredConnection {
  if (connection.kind !== "usable") return connection;
  const text = unsupported(connection.tunnel, abilities);
  if (text === undefined) return connection;
  const { id, service, name, guarded, reportedStatus } = connection;
  return { id, service, name, guarded, reportedStatus, kind: "unusable", reason: { code: "unsupported", text } };
}
