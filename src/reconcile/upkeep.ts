// Keeps the notes about a charon in line with what was just read from it: what is gone is forgotten.
import type { ConnectionId } from "../core/ids.ts";
import type { DesiredConnection } from "../core/model.ts";
import { belongsTo, carriesTraffic, emptyNotes, type Notes, type RunningCharon } from "../core/observed.ts";
import { childrenOf, peerNameOf } from "../core/peers.ts";
import type { CharonPlan } from "../core/plan.ts";

/** Notes about this instance of charon: the given ones, or new ones when charon was started anew. */
export const notesFor = (notes: Notes | undefined, observed: RunningCharon): Notes =>
  notes?.instance === observed.instance ? notes : emptyNotes(observed.instance);

function keepOnly<K>(map: Map<K, unknown> | Set<K>, isLive: (key: K) => boolean): void {
  for (const key of map.keys()) if (!isLive(key)) map.delete(key);
}

/** Before planning: drops notes about SAs and connections that are gone, and starts the clocks of what is new. */
export function refreshNotes(
  notes: Notes,
  observed: RunningCharon,
  connections: readonly DesiredConnection[],
  nowMs: number,
  splitChildren: boolean,
): void {
  const ikeSas = new Map(observed.ikeSas.map((sa) => [sa.uniqueId, sa]));
  const childSas = observed.ikeSas.flatMap((sa) => sa.children);
  const childIds = new Set(childSas.map((child) => child.uniqueId));
  keepOnly(notes.staleIkeSas, (id) => ikeSas.has(id));
  keepOnly(notes.staleChildSas, (id) => childIds.has(id));
  keepOnly(notes.connectingSinceMs, (id) => ikeSas.get(id)?.state === "connecting");
  for (const sa of observed.ikeSas) {
    if (sa.state === "connecting" && !notes.connectingSinceMs.has(sa.uniqueId)) {
      notes.connectingSinceMs.set(sa.uniqueId, nowMs);
    }
  }
  keepOnly(notes.loadedPeers, (name) => observed.peers.has(name));
  keepOnly(notes.loadedSecrets, (id) => observed.secretIds.has(id));

  const usable = new Map(connections.flatMap((c) => (c.kind === "usable" ? [[c.id, c.tunnel] as const] : [])));
  const isUsable = (id: ConnectionId): boolean => usable.has(id);
  keepOnly(notes.transitions, isUsable);
  keepOnly(notes.attempts, isUsable);
  keepOnly(notes.refusals, isUsable);
  for (const tunnel of usable.values()) {
    const standing = childSas.filter((child) => belongsTo(child.name, tunnel.id) && carriesTraffic(child));
    const isUp = childrenOf(tunnel, splitChildren).every((child) => standing.some((sa) => sa.name === child.name));
    if (!isUp) continue;
    notes.attempts.delete(tunnel.id);
    notes.failures.delete(peerNameOf(tunnel));
  }
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
  const waits = new Set(
    connections
      .filter((c) => c.kind === "usable" && !conflicts.has(c.id) && !plan.inSync.has(c.id))
      .map((connection) => connection.id),
  );
  keepOnly(notes.pendingSinceMs, (id) => waits.has(id));
  for (const id of waits) if (!notes.pendingSinceMs.has(id)) notes.pendingSinceMs.set(id, nowMs);

  keepOnly(notes.heldUntilMs, (id) => conflicts.has(id));
  for (const id of conflicts.keys()) {
    if (!notes.heldUntilMs.has(id)) notes.heldUntilMs.set(id, nowMs + differingGraceMs);
  }
}
