// Two gateways, of which the left one is plugged into Open vSwitch and serves a router of OVN's (attachment `ovs`).
import { afterAll } from "vitest";
import { sidesOf } from "../../scripts/lab-documents.ts";
import { createCleanup } from "./broker.ts";
import { labForThisFile, type TestLab, type TestLabOptions } from "./lab.ts";
import { startOvnSite, type OvnSite } from "./ovn-site.ts";

/** Whatever is behind a peer in one test or another: routes to the peers are the control plane's to make. */
const PEERS = ["10.2.0.0/24", "10.3.0.0/24", "10.4.0.0/24", "fd00:2::/64"];

export async function ovsLabForThisFile(options: TestLabOptions): Promise<TestLab & { readonly site: OvnSite }> {
  const cleanup = createCleanup();
  // Hooks run in reverse order: the switch goes when the lab has gone.
  afterAll(() => cleanup.run());
  const site = await startOvnSite(cleanup);
  const lab = await labForThisFile({
    ...options,
    sides: (routers) => {
      const [left, ...others] = (options.sides ?? sidesOf)(routers);
      return left === undefined ? [] : [{ ...left, isSwitched: true }, ...others];
    },
    leftAgentConfig: {
      attachment: { kind: "ovs", integrationBridge: site.ovs.bridge },
      ovn: { localDatabase: site.ovs.database.endpoint },
    },
  });
  site.make(lab.world, "left");
  await site.bindVpn(PEERS);
  return { ...lab, site };
}
