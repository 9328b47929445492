// Builders of routers with plumbing, and of the configuration that follows from them.
import { randomBytes, randomUUID } from "node:crypto";
import { connectionId, portId, routerId, serviceId, type RouterId } from "../../src/core/ids.ts";
import type { DesiredConnection, DesiredRouter, Plumbing } from "../../src/core/model.ts";
import { networkConfig, ovsAttachment, type BridgeAttachment, type TransitConfig } from "../../src/core/network.ts";
import type { EspBackEnd } from "../../src/core/guard.ts";

export const ROUTER = routerId("7d3c2a52-4a55-4c1c-9a3b-0d1f6f1a2b01");

/** Fixed ids and addresses, for plans as text. */
export const PLUMBING: Plumbing = {
  external: {
    port: portId("11111111-2222-4333-8444-555555555501"),
    macAddress: "fa:16:3e:00:00:10",
    mtuBytes: 1500,
    addresses: [
      { address: "203.0.113.10", prefixLength: 24 },
      { address: "2001:db8:ff::10", prefixLength: 64 },
    ],
    gateways: ["203.0.113.1", "2001:db8:ff::1"],
    network: { id: "99999999-2222-4333-8444-555555555501", name: "internet" },
  },
  transit: {
    port: portId("aaaaaaaa-2222-4333-8444-555555555502"),
    macAddress: "fa:16:3e:00:00:20",
    addresses: [{ address: "169.254.0.2", prefixLength: 28 }],
    gatewayAddress: "169.254.0.1",
  },
};

/** As above, with ports of its own, so that names of links do not meet. */
export function somePlumbing(address4: string, address6: string): Plumbing {
  const mac = (): string =>
    `fa:16:3e:${randomBytes(3)
      .toString("hex")
      .replace(/(..)(?=.)/g, "$1:")}`;
  return {
    external: {
      ...PLUMBING.external,
      port: portId(randomUUID()),
      macAddress: mac(),
      addresses: [
        { address: address4, prefixLength: 24 },
        { address: address6, prefixLength: 64 },
      ],
    },
    transit: { ...PLUMBING.transit, port: portId(randomUUID()), macAddress: mac() },
  };
}

export type Pair = { readonly local: readonly string[]; readonly peer: readonly string[] };

export function aRouter(pairs: readonly Pair[], id: RouterId = ROUTER): DesiredRouter {
  const service = serviceId("bbbbbbbb-2222-4333-8444-555555555500");
  return {
    id,
    services: [],
    plumbing: { kind: "known", value: PLUMBING },
    connections: pairs.map(({ local, peer }, index): DesiredConnection => {
      const id = connectionId(`cccccccc-2222-4333-8444-${index.toString(16).padStart(12, "0")}`);
      const guarded = { localSubnets: local, peerSubnets: peer };
      return { kind: "disabled", why: "connection", id, service, name: "c", guarded, reportedStatus: "DOWN" };
    }),
  };
}

export function aNetworkConfig(of: {
  readonly pairs: readonly Pair[];
  readonly plumbing?: Plumbing;
  readonly router?: RouterId;
  readonly bridge?: string;
  readonly espBackEnd?: EspBackEnd;
  readonly routerNamespace?: string;
  readonly host?: string;
}): BridgeConfig {
  const router = aRouter(of.pairs, of.router);
  const config = networkConfig({
    router,
    plumbing: of.plumbing ?? PLUMBING,
    attachment: {
      attachedBy: "bridge",
      bridge: of.bridge ?? "br-ex",
      routerNamespace: of.routerNamespace ?? `qrouter-${router.id}`,
    },
    host: of.host ?? "gw-left",
    espBackEnd: of.espBackEnd ?? "userland",
  });
  if (config.attachedBy !== "bridge") throw new Error("asked for a bridge");
  return config;
}

export type BridgeConfig = TransitConfig & BridgeAttachment;

/** Plugged into the integration bridge of Open vSwitch. */
export function anOvsConfig(of: {
  readonly pairs: readonly Pair[];
  readonly plumbing?: Plumbing;
  readonly router?: RouterId;
  readonly host?: string;
  readonly espBackEnd?: EspBackEnd;
  readonly integrationBridge?: string;
}): TransitConfig {
  return networkConfig({
    router: aRouter(of.pairs, of.router),
    plumbing: of.plumbing ?? PLUMBING,
    attachment: ovsAttachment(of.integrationBridge ?? "br-int"),
    host: of.host ?? "gw-left",
    espBackEnd: of.espBackEnd ?? "userland",
  });
}

export const DUAL_STACK: Pair = { local: ["10.1.0.0/24", "fd00:1::/64"], peer: ["10.2.0.0/24", "fd00:2::/64"] };
