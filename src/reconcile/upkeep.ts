// Keeps the notes about a charon in line with what was just read from it: what is gone is forgotten.
import { lackOf } from "../core/data-plane.ts";
import { encodeMarker } from "../core/fingerprint.ts";
import type { ConnectionId } from "../core/ids.ts";
import { isPeerName } from "../core/names.ts";
import type { DesiredConnection } from "../core/model.ts";
import {
  belongsTo,
  carriesAll,
  carriesTraffic,
  emptyNotes,
  type ChildSa,
  type IkeSa,
  type Notes,
  type RunningCharon,
} from "../core/observed.ts";
import { childrenOf, peerNameOf } from "../core/peers.ts";
import { quickModePatienceMs } from "../core/plan-peer.ts";
import type { CharonPlan } from "../core/plan.ts";

/** An attempt counts until what it made has stood so long: what comes up only to be lost is asked for with growing pauses. */
const STOOD_MS = 10_000;

/** After its time a Quick Mode that went wrong is no reason any more for what is lacking. */
const QUICK_MODE_LONG_AGO_MS = 30_000;
/** How long an IKE SA that was ended for one makes the next one be waited for. */
const ENDED_LONG_AGO_MS = 3_600_000;

/** A lost answer comes with one of the retransmissions, of which charon's own give up after 165 s. */
const LATE_ANSWER_MS = 180_000;

/** Notes about this instance of charon: the given ones, or new ones when charon was started anew. */
export const notesFor = (notes: Notes | undefined, observed: RunningCharon): Notes =>
  notes?.instance === observed.instance ? notes : emptyNotes(observed.instance);

function keepOnly<K>(map: Map<K, unknown> | Set<K>, isLive: (key: K) => boolean): void {
  for (const key of map.keys()) if (!isLive(key)) map.delete(key);
}

/** Since when each of these is so; what is not among them is forgotten. */
function noteSince<K>(since: Map<K, number>, current: readonly K[], nowMs: number): void {
  keepOnly(since, (key) => current.includes(key));
  for (const key of current) if (!since.has(key)) since.set(key, nowMs);
}

function isCommitted(notes: Notes, id: ConnectionId): boolean {
  const committed = notes.committed.get(id);
  return committed !== undefined && notes.transitions.get(id) === encodeMarker(committed);
}

/** Before planning: drops notes about SAs and connections that are gone, and starts the clocks of what is new. */
export function refreshNotes(
  notes: Notes,
  observed: RunningCharon,
  connections: readonly DesiredConnection[],
  nowMs: number,
  splitChildren: boolean,
): void {
  refreshIkeSas(notes, observed, nowMs);
  refreshUnbound(notes, observed);
  refreshQuickModes(notes, observed, nowMs);
  learnTerms(notes, observed);
  refreshChildSas(notes, observed, nowMs);
  keepOnly(notes.loadedPeers, (name) => observed.peers.has(name));
  keepOnly(notes.loadedSecrets, (id) => observed.secretIds.has(id));
  refreshConnections(notes, observed, connections, nowMs, splitChildren);
}

function refreshIkeSas(notes: Notes, { ikeSas }: RunningCharon, nowMs: number): void {
  const ids = new Set(ikeSas.map((sa) => sa.uniqueId));
  keepOnly(notes.staleIkeSas, (id) => ids.has(id));
  keepOnly(notes.ikeTerms, (id) => ids.has(id));
  for (const { uniqueId, peer } of ikeSas) {
    // Before charon has chosen a config it has no name (`(unnamed)`).
    if (!notes.ikeTerms.has(uniqueId) && isPeerName(peer)) notes.ikeTerms.set(uniqueId, notes.loadedTerms.get(peer));
  }
  const idsIn = (state: IkeSa["state"]): string[] => ikeSas.filter((sa) => sa.state === state).map((sa) => sa.uniqueId);
  noteSince(notes.connectingSinceMs, idsIn("connecting"), nowMs);
  noteSince(notes.establishedSinceMs, idsIn("established"), nowMs);
}

/** A successor has the CHILD SAs of its predecessor. */
function refreshUnbound({ unboundIkeSas }: Notes, { ikeSas }: RunningCharon): void {
  const before = [...unboundIkeSas.values()];
  for (const { uniqueId, children } of ikeSas) {
    const ids = children.map((child) => child.uniqueId);
    const predecessor = before.find(({ childSas }) => ids.some((id) => childSas.has(id)));
    const sinceMs = (unboundIkeSas.get(uniqueId) ?? predecessor)?.sinceMs;
    if (sinceMs !== undefined) unboundIkeSas.set(uniqueId, { sinceMs, childSas: new Set(ids) });
  }
  keepOnly(unboundIkeSas, (id) => ikeSas.some((sa) => sa.uniqueId === id));
}

function refreshQuickModes(notes: Notes, { ikeSas }: RunningCharon, nowMs: number): void {
  for (const [fault, since] of [
    ["forgotten", notes.quickModes.forgotten.sinceMs],
    ["forgotten", notes.unconfirmedAtMs],
    ["unreadable", notes.quickModes.unreadable.sinceMs],
  ] as const) {
    for (const [id, atMs] of since) {
      // It may be younger than the look.
      const peer = ikeSas.find(({ uniqueId }) => uniqueId === id)?.peer;
      const patienceMs = peer === undefined ? 0 : quickModePatienceMs(notes, fault, peer);
      if (nowMs - atMs > patienceMs + QUICK_MODE_LONG_AGO_MS) since.delete(id);
    }
  }
  for (const { ended } of Object.values(notes.quickModes)) {
    for (const [peer, { atMs }] of ended) if (nowMs - atMs > ENDED_LONG_AGO_MS) ended.delete(peer);
  }
}

function refreshChildSas(notes: Notes, { ikeSas, peers, dataPlane }: RunningCharon, nowMs: number): void {
  const childSas = ikeSas.flatMap((sa) => sa.children);
  const ids = new Set(childSas.map((child) => child.uniqueId));
  keepOnly(notes.staleChildSas, (id) => ids.has(id));
  const installed = childSas.filter((child) => child.state === "installed").map((child) => child.uniqueId);
  noteSince(notes.installedSinceMs, installed, nowMs);
  keepOnly(notes.carriedChildSas, (id) => ids.has(id));
  if (dataPlane !== undefined) {
    const carried = childSas.filter((child) => lackOf(child, dataPlane) === undefined);
    for (const child of carried) {
      notes.carriedChildSas.add(child.uniqueId);
      notes.endedStranded.delete(child.name);
      ids.delete(child.uniqueId);
    }
    noteSince(notes.strandedSinceMs, [...ids], dataPlane.atMs);
  }
  const spisOut = new Set(childSas.map((child) => child.spiOut));
  for (const [spi, { atMs }] of notes.endedByPeer) {
    if (nowMs - atMs > LATE_ANSWER_MS && !spisOut.has(spi)) notes.endedByPeer.delete(spi);
  }
  for (const [id, ended] of notes.removedChildSas) {
    const sa = ikeSas.find(({ uniqueId }) => uniqueId === id);
    if (sa === undefined) notes.removedChildSas.delete(id);
    else keepOnly(ended, (name) => peers.get(sa.peer)?.has(name) !== true);
  }
}

/**
 * charon asks on an IKE SA of the loaded config only (ike_sa_manager.c, checkout_by_config): where what was asked for comes up
 * beside the very same, its terms are the loaded ones, whatever a marker says that an agent had no time to renew.
 */
function learnTerms(notes: Notes, { ikeSas }: RunningCharon): void {
  for (const { uniqueId, peer, children } of ikeSas) {
    const loaded = notes.loadedTerms.get(peer);
    if (loaded === undefined || notes.ikeTerms.get(uniqueId) !== undefined) continue;
    const carrying = children.filter(carriesTraffic);
    const isTwin = ({ name, uniqueId: id, state }: ChildSa): boolean => {
      const isAskedFor = [...notes.attempts.keys()].some((connection) => belongsTo(name, connection));
      const isNew = state === "installed" && !notes.installedSinceMs.has(id);
      return isAskedFor && isNew && carrying.some((other) => other.uniqueId !== id && other.name === name);
    };
    if (carrying.some(isTwin)) notes.ikeTerms.set(uniqueId, loaded);
  }
}

function refreshConnections(
  notes: Notes,
  observed: RunningCharon,
  connections: readonly DesiredConnection[],
  nowMs: number,
  splitChildren: boolean,
): void {
  const childSas = observed.ikeSas.flatMap((sa) => sa.children);
  const usable = new Map(connections.flatMap((c) => (c.kind === "usable" ? [[c.id, c.tunnel] as const] : [])));
  const isUsable = (id: ConnectionId): boolean => usable.has(id);
  keepOnly(notes.transitions, isUsable);
  keepOnly(notes.committed, isUsable);
  keepOnly(notes.attempts, isUsable);
  keepOnly(notes.refusals, isUsable);
  const waiting = new Set<string>();
  for (const tunnel of usable.values()) {
    const standing = childSas.filter((child) => belongsTo(child.name, tunnel.id) && carriesTraffic(child));
    const wanted = childrenOf(tunnel, splitChildren);
    const isThere = wanted.every((child) => standing.some((sa) => sa.name === child.name));
    // What an update still waits for is not asked for without a pause either.
    const isBegun = notes.transitions.has(tunnel.id) && !isCommitted(notes, tunnel.id);
    if (!isThere || isBegun) {
      waiting.add(peerNameOf(tunnel));
      continue;
    }
    const isWhole = wanted.every((child) => standing.some((sa) => sa.name === child.name && carriesAll(sa, child)));
    const youngestMs = Math.max(...standing.map((sa) => notes.installedSinceMs.get(sa.uniqueId) ?? nowMs));
    if (isWhole && nowMs - youngestMs >= STOOD_MS) notes.attempts.delete(tunnel.id);
  }
  // One that is up does not make good what another connection to the same peer met.
  keepOnly(notes.failures, (peer) => waiting.has(peer));
}

/** After planning: since when each connection waits for its update, and until when a differing one is held. */
export function noteProgress(
  notes: Notes,
  plan: CharonPlan,
  connections: readonly DesiredConnection[],
  nowMs: number,
  differingGraceMs: number,
): void {
  const { conflicts } = plan.grouping;
  const waits = connections.filter((c) => c.kind === "usable" && !conflicts.has(c.id) && !plan.inSync.has(c.id));
  noteSince(
    notes.pendingSinceMs,
    waits.map((connection) => connection.id),
    nowMs,
  );

  keepOnly(notes.heldUntilMs, (id) => conflicts.has(id));
  for (const id of conflicts.keys()) {
    // While it is left out others decide what its peer's SAs are made with, so it proves nothing of them afterwards.
    notes.committed.delete(id);
    if (!notes.heldUntilMs.has(id)) notes.heldUntilMs.set(id, nowMs + differingGraceMs);
  }
}
