// What has left the list is guarded for as long as an SA may stand for it.
import type { DesiredConnection, DesiredRouter } from "../core/model.ts";
import { belongsTo, type ChildSa, type ObservedCharon } from "../core/observed.ts";

/** Connections, or subnets of them, that left the list: guarded until their SAs are gone. */
export function lingeringGuard(desired: DesiredRouter, applied: DesiredRouter | undefined): DesiredConnection[] {
  const wanted = new Map(desired.connections.map((connection) => [connection.id, JSON.stringify(connection.guarded)]));
  return (applied?.connections ?? [])
    .filter((connection) => wanted.get(connection.id) !== JSON.stringify(connection.guarded))
    .map(({ id, service, name, guarded, reportedStatus }) => ({
      id,
      service,
      name,
      guarded,
      reportedStatus,
      kind: "disabled" as const,
      why: "connection" as const,
    }));
}

/** Whether an SA stands for what has left the list. */
export function isStillCarried({ id }: DesiredConnection, desired: DesiredRouter, charon: ObservedCharon): boolean {
  if (charon.kind !== "up") return false;
  const wanted = desired.connections.find((connection) => connection.id === id)?.guarded;
  const isWanted = ({ localSubnets, peerSubnets }: ChildSa): boolean =>
    localSubnets.every((subnet) => wanted?.localSubnets.includes(subnet)) &&
    peerSubnets.every((subnet) => wanted?.peerSubnets.includes(subnet));
  return charon.ikeSas.some((sa) => sa.children.some((child) => belongsTo(child.name, id) && !isWanted(child)));
}
