// An Ike with a model of charon behind it: it keeps configs, secrets, files and SAs as charon does, refuses what charon
// would refuse, and throws on calls that no correct caller makes. The peers' side can be told how to behave.
import type { CharonAlgorithms } from "../../src/core/algorithms.ts";
import type { CharonPlanOptions, CharonStep } from "../../src/core/charon-step.ts";
import { CharonRefusedError, DeadlineError, UnavailableError } from "../../src/core/errors.ts";
import {
  decodeMarker,
  encodeMarker,
  secretFingerprint,
  secretId,
  type Fingerprint,
} from "../../src/core/fingerprint.ts";
import type { ConnectionId, RouterId } from "../../src/core/ids.ts";
import type { Tunnel } from "../../src/core/model.ts";
import type { Values } from "../../src/core/views.ts";
import { belongsTo, type IkeSa, type ObservedCharon } from "../../src/core/observed.ts";
import { peerOfSecretId } from "../../src/core/fingerprint.ts";
import type { Child, Peer } from "../../src/core/peers.ts";
import type { CharonEvent, Ike } from "../../src/core/ports.ts";
import { ALL_ALGORITHMS } from "./builders.ts";

/** How the other side of a peer behaves. */
export type Remote = {
  answers: "at once" | "never";
  /** The PSK that it has; undefined: whatever we use. */
  psk: string | undefined;
  refusesChild: (name: string) => boolean;
  /** Narrows what is asked for. */
  narrows: ((child: Child) => Child) | undefined;
  /** Asks again for what was taken away. */
  insists: boolean;
};

export type FakeChild = {
  readonly name: string;
  readonly uniqueId: string;
  state: "installed" | "rekeying" | "rekeyed" | "ending";
  readonly madeAtMs: number;
  /** What it was negotiated with. */
  readonly child: Child;
  readonly ipsec: string;
  /** Default: one of its own. */
  reqId?: number;
  /** What list-sas tells of it beside. */
  values?: Values;
  isGrantedAgain?: boolean;
  /** The data plane has nothing of it any more. */
  isStranded?: boolean;
};

export type FakeIkeSa = {
  readonly peer: string;
  readonly uniqueId: string;
  state: IkeSa["state"];
  readonly psk: string | undefined;
  readonly ike: string;
  /** What it is bound to, and the terms of that. */
  readonly config: Conn;
  readonly terms: string;
  values?: Values;
  children: FakeChild[];
};

/** Stays the same where only its children are changed (vici_config.c, merge_config). */
export type Conn = { peer: Peer; fingerprint: Fingerprint };

export class FakeCharon {
  readonly instance: string;
  readonly conns = new Map<string, Conn | "foreign">();
  /** PSKs by id; markers and foreign secrets have none. */
  readonly secrets = new Map<string, string | undefined>();
  /** What list-conns tells of a config that somebody changed, until it is loaded again. */
  readonly shown = new Map<string, Values>();
  ikeSas: FakeIkeSa[] = [];
  /** VICI does not answer. */
  hangs = false;

  constructor(instance: string) {
    this.instance = instance;
  }
}

/** What the real suite of a tunnel is made of; equal texts negotiate the same SA. */
export const ikeOf = ({ ike }: Tunnel): string =>
  [ike.version, ike.version === 1 ? ike.mode : "", ike.encryption, ike.authentication, ike.dhGroup].join(" ");
export const ipsecOf = ({ ipsec }: Tunnel): string =>
  [ipsec.protocol, ipsec.mode, ipsec.encryption, ipsec.authentication, ipsec.dhGroup].join(" ");

/** What charon compares of a config beside its suite: an IKE SA stays bound to what it came from. */
export const termsOf = ({ leader, hasOwnIdentities }: Peer): string =>
  JSON.stringify([
    leader.ike.lifetime,
    leader.dpd.action === "disabled" ? 0 : leader.dpd.intervalSeconds,
    leader.ike.version === 1 ? leader.dpd.timeoutSeconds : 0,
    leader.initiator,
    hasOwnIdentities,
  ]);

/** A caller's mistake: not an error that reconciling may swallow as charon's own. */
export class ImpossibleCallError extends Error {
  override readonly name = "ImpossibleCallError";
}

export type Mishap = "refused before" | "answer lost" | "crash";

export class FakeIke implements Ike {
  readonly applied: CharonStep[] = [];
  readonly files = new Map<RouterId, Map<ConnectionId, Fingerprint>>();
  readonly remotes = new Map<string, Remote>();
  /** Connections that charon cannot load. */
  readonly unloadable = new Set<ConnectionId>();
  /** Steps that still succeed before the mishap; undefined: none. */
  mishap: { afterSteps: number; readonly kind: Mishap } | undefined;
  startFails = false;
  /** A peer is about to ask for what was taken away. */
  onInsisting: ((router: RouterId, sa: FakeIkeSa, child: string) => void) | undefined;
  /** What happens right after a step succeeded. */
  afterStep: ((step: CharonStep) => void) | undefined;
  /** charon may be another one than the caller could know: it takes what no correct caller would ask of it otherwise. */
  isAnotherThanKnown = false;
  /** Whatever is loaded, charon goes on telling what it told. */
  showsOtherwise = false;
  /** Of every charon. */
  algorithms: CharonAlgorithms = ALL_ALGORITHMS;
  /** Routers of which nothing is told, and no call comes to an end. */
  readonly silent = new Set<RouterId>();
  /** What is thrown by the next call, whatever it is: a bug of the adapter. */
  nextError: Error | undefined;
  starts = 0;
  /** How often a peer was granted what it insisted on. */
  grants = 0;
  #options: CharonPlanOptions;
  readonly #nowMs: () => number;
  readonly #charons = new Map<RouterId, FakeCharon>();
  readonly #listeners = new Map<RouterId, Set<(event: CharonEvent) => void>>();
  #lastId = 0;

  constructor(options: CharonPlanOptions, nowMs: () => number) {
    this.#options = options;
    this.#nowMs = nowMs;
  }

  use(options: CharonPlanOptions): void {
    this.#options = options;
  }

  charon(router: RouterId): FakeCharon {
    const charon = this.#charons.get(router);
    if (charon === undefined) throw new Error("no charon runs");
    return charon;
  }

  isRunning(router: RouterId): boolean {
    return this.#charons.has(router);
  }

  remote(peer: string): Remote {
    const known = this.remotes.get(peer);
    if (known !== undefined) return known;
    const remote: Remote = {
      answers: "at once",
      psk: undefined,
      refusesChild: () => false,
      narrows: undefined,
      insists: false,
    };
    this.remotes.set(peer, remote);
    return remote;
  }

  observe(router: RouterId, signal: AbortSignal): Promise<ObservedCharon> {
    if (signal.aborted) return Promise.reject(reasonOf(signal));
    if (this.silent.has(router)) {
      return new Promise((_, reject) => signal.addEventListener("abort", () => reject(reasonOf(signal))));
    }
    const error = this.nextError;
    this.nextError = undefined;
    if (error !== undefined) return Promise.reject(error);
    const charon = this.#charons.get(router);
    if (charon === undefined) return Promise.resolve({ kind: "absent" });
    if (charon.hangs) return Promise.resolve({ kind: "failing", why: "charon does not answer VICI" });
    const markers = [...charon.secrets.keys()].flatMap((id) => decodeMarker(id) ?? []);
    return Promise.resolve({
      kind: "up",
      instance: charon.instance,
      startedAtMs: 0,
      algorithms: this.algorithms,
      peers: new Map([...charon.conns].map(([name, conn]) => [name, new Set(childNames(conn))])),
      loaded: new Map(charon.shown),
      secretIds: new Set(charon.secrets.keys()),
      markers: new Map(markers.map((marker) => [marker.connection, marker])),
      ikeSas: charon.ikeSas.map((sa) => observedSa(sa, this.#nowMs())),
      files: new Map(this.#filesOf(router)),
    });
  }

  start(router: RouterId, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.reject(reasonOf(signal));
    if (this.startFails) return Promise.reject(new UnavailableError("CHARON_DOWN", "charon ended while starting"));
    if (!this.#charons.has(router)) {
      this.starts += 1;
      this.#charons.set(router, new FakeCharon(`instance ${String(this.starts)}`));
    }
    return Promise.resolve();
  }

  apply(router: RouterId, step: CharonStep, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.reject(reasonOf(signal));
    const mishap = this.#takeMishap();
    try {
      if (mishap === "refused before") throw new DeadlineError(`fake ${step.kind}`);
      if (mishap === "crash") {
        this.crash(router);
        throw new UnavailableError("CHARON_DOWN", "connection closed");
      }
      this.#perform(router, step);
      this.applied.push(step);
      this.afterStep?.(step);
      if (mishap === "answer lost") throw new DeadlineError(`answer to fake ${step.kind}`);
    } catch (error) {
      return Promise.reject(error instanceof Error ? error : new Error(String(error)));
    }
    return Promise.resolve();
  }

  tryPeer(router: RouterId, step: Extract<CharonStep, { kind: "loadPeer" }>): Promise<void> {
    try {
      this.#running(router);
      this.#refuseUnloadable(step.peer);
    } catch (error) {
      return Promise.reject(error instanceof Error ? error : new Error(String(error)));
    }
    return Promise.resolve();
  }

  remove(router: RouterId): Promise<void> {
    this.#charons.delete(router);
    this.files.delete(router);
    return Promise.resolve();
  }

  watch(router: RouterId, listener: (event: CharonEvent) => void): () => void {
    const listeners = this.#listeners.get(router) ?? new Set();
    this.#listeners.set(router, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  tell(router: RouterId, event: CharonEvent): void {
    for (const listener of this.#listeners.get(router) ?? []) listener(event);
  }

  /** The process ends: all but the files is forgotten. */
  crash(router: RouterId): void {
    if (this.#charons.delete(router)) this.tell(router, { kind: "lost" });
  }

  /** The peer sets up its side: every child of ours that it does not refuse. */
  peerInitiates(router: RouterId, peer: string): void {
    // An earlier one may have been the reason to end charon.
    const conn = this.isRunning(router) ? this.charon(router).conns.get(peer) : undefined;
    if (conn === undefined || conn === "foreign") return;
    const sa = this.#negotiateIke(router, conn);
    if (sa?.state !== "established") return;
    for (const child of childNames(conn)) this.#negotiateChild(router, sa, conn.peer, child);
    this.tell(router, { kind: "sasChanged" });
  }

  /** The peer asks an IKE SA for a child, and has it if the config that this is bound to has it. */
  peerAsks(router: RouterId, { uniqueId }: FakeIkeSa, child: string): void {
    const sa = this.isRunning(router)
      ? this.charon(router).ikeSas.find((one) => one.uniqueId === uniqueId && one.state === "established")
      : undefined;
    if (sa === undefined || sa.children.some(({ name }) => name === child)) return;
    if (!this.#negotiateChild(router, sa, sa.config.peer, child)) return;
    this.grants += 1;
    for (const granted of sa.children.filter(({ name }) => name === child)) granted.isGrantedAgain = true;
    this.tell(router, { kind: "sasChanged" });
  }

  /** The peer, or its death, ends an IKE SA of ours. */
  dropIkeSa(router: RouterId, uniqueId: string): void {
    this.#end(router, uniqueId);
    this.tell(router, { kind: "sasChanged" });
  }

  #takeMishap(): Mishap | undefined {
    if (this.mishap === undefined) return undefined;
    this.mishap.afterSteps -= 1;
    if (this.mishap.afterSteps >= 0) return undefined;
    const { kind } = this.mishap;
    this.mishap = undefined;
    return kind;
  }

  #filesOf(router: RouterId): Map<ConnectionId, Fingerprint> {
    const files = this.files.get(router) ?? new Map<ConnectionId, Fingerprint>();
    this.files.set(router, files);
    return files;
  }

  #running(router: RouterId): FakeCharon {
    const charon = this.#charons.get(router);
    if (charon === undefined) throw new UnavailableError("CHARON_DOWN", "charon is not running");
    if (charon.hangs) throw new DeadlineError("charon does not answer VICI");
    return charon;
  }

  #refuseUnloadable(peer: Peer): void {
    const bad = peer.members.find((member) => this.unloadable.has(member.tunnel.id));
    if (bad !== undefined)
      throw new CharonRefusedError("load-conn", "invalid value for: esp_proposals, config discarded");
  }

  #perform(router: RouterId, step: CharonStep): void {
    if (step.kind === "writeFile") {
      const text = this.#options.fileFingerprint(step.peer, step.member, step.marker);
      this.#filesOf(router).set(step.connection, text);
      return;
    }
    if (step.kind === "removeFile") {
      this.#filesOf(router).delete(step.connection);
      return;
    }
    const charon = this.#running(router);
    switch (step.kind) {
      case "loadSecret": {
        const { name, leader } = step.peer;
        if (step.id !== secretId(name, secretFingerprint(this.#options.key, leader))) {
          throw new ImpossibleCallError("a secret's id names another secret");
        }
        charon.secrets.set(step.id, leader.psk.reveal());
        return;
      }
      case "unloadSecret":
      case "unloadMarker":
        charon.secrets.delete(step.id);
        return;
      case "loadPeer":
        if (step.isAnew === true) charon.conns.delete(step.peer.name);
        this.#refuseUnloadable(step.peer);
        this.#load(charon, step);
        if (!this.showsOtherwise) charon.shown.delete(step.peer.name);
        return;
      case "unloadPeer":
        charon.conns.delete(step.name);
        return;
      case "beginUpdate":
        return;
      case "reauthenticate":
        this.#reauthenticate(router, step.ikeSa);
        return;
      case "terminateIke":
        this.#end(router, step.ikeSa);
        this.tell(router, { kind: "sasChanged" });
        return;
      case "terminateChild":
        for (const sa of charon.ikeSas) {
          const isThere = sa.children.some((child) => child.uniqueId === step.childSa);
          sa.children = sa.children.filter((child) => child.uniqueId !== step.childSa);
          if (isThere && step.why === "removed" && this.remote(sa.peer).insists)
            this.onInsisting?.(router, sa, step.child);
        }
        this.tell(router, { kind: "sasChanged" });
        return;
      case "initiate":
        this.#initiate(router, step.peer, step.child);
        return;
      case "commit": {
        if (!this.isAnotherThanKnown) this.#refuseEarlyCommit(charon, step);
        charon.secrets.set(encodeMarker(step.marker), undefined);
        for (const id of step.replaces) charon.secrets.delete(id);
        return;
      }
      default:
        return step satisfies never;
    }
  }

  #load(charon: FakeCharon, { peer, fingerprint }: Extract<CharonStep, { kind: "loadPeer" }>): void {
    const held = charon.conns.get(peer.name);
    const isAlike =
      held !== undefined &&
      held !== "foreign" &&
      termsOf(held.peer) === termsOf(peer) &&
      ikeOf(held.peer.leader) === ikeOf(peer.leader);
    if (isAlike) Object.assign(held, { peer, fingerprint });
    else charon.conns.set(peer.name, { peer, fingerprint });
  }

  #refuseEarlyCommit(charon: FakeCharon, { marker }: Extract<CharonStep, { kind: "commit" }>): void {
    const loaded = [...charon.conns].flatMap(([name, conn]) =>
      childNames(conn).some((child) => belongsTo(child, marker.connection)) ? [name] : [],
    );
    if (loaded.length === 0) throw new ImpossibleCallError("a commit of a connection that is not loaded");
    const hasSecret = [...charon.secrets.keys()].some((id) => loaded.includes(peerOfSecretId(id) ?? ""));
    if (!hasSecret) throw new ImpossibleCallError("a commit of a connection without its secret");
  }

  #end(router: RouterId, uniqueId: string): void {
    const charon = this.charon(router);
    charon.ikeSas = charon.ikeSas.filter((sa) => sa.uniqueId !== uniqueId);
  }

  #nextId(): string {
    this.#lastId += 1;
    return String(this.#lastId);
  }

  /** charon takes the secret that was loaded last of those whose owners fit. */
  #pskFor(charon: FakeCharon, peer: string): string | undefined {
    return [...charon.secrets].findLast(([id]) => peerOfSecretId(id) === peer)?.[1];
  }

  /** A new IKE SA, or undefined when the peer refused it. */
  #negotiateIke(router: RouterId, config: Conn): FakeIkeSa | undefined {
    const charon = this.charon(router);
    const { peer } = config;
    const remote = this.remote(peer.name);
    const psk = this.#pskFor(charon, peer.name);
    const sa: FakeIkeSa = {
      peer: peer.name,
      uniqueId: this.#nextId(),
      state: remote.answers === "at once" ? "established" : "connecting",
      psk,
      ike: ikeOf(peer.leader),
      config,
      terms: termsOf(peer),
      children: [],
    };
    if (remote.answers === "at once" && (psk === undefined || (remote.psk !== undefined && remote.psk !== psk))) {
      const text = "the peer refused our identity or pre-shared key";
      this.tell(router, {
        kind: "failed",
        peer: peer.name,
        failure: { code: "authentication-failed", text, atMs: this.#nowMs() },
      });
      return undefined;
    }
    charon.ikeSas.push(sa);
    return sa;
  }

  #negotiateChild(router: RouterId, sa: FakeIkeSa, peer: Peer, name: string): boolean {
    const member = peer.members.find((one) => belongsTo(name, one.tunnel.id));
    const child = member?.children.find((one) => one.name === name);
    if (member === undefined || child === undefined) return false;
    const remote = this.remote(peer.name);
    if (remote.refusesChild(name)) {
      const failure = { code: "selectors-refused" as const, text: "the subnets differ", atMs: this.#nowMs() };
      this.tell(router, { kind: "failed", peer: peer.name, failure });
      return false;
    }
    sa.children.push({
      name,
      uniqueId: this.#nextId(),
      state: "installed",
      madeAtMs: this.#nowMs(),
      child: remote.narrows?.(child) ?? child,
      ipsec: ipsecOf(member.tunnel),
    });
    return true;
  }

  #initiate(router: RouterId, name: string, child: string): void {
    const charon = this.#running(router);
    const conn = charon.conns.get(name);
    if (conn === undefined || !childNames(conn).includes(child)) {
      throw new CharonRefusedError("initiate", `CHILD_SA config '${child}' not found`);
    }
    if (conn === "foreign") throw new ImpossibleCallError("an attempt with a config that is not ours");
    // checkout_by_config: an IKE SA is used again if its config looks the same (ike_sa_manager.c).
    const isAlike = (sa: FakeIkeSa): boolean => sa.terms === termsOf(conn.peer) && sa.ike === ikeOf(conn.peer.leader);
    const standing = charon.ikeSas.find((sa) => sa.peer === name && sa.state === "established" && isAlike(sa));
    const sa = standing ?? this.#negotiateIke(router, conn);
    if (sa?.state === "established") this.#negotiateChild(router, sa, conn.peer, child);
    this.tell(router, { kind: "sasChanged" });
  }

  /** Make before break: a refused attempt leaves the old SA and its children as they are (5.9.8, 6.0.1). */
  #reauthenticate(router: RouterId, uniqueId: string): void {
    const charon = this.#running(router);
    const old = charon.ikeSas.find((sa) => sa.uniqueId === uniqueId);
    const conn = old === undefined ? undefined : charon.conns.get(old.peer);
    if (old === undefined || conn === undefined || conn === "foreign") return;
    const made = this.#negotiateIke(router, conn);
    if (made?.state !== "established") return;
    const fresh = {
      ...made,
      config: old.config,
      terms: old.terms,
      ...(old.values === undefined ? {} : { values: old.values }),
    };
    charon.ikeSas = charon.ikeSas.map((sa) => (sa === made ? fresh : sa));
    for (const name of new Set(old.children.map((child) => child.name))) {
      this.#negotiateChild(router, fresh, conn.peer, name);
    }
    this.#end(router, uniqueId);
    this.tell(router, { kind: "sasChanged" });
  }
}

const reasonOf = (signal: AbortSignal): Error =>
  signal.reason instanceof Error ? signal.reason : new Error(String(signal.reason));

const childNames = (conn: Conn | "foreign"): readonly string[] =>
  conn === "foreign" ? [] : conn.peer.members.flatMap((member) => member.children.map((child) => child.name));

const observedSa = (sa: FakeIkeSa, nowMs: number): IkeSa => ({
  peer: sa.peer,
  uniqueId: sa.uniqueId,
  state: sa.state,
  spis: `${sa.uniqueId}:${sa.uniqueId}`,
  values: sa.values ?? new Map<string, string>(),
  children: sa.children.map(({ name, uniqueId, state, madeAtMs, child, values, reqId }) => ({
    name,
    uniqueId,
    state,
    ageSeconds: Math.floor((nowMs - madeAtMs) / 1_000),
    localSubnets: child.localSubnets,
    peerSubnets: child.peerSubnets,
    spiIn: uniqueId,
    spiOut: uniqueId,
    reqId: reqId ?? Number(uniqueId),
    values: values ?? new Map<string, string>(),
    bytesIn: 0,
    bytesOut: 0,
    packetsIn: 0,
    packetsOut: 0,
  })),
});
