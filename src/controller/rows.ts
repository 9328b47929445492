// The controller's view for people: what documents want where, and what the agents said about it.
import type { DocumentNote, DocumentProblem } from "../wire/documents/problem.ts";
import type { Payloads } from "./payload.ts";
import type { KeptStatus, Statuses } from "./statuses.ts";

type RowPart = { readonly id: string; readonly name: string } & KeptStatus;

export type StatusRow = {
  readonly host: string;
  readonly router: string;
  readonly project: string;
  readonly service: RowPart;
  readonly connection: RowPart & { readonly enabled: boolean; readonly peerAddress: string };
};

export function statusRows({ services }: Payloads, statuses: Pick<Statuses, "of">): readonly StatusRow[] {
  const rows = services.flatMap((service) =>
    service.connections.map((connection) => ({
      host: service.host,
      router: service.routerId,
      project: service.project,
      service: { id: service.id, name: service.name, ...statuses.of(service.id) },
      connection: {
        id: connection.id,
        name: connection.name,
        enabled: connection.enabled && service.enabled,
        peerAddress: connection.peerAddress,
        ...statuses.of(connection.id),
      },
    })),
  );
  const keyOf = ({ host, router, connection }: StatusRow): string => [host, router, connection.name].join("\0");
  return rows.sort((a, b) => keyOf(a).localeCompare(keyOf(b)));
}

/** As the control socket answers: the shape of an agent's state, as far as a controller can know it. */
export type ControllerState = {
  readonly version: 1;
  readonly startedAtMs: number;
  readonly brokerConnected: boolean;
  /** Who has the bus instead; nothing is served meanwhile. */
  readonly standingBy: string | undefined;
  readonly problems: readonly DocumentProblem[];
  readonly notes: readonly DocumentNote[];
  readonly routers: readonly {
    readonly id: string;
    readonly host: string;
    readonly services: readonly RowPart[];
    readonly connections: readonly (StatusRow["connection"] & { readonly service: string; readonly host: string })[];
  }[];
};

export function controllerState(
  rows: readonly StatusRow[],
  rest: Omit<ControllerState, "version" | "routers">,
): ControllerState {
  const routers = [...new Set(rows.map(({ router }) => router))].map((id) => {
    const own = rows.filter(({ router }) => router === id);
    return {
      id,
      host: own[0]?.host ?? "",
      services: [...new Map(own.map(({ service }) => [service.id, service])).values()],
      connections: own.map(({ connection, service, host }) => ({ ...connection, service: service.id, host })),
    };
  });
  return { version: 1, ...rest, routers };
}
