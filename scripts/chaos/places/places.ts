// Every place by its name.
import { FAULT_KINDS, type FaultKind } from "../faults/kinds.ts";
import type { Place } from "./place.ts";
import { ovs } from "./ovs.ts";
import { router } from "./router.ts";
import { transit } from "./transit.ts";

export const PLACES = { transit, router, ovs } satisfies Readonly<Record<string, Place>>;

export type PlaceName = keyof typeof PLACES;
export const isPlaceName = (text: string): text is PlaceName => text in PLACES;

/** What can be done there, in the order in which it is listed. */
export function faultKindsOf(name: PlaceName): readonly FaultKind[] {
  const place: Place = PLACES[name];
  return FAULT_KINDS.filter((kind) => place.faults[kind] !== undefined);
}
