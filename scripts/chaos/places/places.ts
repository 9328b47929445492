// Every place by its name.
import type { EspBackEnd } from "../check/subject.ts";
import { FAULT_KINDS, type FaultKind } from "../faults/kinds.ts";
import type { Place } from "./place.ts";
import { ovs } from "./ovs.ts";
import { router } from "./router.ts";
import { transit } from "./transit.ts";

export const PLACES = { transit, router, ovs } satisfies Readonly<Record<string, Place>>;

export type PlaceName = keyof typeof PLACES;
export const isPlaceName = (text: string): text is PlaceName => text in PLACES;

/** What there is with ESP in the kernel only. */
const OF_KERNEL_ESP: readonly FaultKind[] = ["ipsec-state-delete", "ipsec-policy-delete", "ipsec-flush"];

/** What can be done there, in the order in which it is listed. */
export function faultKindsOf(name: PlaceName, esp: EspBackEnd): readonly FaultKind[] {
  const place: Place = PLACES[name];
  const kinds = FAULT_KINDS.filter((kind) => place.faults[kind] !== undefined);
  return esp === "kernel" ? kinds : kinds.filter((kind) => !OF_KERNEL_ESP.includes(kind));
}
