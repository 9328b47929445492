// Topology `transit` with Linux bridges: a namespace of the agent's for each router, beside the router's own, which has a
// leg on the internet that masquerades.
import type { LabSide } from "../../lab.ts";
import { EGRESS_LINK, routerNamespaceOf } from "../../world.ts";
import { COMMON_FAULTS } from "../faults/common.ts";
import * as network from "../faults/network.ts";
import { egressAddressOf, lanOf, type Model, type SiteRouter } from "../model.ts";
import type { Faults, Ground, Place } from "./place.ts";

export const vpnNamespaceOf = (router: SiteRouter): string => `qvpn-${router.id}`;

/** What the agent marks its routes with. */
const PROTOCOLS = ["215", "216"];

export const isOurRoute: Ground["isRoute"] = ({ protocol }) => PROTOCOLS.includes(String(protocol));

export const transitSide = (model: Model, router: SiteRouter): LabSide => ({
  host: model.hosts[router.side],
  routerId: router.id,
  ...lanOf(router),
  egress: { addresses: [`${egressAddressOf(router)}/24`], gateways: ["203.0.113.1"] },
});

export const transitGround = (router: SiteRouter): Ground => ({
  kind: "transit",
  charonNamespace: vpnNamespaceOf(router),
  namespaces: [vpnNamespaceOf(router), routerNamespaceOf(router.id)],
  // Outside, inside, and the router's end of the latter.
  isLink: (name) => /^[vh][gr]/.test(name),
  isRoute: isOurRoute,
  isOwnLink: (name) => name === "lo" || name === EGRESS_LINK || /^lan\d*$/.test(name),
  egressAddresses: [egressAddressOf(router)],
});

export const TRANSIT_FAULTS: Faults = {
  ...COMMON_FAULTS,
  "namespace-delete": network.namespaceDelete,
  "link-delete": network.linkDelete,
  "link-down": network.linkDown,
  "link-moved": network.linkMoved,
  "address-delete": network.addressDelete,
  "route-delete": network.routeDelete,
  "rule-delete": network.ruleDelete,
};

export const transit: Place = {
  routers: 20,
  faults: TRANSIT_FAULTS,
  lacks: () => undefined,
  open: ({ model }) =>
    Promise.resolve({
      sideOf: (router) => transitSide(model, router),
      agentConfigOf: () => ({}),
      groundOf: transitGround,
      furnish: () => Promise.resolve(),
      attend: () => Promise.resolve(),
      close: () => Promise.resolve(),
    }),
};
