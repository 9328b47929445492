// Attachment `ovs`: on the left the routers are OVN's, and the agent's links are ports of one Open vSwitch; on the right there
// are Linux bridges, as in `transit`.
import { hasOvn } from "../../../test/support/ovn.ts";
import * as switchFaults from "../faults/switch.ts";
import { egressAddressOf, lanOf, type SiteRouter } from "../model.ts";
import { startOvnCloud } from "./ovn-cloud.ts";
import type { Ground, Place } from "./place.ts";
import { isOurRoute, TRANSIT_FAULTS, transitGround, transitSide, vpnNamespaceOf } from "./transit.ts";

const ovsGround = (router: SiteRouter): Ground => ({
  kind: "ovs",
  charonNamespace: vpnNamespaceOf(router),
  namespaces: [vpnNamespaceOf(router)],
  isLink: (name) => /^v[gr]/.test(name),
  isRoute: isOurRoute,
  // It has no namespace of its own.
  isOwnLink: () => true,
  egressAddresses: [egressAddressOf(router)],
});

export const ovs: Place = {
  // A switch in userland, and OVN with its databases, share the machine with them.
  routers: 6,
  faults: {
    ...TRANSIT_FAULTS,
    "port-delete": switchFaults.portDelete,
    "port-renamed": switchFaults.portRenamed,
    "switch-kill": switchFaults.switchKill,
    "switch-database": switchFaults.switchDatabase,
  },
  lacks: () => (hasOvn() ? undefined : "there is no Open vSwitch with OVN here"),
  open: async ({ prefix, model }) => {
    const lefts = model.routers.filter(({ side }) => side === "left");
    const rights = model.routers.filter(({ side }) => side === "right");
    const cloud = await startOvnCloud(prefix, lefts);
    const leftConfig = {
      attachment: { kind: "ovs", integrationBridge: cloud.bridge },
      ovn: { localDatabase: cloud.database },
    };
    return {
      sideOf: (router) =>
        router.side === "right"
          ? transitSide(model, router)
          : { host: model.hosts.left, routerId: router.id, ...lanOf(router), isSwitched: true },
      agentConfigOf: (side) => (side === "left" ? leftConfig : {}),
      groundOf: (router) => (router.side === "left" ? ovsGround(router) : transitGround(router)),
      furnish: (world) => cloud.make(world),
      attend: () => cloud.bindVpns(rights),
      openVswitch: cloud,
      close: () => cloud.close(),
    };
  },
};
