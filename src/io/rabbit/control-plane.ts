// Implements the port ControlPlane over the bus: the four methods of topic `ipsec_driver`, in Neutron's words on the wire.
import type { RouterId } from "../../core/ids.ts";
import type { DesiredRouter } from "../../core/model.ts";
import type { ControlPlane, FetchedList, StatusReport } from "../../core/ports.ts";
import { decodeServiceList } from "../../wire/neutron/decode.ts";
import { decodePlumbing, subnetIdsOf } from "../../wire/neutron/plumbing.ts";
import {
  encodeHostArgs,
  encodeRouterArgs,
  encodeStatusArgs,
  encodeSubnetArgs,
  GET_SERVICES,
  GET_SUBNET,
  GET_TRANSIT_DETAILS,
  SERVER_TOPIC,
  UPDATE_STATUS,
} from "../../wire/neutron/rpc.ts";
import { encodeStatusReport } from "../../wire/neutron/status.ts";
import type { Broker } from "./broker.ts";

export type ControlPlaneOptions = {
  readonly host: string;
  /** With an L3 agent there are no transit networks, and no method that tells of them. */
  readonly topology?: "transit" | "router";
  readonly timeoutMs: () => number;
};

/** A subnet's prefix and gateway change rarely; routers of one external network share its subnets. */
const SUBNET_TTL_MS = 30_000;

export function createControlPlane(broker: Pick<Broker, "call">, options: ControlPlaneOptions): ControlPlane {
  const { host, timeoutMs } = options;
  const call = (method: string, args: Readonly<Record<string, unknown>>, signal: AbortSignal): Promise<unknown> =>
    broker.call(SERVER_TOPIC, method, args, { timeoutMs: timeoutMs(), signal });

  const subnets = new Map<string, { readonly atMs: number; readonly answer: Promise<unknown> }>();
  function subnet(id: string, signal: AbortSignal): Promise<unknown> {
    const nowMs = performance.now();
    const known = subnets.get(id);
    if (known !== undefined && nowMs - known.atMs < SUBNET_TTL_MS) return known.answer;
    const answer = call(GET_SUBNET, encodeSubnetArgs(id), signal);
    subnets.set(id, { atMs: nowMs, answer });
    answer.catch(() => subnets.delete(id));
    return answer;
  }

  return {
    async fetchRouters(signal: AbortSignal): Promise<FetchedList> {
      return decodeServiceList(await call(GET_SERVICES, encodeHostArgs(host), signal));
    },

    async fetchPlumbing(router: RouterId, signal: AbortSignal): Promise<DesiredRouter["plumbing"]> {
      if (options.topology === "router") return { kind: "none" };
      const details = await call(GET_TRANSIT_DETAILS, encodeRouterArgs(router), signal);
      const { external, transit } = subnetIdsOf(details);
      const ids = [...new Set([...external, ...transit])];
      const answers = await Promise.all(ids.map(async (id) => [id, await subnet(id, signal)] as const));
      return decodePlumbing(details, new Map(answers));
    },

    async reportStatus(report: StatusReport, signal: AbortSignal): Promise<void> {
      await call(UPDATE_STATUS, encodeStatusArgs(encodeStatusReport(report)), signal);
    },
  };
}
