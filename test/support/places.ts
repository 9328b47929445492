// Where a router's charon runs and what its packets come by: the same lab in each of them, for tests that hold in all.
import { routerNamespaceOf } from "../../scripts/world.ts";
import { labForThisFile, type TestLab } from "./lab.ts";
import { routerLabForThisFile, type RouterLabOptions } from "./router-lab.ts";

/** `transit`: Linux bridges on both sides. `router`: the routers' own namespaces. */
export type Place = "transit" | "router";

export type PlacedLab = TestLab & {
  /** Of the routers' charons. */
  readonly charonNamespaces: { readonly left: string; readonly right: string };
  /** In topology `router`: where Neutron's L3 agent would write the roles of routers with high availability. */
  readonly haDirectory?: string;
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
  }
}
