// step -> port call, and what a done step leaves in the notes.
import { backoffMs } from "../core/backoff.ts";
import type { CharonStep } from "../core/charon-step.ts";
import { CharonRefusedError } from "../core/errors.ts";
import {
  decodeMarker,
  encodeMarker,
  peerOfSecretId,
  termsFingerprint,
  tunnelFingerprint,
  type Fingerprint,
  type NodeKey,
} from "../core/fingerprint.ts";
import type { RouterId } from "../core/ids.ts";
import type { Notes } from "../core/observed.ts";
import type { StepGroup } from "../core/plan.ts";
import type { Clock, Ike } from "../core/ports.ts";

export type Applier = {
  readonly router: RouterId;
  readonly ike: Ike;
  readonly clock: Clock;
  readonly key: NodeKey;
  readonly initiateRetry: { readonly baseMs: number; readonly capMs: number };
  readonly onStep: (step: string, result: "ok" | "failed") => void;
};

export type StepFailure = { readonly group: StepGroup; readonly step: CharonStep; readonly error: unknown };

/** Applies the groups in order. The rest of a group does not run after a failure; other groups do. */
export async function applyGroups(
  groups: readonly StepGroup[],
  notes: Notes,
  applier: Applier,
  signal: AbortSignal,
): Promise<readonly StepFailure[]> {
  const failures: StepFailure[] = [];
  for (const group of groups) {
    const failure = await applyGroup(group, notes, applier, signal);
    if (failure !== undefined) failures.push(failure);
  }
  return failures;
}

async function applyGroup(
  group: StepGroup,
  notes: Notes,
  applier: Applier,
  signal: AbortSignal,
): Promise<StepFailure | undefined> {
  for (const step of group.steps) {
    signal.throwIfAborted();
    const beganAtMs = applier.clock.nowMs();
    try {
      await applier.ike.apply(applier.router, step, signal);
    } catch (error) {
      applier.onStep(step.kind, "failed");
      if (step.kind !== "initiate") {
        if (step.kind === "loadPeer" && error instanceof CharonRefusedError) {
          await findRefused(step, error, notes, applier, signal);
        }
        return { group, step, error };
      }
      // An attempt that charon refused is an attempt: the next one waits, the other children have their own.
      note(step, beganAtMs, notes, applier);
      continue;
    }
    applier.onStep(step.kind, "ok");
    const replacedTerms = step.kind === "loadPeer" ? notes.loadedTerms.get(step.peer.name) : undefined;
    note(step, beganAtMs, notes, applier);
    if (step.kind === "loadPeer" && step.unbinds !== undefined) {
      await noteBound(step.peer.name, replacedTerms, beganAtMs, notes, applier, signal);
    }
  }
  return undefined;
}

/**
 * IKE SAs that came up between the look and the load of another config are bound to the one that it has replaced. Those of
 * the milliseconds between the load and this look are not, and are made anew for nothing.
 */
async function noteBound(
  peer: string,
  terms: Fingerprint | undefined,
  loadedAtMs: number,
  notes: Notes,
  { ike, router }: Applier,
  signal: AbortSignal,
): Promise<void> {
  const observed = await ike.observe(router, signal);
  if (observed.kind !== "up") return;
  for (const { uniqueId, peer: of, children } of observed.ikeSas) {
    if (of !== peer || notes.ikeTerms.has(uniqueId)) continue;
    notes.ikeTerms.set(uniqueId, terms);
    notes.unboundIkeSas.set(uniqueId, {
      sinceMs: loadedAtMs,
      childSas: new Set(children.map((child) => child.uniqueId)),
    });
  }
}

/** Writes what a step has done into the notes. */
function note(step: CharonStep, beganAtMs: number, notes: Notes, { key, clock, initiateRetry }: Applier): void {
  switch (step.kind) {
    case "loadSecret":
      notes.loadedSecrets.add(step.id);
      return;
    case "unloadSecret":
      notes.loadedSecrets.delete(step.id);
      notes.otherSecrets.add(peerOfSecretId(step.id) ?? "");
      return;
    case "unloadMarker": {
      const marker = decodeMarker(step.id);
      if (marker !== undefined) notes.committed.delete(marker.connection);
      return;
    }
    case "loadPeer":
      notes.loadedPeers.set(step.peer.name, step.fingerprint);
      notes.loadedTerms.set(step.peer.name, termsFingerprint(key, step.peer));
      // What was granted before, another config may have granted.
      notes.removedChildSas.clear();
      for (const id of step.unbinds ?? []) notes.unboundIkeSas.set(id, { sinceMs: beganAtMs, childSas: new Set() });
      if (step.shown === undefined) notes.loadedInVain.delete(step.peer.name);
      else notes.loadedInVain.set(step.peer.name, step.shown);
      for (const { tunnel } of step.peer.members) notes.refusals.delete(tunnel.id);
      return;
    case "unloadPeer":
      notes.loadedPeers.delete(step.name);
      notes.loadedTerms.delete(step.name);
      notes.failures.delete(step.name);
      return;
    case "beginUpdate":
      notes.otherSecrets.delete(step.peer);
      notes.transitions.set(step.connection, step.marker);
      notes.attempts.set(step.connection, { count: 0, lastAtMs: undefined, nextAtMs: step.initiateAtMs });
      for (const id of step.staleIkeSas) notes.staleIkeSas.set(id, { deadlineMs: step.deadlineMs });
      for (const id of step.staleChildSas) notes.staleChildSas.set(id, { deadlineMs: step.deadlineMs });
      return;
    case "initiate": {
      const held = notes.attempts.get(step.connection);
      // The children of one connection are one attempt.
      if (held !== undefined && held.nextAtMs > clock.nowMs()) return;
      const count = held?.count ?? 0;
      const delayMs = backoffMs(count, initiateRetry.baseMs, initiateRetry.capMs, clock.random());
      notes.attempts.set(step.connection, { count: count + 1, lastAtMs: beganAtMs, nextAtMs: clock.nowMs() + delayMs });
      return;
    }
    case "commit":
      notes.transitions.set(step.marker.connection, encodeMarker(step.marker));
      notes.committed.set(step.marker.connection, step.marker);
      return;
    case "terminateChild":
      if (step.why === "stranded") {
        notes.endedStranded.set(step.child, (notes.endedStranded.get(step.child) ?? 0) + 1);
      }
      if (step.why === "unconfirmed") notes.unconfirmedAtMs.delete(step.ikeSa);
      if (step.why === "removed" || step.why === "differs") {
        const ended = notes.removedChildSas.get(step.ikeSa) ?? new Map<string, Set<string>>();
        notes.removedChildSas.set(
          step.ikeSa,
          ended.set(step.child, (ended.get(step.child) ?? new Set()).add(step.childSa)),
        );
      }
      if (step.deviation !== undefined) notes.renegotiated.add(step.deviation);
      return;
    case "terminateIke":
      if (step.why === "forgotten" || step.why === "unreadable") {
        const ended = notes.quickModes[step.why].ended;
        ended.set(step.peer, { count: 1 + (ended.get(step.peer)?.count ?? 0), atMs: beganAtMs });
      }
      if (step.deviation !== undefined) notes.renegotiated.add(step.deviation);
      return;
    case "writeFile":
    case "removeFile":
    case "reauthenticate":
      return;
    default:
      return step satisfies never;
  }
}

/**
 * charon refused a peer: the algorithms of one member may be the cause. Each is tried alone, and those refused alone are
 * left out from now on, so that one bad connection does not keep its neighbours from loading.
 */
async function findRefused(
  step: Extract<CharonStep, { kind: "loadPeer" }>,
  refusal: CharonRefusedError,
  notes: Notes,
  { ike, router, key, clock }: Applier,
  signal: AbortSignal,
): Promise<void> {
  for (const member of step.peer.members) {
    let error: unknown = refusal;
    if (step.peer.members.length > 1) {
      try {
        await ike.tryPeer(router, { ...step, peer: { ...step.peer, members: [member] } }, signal);
        continue;
      } catch (alone) {
        error = alone;
      }
    }
    if (!(error instanceof CharonRefusedError)) continue;
    const text = `charon cannot load it: ${error.message}; look at the algorithms of its policies`;
    notes.refusals.set(member.tunnel.id, {
      tunnel: tunnelFingerprint(key, member.tunnel),
      failure: { code: "unsupported", text, atMs: clock.nowMs() },
    });
  }
}
