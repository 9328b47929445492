// The answer of get_vpn_services_on_host -> desired services and connections of each router. One element is read at a
// time: what is wrong with one is that one's problem. It refuses to decide what a problem leads to.
import type { z } from "zod";
import { readCidr } from "../../core/read-address.ts";
import { connectionId, isUuid, routerId, serviceId, type RouterId } from "../../core/ids.ts";
import type { Cidr, DesiredConnection, DesiredService, Guarded } from "../../core/model.ts";
import { decodeTunnel, unusable } from "./connection.ts";
import type { IdentityReading } from "./identity.ts";
import { adminStateSchema, connectionHeadSchema, serviceSchema, type WireService } from "./schema.ts";
import { describeIssue, shown } from "./words.ts";

export type DecodeContext = { readonly identities?: IdentityReading };

export type DecodedRouter = {
  readonly services: readonly DesiredService[];
  readonly connections: readonly DesiredConnection[];
};

/** Something of the list that could not be read at all. `router` when at least that much is known. */
export type ListProblem = { readonly where: string; readonly text: string; readonly router?: RouterId };

export type DecodedList = {
  readonly routers: ReadonlyMap<RouterId, DecodedRouter>;
  readonly problems: readonly ListProblem[];
  /** False when something was listed that is not in `routers`: then an absence proves nothing. */
  readonly complete: boolean;
};

type MutableRouter = { readonly services: DesiredService[]; readonly connections: DesiredConnection[] };
type Collected = {
  readonly routers: Map<RouterId, MutableRouter>;
  readonly problems: ListProblem[];
  readonly seen: Set<string>;
};

/** Never throws: what cannot be read is a problem, and what can is returned beside it. */
export function decodeServiceList(json: unknown, context: DecodeContext = {}): DecodedList {
  const collected: Collected = { routers: new Map(), problems: [], seen: new Set() };
  if (Array.isArray(json)) {
    json.forEach((service: unknown, index) => collectService(service, `services[${index}]`, collected, context));
  } else {
    collected.problems.push({
      where: "services",
      text: "the answer is no list of services: the server sent something else",
    });
  }
  const { routers, problems } = collected;
  return { routers, problems, complete: problems.length === 0 };
}

function readableId(json: unknown, key: "id" | "router_id"): string | undefined {
  if (typeof json !== "object" || json === null) return undefined;
  const id: unknown = Reflect.get(json, key);
  return typeof id === "string" && isUuid(id) ? id : undefined;
}

function collectService(json: unknown, position: string, collected: Collected, context: DecodeContext): void {
  const id = readableId(json, "id");
  const routerText = readableId(json, "router_id");
  const router = routerText === undefined ? undefined : routerId(routerText);
  const parsed = serviceSchema.safeParse(json);
  const problem = whyUnreadable(parsed, json, id, router, collected);
  if (problem !== undefined || !parsed.success || id === undefined || router === undefined) {
    const where = id === undefined ? position : `service ${id}`;
    const text = `${problem ?? "is not readable"}: the service is skipped`;
    collected.problems.push({ where, text, ...(router === undefined ? {} : { router }) });
    return;
  }
  collected.seen.add(id);
  const service: DesiredService = {
    id: serviceId(id),
    name: parsed.data.name,
    project: parsed.data.project_id,
    enabled: parsed.data.admin_state_up,
    reportedStatus: parsed.data.status,
  };
  // Several services of one router live in one namespace: they are one router's.
  const merged = collected.routers.get(router) ?? { services: [], connections: [] };
  collected.routers.set(router, merged);
  merged.services.push(service);
  collectConnections(parsed.data, service, router, merged, collected, context);
}

function whyUnreadable(
  parsed: z.ZodSafeParseResult<WireService>,
  json: unknown,
  id: string | undefined,
  router: RouterId | undefined,
  collected: Collected,
): string | undefined {
  if (!parsed.success) return describeIssue(parsed.error, json);
  if (id === undefined) return `id ${shown(parsed.data.id)} is no lower-case UUID`;
  if (router === undefined) return `router_id ${shown(parsed.data.router_id)} is no lower-case UUID`;
  return collected.seen.has(id) ? "it is listed twice" : undefined;
}

function collectConnections(
  wire: WireService,
  service: DesiredService,
  router: RouterId,
  merged: MutableRouter,
  collected: Collected,
  context: DecodeContext,
): void {
  wire.ipsec_site_connections.forEach((json, index) => {
    const id = readableId(json, "id");
    if (id === undefined) {
      const where = `service ${service.id}, connections[${index}]`;
      const text = "the connection has no readable id: it is skipped, nothing of it is configured or guarded";
      collected.problems.push({ where, text, router });
    } else if (collected.seen.has(id)) {
      collected.problems.push({
        where: `connection ${id}`,
        text: "it is listed twice: the second one is skipped",
        router,
      });
    } else {
      collected.seen.add(id);
      merged.connections.push(decodeConnection(json, id, service, context));
    }
  });
}

function decodeConnection(
  json: unknown,
  id: string,
  service: DesiredService,
  context: DecodeContext,
): DesiredConnection {
  const head = connectionHeadSchema.safeParse(json);
  const common = {
    id: connectionId(id),
    service: service.id,
    name: head.data?.name ?? "",
    guarded: guardedOf(head.data),
    reportedStatus: head.data?.status ?? "",
  };
  const admin = adminStateSchema.safeParse(json);
  if (!admin.success) return { ...common, ...unusable("invalid-value", describeIssue(admin.error, json)) };
  if (!service.enabled) return { ...common, kind: "disabled", why: "service" };
  if (!admin.data.admin_state_up) return { ...common, kind: "disabled", why: "connection" };
  return { ...common, ...decodeTunnel(json, common.id, context.identities ?? "recommended") };
}

/** As far as they can be read: a connection that cannot be configured must not leave in clear either. */
function guardedOf(head: z.infer<typeof connectionHeadSchema> | undefined): Guarded {
  const readable = (values: readonly unknown[]): Cidr[] => [
    ...new Set(values.flatMap((value) => (typeof value === "string" ? (readCidr(value) ?? []) : []))),
  ];
  return { localSubnets: readable(head?.local_cidrs ?? []), peerSubnets: readable(head?.peer_cidrs ?? []) };
}
