// What cannot be carried, by this ESP back end or at all, known before anything is loaded: never a silent fallback.
import { addressBits, familyOf } from "./address.ts";
import type { EspBackEnd } from "./guard.ts";
import type { Cidr, DesiredConnection, DesiredRouter, Tunnel } from "./model.ts";

/** Why this back end cannot carry the tunnel; undefined when it can. */
function unsupported(tunnel: Tunnel, backEnd: EspBackEnd): string | undefined {
  const without = "needs kernel ESP, and this gateway runs ESP in userland (kernel-libipsec)";
  if (backEnd === "userland") {
    if (tunnel.ipsec.protocol === "ah") return `transform_protocol "ah" ${without}; use esp`;
    if (tunnel.ipsec.mode === "transport") return `encapsulation_mode "transport" ${without}; use tunnel`;
    return undefined;
  }
  return tunnel.ipsec.mode === "transport" ? notHostToHost(tunnel) : sameOnBothSides(tunnel);
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
export function judged(router: DesiredRouter, backEnd: EspBackEnd): DesiredRouter {
  return { ...router, connections: router.connections.map((connection) => judgedConnection(connection, backEnd)) };
}

function judgedConnection(connection: DesiredConnection, backEnd: EspBackEnd): DesiredConnection {
  if (connection.kind !== "usable") return connection;
  const text = unsupported(connection.tunnel, backEnd);
  if (text === undefined) return connection;
  const { id, service, name, guarded, reportedStatus } = connection;
  return { id, service, name, guarded, reportedStatus, kind: "unusable", reason: { code: "unsupported", text } };
}
