// (what a router's charon should hold, what it holds) -> steps. Pure: time comes in, nothing is done, notes are not
// changed. Here: who is grouped with whom, and what nobody wants any more. One peer's part is in plan-peer.ts.
import { earlier } from "./backoff.ts";
import { terminateChild, type CharonPlanOptions, type CharonStep } from "./charon-step.ts";
import type { Finding } from "./finding.ts";
import { encodeMarker, peerOfSecretId, tunnelFingerprint } from "./fingerprint.ts";
import type { ConnectionId } from "./ids.ts";
import type { DesiredConnection, Tunnel } from "./model.ts";
import { isPeerName, isTrialName } from "./names.ts";
import { belongsTo, heldMarker, type ChildSa, type Notes, type RunningCharon } from "./observed.ts";
import { groupPeers, peerNameOf, type Grouping, type Peer } from "./peers.ts";
import { planPeer } from "./plan-peer.ts";

/** Steps of one peer, in order: after one of them failed the rest of its group must not run. Groups are independent. */
export type StepGroup = { readonly peer: Peer | undefined; readonly steps: readonly CharonStep[] };

export type CharonPlan = {
  readonly grouping: Grouping;
  readonly groups: readonly StepGroup[];
  /** When time alone changes the plan. */
  readonly wakeAtMs: number | undefined;
  /** Connections of which every part is written, loaded and committed. */
  readonly inSync: ReadonlySet<ConnectionId>;
  /** What is wrong with SAs by nothing that was asked for. */
  readonly findings: readonly Finding[];
};

/** Plans one router's charon. `connections` are all that are listed; only usable ones are loaded. */
export function planCharon(
  connections: readonly DesiredConnection[],
  observed: RunningCharon,
  notes: Notes,
  nowMs: number,
  options: CharonPlanOptions,
): CharonPlan {
  const usable = connections.flatMap((c) => (c.kind === "usable" ? [c.tunnel] : []));
  // What charon refused is not offered again until it changes or charon is started anew.
  const isRefused = (t: Tunnel): boolean => notes.refusals.get(t.id)?.tunnel === tunnelFingerprint(options.key, t);
  const tunnels = usable.filter((tunnel) => !isRefused(tunnel));
  const refused = usable.filter(isRefused).map((tunnel) => tunnel.id);
  // What a connection was at another peer gives it no rank at this one.
  const committed = tunnels.flatMap((tunnel) => {
    const peer = peerNameOf(tunnel);
    const standing = observed.ikeSas.filter((sa) => sa.peer === peer).flatMap((sa) => sa.children.map((c) => c.name));
    const isThere = [...(observed.peers.get(peer) ?? []), ...standing].some((child) => belongsTo(child, tunnel.id));
    const marker = heldMarker(observed, notes, tunnel.id);
    return marker !== undefined && isThere ? [marker] : [];
  });
  const grouping = groupPeers(
    tunnels,
    {
      committed: new Set(committed.map((m) => m.connection)),
      leaders: new Set(committed.filter((m) => m.leads).map((m) => m.connection)),
    },
    options.splitChildren,
  );
  const plans = grouping.peers.map((peer) => ({ peer, plan: planPeer(peer, observed, notes, nowMs, options) }));
  const steps = plans.flatMap(({ plan }) => plan.steps);
  const ended = new Set(steps.flatMap((step) => (step.kind === "terminateIke" ? [step.ikeSa] : [])));
  const differing = planDiffering(grouping, observed, notes, nowMs, options);
  const leftovers: StepGroup = {
    peer: undefined,
    steps: [...differing.steps, ...planRemovals(grouping, observed, refused, ended)],
  };
  const groups = [...plans.map(({ peer, plan }) => ({ peer, steps: plan.steps })), leftovers];
  return {
    grouping,
    groups: groups.filter((group) => group.steps.length > 0),
    wakeAtMs: [...plans.map(({ plan }) => plan.wakeAtMs), differing.wakeAtMs].reduce(earlier, undefined),
    inSync: new Set(plans.flatMap(({ plan }) => [...plan.inSync])),
    findings: plans.flatMap(({ plan }) => plan.findings),
  };
}

/** A connection that differs from its leader keeps its CHILD SAs for a while, then loses them. */
function planDiffering(
  grouping: Grouping,
  observed: RunningCharon,
  notes: Notes,
  nowMs: number,
  options: CharonPlanOptions,
): { steps: CharonStep[]; wakeAtMs: number | undefined } {
  const steps: CharonStep[] = [];
  let wakeAtMs: number | undefined;
  for (const [id, conflict] of grouping.conflicts) {
    const untilMs =
      conflict.peer === undefined ? nowMs : (notes.heldUntilMs.get(id) ?? nowMs + options.differingGraceMs);
    const ends = observed.ikeSas.flatMap((sa) =>
      sa.children.filter(({ name }) => belongsTo(name, id)).map((child) => terminateChild(sa, child, "differs")),
    );
    if (untilMs <= nowMs) steps.push(...ends);
    else if (ends.length > 0) wakeAtMs = earlier(wakeAtMs, untilMs);
  }
  return { steps, wakeAtMs };
}

/**
 * What charon or the directory holds of ours and nobody wants any more; foreign names are left alone. Configs and secrets
 * go before the SAs, so that a peer cannot come back between the two. An update that charon refused takes nothing away: what
 * stood before it stands until it is mended.
 */
function planRemovals(
  grouping: Grouping,
  observed: RunningCharon,
  refused: readonly ConnectionId[],
  ended: ReadonlySet<string>,
): CharonStep[] {
  const steps: CharonStep[] = [];
  const peers = new Map<string, Peer>(grouping.peers.map((p) => [p.name, p]));
  const members = new Set([...refused, ...grouping.peers.flatMap((p) => p.members.map((m) => m.tunnel.id))]);
  const isOfRefused = (childName: string): boolean => refused.some((id) => belongsTo(childName, id));
  const held = new Set([...observed.peers].filter(([, names]) => [...names].some(isOfRefused)).map(([name]) => name));
  const isWanted = (name: string): boolean => peers.has(name) || held.has(name);

  for (const name of observed.peers.keys()) {
    // A trial that was cut short would answer for the peer, with traps of its own.
    if (isTrialName(name) || (isPeerName(name) && !isWanted(name))) steps.push({ kind: "unloadPeer", name });
  }
  for (const id of observed.secretIds) {
    const owner = peerOfSecretId(id);
    if (owner !== undefined && !isWanted(owner)) steps.push({ kind: "unloadSecret", id });
  }
  for (const sa of observed.ikeSas) {
    if (!isPeerName(sa.peer) || sa.state === "ending" || held.has(sa.peer) || ended.has(sa.uniqueId)) continue;
    const peer = peers.get(sa.peer);
    if (peer === undefined) {
      steps.push({ kind: "terminateIke", ikeSa: sa.uniqueId, peer: sa.peer, why: "removed" });
      continue;
    }
    const isKnown = (child: ChildSa): boolean =>
      isOfRefused(child.name) ||
      peer.members.some((m) => belongsTo(child.name, m.tunnel.id)) ||
      [...grouping.conflicts.keys()].some((id) => belongsTo(child.name, id));
    for (const child of sa.children) {
      if (child.state !== "ending" && !isKnown(child)) steps.push(terminateChild(sa, child, "removed"));
    }
  }
  for (const [connection, marker] of observed.markers) {
    if (!members.has(connection)) steps.push({ kind: "unloadMarker", id: encodeMarker(marker) });
  }
  for (const connection of observed.files.keys()) {
    if (!members.has(connection)) steps.push({ kind: "removeFile", connection });
  }
  return steps;
}
