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
import { labForThisFile, type TestLab, type TestLabOptions } from "./lab.ts";
import { writeNeutronChains, type NeutronRouter } from "./l3-agent.ts";

/** Of the gateway ports, by side; of the first IPv4 one all else is translated to. */
const EXTERNAL = [
  [LEFT_ADDRESS, LEFT_ADDRESS_V6],
  [RIGHT_ADDRESS, RIGHT_ADDRESS_V6],
];
const GATEWAYS = ["203.0.113.1", "2001:db8:ff::1"];

const isV6 = (address: string): boolean => address.includes(":");

function withL3Agent(side: LabSide, addresses: readonly string[]): LabSide {
  const families = new Set(addresses.map(isV6));
  return {
    ...side,
    l3Agent: {
      addresses: addresses.map((address) => `${address}/${isV6(address) ? "64" : "24"}`),
      gateways: GATEWAYS.filter((gateway) => families.has(isV6(gateway))),
    },
  };
}

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

export type RouterLabOptions = TestLabOptions & {
  /** Addresses of the routers' gateway ports, by side. */
  readonly external?: readonly (readonly string[])[];
};

export async function routerLabForThisFile(options: RouterLabOptions = {}): Promise<RouterLab> {
  const { sides = sidesOf, external = EXTERNAL } = options;
  const haDirectory = mkdtempSync(path.join(tmpdir(), "swanherd-ha-"));
  afterAll(() => rmSync(haDirectory, { recursive: true }));
  const lab = await labForThisFile({
    documents: routerDocuments,
    ...options,
    sides: (routers) => sides(routers).map((side, at) => withL3Agent(side, external[at] ?? [])),
    agentConfig: {
      ...options.agentConfig,
      topology: "router",
      routerTopology: { haStateFile: path.join(haDirectory, "{id}", "state") },
    },
  });
  const routers = lab.world.routerNamespaces.map((namespace, at) => ({ namespace, external: external[at]?.[0] ?? "" }));
  await Promise.all(routers.map((router) => writeNeutronChains(router)));
  const [left4, right4] = routers;
  if (left4 === undefined || right4 === undefined) throw new Error("there are two sides at least");
  return { ...lab, left4, right4, haDirectory };
}
