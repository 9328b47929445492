// One peer's part of the plan: write, load, move live SAs over to what changed with the least disturbance, initiate what
// is missing, and commit last.
import { cidrContains, cidrOfSelector } from "./address.ts";
import { earlier } from "./backoff.ts";
import { terminateChild, type CharonPlanOptions, type CharonStep, type TerminationCause } from "./charon-step.ts";
import {
  decodeMarker,
  encodeMarker,
  FINGERPRINT_PARTS,
  fingerprintsOf,
  isMarkerId,
  peerOfSecretId,
  secretFingerprint,
  secretId,
  termsFingerprint,
} from "./fingerprint.ts";
import type { Fingerprint, Fingerprints, Marker } from "./fingerprint.ts";
import type { ConnectionId } from "./ids.ts";
import type { Cidr, Tunnel } from "./model.ts";
import {
  belongsTo,
  carriesAll,
  carriesTraffic,
  heldMarker,
  type ChildSa,
  type IkeSa,
  type Notes,
  type QuickModeFault,
  type RunningCharon,
  type Unbound,
} from "./observed.ts";
import type { Child, Member, Peer } from "./peers.ts";
import { lackOf } from "./data-plane.ts";
import type { DriftKind, Finding } from "./finding.ts";
import { describeDifferences, type Difference } from "./views.ts";

export type PeerPlan = {
  readonly steps: readonly CharonStep[];
  readonly wakeAtMs: number | undefined;
  readonly inSync: ReadonlySet<ConnectionId>;
  /** What is wrong with SAs by nothing that was asked for, and is being mended. */
  readonly findings: readonly Finding[];
};

// A peer whose side of an update comes later narrows until then; one that narrows for good is not asked for ever.
const MAX_NARROWED_ATTEMPTS = 6;
/** After so many on one IKE SA that carries nothing, and so long a time, it is taken for stuck. */
const QUICK_MODE_ATTEMPTS = 3;
const QUICK_MODE_PATIENCE_MS = 5_000;

/**
 * How long the data plane may lack what it had of a CHILD SA, and what it was never seen to have. It is looked at before the
 * SAs, and one may have come up between. In the kernel, charon takes states away and adds them anew for another address of
 * the peer (kernel_netlink_ipsec.c, update_sa), and where a rekeying changes selectors the policies of the side that answered
 * come with the peer's DELETE of the old one (child_sa.c, install_outbound). Each that is ended for what it never had makes
 * that four times as long: it may not be to be had, or not be needed.
 */
const STRANDED = {
  userland: { hadMs: 0, neverHadMs: 500, maxEnded: Infinity },
  kernel: { hadMs: 1_000, neverHadMs: 15_000, maxEnded: 3 },
} as const;
const MAX_STRANDED_MS = 600_000;

/** How far the age of a CHILD SA, in whole seconds, and the time at which its last message was not understood may differ. */
const UNCONFIRMED_BEFORE_MS = 2_000;
const UNCONFIRMED_AFTER_MS = 1_000;
/**
 * How long a peer may take to mend a Quick Mode that went wrong. Each time that its IKE SA was ended for one makes that four times
 * as long: it may never do so. In the end it is left to an operator, or to charon.
 */
const WRONG_QUICK_MODE_PATIENCE_MS = 3_000;
const MAX_ENDED_FOR_QUICK_MODES = 5;

export const quickModePatienceMs = (notes: Notes, fault: QuickModeFault, peer: string): number =>
  WRONG_QUICK_MODE_PATIENCE_MS * 4 ** (notes.quickModes[fault].ended.get(peer)?.count ?? 0);

/** To have a child on an IKE SA whose config is not the loaded one; the peer may only be late with it. */
const UNBOUND_ATTEMPTS = 5;

/** CHILD SAs of one name that were ended on an IKE SA before the next one proves that this will not do. */
const ENDED_BEFORE = 2;

// Attempts to make an IKE SA beside one of unknown terms; a lost packet or two are charon's own affair.
const MAX_ATTEMPTS_BESIDE = 2;

const LOADS: ReadonlySet<CharonStep["kind"]> = new Set(["loadPeer", "loadSecret", "unloadSecret"]);

export const mayInitiate = (tunnel: Tunnel): boolean =>
  tunnel.initiator === "bi-directional" && tunnel.peerAddress !== "%any";

/** Plans everything of one peer. */
export function planPeer(
  peer: Peer,
  observed: RunningCharon,
  notes: Notes,
  nowMs: number,
  options: CharonPlanOptions,
): PeerPlan {
  const planner = new PeerPlanner(peer, observed, notes, nowMs, options);
  planner.plan();
  return planner;
}

/** What a member's marker should be beside what it is. */
type MemberState = {
  readonly member: Member;
  readonly wanted: Marker;
  readonly held: Marker | undefined;
  /** An update that was begun and given up for another: SAs may be of it, whatever the held marker says. */
  readonly abandoned: Marker | undefined;
  readonly isCommitted: boolean;
};

/** A marker that has no part in common was made under another key: it proves nothing, rather than that all changed. */
const isComparable = (held: Marker, wanted: Marker): boolean =>
  FINGERPRINT_PARTS.some((part) => held.fingerprints[part] === wanted.fingerprints[part]);

const isSameSet = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((one) => b.includes(one));

const namesOfCarrying = (sa: IkeSa): readonly string[] => sa.children.filter(carriesTraffic).map((child) => child.name);

/** The names of IKEv1's children say their pair, so most of them outlive a change of the others. */
const hasSelectorsOf = (sa: ChildSa, config: Child): boolean =>
  isSameSet(sa.localSubnets, config.localSubnets) && isSameSet(sa.peerSubnets, config.peerSubnets);

const goBeyond = (selectors: readonly string[], wanted: readonly Cidr[]): boolean =>
  selectors.some((selector) => {
    const cidr = cidrOfSelector(selector);
    return cidr !== undefined && !wanted.some((subnet) => cidrContains(subnet, cidr));
  });

class PeerPlanner implements PeerPlan {
  readonly steps: CharonStep[] = [];
  readonly inSync = new Set<ConnectionId>();
  readonly findings: Finding[] = [];
  wakeAtMs: number | undefined;

  readonly #peer: Peer;
  readonly #observed: RunningCharon;
  readonly #notes: Notes;
  readonly #nowMs: number;
  readonly #options: CharonPlanOptions;
  readonly #live: readonly IkeSa[];
  readonly #secretId: string;
  readonly #hasOtherSecret: boolean;
  readonly #terms: Fingerprint;
  readonly #members: readonly MemberState[];
  // charon numbers IKE SAs and CHILD SAs apart from each other.
  readonly #endedIke = new Set<string>();
  readonly #endedChild = new Set<string>();
  /** Deadlines of outdated SAs: those noted before and those of this plan. */
  readonly #staleIke: Map<string, number>;
  readonly #staleChild: Map<string, number>;
  readonly #superseded: ReadonlySet<string>;
  #isLoadedOtherwise = false;
  readonly #initiateAtMs = new Map<ConnectionId, number>();

  constructor(peer: Peer, observed: RunningCharon, notes: Notes, nowMs: number, options: CharonPlanOptions) {
    this.#peer = peer;
    this.#observed = observed;
    this.#notes = notes;
    this.#nowMs = nowMs;
    this.#options = options;
    this.#live = observed.ikeSas.filter((sa) => sa.peer === peer.name && sa.state !== "ending");
    this.#secretId = secretId(peer.name, secretFingerprint(options.key, peer.leader));
    this.#hasOtherSecret =
      notes.otherSecrets.has(peer.name) || [...observed.secretIds].some((id) => this.#isOtherSecret(id));
    this.#terms = termsFingerprint(options.key, peer);
    this.#members = peer.members.map((member) => this.#memberState(member));
    this.#superseded = new Set(this.#live.filter((sa) => this.#isSuperseded(sa)).map((sa) => sa.uniqueId));
    this.#staleIke = new Map([...notes.staleIkeSas].map(([id, { deadlineMs }]) => [id, deadlineMs]));
    this.#staleChild = new Map([...notes.staleChildSas].map(([id, { deadlineMs }]) => [id, deadlineMs]));
  }

  plan(): void {
    this.#write();
    if (!this.#observed.secretIds.has(this.#secretId) || !this.#notes.loadedSecrets.has(this.#secretId)) {
      this.steps.push({ kind: "loadSecret", id: this.#secretId, peer: this.#peer });
    }
    this.#load();
    for (const id of this.#observed.secretIds) {
      if (this.#isOtherSecret(id)) this.steps.push({ kind: "unloadSecret", id });
    }
    // What came up since the look may have been made with what was loaded then: it is looked at again before it is judged.
    if (this.#isReplacing()) return;
    // Only now: a peer that comes back at once after its SA was ended must not find the old config or the old secret.
    for (const ikeSa of this.#beginUpdates()) {
      this.steps.push({ kind: "reauthenticate", ikeSa, peer: this.#peer.name });
    }
    this.#endDeviatingIkeSas();
    this.#endUnboundIkeSas();
    this.#endRemovedChildSas();
    this.#endDeviatingChildSas();
    this.#endOneSidedChildSas();
    this.#makeUnconfirmedAnew();
    this.#mendForgotten();
    this.#endUnreadableIkeSas();
    this.#endMisnumberedChildSas();
    const waiting = new Set([...this.#endStaleIkeSas(), ...this.#endSupersededIkeSas(), ...this.#endStaleChildSas()]);
    this.#endDuplicateIkeSas();
    this.#endDuplicateChildSas();
    this.#endRekeyedChildSas();
    this.#restartUnanswered();
    this.#restartStuck();
    for (const state of this.#members) this.#initiateMissing(state.member);
    for (const state of this.#members) this.#commit(state, waiting.has(state.member.tunnel.id));
  }

  #isReplacing(): boolean {
    const isKnown = this.#observed.peers.has(this.#peer.name) || this.#hasOtherSecret || this.#live.length > 0;
    return isKnown && this.steps.some(({ kind }) => LOADS.has(kind));
  }

  #isOtherSecret(id: string): boolean {
    return peerOfSecretId(id) === this.#peer.name && id !== this.#secretId;
  }

  #memberState(member: Member): MemberState {
    const connection = member.tunnel.id;
    const wanted: Marker = {
      connection,
      leads: this.#peer.leader.id === connection,
      fingerprints: fingerprintsOf(this.#options.key, this.#peer, member),
    };
    const marker = heldMarker(this.#observed, this.#notes, connection);
    const held = marker !== undefined && isComparable(marker, wanted) ? marker : undefined;
    const text = encodeMarker(wanted);
    const begun = this.#notes.transitions.get(connection);
    const abandoned = begun === undefined || begun === text ? undefined : decodeMarker(begun);
    const isCommitted =
      this.#observed.secretIds.has(text) &&
      held !== undefined &&
      encodeMarker(held) === text &&
      abandoned === undefined &&
      !this.#isCutOff(connection);
    return { member, wanted, held, abandoned, isCommitted };
  }

  /**
   * An IKE SA on other terms stays on them: it is bound to the config that it came from, takes no child that was added
   * since, and hands that config on when it is re-authenticated (ike_sa.c). So another one is made beside it; a side that
   * must not initiate keeps what it has.
   */
  #isSuperseded(sa: IkeSa): boolean {
    if (!mayInitiate(this.#peer.leader)) return false;
    const terms = this.#notes.ikeTerms.get(sa.uniqueId) ?? this.#committedTerms(sa);
    return terms !== undefined && terms !== this.#terms;
  }

  /**
   * Nothing of an update: a committed one says what SAs should be. Somebody else's config may have been negotiated, or
   * charon was told otherwise for a moment. The same once more is left to the eyes of an operator.
   */
  #deviationOf(sa: IkeSa): string | undefined {
    if (sa.state !== "established" || this.#staleIke.has(sa.uniqueId)) return undefined;
    if (!this.#members.every(({ isCommitted }) => isCommitted)) return undefined;
    return this.#untried(this.#options.compare.ikeSa(this.#peer, sa.values));
  }

  /** What it had of the data plane and has lost, or has still not got: it may be lost before the first look at it. */
  #lostOf(sa: ChildSa): Finding | undefined {
    const { dataPlane } = this.#observed;
    const sinceMs = this.#notes.strandedSinceMs.get(sa.uniqueId);
    if (dataPlane === undefined || sinceMs === undefined) return undefined;
    const { hadMs, neverHadMs, maxEnded } = STRANDED[dataPlane.kind];
    const ended = this.#notes.endedStranded.get(sa.name) ?? 0;
    if (ended >= maxEnded) return undefined;
    const isLost = this.#notes.carriedChildSas.has(sa.uniqueId);
    const patienceMs = isLost ? hadMs : Math.min(neverHadMs * 4 ** ended, MAX_STRANDED_MS);
    const untilMs = sinceMs + patienceMs;
    if (untilMs <= dataPlane.atMs) return lackOf(sa, dataPlane);
    this.#wakeAt(Math.max(untilMs, this.#nowMs));
    return undefined;
  }

  #find(kind: DriftKind, what: string): void {
    this.findings.push({ kind, what });
  }

  #untried(differences: readonly Difference[]): string | undefined {
    const deviation = differences.length === 0 ? undefined : `${this.#peer.name}: ${describeDifferences(differences)}`;
    return deviation === undefined || this.#notes.renegotiated.has(deviation) ? undefined : deviation;
  }

  /** Of an IKE SA that is older than our notes: an update is committed only when none is left on other terms. */
  #committedTerms(sa: IkeSa): Fingerprint | undefined {
    const isOn = ({ member }: MemberState): boolean => sa.children.some((c) => belongsTo(c.name, member.tunnel.id));
    return this.#members.find((state) => state.held !== undefined && isOn(state))?.held?.fingerprints.terms;
  }

  #write(): void {
    for (const { member, wanted } of this.#members) {
      const connection = member.tunnel.id;
      if (this.#observed.files.get(connection) === this.#options.fileFingerprint(this.#peer, member, wanted)) continue;
      this.steps.push({ kind: "writeFile", connection, peer: this.#peer, member, marker: wanted });
    }
  }

  #load(): void {
    const fingerprint = this.#options.sectionFingerprint(this.#peer);
    const { name } = this.#peer;
    const loaded = this.#observed.loaded.get(name);
    const differences = loaded === undefined ? [] : this.#options.compare.loaded(this.#peer, loaded);
    const shown = describeDifferences(differences);
    this.#isLoadedOtherwise = shown !== "";
    const isLoaded = this.#observed.peers.has(name) && this.#notes.loadedPeers.get(name) === fingerprint;
    if (isLoaded && (shown === "" || this.#notes.loadedInVain.get(name) === shown)) return;
    const unbinds = this.#live.map((sa) => sa.uniqueId);
    const isNew = !this.#observed.peers.has(name) && unbinds.length === 0;
    this.steps.push({
      kind: "loadPeer",
      peer: this.#peer,
      fingerprint,
      ...(isLoaded ? { shown } : {}),
      ...(isNew || this.#isKept(differences) ? {} : { unbinds }),
    });
  }

  /**
   * charon keeps a loaded config where only its children differ, and makes another one otherwise (vici_config.c). It does not
   * show all that it compares, keyingtries for one.
   */
  #isKept(differences: readonly Difference[]): boolean {
    const { name } = this.#peer;
    const held = this.#members.find((state) => state.held !== undefined)?.held;
    const terms = this.#notes.loadedTerms.get(name) ?? held?.fingerprints.terms;
    return (
      this.#observed.peers.has(name) &&
      (terms === undefined || terms === this.#terms) &&
      differences.every(({ key }) => key.startsWith("children."))
    );
  }

  /** Begins the update of every member whose marker differs; returns the IKE SAs to re-authenticate. */
  #beginUpdates(): ReadonlySet<string> {
    const reauthenticate = new Set<string>();
    for (const state of this.#members) {
      const { id } = state.member.tunnel;
      const marker = encodeMarker(state.wanted);
      if (state.isCommitted || this.#notes.transitions.get(id) === marker) continue;
      const deadlineMs = this.#nowMs + this.#options.updateWindowMs;
      const initiateAtMs = this.#nowMs + (this.#mayYield() && this.#yields() ? this.#options.yieldMs : 0);
      const staleIkeSas = this.#outdateIkeSas(state, reauthenticate);
      const staleChildSas = this.#outdateChildSas(state);
      for (const ikeSa of staleIkeSas) this.#staleIke.set(ikeSa, deadlineMs);
      for (const childSa of staleChildSas) this.#staleChild.set(childSa, deadlineMs);
      this.#initiateAtMs.set(id, initiateAtMs);
      this.steps.push({
        kind: "beginUpdate",
        peer: this.#peer.name,
        connection: id,
        marker,
        staleIkeSas,
        staleChildSas,
        deadlineMs,
        initiateAtMs,
      });
    }
    return reauthenticate;
  }

  /**
   * IKE SAs that a change of secret or IKE part outdates. A marker that is missing proves nothing: everything counts as
   * changed, and re-authentication is the gentlest way. But a connection that joins a peer whose IKE SA another member
   * proves leaves that SA alone.
   */
  #outdateIkeSas(state: MemberState, reauthenticate: Set<string>): string[] {
    if (this.#isIkeProven(state) || this.#isIkeProvenByOther(state)) return [];
    const isGentle = this.#peer.leader.ike.version === 2 && !this.#hasChanged(state, "ike");
    const stale: string[] = [];
    for (const sa of this.#live) {
      if (this.#endedIke.has(sa.uniqueId)) continue;
      if (isGentle && sa.state === "established") {
        // A side that must not initiate waits for the peer to come with the new key, until the window closes.
        if (mayInitiate(this.#peer.leader) && !this.#superseded.has(sa.uniqueId)) reauthenticate.add(sa.uniqueId);
        stale.push(sa.uniqueId);
      } else this.#terminateIke(sa, "changed");
    }
    return stale;
  }

  #isIkeProven(state: MemberState): boolean {
    return (
      !this.#isCutOff(state.member.tunnel.id) &&
      state.held !== undefined &&
      !this.#hasChanged(state, "secret") &&
      !this.#hasChanged(state, "ike")
    );
  }

  /** Another secret than the wanted one was loaded and we have not begun to change it: an update was cut off before. */
  #isCutOff(connection: ConnectionId): boolean {
    return !this.#notes.transitions.has(connection) && this.#hasOtherSecret;
  }

  #isIkeProvenByOther(state: MemberState): boolean {
    return this.#members.some((other) => other !== state && this.#isIkeProven(other));
  }

  #hasChanged({ wanted, held, abandoned }: MemberState, part: keyof Fingerprints): boolean {
    return [held, abandoned].some(
      (marker) => marker !== undefined && marker.fingerprints[part] !== wanted.fingerprints[part],
    );
  }

  /** CHILD SAs of a member that a change outdates; those that can have no successor beside them are ended here. */
  #outdateChildSas(state: MemberState): string[] {
    const { member, held } = state;
    // Without a marker they are made anew with their IKE SA, unless that one is proven and stays.
    const isUnproven = held === undefined && this.#isIkeProvenByOther(state);
    const changed = (part: keyof Fingerprints): boolean => this.#hasChanged(state, part);
    const stale: string[] = [];
    for (const child of this.#childSas(member.tunnel.id)) {
      const config = member.children.find((c) => c.name === child.name);
      if (config === undefined) this.#terminateChild(child, "removed");
      // charon takes a second CHILD SA with equal selectors for a duplicate (since 5.9.6), so break before make.
      else if (isUnproven || changed("child")) this.#terminateChild(child, "changed");
      else if (changed("selectors") && !hasSelectorsOf(child, config)) stale.push(child.uniqueId);
    }
    return stale;
  }

  /** IKE SAs that may stay: made, or being made, with what is wanted. */
  #standing(): IkeSa[] {
    return this.#live.filter(
      ({ uniqueId }) =>
        !this.#staleIke.has(uniqueId) && !this.#superseded.has(uniqueId) && !this.#endedIke.has(uniqueId),
    );
  }

  #endSupersededIkeSas(): ConnectionId[] {
    const fresh = this.#standing().filter((sa) => sa.state === "established");
    const carried = new Set(fresh.flatMap(namesOfCarrying));
    let waits = false;
    for (const sa of this.#live) {
      if (!this.#superseded.has(sa.uniqueId) || this.#endedIke.has(sa.uniqueId)) continue;
      const left = namesOfCarrying(sa).filter((name) => !carried.has(name));
      if (sa.state !== "established" || this.#isUsedAgain()) this.#terminateIke(sa, "changed");
      else if (fresh.length > 0 && left.length === 0) this.#terminateIke(sa, "replaced");
      // What only the peer may ask for stays where it is until the peer does.
      else waits ||= fresh.length === 0 || left.some((name) => this.#mayAskFor(name));
    }
    return waits ? this.#peer.members.map((m) => m.tunnel.id) : [];
  }

  #mayAskFor(child: string): boolean {
    return this.#peer.members.some(({ tunnel }) => belongsTo(child, tunnel.id) && mayInitiate(tunnel));
  }

  /**
   * No other is made beside it, and nothing refused one: charon takes its config for the wanted one and uses it again. So
   * it is not what we noted; it came up between a look and a load, or was rekeyed, or an agent was killed before it could
   * commit. Whether it has all that is wanted nobody can tell, so it is made anew.
   */
  #isUsedAgain(): boolean {
    if (this.#isNegotiating() || this.#standing().some((sa) => !this.#isIdle(sa))) return false;
    const failedAtMs = this.#notes.failures.get(this.#peer.name)?.atMs ?? -Infinity;
    return this.#peer.members.some(({ tunnel }) => {
      const { count, lastAtMs } = this.#notes.attempts.get(tunnel.id) ?? { count: 0 };
      return count >= MAX_ATTEMPTS_BESIDE && lastAtMs !== undefined && failedAtMs < lastAtMs;
    });
  }

  /** It has stood for a while, and nobody has asked for a child on it. */
  #isIdle({ uniqueId, state, children }: IkeSa): boolean {
    const sinceMs = this.#notes.establishedSinceMs.get(uniqueId) ?? this.#nowMs;
    return state === "established" && children.length === 0 && sinceMs + this.#options.duplicateGraceMs <= this.#nowMs;
  }

  /** Break before make: where charon takes the config for the same, it would use the same IKE SA for another child. */
  #endDeviatingIkeSas(): void {
    if (!mayInitiate(this.#peer.leader)) return;
    for (const sa of this.#live) {
      const deviation = this.#endedIke.has(sa.uniqueId) ? undefined : this.#deviationOf(sa);
      if (deviation === undefined) continue;
      this.#find("sa", `negotiated otherwise: ${deviation}`);
      this.#terminateIke(sa, "deviates", deviation);
    }
  }

  /** Break before make, as for any change of a child. */
  #endDeviatingChildSas(): void {
    for (const { member, child, sa } of this.#committedChildSas()) {
      // Also where only the peer may ask for another: it has to hear that this one carries nothing.
      const lost = this.#lostOf(sa);
      if (lost !== undefined) {
        this.#find(lost.kind, `${this.#peer.name}: ${lost.what}`);
        this.#terminateChild(sa, "stranded");
        continue;
      }
      if (!mayInitiate(member.tunnel)) continue;
      const deviation = this.#untried(this.#options.compare.childSa(this.#peer, child, sa.values));
      if (deviation !== undefined) {
        this.#find("sa", `negotiated otherwise: ${deviation}`);
        this.#terminateChild(sa, "deviates", deviation);
      }
    }
  }

  /**
   * An IKE SA whose config is not the loaded one. The peer asks it in vain for a child that was added since: IKEv1 refuses,
   * IKEv2 narrows. As the same may be so on the other side, asking from here may be in vain too; only then it is made anew.
   * So it is where it grants what was taken away since: whatever of it is ended, the peer has it again.
   */
  #endUnboundIkeSas(): void {
    const { name, members } = this.#peer;
    const unbound: { readonly sa: IkeSa; readonly deviation?: string }[] = [];
    for (const sa of this.#live) {
      if (this.#endedIke.has(sa.uniqueId)) continue;
      const since = this.#notes.unboundIkeSas.get(sa.uniqueId);
      const again = this.#grantedAgain(sa);
      const more = this.#grantedMore(sa);
      const granted = again ?? more?.text;
      if (granted !== undefined) {
        this.#find("sa", `${name}: an IKE SA with an older config grants ${granted}`);
        unbound.push(more === undefined ? { sa } : { sa, deviation: more.deviation });
      } else if (since !== undefined && members.some((member) => this.#isAskedInVain(member, since))) {
        unbound.push({ sa });
      }
    }
    if (unbound.length === 0) return;
    // A trap, which charon has with ESP in the kernel only, may be of the older config too, and would make the next one of it.
    if (this.#options.espBackEnd === "kernel") {
      const unbinds = this.#live.map(({ uniqueId }) => uniqueId);
      const fingerprint = this.#options.sectionFingerprint(this.#peer);
      this.steps.push({ kind: "loadPeer", peer: this.#peer, fingerprint, isAnew: true, unbinds });
    }
    for (const { sa, deviation } of unbound) this.#terminateIke(sa, "unbound", deviation);
    if (!this.#yields()) for (const { tunnel } of members) this.#initiateAtMs.set(tunnel.id, this.#nowMs);
  }

  /** Once may have been under way when the config was loaded. */
  #grantedAgain({ uniqueId, children }: IkeSa): string | undefined {
    const removed = this.#notes.removedChildSas.get(uniqueId);
    return children.find(({ name, uniqueId: id, state }) => {
      const ended = removed?.get(name);
      return ended !== undefined && ended.size >= ENDED_BEFORE && !ended.has(id) && state !== "ending";
    })?.name;
  }

  /**
   * By the loaded config charon narrows what a peer asks for, and takes no more than it has asked for itself. What only the
   * peer may ask for can be ended in no other way; what comes out the same after that as well is left to an operator.
   */
  #grantedMore({ uniqueId, children }: IkeSa): { readonly text: string; readonly deviation: string } | undefined {
    for (const { member, child, sa } of this.#committedChildSas()) {
      // charon chooses the selectors of transport mode itself.
      if (!children.includes(sa) || member.tunnel.ipsec.mode !== "tunnel") continue;
      if (!goBeyond(sa.localSubnets, child.localSubnets) && !goBeyond(sa.peerSubnets, child.peerSubnets)) continue;
      const differences = this.#options.compare.childSa(this.#peer, child, sa.values);
      if (mayInitiate(member.tunnel) && this.#untried(differences) !== undefined) continue;
      const text = `${sa.localSubnets.join(", ")} === ${sa.peerSubnets.join(", ")} for ${sa.name}`;
      const deviation = `${this.#peer.name} grants ${text}`;
      if (this.#notes.unboundIkeSas.has(uniqueId) || !this.#notes.renegotiated.has(deviation))
        return { text, deviation };
    }
    return undefined;
  }

  /** Those that an update waits for are not among them. */
  #committedChildSas(): readonly { readonly member: Member; readonly child: Child; readonly sa: ChildSa }[] {
    return this.#members
      .filter(({ isCommitted }) => isCommitted)
      .flatMap(({ member }) =>
        this.#childSas(member.tunnel.id).flatMap((sa) => {
          const child = member.children.find(({ name }) => name === sa.name);
          const isSettled = sa.state === "installed" && !this.#staleChild.has(sa.uniqueId);
          return child === undefined || !isSettled ? [] : [{ member, child, sa }];
        }),
      );
  }

  /** Of a member that is wanted with other pairs of subnets. */
  #endRemovedChildSas(): void {
    for (const { member, isCommitted } of this.#members) {
      if (!isCommitted) continue;
      for (const sa of this.#childSas(member.tunnel.id)) {
        const isWanted = member.children.some(({ name }) => name === sa.name);
        if (!isWanted && sa.state !== "ending") this.#terminateChild(sa, "removed");
      }
    }
  }

  /**
   * Whoever ends a CHILD SA as soon as it has it may overtake its own last message about it: the other side knows no such SA
   * when it is told, and has it a moment later (5.9.8 and 6.0.1; IKEv2's responder, IKEv1's initiator). It would send into
   * the void until it is rekeyed.
   */
  #endOneSidedChildSas(): void {
    for (const { tunnel } of this.#peer.members) {
      for (const sa of this.#childSas(tunnel.id)) {
        if (sa.state === "ending" || this.#notes.endedByPeer.get(sa.spiOut)?.peer !== this.#peer.name) continue;
        this.#find("sa", `${this.#peer.name}: the peer has ended ${sa.name} before it was up here`);
        this.#terminateChild(sa, "one-sided");
      }
    }
  }

  /** Asked for again alone: what the peer refuses may be what made it forget the other. */
  #makeUnconfirmedAnew(): void {
    for (const sa of this.#standing()) {
      const toldAtMs = this.#notes.unconfirmedAtMs.get(sa.uniqueId);
      // What the peer cannot read is known then, and is another one.
      const isUnreadable = this.#notes.quickModes.unreadable.sinceMs.has(sa.uniqueId);
      if (toldAtMs === undefined || isUnreadable || sa.state !== "established") continue;
      for (const { tunnel } of this.#peer.members.filter((member) => mayInitiate(member.tunnel))) {
        for (const child of sa.children) {
          const madeAtMs = this.#nowMs - 1_000 * child.ageSeconds;
          const isMeant = madeAtMs >= toldAtMs - UNCONFIRMED_BEFORE_MS && madeAtMs <= toldAtMs + UNCONFIRMED_AFTER_MS;
          const isOwn = belongsTo(child.name, tunnel.id) && !this.#endedChild.has(child.uniqueId);
          if (!isOwn || !carriesTraffic(child) || !isMeant) continue;
          this.#find("sa", `${this.#peer.name}: the peer may not have ${child.name}`);
          this.#terminateChild(child, "unconfirmed");
          this.steps.push({ kind: "initiate", connection: tunnel.id, peer: this.#peer.name, child: child.name });
        }
      }
    }
  }

  /**
   * The peer that alone may ask takes for up what charon has forgotten, and asks for nothing: it has to hear that its IKE SA is
   * gone. What was being rekeyed stays so for good.
   */
  #mendForgotten(): void {
    const { name, members } = this.#peer;
    for (const sa of this.#standing()) {
      if (!this.#hasWaited(sa, "forgotten")) continue;
      const stuck = sa.children.filter(({ state, name: child }) => state === "rekeying" && this.#mayAskFor(child));
      for (const child of stuck) this.#terminateChild(child, "forgotten");
      const isLacking = members.some(
        ({ tunnel, children }) =>
          !mayInitiate(tunnel) &&
          children.some(
            (child) => !this.#childSas(tunnel.id).some((c) => c.name === child.name && c.state === "installed"),
          ),
      );
      if (!isLacking || !this.#mayEndFor("forgotten")) continue;
      this.#find("sa", `${name}: the peer may have a CHILD SA that is not up here`);
      this.#terminateIke(sa, "forgotten");
    }
  }

  /** charon would end it after 165 s in which it begins no other exchange, and without telling the peer. */
  #endUnreadableIkeSas(): void {
    if (!this.#mayEndFor("unreadable")) return;
    for (const sa of this.#standing()) {
      if (!this.#hasWaited(sa, "unreadable")) continue;
      this.#find("sa", `${this.#peer.name}: the peer cannot read what charon goes on asking`);
      this.#terminateIke(sa, "unreadable");
    }
  }

  /** For the peer to mend what has been wrong with the IKE SA since then. */
  #hasWaited(sa: IkeSa, fault: QuickModeFault): boolean {
    const sinceMs = this.#notes.quickModes[fault].sinceMs.get(sa.uniqueId);
    if (sinceMs === undefined || sa.state !== "established") return false;
    const untilMs = sinceMs + quickModePatienceMs(this.#notes, fault, this.#peer.name);
    if (untilMs > this.#nowMs) this.#wakeAt(untilMs);
    return untilMs <= this.#nowMs;
  }

  #mayEndFor(fault: QuickModeFault): boolean {
    return (this.#notes.quickModes[fault].ended.get(this.#peer.name)?.count ?? 0) < MAX_ENDED_FOR_QUICK_MODES;
  }

  #isAskedInVain({ tunnel, children }: Member, { sinceMs }: Unbound): boolean {
    const standing = this.#childSas(tunnel.id).filter(carriesTraffic);
    const isWhole = (wanted: Child): boolean =>
      standing.some((sa) => sa.name === wanted.name && carriesAll(sa, wanted));
    const lacking = children.filter((wanted) => !isWhole(wanted));
    if (lacking.length === 0) return false;
    if (mayInitiate(tunnel)) return (this.#notes.attempts.get(tunnel.id)?.count ?? 0) >= UNBOUND_ATTEMPTS;
    // That a peer asked which alone may ask, our refusal tells, or what we narrowed: others are not broken for nothing.
    const failure = this.#notes.failures.get(this.#peer.name);
    const isRefused = failure?.refuses === "the peer's selectors" && failure.atMs >= sinceMs;
    return (
      isRefused ||
      lacking.some(({ name }) => standing.some((sa) => sa.name === name && !this.#staleChild.has(sa.uniqueId)))
    );
  }

  /**
   * libipsec looks an SA for a policy up by the reqid alone, and takes the latest: what is meant for one goes by the other,
   * where the peer throws it away. charon 5.9.8 gives one out twice where both sides make an SA's successor at once, Quick
   * Mode or re-authentication: the successor asks for the number of the one that it replaces, which may be another's by then
   * (kernel_interface.c, alloc_reqid; its NEWS tell of one way to that mended in 5.9.12). All of them are made anew, since
   * either may be the one whose number is not its own.
   */
  #endMisnumberedChildSas(): void {
    if (this.#options.espBackEnd !== "userland") return;
    const all = this.#observed.ikeSas.flatMap((sa) => sa.children).filter(carriesTraffic);
    for (const sa of this.#live.flatMap(({ children }) => children)) {
      if (!carriesTraffic(sa) || this.#endedChild.has(sa.uniqueId)) continue;
      // Equal selectors have one number, and rightly: charon allots it by them.
      const other = all.find((one) => one.reqId === sa.reqId && one.name !== sa.name && !hasSelectorsOf(sa, one));
      if (other === undefined) continue;
      this.#find("sa", `${sa.name} and ${other.name} have reqid ${String(sa.reqId)} both`);
      this.#terminateChild(sa, "misnumbered");
    }
  }

  #endStaleIkeSas(): ConnectionId[] {
    const successor = this.#standing().some((sa) => sa.state === "established" && sa.children.some(carriesTraffic));
    let waits = false;
    for (const sa of this.#live) {
      const deadlineMs = this.#staleIke.get(sa.uniqueId);
      if (deadlineMs === undefined || this.#endedIke.has(sa.uniqueId)) continue;
      if (successor) this.#terminateIke(sa, "replaced");
      else if (deadlineMs <= this.#nowMs) this.#terminateIke(sa, "outdated");
      else {
        this.#wakeAt(deadlineMs);
        waits = true;
      }
    }
    return waits ? this.#peer.members.map((m) => m.tunnel.id) : [];
  }

  #endStaleChildSas(): ConnectionId[] {
    const waiting: ConnectionId[] = [];
    for (const { tunnel } of this.#peer.members) {
      const children = this.#childSas(tunnel.id);
      for (const child of children) {
        const deadlineMs = this.#staleChild.get(child.uniqueId);
        if (deadlineMs === undefined) continue;
        const successor = children.some(
          (c) => c.name === child.name && carriesTraffic(c) && !this.#staleChild.has(c.uniqueId),
        );
        if (successor) this.#terminateChild(child, "replaced");
        else if (deadlineMs <= this.#nowMs) this.#terminateChild(child, "outdated");
        else {
          this.#wakeAt(deadlineMs);
          waiting.push(tunnel.id);
        }
      }
    }
    return waiting;
  }

  /**
   * Both sides that initiate at once leave two IKE SAs, and each side may go on with another one. Of those that carry the
   * most children the one with the lowest SPIs stays: the other side, seeing the same SPIs, chooses the same.
   */
  #endDuplicateIkeSas(): void {
    const standing = this.#standing().filter((sa) => sa.state === "established");
    if (standing.length < 2 || !this.#areSettled(standing, this.#notes.establishedSinceMs)) return;
    const [best, ...others] = [...standing].sort(
      (a, b) => namesOfCarrying(b).length - namesOfCarrying(a).length || (a.spis < b.spis ? -1 : 1),
    );
    if (best === undefined) return;
    const kept = new Set(namesOfCarrying(best));
    for (const sa of others) {
      if (namesOfCarrying(sa).every((name) => kept.has(name))) this.#terminateIke(sa, "duplicate");
    }
  }

  #endDuplicateChildSas(): void {
    const spis = (child: ChildSa): string => [child.spiIn, child.spiOut].sort().join(":");
    const leaving = this.#onSuperseded();
    for (const { tunnel, children } of this.#peer.members) {
      for (const wanted of children) {
        const standing = this.#childSas(tunnel.id).filter(
          (child) => child.name === wanted.name && child.state === "installed" && !this.#staleChild.has(child.uniqueId),
        );
        if (standing.length < 2 || !this.#areSettled(standing, this.#notes.installedSinceMs)) continue;
        const [, ...others] = [...standing].sort(
          (a, b) =>
            Number(leaving.includes(a)) - Number(leaving.includes(b)) ||
            Number(carriesAll(b, wanted)) - Number(carriesAll(a, wanted)) ||
            (spis(a) < spis(b) ? -1 : 1),
        );
        for (const child of others) this.#terminateChild(child, "duplicate");
      }
    }
  }

  /**
   * The peer takes an SA for whole of which this side has lost the successor, and asks for nothing: where only the peer may
   * ask, it has to hear that the SA is gone. Where both have made one at once, each may end the other's (IKEv1, 5.9.8).
   */
  #endRekeyedChildSas(): void {
    for (const { tunnel, children } of this.#peer.members) {
      if (mayInitiate(tunnel)) continue;
      for (const { name } of children) {
        const own = this.#childSas(tunnel.id).filter((child) => child.name === name && child.state !== "ending");
        if (own.every(({ state }) => state === "rekeyed"))
          for (const child of own) this.#terminateChild(child, "replaced");
      }
    }
  }

  /** Whether all of them have stood long enough that none of them is about to go by itself. */
  #areSettled(sas: readonly { readonly uniqueId: string }[], sinceMs: ReadonlyMap<string, number>): boolean {
    const youngestMs = Math.max(...sas.map((sa) => sinceMs.get(sa.uniqueId) ?? this.#nowMs));
    const settledAtMs = youngestMs + this.#options.duplicateGraceMs;
    if (settledAtMs <= this.#nowMs) return true;
    this.#wakeAt(settledAtMs);
    return false;
  }

  /** charon alone would retransmit for minutes with growing pauses; a peer that came back is found sooner afresh. */
  #restartUnanswered(): void {
    if (!this.#peer.members.some((member) => mayInitiate(member.tunnel))) return;
    for (const sa of this.#live) {
      if (sa.state !== "connecting" || this.#endedIke.has(sa.uniqueId)) continue;
      const sinceMs = this.#notes.connectingSinceMs.get(sa.uniqueId) ?? this.#nowMs;
      const untilMs = sinceMs + this.#options.connectTimeoutMs;
      if (untilMs <= this.#nowMs) this.#terminateIke(sa, "no-answer");
      else this.#wakeAt(untilMs);
    }
  }

  /**
   * In IKEv1 a Quick Mode that got no answer, for instance since it crossed the peer's while both had other policies, keeps
   * every later one of its IKE SA waiting until charon gives it up, which takes minutes. Where the SA carries nothing there
   * is nothing to lose by beginning anew.
   */
  #restartStuck(): void {
    const { leader, members } = this.#peer;
    const wasAsked = ({ tunnel }: Member): boolean =>
      (this.#notes.attempts.get(tunnel.id)?.count ?? 0) >= QUICK_MODE_ATTEMPTS;
    if (leader.ike.version !== 1 || !members.some(wasAsked)) return;
    for (const sa of this.#live) {
      if (sa.state !== "established" || this.#endedIke.has(sa.uniqueId) || sa.children.some(carriesTraffic)) continue;
      const untilMs = (this.#notes.establishedSinceMs.get(sa.uniqueId) ?? this.#nowMs) + QUICK_MODE_PATIENCE_MS;
      if (untilMs <= this.#nowMs) this.#terminateIke(sa, "no-answer");
      else this.#wakeAt(untilMs);
    }
  }

  #initiateMissing({ tunnel, children }: Member): void {
    if (!mayInitiate(tunnel) || this.#isNegotiating()) return;
    const onSuperseded = this.#onSuperseded();
    const standing = this.#childSas(tunnel.id).filter(
      (child) => !this.#staleChild.has(child.uniqueId) && !onSuperseded.includes(child),
    );
    const mayBeNarrowed = (this.#notes.attempts.get(tunnel.id)?.count ?? 0) >= MAX_NARROWED_ATTEMPTS;
    const stands = (sa: ChildSa, wanted: Child): boolean =>
      sa.name === wanted.name &&
      sa.state !== "ending" &&
      sa.state !== "rekeyed" &&
      (mayBeNarrowed || !carriesTraffic(sa) || carriesAll(sa, wanted));
    const isAskedFor = ({ name }: Child): boolean =>
      this.steps.some((step) => step.kind === "initiate" && step.child === name);
    const missing = children.filter((wanted) => !standing.some((sa) => stands(sa, wanted)) && !isAskedFor(wanted));
    if (missing.length === 0) return;
    const dueAtMs = this.#initiateAtMs.get(tunnel.id) ?? this.#notes.attempts.get(tunnel.id)?.nextAtMs ?? this.#nowMs;
    if (dueAtMs > this.#nowMs) {
      this.#wakeAt(dueAtMs);
      return;
    }
    for (const child of missing) {
      this.steps.push({ kind: "initiate", connection: tunnel.id, peer: this.#peer.name, child: child.name });
    }
  }

  #onSuperseded(): readonly ChildSa[] {
    return this.#live.filter((sa) => this.#superseded.has(sa.uniqueId)).flatMap((sa) => sa.children);
  }

  #commit({ member, wanted, isCommitted }: MemberState, waits: boolean): void {
    const { id } = member.tunnel;
    const text = encodeMarker(wanted);
    const replaces = [...this.#observed.secretIds].filter((s) => isMarkerId(s) && s.includes(id) && s !== text);
    if (!isCommitted || replaces.length > 0) {
      if (!waits) this.steps.push({ kind: "commit", marker: wanted, replaces });
    } else if (
      !waits &&
      !this.#isLoadedOtherwise &&
      this.steps.every((step) => step.kind === "initiate" || step.kind === "commit")
    ) {
      this.inSync.add(id);
    }
  }

  #isNegotiating(): boolean {
    return this.#live.some((sa) => sa.state === "connecting" && !this.#endedIke.has(sa.uniqueId));
  }

  /** Live CHILD SAs of one connection that this plan does not end. */
  #childSas(id: ConnectionId): ChildSa[] {
    return this.#live
      .flatMap((sa) => sa.children)
      .filter((child) => belongsTo(child.name, id) && !this.#endedChild.has(child.uniqueId));
  }

  /**
   * Waiting for the other side costs nothing where there is nothing yet, or what is there is ended only when its successor
   * stands. Both sides at once is what IKEv1 takes badly: charon 5.9.8 hands the Quick Mode of one of the two IKE SAs on to
   * the other, where the peer cannot read it, and gives that one up when nobody has answered.
   */
  #mayYield(): boolean {
    return this.#live.every((sa) => this.#superseded.has(sa.uniqueId));
  }

  /** Whether the other side is to initiate first: only one of two can have the lower address. */
  #yields(): boolean {
    const { localAddress, peerAddress } = this.#peer.leader;
    return localAddress > peerAddress;
  }

  #terminateIke(sa: IkeSa, why: TerminationCause, deviation?: string): void {
    this.#endedIke.add(sa.uniqueId);
    for (const child of sa.children) this.#endedChild.add(child.uniqueId);
    const of = deviation === undefined ? {} : { deviation };
    this.steps.push({ kind: "terminateIke", ikeSa: sa.uniqueId, peer: this.#peer.name, why, ...of });
  }

  #terminateChild(child: ChildSa, why: TerminationCause, deviation?: string): void {
    const sa = this.#live.find(({ children }) => children.includes(child));
    if (sa === undefined) return;
    this.#endedChild.add(child.uniqueId);
    this.steps.push(terminateChild(sa, child, why, deviation));
  }

  #wakeAt(atMs: number): void {
    this.wakeAtMs = earlier(this.wakeAtMs, atMs);
  }
}
