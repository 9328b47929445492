// Implements the port RouterHost: names of the namespaces that Neutron's L3 agent makes, and the roles it writes down.
import { isUuid, routerId, type RouterId } from "../../core/ids.ts";
import type { RouterHost } from "../../core/ports.ts";
import type { RouterPlace } from "../../core/router-network.ts";
import type { Logger } from "../log.ts";
import { HaStates } from "./ha-state.ts";

/** Each with `{id}` where the router's id goes. */
export type RouterHostOptions = {
  readonly namespace: string;
  /** With DVR, on the machine that has the router's centralized part: where it is there, it is the one. */
  readonly snatNamespace: string;
  readonly haStateFile: string;
  readonly exists: (namespace: string) => boolean;
};

const ID = "{id}";

export function routerPlace(
  router: RouterId,
  { namespace, snatNamespace, exists }: Omit<RouterHostOptions, "haStateFile">,
): RouterPlace {
  const own = namespace.replace(ID, router);
  const snat = snatNamespace.replace(ID, router);
  return { namespace: exists(snat) ? snat : own, candidates: [own, snat] };
}

/** The router of a namespace's name; undefined when it is none of these. */
export function routerOfName(
  name: string,
  { namespace, snatNamespace }: Pick<RouterHostOptions, "namespace" | "snatNamespace">,
): RouterId | undefined {
  for (const pattern of [namespace, snatNamespace]) {
    const [before = "", after = ""] = pattern.split(ID);
    const id = name.slice(before.length, name.length - after.length);
    if (isUuid(id) && name === `${before}${id}${after}`) return routerId(id);
  }
  return undefined;
}

export function createRouterHost(options: RouterHostOptions, log: Logger): RouterHost & { readonly close: () => void } {
  const states = new HaStates((router) => options.haStateFile.replace(ID, router), log);
  return {
    place: (router) => routerPlace(router, options),
    role: (router) => states.role(router),
    watchRole: (router, onChange) => states.watchRole(router, onChange),
    close: () => states.close(),
  };
}
