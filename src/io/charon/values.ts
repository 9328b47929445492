// Configs and SAs as charon tells of them, in the words of swanctl.conf, so that they can be compared with what was meant.
// VICI has its own words for some of it (vici_query.c).
import type { Values } from "../../core/views.ts";
import type { ChildConfig, ConnConfig } from "../../vici-client/conns.ts";
import type { ChildSa, IkeSa } from "../../vici-client/sas.ts";
import { ahProposalOf, espProposalOf, ikeProposalOf } from "../../wire/swanctl/algorithms.ts";
import { selectors } from "../../wire/swanctl/views.ts";

const seconds = (value: number): string => `${value}s`;

const UNIQUE: Readonly<Record<string, string>> = {
  UNIQUE_NEVER: "never",
  UNIQUE_NO: "no",
  UNIQUE_REPLACE: "replace",
  UNIQUE_KEEP: "keep",
};

/** `clear` is no action of its own to charon; `restart` it calls start. */
const ACTION: Readonly<Record<string, string>> = { none: "none", start: "restart", trap: "trap" };

/** A loaded connection, as far as list-conns tells it. */
export function valuesOfConn(conn: ConnConfig): Values {
  const values = new Map<string, string>([
    ["version", conn.version.replace("IKEv", "")],
    ["local_addrs", conn.localAddrs.join(", ")],
    ["remote_addrs", conn.remoteAddrs.join(", ")],
    ["dpd_delay", seconds(conn.dpdDelaySeconds ?? 0)],
    ["reauth_time", seconds(conn.reauthSeconds)],
    ["rekey_time", seconds(conn.rekeySeconds)],
  ]);
  const more = {
    unique: UNIQUE[conn.uniquePolicy ?? ""],
    "local.id": conn.localAuth[0]?.id,
    "remote.id": conn.remoteAuth[0]?.id,
  };
  for (const [key, value] of Object.entries(more)) if (value !== undefined) values.set(key, value);
  for (const child of conn.children) addChild(values, child);
  return values;
}

function addChild(values: Map<string, string>, child: ChildConfig): void {
  const set = (key: string, value: string | undefined): void => {
    if (value !== undefined) values.set(`children.${child.name}.${key}`, value);
  };
  set("mode", child.mode?.toLowerCase());
  set("local_ts", selectors(child.localTs));
  set("remote_ts", selectors(child.remoteTs));
  set("rekey_time", child.rekeySeconds === 0 ? undefined : seconds(child.rekeySeconds));
  set("rekey_bytes", child.rekeyBytes === 0 ? undefined : String(child.rekeyBytes));
  set("dpd_action", ACTION[child.dpdAction ?? ""]);
  set("close_action", ACTION[child.closeAction ?? ""]);
}

/** What an IKE SA was negotiated to. */
export const valuesOfIkeSa = (sa: IkeSa): Values =>
  new Map([
    ["version", String(sa.ikeVersion)],
    ["local_addrs", sa.localHost],
    ["remote_addrs", sa.remoteHost],
    ["local.id", sa.localId],
    ["remote.id", sa.remoteId],
    ["proposals", ikeProposalOf(sa.algorithms)],
  ]);

/** What a CHILD SA was negotiated to; keys as below its child's section. */
export function valuesOfChildSa(sa: ChildSa): Values {
  const { algorithms } = sa;
  const proposal: [string, string] =
    sa.protocol === "AH" ? ["ah_proposals", ahProposalOf(algorithms)] : ["esp_proposals", espProposalOf(algorithms)];
  const { lifeSeconds, installSeconds } = sa;
  return new Map([
    ["mode", sa.mode.toLowerCase()],
    ["local_ts", selectors(sa.localTs)],
    ["remote_ts", selectors(sa.remoteTs)],
    proposal,
    ...(lifeSeconds === undefined || installSeconds === undefined
      ? []
      : [["life_time", seconds(lifeSeconds + installSeconds)] as const]),
  ]);
}
