// The local Open vSwitch database as far as it says who we are to OVN (ovs-vswitchd.conf.db(5), ovn-controller(8)).
import type { Tables } from "../../ovsdb-client/tables.ts";

export const LOCAL_DATABASE = "Open_vSwitch";
export const LOCAL_TABLES = { Open_vSwitch: { columns: { external_ids: "stringMap" } } } as const;

/** Undefined: not set, or empty. */
export type LocalIdentity = {
  /** `external_ids:system-id`, which ovn-controller takes for the chassis' name. */
  readonly chassis: string | undefined;
  /** `external_ids:ovn-remote`: where ovn-controller finds the southbound database. */
  readonly southbound: string | undefined;
};

/** The table has one row. */
export function decodeLocal(tables: Tables<typeof LOCAL_TABLES>): LocalIdentity {
  const [row] = tables.Open_vSwitch.values();
  const text = (key: string): string | undefined => row?.external_ids.get(key)?.trim() || undefined;
  return { chassis: text("system-id"), southbound: text("ovn-remote") };
}
