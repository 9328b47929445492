// (desired, observed, what failed) -> what we report of each connection and service, and why. The status says what is
// true, and an update that was not applied is never called fine.
import { canonicalAddress, familyOf } from "./address.ts";
import type { ConnectionId } from "./ids.ts";
import type { DesiredConnection, DesiredRouter, Tunnel } from "./model.ts";
import { belongsTo, carriesAll, carriesTraffic, type ChildSa, type Notes, type ObservedCharon } from "./observed.ts";
import { childrenOf, peerNameOf, type Child, type Grouping } from "./peers.ts";
import { mayInitiate } from "./plan-peer.ts";
import type { Reason } from "./reason.ts";
import type { ChildState, ConnectionState, ReportedStatus, ServiceState } from "./status.ts";

/** How long something that keeps a router from working is DOWN before it is ERROR. */
export const FAULT_GRACE_MS = 30_000;
/** An accepted update that is not written and loaded after this is ERROR, even while the old tunnel carries traffic. */
const UPDATE_GRACE_MS = 30_000;

type Cause = Omit<Reason, "sinceMs">;

/** What the last pass met. `sinceMs` is when the fault was first seen. */
export type Fault = { readonly cause: Cause; readonly sinceMs: number; readonly isFinal: boolean };

export type StatusInput = {
  readonly router: DesiredRouter;
  readonly charon: ObservedCharon;
  readonly grouping: Grouping | undefined;
  readonly notes: Notes | undefined;
  readonly inSync: ReadonlySet<ConnectionId>;
  /** What stops the whole router: plumbing, charon, an internal error. */
  readonly fault: Fault | undefined;
  /** What stops the connections of a router that have local subnets of IPv6. */
  readonly ipv6Fault?: Fault | undefined;
  /** An operator's teardown holds until their sync. */
  readonly isTornDown: boolean;
  /** Why another machine carries the router. */
  readonly standby?: string | undefined;
  readonly previous: ReadonlyMap<ConnectionId, ConnectionState>;
  readonly nowMs: number;
  readonly splitChildren: boolean;
};

type Verdict = { readonly status: ReportedStatus; readonly cause?: Cause };

const down = (code: Reason["code"], text: string): Verdict => ({ status: "DOWN", cause: { code, text } });
/** Of a connection that is switched off, by itself or with its service. */
export const adminDownWords = ({ why }: { readonly why: "connection" | "service" }): string =>
  `the ${why} has admin_state_up = false`;
const error = (cause: Cause): Verdict => ({ status: "ERROR", cause });

/** The state of every listed connection of a router. */
export function connectionStates(input: StatusInput): readonly ConnectionState[] {
  return input.router.connections.map((connection) => connectionState(connection, input));
}

function connectionState(connection: DesiredConnection, input: StatusInput): ConnectionState {
  const tunnel = connection.kind === "usable" ? connection.tunnel : undefined;
  const children = tunnel === undefined ? [] : childStates(tunnel, input);
  const { status, cause } = verdict(connection, children, input);
  const before = input.previous.get(connection.id)?.reason;
  const isSame = before !== undefined && cause?.code === before.code && cause.text === before.text;
  const ikeSa =
    tunnel === undefined
      ? undefined
      : ikeSasOf(input.charon, tunnel).find(
          (sa) => sa.state === "established" && sa.children.some((c) => belongsTo(c.name, tunnel.id)),
        );
  return {
    id: connection.id,
    name: connection.name,
    service: connection.service,
    status,
    ...(cause === undefined ? {} : { reason: isSame ? before : { ...cause, sinceMs: input.nowMs } }),
    inSync: isInSync(connection, input),
    ...(tunnel === undefined
      ? {}
      : { localAddress: tunnel.localAddress, peerAddress: tunnel.peerAddress, ikeVersion: tunnel.ike.version }),
    ...(ikeSa === undefined ? {} : { ikeSpis: ikeSa.spis }),
    children,
  };
}

/** Nothing is in sync while a part of it cannot be had; what is not to be loaded is so when charon holds nothing of it. */
function isInSync({ id, kind }: DesiredConnection, { charon, fault, inSync }: StatusInput): boolean {
  if (fault !== undefined) return false;
  if (kind === "usable") return charon.kind === "up" && inSync.has(id);
  if (charon.kind !== "up") return charon.kind === "absent";
  const names = [...charon.peers.values()].flatMap((children) => [...children]);
  const sas = charon.ikeSas.flatMap((sa) => sa.children).filter((child) => child.state !== "ending");
  return (
    !charon.markers.has(id) &&
    !charon.files.has(id) &&
    ![...names, ...sas.map(({ name }) => name)].some((name) => belongsTo(name, id))
  );
}

function verdict(connection: DesiredConnection, children: readonly ChildState[], input: StatusInput): Verdict {
  switch (connection.kind) {
    case "unusable":
      return error(connection.reason);
    case "disabled":
      return down("admin-down", adminDownWords(connection));
    case "usable":
      if (input.isTornDown)
        return down("admin-down", "taken down by `swanherd teardown`; `swanherd sync` brings it back");
      if (input.standby !== undefined) return down("ha-standby", input.standby);
      return usableVerdict(connection.tunnel, children, input);
  }
}

function usableVerdict(tunnel: Tunnel, children: readonly ChildState[], input: StatusInput): Verdict {
  const conflict = input.grouping?.conflicts.get(tunnel.id);
  if (conflict !== undefined) return error(conflict.reason);
  const refusal = input.notes?.refusals.get(tunnel.id);
  if (refusal !== undefined) return error({ code: "unsupported", text: refusal.failure.text });
  const hasIpv6 = tunnel.localSubnets.some((cidr) => familyOf(cidr) === 6);
  const fault = input.fault ?? (hasIpv6 ? input.ipv6Fault : undefined);
  if (fault !== undefined) {
    const isOld = input.nowMs - fault.sinceMs >= FAULT_GRACE_MS;
    return fault.isFinal || isOld ? error(fault.cause) : { status: "DOWN", cause: fault.cause };
  }
  if (input.charon.kind !== "up") return down("charon-down", "charon is being started");
  const pendingSinceMs = input.notes?.pendingSinceMs.get(tunnel.id);
  if (pendingSinceMs !== undefined && input.nowMs - pendingSinceMs >= UPDATE_GRACE_MS) {
    return error({
      code: "update-not-applied",
      text: "update not applied: charon does not hold the connection as it is wanted",
    });
  }
  return negotiatedVerdict(tunnel, children, input);
}

/** By the CHILD SAs: what is installed, what is not, and what the last attempt met. */
function negotiatedVerdict(tunnel: Tunnel, children: readonly ChildState[], input: StatusInput): Verdict {
  const installed = children.filter((child) => child.installed);
  if (installed.length === children.length) {
    const narrowed = narrowing(tunnel, input);
    return narrowed === undefined ? { status: "ACTIVE" } : down("selectors-narrowed", narrowed);
  }
  if (installed.length === 0) {
    const missing = missingAddress(tunnel, input.router);
    if (missing !== undefined) return error({ code: "no-external-address", text: missing });
  }
  const failure = input.notes?.failures.get(peerNameOf(tunnel));
  if (installed.length > 0) {
    const missing = children.filter((child) => !child.installed).map(describePair);
    const because = failure === undefined ? "" : `; ${failure.text}`;
    return down(
      "partly-installed",
      `partly installed (${installed.length} of ${children.length}), missing ${missing.join(", ")}${because}`,
    );
  }
  if (failure !== undefined) return down(failure.code, failure.text);
  if (!mayInitiate(tunnel)) return down("initiator-is-peer", "waiting for the peer to initiate");
  return down("negotiating", `negotiating with ${tunnel.peerAddress}`);
}

/** The service keeps the address that the router's gateway had when it was made (service_drivers/base_ipsec.py). */
function missingAddress({ localAddress }: Tunnel, { plumbing }: DesiredRouter): string | undefined {
  if (plumbing.kind !== "known") return undefined;
  const addresses = plumbing.value.external.addresses.map(({ address }) => canonicalAddress(address));
  if (addresses.includes(canonicalAddress(localAddress))) return undefined;
  const are = addresses.length === 0 ? "none" : addresses.join(", ");
  return `external_ip ${localAddress} is no address of the router's external port (${are}): create the service again`;
}

const describePair = (child: {
  readonly localSubnets: readonly string[];
  readonly peerSubnets: readonly string[];
}): string => `${child.localSubnets.join(" ")} === ${child.peerSubnets.join(" ")}`;

/** Selectors that the peer narrowed, in words. An outdated SA does not count: its successor is on the way. */
function narrowing(tunnel: Tunnel, input: StatusInput): string | undefined {
  const wanted = childrenOf(tunnel, input.splitChildren);
  const isStale = (sa: ChildSa): boolean => input.notes?.staleChildSas.has(sa.uniqueId) === true;
  for (const child of wanted) {
    const sas = childSasOf(input.charon, tunnel, child).filter((sa) => !isStale(sa));
    const sa = sas.at(-1);
    if (sa === undefined || carriesAll(sa, child)) continue;
    return `traffic selectors narrowed: asked ${describePair(child)}, got ${describePair(sa)}`;
  }
  return undefined;
}

const ikeSasOf = (charon: ObservedCharon, tunnel: Tunnel) =>
  charon.kind === "up" ? charon.ikeSas.filter((sa) => sa.peer === peerNameOf(tunnel)) : [];

const childSasOf = (charon: ObservedCharon, tunnel: Tunnel, child: Child): ChildSa[] =>
  ikeSasOf(charon, tunnel)
    .flatMap((sa) => sa.children)
    .filter((sa) => sa.name === child.name && carriesTraffic(sa));

function childStates(tunnel: Tunnel, input: StatusInput): readonly ChildState[] {
  return childrenOf(tunnel, input.splitChildren).map((child) => {
    const sas = childSasOf(input.charon, tunnel, child);
    const newest = sas.at(-1);
    const sum = (of: (sa: ChildSa) => number): number => sas.reduce((total, sa) => total + of(sa), 0);
    return {
      name: child.name,
      localSubnets: child.localSubnets,
      peerSubnets: child.peerSubnets,
      installed: newest !== undefined,
      ...(newest === undefined ? {} : { spiIn: newest.spiIn, spiOut: newest.spiOut }),
      bytesIn: sum((sa) => sa.bytesIn),
      bytesOut: sum((sa) => sa.bytesOut),
      packetsIn: sum((sa) => sa.packetsIn),
      packetsOut: sum((sa) => sa.packetsOut),
    };
  });
}

/**
 * A service is ACTIVE while its charon runs and one of its connections is admin-up, ERROR when charon or the plumbing
 * cannot be had, else DOWN.
 */
export function serviceStates(
  router: DesiredRouter,
  charon: ObservedCharon,
  fault: Fault | undefined,
  nowMs: number,
): readonly ServiceState[] {
  const isBroken = fault !== undefined && (fault.isFinal || nowMs - fault.sinceMs >= FAULT_GRACE_MS);
  return router.services.map((service) => {
    const isWanted =
      service.enabled && router.connections.some((c) => c.service === service.id && c.kind !== "disabled");
    const status = !isWanted
      ? "DOWN"
      : isBroken
        ? "ERROR"
        : charon.kind === "up" && fault === undefined
          ? "ACTIVE"
          : "DOWN";
    return { id: service.id, name: service.name, status };
  });
}
