// The steps that change a charon, and what planning them needs to know. apply.ts executes them, exhaustively.
import type { Fingerprint, Marker, NodeKey } from "./fingerprint.ts";
import type { EspBackEnd } from "./guard.ts";
import type { ConnectionId } from "./ids.ts";
import type { PeerName } from "./names.ts";
import type { ChildSa, IkeSa } from "./observed.ts";
import type { Child, Member, Peer } from "./peers.ts";
import type { Difference, Values } from "./views.ts";

export type CharonStep =
  | {
      readonly kind: "writeFile";
      readonly connection: ConnectionId;
      readonly peer: Peer;
      readonly member: Member;
      readonly marker: Marker;
    }
  | { readonly kind: "removeFile"; readonly connection: ConnectionId }
  | { readonly kind: "loadSecret"; readonly id: string; readonly peer: Peer }
  | { readonly kind: "unloadSecret"; readonly id: string }
  /**
   * `shown`: in what charon shows it otherwise now. `isAnew`: unloaded before, so that the traps are of this config too.
   * `unbinds`: live IKE SAs, where charon makes another config of it: they stay with the one that they have.
   */
  | {
      readonly kind: "loadPeer";
      readonly peer: Peer;
      readonly fingerprint: Fingerprint;
      readonly shown?: string;
      readonly isAnew?: true;
      readonly unbinds?: readonly string[];
    }
  | { readonly kind: "unloadPeer"; readonly name: string }
  /** Notes which live SAs an update outdates; at the deadline they are ended by force. */
  | {
      readonly kind: "beginUpdate";
      readonly peer: PeerName;
      readonly connection: ConnectionId;
      readonly marker: string;
      readonly staleIkeSas: readonly string[];
      readonly staleChildSas: readonly string[];
      readonly deadlineMs: number;
      readonly initiateAtMs: number;
    }
  | { readonly kind: "reauthenticate"; readonly ikeSa: string; readonly peer: PeerName }
  /** `deviation`: in what it was negotiated otherwise than it is wanted. */
  | {
      readonly kind: "terminateIke";
      readonly ikeSa: string;
      readonly peer: string;
      readonly why: TerminationCause;
      readonly deviation?: string;
    }
  | {
      readonly kind: "terminateChild";
      readonly ikeSa: string;
      readonly childSa: string;
      /** Its name. */
      readonly child: string;
      readonly why: TerminationCause;
      readonly deviation?: string;
    }
  | { readonly kind: "initiate"; readonly connection: ConnectionId; readonly peer: PeerName; readonly child: string }
  | { readonly kind: "commit"; readonly marker: Marker; readonly replaces: readonly string[] }
  | { readonly kind: "unloadMarker"; readonly id: string };

export const terminateChild = (
  sa: IkeSa,
  child: ChildSa,
  why: TerminationCause,
  deviation?: string,
): Extract<CharonStep, { kind: "terminateChild" }> => ({
  kind: "terminateChild",
  ikeSa: sa.uniqueId,
  childSa: child.uniqueId,
  child: child.name,
  why,
  ...(deviation === undefined ? {} : { deviation }),
});

export type TerminationCause =
  | "removed"
  | "changed"
  | "replaced"
  | "outdated"
  | "no-answer"
  | "differs"
  | "duplicate"
  | "deviates"
  | "stranded"
  | "unbound"
  | "misnumbered"
  | "one-sided"
  | "unconfirmed"
  | "forgotten"
  | "unreadable";

/** Compares what charon tells with what is wanted; the words are charon's, so it is done in wire/swanctl. */
export type ViewComparison = {
  readonly loaded: (peer: Peer, loaded: Values) => readonly Difference[];
  readonly ikeSa: (peer: Peer, negotiated: Values) => readonly Difference[];
  readonly childSa: (peer: Peer, child: Child, negotiated: Values) => readonly Difference[];
};

export type CharonPlanOptions = {
  readonly espBackEnd: EspBackEnd;
  readonly key: NodeKey;
  readonly splitChildren: boolean;
  /** How long an SA made with an old PSK, or with old selectors, may live on while the new one is negotiated. */
  readonly updateWindowMs: number;
  /** How long a connection that differs from its leader keeps its children: an API changes one member at a time. */
  readonly differingGraceMs: number;
  /** After how long a negotiation without answer is begun anew. */
  readonly connectTimeoutMs: number;
  /** How long the side with the higher address lets the other one initiate first: two at once may end each other. */
  readonly yieldMs: number;
  /** How long two SAs for the same thing may stand side by side: a rekeying or re-authentication has both for a moment. */
  readonly duplicateGraceMs: number;
  /** Fingerprints of a member's conf file and of a peer's section; their text is made in wire/swanctl. */
  readonly fileFingerprint: (peer: Peer, member: Member, marker: Marker) => Fingerprint;
  readonly sectionFingerprint: (peer: Peer) => Fingerprint;
  readonly compare: ViewComparison;
};
