// Names and arguments of the VPNaaS RPC, both directions. Topics and versions: neutron-vpnaas, services/vpn/common/topics.py.
import { z } from "zod";
import { PayloadError } from "../../core/errors.ts";
import { isUuid, routerId, type RouterId } from "../../core/ids.ts";
import type { WireStatusReport } from "./schema.ts";
import { describeIssue } from "./words.ts";

/** Calls of the agent to the server. */
export const SERVER_TOPIC = "ipsec_driver";
/** Casts and calls of the server to `server=<host>`. */
export const AGENT_TOPIC = "ipsec_agent";

export const GET_SERVICES = "get_vpn_services_on_host";
export const UPDATE_STATUS = "update_status";
export const GET_TRANSIT_DETAILS = "get_vpn_transit_network_details";
export const GET_SUBNET = "get_subnet_info";

export const SERVICE_UPDATED = "vpnservice_updated";
export const ADDED_TO_AGENT = "vpnservice_added_to_agent";
export const REMOVED_FROM_AGENT = "vpnservice_removed_from_agent";
export const AGENT_UPDATED = "agent_updated";

export const encodeHostArgs = (host: string): { host: string } => ({ host });
export const encodeRouterArgs = (router: string): { router_id: string } => ({ router_id: router });
export const encodeSubnetArgs = (subnet: string): { subnet_id: string } => ({ subnet_id: subnet });
export const encodeStatusArgs = (status: WireStatusReport): { status: WireStatusReport } => ({ status });
export const encodeServiceUpdatedArgs = (router: string): { router: { id: string } } => ({ router: { id: router } });

function decoder<Wire, Value>(
  method: string,
  schema: z.ZodType<Wire>,
  pick: (wire: Wire) => Value,
): (args: unknown) => Value {
  return (args) => {
    const parsed = schema.safeParse(args);
    if (parsed.success) return pick(parsed.data);
    throw new PayloadError(`arguments of ${method}: ${describeIssue(parsed.error, args)}`);
  };
}

export const decodeHostArgs = decoder(GET_SERVICES, z.object({ host: z.string() }), (wire) => wire.host);
export const decodeRouterArgs = decoder(
  GET_TRANSIT_DETAILS,
  z.object({ router_id: z.string() }),
  (wire) => wire.router_id,
);
export const decodeSubnetArgs = decoder(GET_SUBNET, z.object({ subnet_id: z.string() }), (wire) => wire.subnet_id);
export const decodeStatusArgs = decoder(UPDATE_STATUS, z.object({ status: z.unknown() }), (wire) => wire.status);

const uuid = z.string().refine(isUuid, "expected a lower-case UUID").transform(routerId);

/** The router of a vpnservice_updated: a hint only, undefined when the server names none. */
export function decodeServiceUpdatedArgs(args: unknown): RouterId | undefined {
  return z.object({ router: z.object({ id: uuid }) }).safeParse(args).data?.router.id;
}
export const decodeAddedArgs = decoder<{ router_ids: RouterId[] }, readonly RouterId[]>(
  ADDED_TO_AGENT,
  z.object({ router_ids: z.array(uuid) }),
  (wire) => wire.router_ids,
);
export const decodeRemovedArgs = decoder<{ router_id: RouterId }, RouterId>(
  REMOVED_FROM_AGENT,
  z.object({ router_id: uuid }),
  (wire) => wire.router_id,
);
