// What carries the SAs of a fake charon.
import { policyKey, type DataPlane } from "../../src/core/data-plane.ts";
import type { EspBackEnd } from "../../src/core/guard.ts";
import type { FakeChild } from "./fake-ike.ts";

export const policiesBetween = (local: string, peer: string): readonly string[] => [
  policyKey("out", local, peer),
  policyKey("in", peer, local),
  policyKey("forward", peer, local),
];

/** All that these need, but what `isLost` finds among the kernel's SPIs and policies. */
export function dataPlaneOf(
  espBackEnd: EspBackEnd,
  children: readonly FakeChild[],
  isLost: (what: string) => boolean = () => false,
): DataPlane {
  if (espBackEnd === "userland") {
    const destinations = children.flatMap(({ child }) => child.peerSubnets);
    return { kind: "userland", hasLink: true, destinations: new Set(destinations) };
  }
  const policies = children.flatMap(({ child }) =>
    child.localSubnets.flatMap((local) => child.peerSubnets.flatMap((peer) => policiesBetween(local, peer))),
  );
  const kept = (all: readonly string[]): ReadonlySet<string> => new Set(all.filter((one) => !isLost(one)));
  return {
    kind: "kernel",
    spis: kept(children.map(({ uniqueId }) => uniqueId)),
    policies: kept(policies),
    entries: [],
  };
}
