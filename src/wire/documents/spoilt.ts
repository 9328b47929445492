// What can still be judged of a document that its schema refuses, so that every problem is told at once. It refuses to
// say what the schema has said already.
import type { z } from "zod";
import { valueAt } from "./problem.ts";
import type { Kind } from "./schema.ts";

/** Keys that nothing else is judged by, and what stands in for their mistakes; undefined: the default does. */
const STAND_INS: Readonly<Record<string, unknown>> = {
  description: undefined,
  id: undefined,
  admin_state_up: undefined,
  gateway_ip: undefined,
  lifetime: undefined,
  encryption_algorithm: undefined,
  auth_algorithm: undefined,
  pfs: undefined,
  ike_version: undefined,
  phase1_negotiation_mode: undefined,
  transform_protocol: undefined,
  encapsulation_mode: undefined,
  local_id: undefined,
  auth_mode: undefined,
  initiator: undefined,
  mtu: undefined,
  dpd: undefined,
  psk: "-",
  peer_id: "-",
};

/** The document without its mistakes, undefined where another judgement depends on one of them. */
export function withStandIns(
  value: Readonly<Record<string, unknown>>,
  { issues }: z.ZodError,
): Readonly<Record<string, unknown>> | undefined {
  const unknown = new Set<string>();
  const mistaken = new Set<string>();
  for (const issue of issues) {
    if (issue.code === "unrecognized_keys" && issue.path.length === 0) for (const key of issue.keys) unknown.add(key);
    else mistaken.add(String(issue.path[0]));
  }
  if (![...mistaken].every((key) => Object.hasOwn(STAND_INS, key))) return undefined;
  const known = Object.entries(value).filter(([key]) => !unknown.has(key));
  return Object.fromEntries([...known, ...[...mistaken].map((key) => [key, STAND_INS[key]] as const)]);
}

type Reference = { readonly at: readonly PropertyKey[]; readonly names: Kind; readonly name: string };

const REFERENCES: { readonly [K in Kind]?: readonly (readonly [at: readonly string[], names: Kind])[] } = {
  VpnService: [
    [["router"], "Router"],
    [["subnet"], "Subnet"],
    [["external", "network"], "Network"],
  ],
  IpsecSiteConnection: [
    [["vpnservice"], "VpnService"],
    [["ikepolicy"], "IkePolicy"],
    [["ipsecpolicy"], "IpsecPolicy"],
    [["local_ep_group"], "EndpointGroup"],
    [["peer_ep_group"], "EndpointGroup"],
  ],
};

/** The other documents that a document of any shape names. */
export function placesOfReferences(kind: Kind, value: Readonly<Record<string, unknown>>): readonly Reference[] {
  const { type, endpoints } = value;
  const places =
    kind === "EndpointGroup" && type === "subnet" && Array.isArray(endpoints)
      ? endpoints.map((_, at): readonly [readonly PropertyKey[], Kind] => [["endpoints", at], "Subnet"])
      : (REFERENCES[kind] ?? []);
  return places.flatMap(([at, names]) => {
    const name = valueAt(value, at);
    // An empty one is told by the schema.
    return typeof name === "string" && name !== "" ? [{ at, names, name }] : [];
  });
}
