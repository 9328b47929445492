// Ports in the local Open vSwitch database (ovs-vswitchd.conf.db(5)), as OVN wants them (ovn-architecture(7), "Life Cycle
// of a VIF") and Neutron's own drivers write them.
import type { ObservedSwitchPort, SwitchPort } from "../../core/switch.ts";
import type { Tables } from "../../ovsdb-client/tables.ts";

export const SWITCH_TABLES = {
  Bridge: { columns: { name: "string", datapath_type: "string", ports: "uuids" } },
  Port: { columns: { name: "string", interfaces: "uuids" } },
  Interface: {
    columns: {
      name: "string",
      type: "string",
      external_ids: "stringMap",
      ofport: "optionalInteger",
      error: "optionalString",
    },
  },
  Open_vSwitch: { columns: { cur_cfg: "integer", next_cfg: "integer" } },
} as const;
export type SwitchTables = Tables<typeof SWITCH_TABLES>;

/** What OVN and Neutron read. */
const PORT_ID = "iface-id";
const MAC = "attached-mac";
const STATUS = "iface-status";
/** ovn-controller sets it when all flows of the port are there. */
const INSTALLED = "ovn-installed";
/** What we read. */
const OWNER = "swanherd-owner";
const ROUTER = "swanherd-router";
/** In the kernel it is called `system`, which is also what an empty one means. */
const USERLAND = "netdev";

export type SwitchRows = {
  readonly bridges: ReadonlyMap<string, { readonly uuid: string; readonly isUserland: boolean }>;
  /** By name, which is unique among ports. */
  readonly ports: ReadonlyMap<string, ObservedSwitchPort>;
};

export function decodeSwitch(tables: SwitchTables): SwitchRows {
  const bridges = [...tables.Bridge].map(([uuid, row]) => ({ uuid, row }));
  const bridgeOf = new Map(bridges.flatMap(({ row }) => [...row.ports].map((port) => [port, row.name] as const)));
  const ports = [...tables.Port].flatMap(([uuid, { name, interfaces }]) => {
    const bridge = bridgeOf.get(uuid);
    const [only] = interfaces;
    const held = only === undefined ? undefined : tables.Interface.get(only);
    if (bridge === undefined || held === undefined || interfaces.size > 1) return [];
    return [[name, decodePort(name, bridge, held)] as const];
  });
  return {
    bridges: new Map(
      bridges.map(({ uuid, row }) => [row.name, { uuid, isUserland: row.datapath_type === USERLAND }] as const),
    ),
    ports: new Map(ports),
  };
}

type InterfaceRow = SwitchTables["Interface"] extends ReadonlyMap<string, infer Row> ? Row : never;

function decodePort(name: string, bridge: string, { type, external_ids: ids, ofport, error }: InterfaceRow) {
  return {
    bridge,
    name,
    type,
    port: ids.get(PORT_ID),
    macAddress: ids.get(MAC),
    isActive: ids.get(STATUS) === "active",
    router: ids.get(ROUTER),
    owner: ids.get(OWNER),
    isOpen: ofport !== undefined && ofport > 0,
    // -1: it could not be added (ovs-vswitchd.conf.db(5), `ofport`).
    problem: error ?? (ofport === -1 ? "ovs-vswitchd could not add it, its log says why" : undefined),
    isInstalled: ids.get(INSTALLED) === "true",
  };
}

/** `external_ids` of its interface. */
export function idsOfPort(port: SwitchPort): ReadonlyMap<string, string> {
  return new Map([
    [PORT_ID, port.port],
    [MAC, port.macAddress],
    [STATUS, "active"],
    [OWNER, port.owner],
    [ROUTER, port.router],
  ]);
}

/** Of a new interface. */
export const rowOfPort = (port: SwitchPort) => ({
  name: port.name,
  external_ids: ["map", [...idsOfPort(port)].map((pair) => [...pair])],
});
