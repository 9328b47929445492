// What the network of a router should be here, by the topology of this node.
import type { EspBackEnd } from "../core/guard.ts";
import type { RouterId } from "../core/ids.ts";
import type { Plumbing } from "../core/model.ts";
import { namespaceName } from "../core/names.ts";
import {
  networkConfig,
  networkScope,
  type Attachment,
  type GuardedRouter,
  type NetworkConfig,
  type NetworkScope,
  type RouterScope,
} from "../core/network.ts";
import type { RouterHost } from "../core/ports.ts";
import { routerConfig, routerScope } from "../core/router-network.ts";

export type PlaceOptions = { readonly host: string; readonly espBackEnd: EspBackEnd } & (
  | {
      readonly topology?: "transit";
      /** Where a router's veths are attached; text when the configuration does not say. */
      readonly attachment: (
        router: RouterId,
        network: Plumbing["external"]["network"] | undefined,
      ) => Attachment | string;
    }
  | { readonly topology: "router"; readonly routerHost: RouterHost }
);

export type WantedNetwork =
  | { readonly kind: "known"; readonly config: NetworkConfig }
  /** Only the control plane can tell it. */
  | { readonly kind: "untold"; readonly why: string }
  /** Only the configuration can tell it. */
  | { readonly kind: "unattached"; readonly why: string };

export function wantedNetwork(options: PlaceOptions, router: GuardedRouter): WantedNetwork {
  const { host, espBackEnd } = options;
  if (options.topology === "router") {
    const place = options.routerHost.place(router.id);
    return { kind: "known", config: routerConfig({ router, place, host, espBackEnd }) };
  }
  switch (router.plumbing.kind) {
    case "unknown":
      return { kind: "untold", why: router.plumbing.why };
    case "none":
      // Remembered from before the topology was changed.
      return { kind: "untold", why: "the transit network details were not asked for yet" };
    case "known": {
      const plumbing = router.plumbing.value;
      const attachment = options.attachment(router.id, plumbing.external.network);
      if (typeof attachment === "string") return { kind: "unattached", why: attachment };
      return { kind: "known", config: networkConfig({ router, plumbing, attachment, host, espBackEnd }) };
    }
  }
}

/** Where anything of a router may be, when only its id is known. Text: the configuration does not say. */
export function scopesOf(options: PlaceOptions, router: RouterId): readonly NetworkScope[] | string {
  if (options.topology === "router") {
    const { candidates } = options.routerHost.place(router);
    return candidates.map((namespace) => routerScope(router, { namespace, candidates }, options.host));
  }
  const attachment = options.attachment(router, undefined);
  return typeof attachment === "string" ? attachment : [networkScope(router, attachment, options.host)];
}

export const namespaceOf = (options: PlaceOptions, router: RouterId): string =>
  options.topology === "router" ? options.routerHost.place(router).namespace : namespaceName(router);

/** Of a namespace that others make. */
export const waitingFor = ({ namespace, candidates }: RouterScope): string => {
  const others = candidates.filter((name) => name !== namespace);
  return `waiting for the router's namespace ${[namespace, ...others].join(" or ")}, which Neutron's L3 agent makes`;
};
