// What the reconciler needs from outside, in the core's own words. Every call is idempotent unless it says otherwise.
import type { KernelEsp } from "./algorithms.ts";
import type { CharonStep } from "./charon-step.ts";
import type { DataPlane } from "./data-plane.ts";
import type { Finding } from "./finding.ts";
import type { Fingerprint, Marker } from "./fingerprint.ts";
import type { ConnectionId, RouterId, ServiceId } from "./ids.ts";
import type { DesiredConnection, DesiredRouter, DesiredService } from "./model.ts";
import type { EspBackEnd } from "./guard.ts";
import type { NetworkScope, ObservedNetwork } from "./network.ts";
import type { NetworkStep } from "./network-plan.ts";
import type { Failure, ObservedCharon } from "./observed.ts";
import type { Member, Peer } from "./peers.ts";
import type { RouterPlace } from "./router-network.ts";
import type { ReportedStatus } from "./status.ts";
import type { Values, Verdict, View } from "./views.ts";

/**
 * `namespace`: another one has the name now, or none has. `sas`: nothing but the kernel's part of charon's SAs. Undefined:
 * something within may have changed.
 */
export type NetworkChange = "namespace" | "sas";

export interface Network {
  /** Changes nothing. A `NetworkConfig` is a scope; what its links and sysctls are is read where it names them. */
  observe(scope: NetworkScope, signal: AbortSignal): Promise<ObservedNetwork>;
  /** Of charon's SAs in a namespace; undefined where that is not there. Changes nothing. */
  observeDataPlane(namespace: string, espBackEnd: EspBackEnd, signal: AbortSignal): Promise<DataPlane | undefined>;
  /** Succeeds when it is already so. */
  apply(step: NetworkStep, signal: AbortSignal): Promise<void>;
  /** Routers whose namespace has our name and a link in it our alias, or of which files of ours are left. */
  listOwned(alias: string, signal: AbortSignal): Promise<readonly RouterId[]>;
  /** Calls back for each change that may matter, ours included; many may come at once. Returns how to stop it. */
  watch(scope: NetworkScope, espBackEnd: EspBackEnd, onChange: (what?: NetworkChange) => void): () => void;
  /** Finds out by trying; undefined: this kernel has no ESP. */
  probeKernelEsp(): Promise<KernelEsp | undefined>;
  close(): void;
}

/** What a router's charon tells of its own accord. */
export type CharonEvent =
  /** An SA came, went or was rekeyed. */
  | { readonly kind: "sasChanged" }
  /** Something went wrong; `peer` is undefined when charon could not tell whose attempt it was. */
  | { readonly kind: "failed"; readonly peer: string | undefined; readonly failure: Failure }
  /** A peer has ended a CHILD SA that charon does not hold (yet); `spiOut` as list-sas writes it. */
  | { readonly kind: "endedByPeer"; readonly peer: string; readonly spiOut: string }
  /** IKEv1: as many CHILD SAs the peer may have that charon has not. */
  | { readonly kind: "quickModesForgotten"; readonly ikeSa: string; readonly count: number }
  /** IKEv1: a CHILD SA that has come up just now the peer may not have. */
  | { readonly kind: "quickModeUnknown"; readonly ikeSa: string }
  /** IKEv1: whether the peer cannot read a Quick Mode that charon goes on retransmitting. */
  | { readonly kind: "quickModeUnreadable"; readonly ikeSa: string; readonly isUnreadable: boolean }
  /** A config or secret was changed by no command of ours. */
  | { readonly kind: "changedByOthers"; readonly finding: Finding }
  | { readonly kind: "connected" }
  /** VICI is gone: charon ended, or is not up yet. */
  | { readonly kind: "lost" };

export interface Ike {
  /** Reads what the router's charon holds; starts and changes nothing. */
  observe(router: RouterId, signal: AbortSignal): Promise<ObservedCharon>;
  /** Starts charon in the router's namespace unless it runs there; resolves when VICI answers. */
  start(router: RouterId, signal: AbortSignal): Promise<void>;
  /** Succeeds when it is already so. A refused load is a CharonRefusedError. */
  apply(router: RouterId, step: CharonStep, signal: AbortSignal): Promise<void>;
  /** Whether charon would load this peer; loads it under another name and unloads it again. */
  tryPeer(router: RouterId, step: Extract<CharonStep, { kind: "loadPeer" }>, signal: AbortSignal): Promise<void>;
  /** Ends charon and removes its files. Succeeds when there is none. */
  remove(router: RouterId, signal: AbortSignal): Promise<void>;
  watch(router: RouterId, listener: (event: CharonEvent) => void): () => void;
  /** Closes our sockets. charon runs on. */
  close(): Promise<void>;
}

/** A connection's conf file. */
export type WrittenFile = {
  readonly values: Values;
  readonly secrets: readonly Fingerprint[];
  readonly marker: Marker | undefined;
};

/** What a person who looks at a router is shown beside what a pass reads. */
export interface Inspection {
  /** The peer's part and the member's children, in the values that files and charon have. */
  desired(peer: Peer, member: Member): Values;
  readonly judges: { readonly [V in View]: (key: string, wanted: string, found: string) => Verdict };
  /** The conf files as they are now; undefined stands for one that nobody can read as ours. */
  readFiles(router: RouterId): ReadonlyMap<ConnectionId, WrittenFile | undefined>;
}

/** The list that the control plane holds for this host. */
export type FetchedList = {
  readonly routers: ReadonlyMap<
    RouterId,
    { readonly services: readonly DesiredService[]; readonly connections: readonly DesiredConnection[] }
  >;
  /** Entries that could not be read and are not among the routers. */
  readonly problems: readonly { readonly where: string; readonly text: string; readonly router?: RouterId }[];
  /** False when something was listed that is not in `routers`: then an absence proves nothing. */
  readonly complete: boolean;
};

/** `fetchedStatus` is what the control plane held: while that is PENDING_* it must be told to overwrite it. */
export type StatusReport = readonly {
  readonly id: ServiceId;
  readonly status: ReportedStatus;
  readonly fetchedStatus: string;
  readonly connections: readonly {
    readonly id: ConnectionId;
    readonly status: ReportedStatus;
    readonly fetchedStatus: string;
  }[];
}[];

export interface ControlPlane {
  fetchRouters(signal: AbortSignal): Promise<FetchedList>;
  fetchPlumbing(router: RouterId, signal: AbortSignal): Promise<DesiredRouter["plumbing"]>;
  reportStatus(report: StatusReport, signal: AbortSignal): Promise<void>;
}

/** Whether this machine carries a router: of one with high availability, a single machine does. */
export type Role = { readonly kind: "active" } | { readonly kind: "standby"; readonly why: string };

/** The routers that Neutron's L3 agent has on this machine (topology `router`). */
export interface RouterHost {
  /** Where a router's namespace is, or would be. */
  place(router: RouterId): RouterPlace;
  role(router: RouterId): Role;
  /** Calls back when the role may have changed. Returns how to stop it. */
  watchRole(router: RouterId, onChange: () => void): () => void;
}

export interface Clock {
  /** Unix time. */
  nowMs(): number;
  /** Calls back after the delay unless the returned function was called before. */
  after(delayMs: number, callback: () => void): () => void;
  /** In [0, 1). */
  random(): number;
}
