// Our status -> Neutron's update_status, and back for whoever plays the server.
import type { ConnectionId, ServiceId } from "../../core/ids.ts";
import type { ReportedStatus } from "../../core/status.ts";
import { PayloadError } from "../../core/errors.ts";
import { statusReportSchema, type WireStatusReport } from "./schema.ts";
import { describeIssue } from "./words.ts";

export type ConnectionReport = {
  readonly id: ConnectionId;
  readonly status: ReportedStatus;
  /** The status of the list that was fetched last. */
  readonly fetchedStatus: string;
};

/** A service goes with every report of one of its connections: the server wants its id and status each time. */
export type ServiceReport = {
  readonly id: ServiceId;
  readonly status: ReportedStatus;
  readonly fetchedStatus: string;
  /** A connection left out keeps the status it has. */
  readonly connections: readonly ConnectionReport[];
};

export const isPending = (status: string): boolean => status.startsWith("PENDING_");

/**
 * `updated_pending_status` is true whenever the fetched status was PENDING_*: otherwise the server keeps PENDING_CREATE
 * for ever and refuses updates (neutron-vpnaas, db/vpn/vpn_db.py update_status_by_agent).
 */
export function encodeStatusReport(services: readonly ServiceReport[]): WireStatusReport {
  const entry = (of: ConnectionReport | ServiceReport): { status: string; updated_pending_status: boolean } => ({
    status: of.status,
    updated_pending_status: isPending(of.fetchedStatus),
  });
  return services.map((service) => ({
    id: service.id,
    ...entry(service),
    ipsec_site_connections: Object.fromEntries(
      service.connections.map((connection) => [connection.id, entry(connection)]),
    ),
  }));
}

export type StatusEntry = { readonly id: string; readonly status: string; readonly overwritesPending: boolean };

/** Every service and connection of a report, in its order. Throws PayloadError, as the real server refuses it whole. */
export function decodeStatusReport(json: unknown): {
  readonly services: readonly StatusEntry[];
  readonly connections: readonly StatusEntry[];
} {
  const parsed = statusReportSchema.safeParse(json);
  if (!parsed.success) throw new PayloadError(`update_status: ${describeIssue(parsed.error, json)}`);
  return {
    services: parsed.data.map(({ id, status, updated_pending_status }) => ({
      id,
      status,
      overwritesPending: updated_pending_status,
    })),
    connections: parsed.data.flatMap((service) =>
      Object.entries(service.ipsec_site_connections).map(([id, { status, updated_pending_status }]) => ({
        id,
        status,
        overwritesPending: updated_pending_status,
      })),
    ),
  };
}
