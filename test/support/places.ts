// Where a router's charon runs and what its packets come by: the same lab in each of them, for tests that hold in all.
import { routerNamespaceOf } from "../../scripts/world.ts";
import { labForThisFile, type TestLab } from "./lab.ts";
import type { OvnSite } from "./ovn-site.ts";
import { ovsLabForThisFile } from "./ovs-lab.ts";
import { routerLabForThisFile, type RouterLabOptions } from "./router-lab.ts";

/**
 * `transit`: Linux bridges on both sides. `router`: the routers' own namespaces. `ovs`: Open vSwitch with OVN on the left, and a
 * Linux bridge on the right.
 */
export type Place = "transit" | "router" | "ovs";

export type PlacedLab = TestLab & {
  /** Of the routers' charons. */
  readonly charonNamespaces: { readonly left: string; readonly right: string };
  /** In topology `router`: where Neutron's L3 agent would write the roles of routers with high availability. */
  readonly haDirectory?: string;
  /** With `ovs`: what the left gateway is plugged into. */
  readonly site?: OvnSite;
};

export async function labAt(place: Place, options: RouterLabOptions): Promise<PlacedLab> {
  switch (place) {
    case "transit": {
      const lab = await labForThisFile(options);
      return { ...lab, charonNamespaces: lab.namespaces };
    }
    case "router": {
      const lab = await routerLabForThisFile(options);
      const [left, right] = [routerNamespaceOf(lab.routers.left), routerNamespaceOf(lab.routers.right)];
      return { ...lab, charonNamespaces: { left, right } };
    }
    case "ovs": {
      const lab = await ovsLabForThisFile(options);
      return { ...lab, charonNamespaces: lab.namespaces };
    }
  }
}
