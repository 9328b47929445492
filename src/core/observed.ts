// What a router's charon holds, read back from it, and the notes we keep about one running charon.
import type { CharonAlgorithms } from "./algorithms.ts";
import type { SeenDataPlane } from "./data-plane.ts";
import type { ConnectionId } from "./ids.ts";
import type { Fingerprint, Marker } from "./fingerprint.ts";
import type { Cidr } from "./model.ts";
import type { ReasonCode } from "./reason.ts";
import type { Values } from "./views.ts";

export type ChildSa = {
  /** The config's name; charon's own key adds its unique id. */
  readonly name: string;
  readonly uniqueId: string;
  /**
   * `rekeying` still carries traffic. `rekeyed` only takes it in: charon has taken its outbound policy away for a successor,
   * and does not put it back when that one is lost (child_sa.c).
   */
  readonly state: "installed" | "rekeying" | "rekeyed" | "ending" | "other";
  /** What charon has policies and SAs of one pair of selectors find each other by. */
  readonly reqId: number;
  readonly localSubnets: readonly Cidr[];
  readonly peerSubnets: readonly Cidr[];
  /** How long ago charon began to make it, in whole seconds (child_sa.c, child_sa_create): the answer may have come later. */
  readonly ageSeconds: number;
  readonly spiIn: string;
  readonly spiOut: string;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly packetsIn: number;
  readonly packetsOut: number;
  /** What it was negotiated to. */
  readonly values: Values;
};

/** Child names begin with the uuid of their connection. */
export const belongsTo = (childName: string, id: ConnectionId): boolean =>
  childName === id || childName.startsWith(`${id}-`);

export const carriesTraffic = (child: ChildSa): boolean => child.state === "installed" || child.state === "rekeying";

/** Whether an SA carries all that is wanted of it; a peer may have narrowed its selectors (RFC 7296 2.9). */
export const carriesAll = (
  sa: ChildSa,
  wanted: { readonly localSubnets: readonly Cidr[]; readonly peerSubnets: readonly Cidr[] },
): boolean =>
  wanted.localSubnets.every((subnet) => sa.localSubnets.includes(subnet)) &&
  wanted.peerSubnets.every((subnet) => sa.peerSubnets.includes(subnet));

export type IkeSa = {
  /** Name of the connection it came from. */
  readonly peer: string;
  readonly uniqueId: string;
  readonly state: "connecting" | "established" | "ending" | "other";
  readonly spis: string;
  readonly values: Values;
  readonly children: readonly ChildSa[];
};

export type RunningCharon = {
  readonly kind: "up";
  /** Changes when charon was started anew: then its memory is empty. */
  readonly instance: string;
  /** Unix time; of its process. */
  readonly startedAtMs: number;
  /** The same object as long as it is the same charon. */
  readonly algorithms: CharonAlgorithms;
  /** Loaded connections and the names of their children. */
  readonly peers: ReadonlyMap<string, ReadonlySet<string>>;
  /** What charon tells of each of them. */
  readonly loaded: ReadonlyMap<string, Values>;
  readonly secretIds: ReadonlySet<string>;
  readonly markers: ReadonlyMap<ConnectionId, Marker>;
  readonly ikeSas: readonly IkeSa[];
  /** What its SAs are carried by; undefined where nobody looked. */
  readonly dataPlane?: SeenDataPlane;
  /** Fingerprint of the conf file of each connection, as it is on disk now. */
  readonly files: ReadonlyMap<ConnectionId, Fingerprint>;
};

export type ObservedCharon =
  | RunningCharon
  | { readonly kind: "absent"; readonly dataPlane?: SeenDataPlane }
  /** The process lives but VICI does not answer, or it does not come up. */
  | { readonly kind: "failing"; readonly why: string };

/** What is known to be in force of a connection. */
export const heldMarker = (observed: RunningCharon, notes: Notes, id: ConnectionId): Marker | undefined =>
  observed.markers.get(id) ?? notes.committed.get(id);

/** The last thing that went wrong with a peer, by charon's own words. */
export type Failure = {
  readonly code: ReasonCode;
  readonly text: string;
  /** We refused what the peer asked for, because of that. */
  readonly refuses?: "the peer's selectors";
  readonly atMs: number;
};

/** To have what is missing of a connection. */
export type Attempts = {
  readonly count: number;
  /** When the last one began; undefined before the first. */
  readonly lastAtMs: number | undefined;
  readonly nextAtMs: number;
};

/** Since when an IKE SA, or the one that it succeeds, is known to be unbound. */
export type Unbound = { readonly sinceMs: number; readonly childSas: ReadonlySet<string> };

/** Of an IKE SA, IKEv1: charon has forgotten what it answered, or the peer cannot read what charon asks. */
export type QuickModeFault = "forgotten" | "unreadable";

export type QuickModeNotes = {
  /** IKE SAs that have the fault, by unique id, and since when. */
  readonly sinceMs: Map<string, number>;
  /** IKE SAs that were ended for it, by peer name: how many, within an hour of each other, and when the last one. */
  readonly ended: Map<string, { readonly count: number; readonly atMs: number }>;
};

/**
 * Notes about one running charon that cannot be read back from it. They die with the agent: then everything is loaded
 * once more, and what the markers do not prove is re-authenticated.
 */
export type Notes = {
  instance: string;
  /** Fingerprint of the section that we loaded under each name. */
  readonly loadedPeers: Map<string, Fingerprint>;
  readonly loadedSecrets: Set<string>;
  /** Peers of which another secret was loaded, and unloaded: which SAs were made with it is still to be judged. */
  readonly otherSecrets: Set<string>;
  /** SAs that an update has outdated, by unique id, and when they are ended by force. */
  readonly staleIkeSas: Map<string, { readonly deadlineMs: number }>;
  readonly staleChildSas: Map<string, { readonly deadlineMs: number }>;
  /** In what charon showed otherwise than we had loaded it, by name: to load the same again would change nothing. */
  readonly loadedInVain: Map<string, string>;
  /** In what SAs were negotiated otherwise than wanted, and ended for it: the same again is not cured by the same. */
  readonly renegotiated: Set<string>;
  /** Terms of the config that we loaded last under each name. */
  readonly loadedTerms: Map<string, Fingerprint>;
  /**
   * Terms of the config that was loaded when each IKE SA came up, by unique id; undefined when it is older than our notes.
   * An IKE SA stays bound to that config (ike_sa.c).
   */
  readonly ikeTerms: Map<string, Fingerprint | undefined>;
  /**
   * IKE SAs, by unique id, whose config was taken away or replaced, by us or by others: it is not what is loaded now. With
   * the unique ids of their CHILD SAs, which go over to a successor, as the config does (ike_sa.c, inherit_pre).
   */
  readonly unboundIkeSas: Map<string, Unbound>;
  /**
   * Unique ids of the CHILD SAs that were ended since the loaded config has them no more, by their IKE SA's unique id and
   * their name. One that comes back again and again is granted by another config than the loaded one.
   */
  readonly removedChildSas: Map<string, Map<string, Set<string>>>;
  /** CHILD SAs that peers ended while charon did not hold them, by the SPI that the peer takes packets in by. */
  readonly endedByPeer: Map<string, { readonly peer: string; readonly atMs: number }>;
  /**
   * Of each fault. "forgotten": the peer may have CHILD SAs that charon has forgotten to make; "unreadable": the peer cannot
   * read a Quick Mode of ours.
   */
  readonly quickModes: Readonly<Record<QuickModeFault, QuickModeNotes>>;
  /** IKE SAs, by unique id, of which the peer may not have the CHILD SA that came up last, and when it told so. */
  readonly unconfirmedAtMs: Map<string, number>;
  /** The update that each connection is in, as the text of its marker. */
  readonly transitions: Map<ConnectionId, string>;
  /** What we committed last of each connection: it stands in for a marker that somebody else took away. */
  readonly committed: Map<ConnectionId, Marker>;
  readonly attempts: Map<ConnectionId, Attempts>;
  /** When an IKE SA was first seen negotiating, by unique id. */
  readonly connectingSinceMs: Map<string, number>;
  /** When an IKE SA was first seen established, and a CHILD SA installed, by unique id. */
  readonly establishedSinceMs: Map<string, number>;
  readonly installedSinceMs: Map<string, number>;
  /** CHILD SAs that the data plane was seen to have all of, by unique id. */
  readonly carriedChildSas: Set<string>;
  /** Since when the data plane lacks something of a CHILD SA, by unique id. */
  readonly strandedSinceMs: Map<string, number>;
  /** How often CHILD SAs were ended for that, by name, since one was seen that had all. */
  readonly endedStranded: Map<string, number>;
  /** Until when a connection that differs from its leader keeps its children. */
  readonly heldUntilMs: Map<ConnectionId, number>;
  /** Last failure by peer name, from charon's log. */
  readonly failures: Map<string, Failure>;
  /** What charon refused to load, by connection. */
  readonly refusals: Map<ConnectionId, { readonly tunnel: Fingerprint; readonly failure: Failure }>;
  /** Since when a connection's update has not been committed. */
  readonly pendingSinceMs: Map<ConnectionId, number>;
};

export const emptyNotes = (instance: string): Notes => ({
  instance,
  loadedPeers: new Map(),
  loadedSecrets: new Set(),
  otherSecrets: new Set(),
  staleIkeSas: new Map(),
  staleChildSas: new Map(),
  loadedInVain: new Map(),
  renegotiated: new Set(),
  loadedTerms: new Map(),
  ikeTerms: new Map(),
  unboundIkeSas: new Map(),
  removedChildSas: new Map(),
  endedByPeer: new Map(),
  quickModes: {
    forgotten: { sinceMs: new Map(), ended: new Map() },
    unreadable: { sinceMs: new Map(), ended: new Map() },
  },
  unconfirmedAtMs: new Map(),
  transitions: new Map(),
  committed: new Map(),
  attempts: new Map(),
  connectingSinceMs: new Map(),
  establishedSinceMs: new Map(),
  installedSinceMs: new Map(),
  carriedChildSas: new Set(),
  strandedSinceMs: new Map(),
  endedStranded: new Map(),
  heldUntilMs: new Map(),
  failures: new Map(),
  refusals: new Map(),
  pendingSinceMs: new Map(),
});
