// What has left the list is guarded for as long as an SA may stand for it.
import { cidrContains, cidrOfSelector } from "../core/address.ts";
import { connectionId, isUuid } from "../core/ids.ts";
import type { Cidr, DesiredRouter, Guarded } from "../core/model.ts";
import type { GuardedRouter, Lingering } from "../core/network.ts";
import { belongsTo, type ChildSa, type ObservedCharon } from "../core/observed.ts";

/**
 * Connections, or subnets of them, that left the list: guarded until their SAs are gone. `applied` is undefined where nothing
 * is known of what was there before, since an agent was killed: then the SAs alone tell. They may also be younger than that,
 * where a peer asked a charon that did not have the new list yet.
 */
export function lingeringOf(
  desired: DesiredRouter,
  applied: GuardedRouter | undefined,
  charon: ObservedCharon,
): readonly Lingering[] {
  const all = [...(applied === undefined ? [] : lingeringGuard(desired, applied)), ...lingeringSas(desired, charon)];
  return [...new Map(all.map((one) => [JSON.stringify(one), one])).values()];
}

function lingeringGuard(desired: DesiredRouter, applied: GuardedRouter): readonly Lingering[] {
  const wanted = new Map(desired.connections.map((connection) => [connection.id, JSON.stringify(connection.guarded)]));
  return applied.connections
    .filter((connection) => wanted.get(connection.id) !== JSON.stringify(connection.guarded))
    .map(({ id, guarded }) => ({ kind: "lingering", id, guarded }));
}

/** What the peer sends through them comes out in the namespace, and must not go on in clear where no route leads it home. */
function lingeringSas(desired: DesiredRouter, charon: ObservedCharon): readonly Lingering[] {
  const wanted = new Map(desired.connections.map(({ id, guarded }) => [id, guarded]));
  return childSasOf(charon).flatMap((sa) => {
    const id = sa.name.slice(0, UUID_LENGTH);
    if (!isUuid(id) || isWanted(sa, wanted.get(connectionId(id)))) return [];
    const guarded = { localSubnets: cidrsOf(sa.localSubnets), peerSubnets: cidrsOf(sa.peerSubnets) };
    const isNothing = guarded.localSubnets.length === 0 || guarded.peerSubnets.length === 0;
    return isNothing ? [] : [{ kind: "lingering" as const, id: connectionId(id), guarded }];
  });
}

/** Whether an SA stands for what has left the list. */
export function isStillCarried({ id }: Lingering, desired: DesiredRouter, charon: ObservedCharon): boolean {
  const wanted = desired.connections.find((connection) => connection.id === id)?.guarded;
  return childSasOf(charon).some((child) => belongsTo(child.name, id) && !isWanted(child, wanted));
}

const UUID_LENGTH = 36;

const childSasOf = (charon: ObservedCharon): readonly ChildSa[] =>
  charon.kind === "up" ? charon.ikeSas.flatMap((sa) => sa.children) : [];

/** Also one that the peer has narrowed. */
const isWanted = ({ localSubnets, peerSubnets }: ChildSa, wanted: Guarded | undefined): boolean =>
  wanted !== undefined && areWithin(localSubnets, wanted.localSubnets) && areWithin(peerSubnets, wanted.peerSubnets);

const areWithin = (selectors: readonly string[], wanted: readonly Cidr[]): boolean =>
  selectors.every((selector) => {
    if (wanted.includes(selector)) return true;
    const cidr = cidrOfSelector(selector);
    return cidr !== undefined && wanted.some((outer) => cidrContains(outer, cidr));
  });

const cidrsOf = (selectors: readonly string[]): readonly Cidr[] =>
  selectors.flatMap((selector) => cidrOfSelector(selector) ?? []);
