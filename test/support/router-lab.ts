// Two gateways whose routers are Neutron's own (topology `router`), with the documents of one tunnel for each family.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll } from "vitest";
import {
  baseDocuments,
  connectionPair,
  LEFT_ADDRESS,
  LEFT_ADDRESS_V6,
  RIGHT_ADDRESS,
  RIGHT_ADDRESS_V6,
  sidesOf,
  type RouterIds,
} from "../../scripts/lab-documents.ts";
import type { LabDocument, LabSide } from "../../scripts/lab.ts";
import { labForThisFile, type TestLab } from "./lab.ts";
import { writeNeutronChains, type NeutronRouter } from "./l3-agent.ts";

const EXTERNAL = { left: [LEFT_ADDRESS, LEFT_ADDRESS_V6], right: [RIGHT_ADDRESS, RIGHT_ADDRESS_V6] };
const GATEWAYS = ["203.0.113.1", "2001:db8:ff::1"];

const routerSides = (routers: RouterIds): readonly LabSide[] =>
  sidesOf(routers).map((side) => {
    const [v4 = "", v6 = ""] = side.routerId === routers.left ? EXTERNAL.left : EXTERNAL.right;
    return { ...side, l3Agent: { addresses: [`${v4}/24`, `${v6}/64`], gateways: GATEWAYS } };
  });

export const routerDocuments = (routers: RouterIds): readonly LabDocument[] => [
  ...baseDocuments(routers),
  ...connectionPair({ name: "four", left: ["10.1.0.0/24"], right: ["10.2.0.0/24"] }),
  ...connectionPair({ name: "six", left: ["fd00:1::/64"], right: ["fd00:2::/64"], isOuterIpv6: true }),
];

export type RouterLab = TestLab & {
  readonly left4: NeutronRouter;
  readonly right4: NeutronRouter;
  /** Where Neutron's L3 agent would write the roles of routers with high availability. */
  readonly haDirectory: string;
};

export async function routerLabForThisFile(): Promise<RouterLab> {
  const haDirectory = mkdtempSync(path.join(tmpdir(), "swanherd-ha-"));
  afterAll(() => rmSync(haDirectory, { recursive: true }));
  const lab = await labForThisFile({
    sides: routerSides,
    documents: routerDocuments,
    agentConfig: {
      topology: "router",
      routerTopology: { haStateFile: path.join(haDirectory, "{id}", "state") },
    },
  });
  const left4 = { namespace: `qrouter-${lab.routers.left}`, external: LEFT_ADDRESS };
  const right4 = { namespace: `qrouter-${lab.routers.right}`, external: RIGHT_ADDRESS };
  await Promise.all([writeNeutronChains(left4), writeNeutronChains(right4)]);
  return { ...lab, left4, right4, haDirectory };
}
