// OVN's southbound database as far as Neutron reads from it who is alive (ovn-sb(5); keys and their values are those of
// neutron_vpnaas/services/vpn/common/constants.py and .../ovn/agent_monitor.py).
import type { Announcement, AnnouncementStep } from "../../core/announcement.ts";
import type { MapChange } from "../../ovsdb-client/operations.ts";
import type { Condition, Tables } from "../../ovsdb-client/tables.ts";

export const SOUTHBOUND_DATABASE = "OVN_Southbound";

const AGENT_ID = "neutron:ovn-vpnagent-id";
const ANSWER = "neutron:ovn-vpnagent-sb-cfg";

/** Of one chassis; the rows of all others would come with every sign of life of theirs. */
export function southboundTables(chassis: string) {
  const ours: Condition = ["name", "==", chassis];
  return {
    // Not Chassis_Private's own nb_cfg, which is ovn-controller's answer and stands still when that is dead.
    SB_Global: { columns: { nb_cfg: "integer" } },
    Chassis_Private: { columns: { external_ids: "stringMap" }, where: [ours] },
    Chassis: { columns: { hostname: "string" }, where: [ours] },
  } as const;
}

export type SeenSouthbound = {
  /** Undefined: nobody has initialised the database yet. */
  readonly generation: number | undefined;
  /** Undefined: there is no such chassis. */
  readonly row: { readonly uuid: string; readonly announcement: Announcement } | undefined;
  /** Name of the host that Neutron sends the chassis' messages to. */
  readonly hostname: string | undefined;
};

/** SB_Global has one row, and chassis have different names (ovn-sb(5), both are indexes). */
export function decodeSouthbound(tables: Tables<ReturnType<typeof southboundTables>>): SeenSouthbound {
  const [global] = tables.SB_Global.values();
  const [chassisPrivate] = tables.Chassis_Private;
  const [chassis] = tables.Chassis.values();
  return {
    generation: global?.nb_cfg,
    row: chassisPrivate && {
      uuid: chassisPrivate[0],
      announcement: {
        agentId: chassisPrivate[1].external_ids.get(AGENT_ID),
        answer: chassisPrivate[1].external_ids.get(ANSWER),
      },
    },
    hostname: chassis?.hostname,
  };
}

export type Write = Exclude<AnnouncementStep, { readonly kind: "none" }>;

/** One change of one row, so that nobody sees the answer without the id. */
export function encodeWrite(step: Write, row: string, agentId: string): MapChange {
  const insert = new Map(step.kind === "introduce" ? [[AGENT_ID, agentId]] : []);
  if (step.answer !== undefined) insert.set(ANSWER, step.answer);
  const remove = step.kind === "introduce" ? [AGENT_ID, ANSWER] : [ANSWER];
  return { table: "Chassis_Private", row, column: "external_ids", remove, insert };
}
