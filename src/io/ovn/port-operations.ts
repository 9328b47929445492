// What is asked of the local Open vSwitch database to plug a port in, to mend it, or to take it out.
import type { SwitchPort } from "../../core/switch.ts";
import type { Json } from "../../ovsdb-client/message.ts";
import { encodeMapChange } from "../../ovsdb-client/operations.ts";
import { decodeSwitch, idsOfPort, rowOfPort, type SwitchTables } from "../../wire/ovn/switch.ts";

/** Undefined: there is no such bridge. */
export function encodePlug(port: SwitchPort, tables: SwitchTables): readonly Json[] | undefined {
  const { bridges, ports } = decodeSwitch(tables);
  const bridge = bridges.get(port.bridge);
  if (bridge === undefined) return undefined;
  const ids = idsOfPort(port);
  const [uuid] = [...tables.Interface].find(([, { name }]) => name === port.name) ?? [];
  if (uuid !== undefined && ports.get(port.name)?.bridge === port.bridge) {
    const remove = [...ids.keys()];
    return [encodeMapChange({ table: "Interface", row: uuid, column: "external_ids", remove, insert: ids })];
  }
  return [
    { op: "insert", table: "Interface", "uuid-name": "interface", row: rowOfPort(port) },
    {
      op: "insert",
      table: "Port",
      "uuid-name": "port",
      row: { name: port.name, interfaces: ["named-uuid", "interface"] },
    },
    portsOf(bridge.uuid, "insert", ["named-uuid", "port"]),
  ];
}

/** Empty: there is no such port there. A port and its interface go with the last that refers to them. */
export function encodeUnplug(name: string, bridge: string, tables: SwitchTables): readonly Json[] {
  const uuid = decodeSwitch(tables).bridges.get(bridge)?.uuid;
  const [port] = [...tables.Port].find(([, row]) => row.name === name) ?? [];
  if (uuid === undefined || port === undefined) return [];
  return [
    portsOf(uuid, "delete", ["uuid", port]),
    { op: "mutate", table: "Open_vSwitch", where: [], mutations: [["next_cfg", "+=", 1]] },
    { op: "select", table: "Open_vSwitch", where: [], columns: ["next_cfg"] },
  ];
}

const portsOf = (bridge: string, how: "insert" | "delete", port: Json): Json => ({
  op: "mutate",
  table: "Bridge",
  where: [["_uuid", "==", ["uuid", bridge]]],
  mutations: [["ports", how, ["set", [port]]]],
});
