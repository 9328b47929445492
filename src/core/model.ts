// The domain's words: what a router's IPsec should be (Desired…), as values that perform nothing.
// Units are in the names. Algorithm names are Neutron's, which are the IANA registry's in lower case.
import type { ConnectionId, PortId, RouterId, ServiceId } from "./ids.ts";
import type { Reason } from "./reason.ts";
import type { Secret } from "./secret.ts";

export type IpFamily = 4 | 6;
/** Canonical CIDR: host bits masked, IPv6 compressed in lower case. */
export type Cidr = string;

export type Lifetime =
  { readonly kind: "seconds"; readonly seconds: number } | { readonly kind: "kilobytes"; readonly kilobytes: number };

export type IkePolicy = {
  readonly version: 1 | 2;
  readonly mode: "main" | "aggressive";
  readonly encryption: string;
  readonly authentication: string;
  readonly dhGroup: string;
  readonly lifetime: Lifetime;
};

export type IpsecPolicy = {
  readonly protocol: "esp" | "ah";
  readonly mode: "tunnel" | "transport";
  readonly encryption: string;
  readonly authentication: string;
  readonly dhGroup: string;
  readonly lifetime: Lifetime;
};

export type DpdAction = "hold" | "clear" | "restart" | "disabled" | "restart-by-peer";

/** One Neutron ipsec-site-connection that can be configured here. */
export type Tunnel = {
  readonly id: ConnectionId;
  readonly localAddress: string;
  /** `%any` when the peer's address is not known beforehand. */
  readonly peerAddress: string;
  /** Identities in strongSwan's notation; wire/neutron undoes Neutron's `@` rule. */
  readonly localId: string;
  readonly peerId: string;
  readonly psk: Secret;
  readonly localSubnets: readonly Cidr[];
  readonly peerSubnets: readonly Cidr[];
  readonly ike: IkePolicy;
  readonly ipsec: IpsecPolicy;
  readonly initiator: "bi-directional" | "response-only";
  readonly dpd: { readonly action: DpdAction; readonly intervalSeconds: number; readonly timeoutSeconds: number };
  readonly mtuBytes: number;
};

/** What must never leave in clear: traffic between these, both ways. */
export type Guarded = { readonly localSubnets: readonly Cidr[]; readonly peerSubnets: readonly Cidr[] };

/**
 * One listed connection. `usable` has all that charon needs; `disabled` is admin down; `unusable` cannot be configured
 * here and says why. All three are guarded.
 */
export type DesiredConnection = {
  readonly id: ConnectionId;
  readonly service: ServiceId;
  readonly name: string;
  readonly guarded: Guarded;
  /** The status that the control plane held when the list was fetched: PENDING_* needs `updated_pending_status`. */
  readonly reportedStatus: string;
} & (
  | { readonly kind: "usable"; readonly tunnel: Tunnel }
  | { readonly kind: "disabled"; readonly why: "connection" | "service" }
  | { readonly kind: "unusable"; readonly reason: Omit<Reason, "sinceMs"> }
);

export type DesiredService = {
  readonly id: ServiceId;
  readonly name: string;
  readonly project: string;
  readonly enabled: boolean;
  readonly reportedStatus: string;
};

export type InterfaceAddress = { readonly address: string; readonly prefixLength: number };

/** The plumbing of topology `transit`: the external port and the transit port of one router. */
export type Plumbing = {
  readonly external: {
    readonly port: PortId;
    readonly macAddress: string;
    readonly mtuBytes: number;
    readonly addresses: readonly InterfaceAddress[];
    /** Next hops of the default routes, at most one a family; a family without one has no default route. */
    readonly gateways: readonly string[];
    readonly network: { readonly id: string; readonly name: string };
  };
  readonly transit: {
    readonly port: PortId;
    readonly macAddress: string;
    readonly addresses: readonly InterfaceAddress[];
    /** The router's side of the transit network, IPv4 (Neutron's is 169.254.0.1). */
    readonly gatewayAddress: string;
  };
};

export type DesiredRouter = {
  readonly id: RouterId;
  readonly services: readonly DesiredService[];
  readonly connections: readonly DesiredConnection[];
  readonly plumbing: DesiredPlumbing;
};

/**
 * `unknown`: the control plane could not tell it yet; what is plugged stays as it is. `none`: topology `router`, where
 * nothing is plugged and nobody is asked.
 */
export type DesiredPlumbing =
  | { readonly kind: "known"; readonly value: Plumbing }
  | { readonly kind: "unknown"; readonly why: string }
  | { readonly kind: "none" };

/** Unknown is never empty: nothing is removed because nothing was heard. */
export type Desired =
  | { readonly kind: "unknown" }
  | { readonly kind: "remembered" | "fetched"; readonly routers: ReadonlyMap<RouterId, DesiredRouter> };
