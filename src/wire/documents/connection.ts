// One IpsecSiteConnection document -> a connection of the catalogue, with what its keys have to do with each other.
import { readFamily } from "../../core/read-address.ts";
import { Secret } from "../../core/secret.ts";
import type {
  CatalogueConnection,
  CatalogueIkePolicy,
  CatalogueIpsecPolicy,
  CataloguePolicy,
  CataloguePsk,
  CatalogueService,
  PskReference,
} from "./catalogue.ts";
import type { GroupCidrs } from "./endpoint-group.ts";
import { endpointsOf, type ConnectionReport } from "./endpoints.ts";
import { identified, type Entry, type NameIndex } from "./index-of-names.ts";
import type { Parsed } from "./schema.ts";

/** Undefined when a reference leads nowhere or its ends cannot be told; `service` is undefined when that is spoilt. */
export function buildConnection(
  entry: Entry<"IpsecSiteConnection">,
  service: CatalogueService | undefined,
  groups: GroupCidrs,
  index: NameIndex,
): CatalogueConnection | undefined {
  const { value, raw } = entry;
  const label = `IpsecSiteConnection ${value.name}: `;
  const report: ConnectionReport = {
    problem: (at, text) => index.report(raw, at, label + text),
    note: (at, text) => index.note(raw, at, label + text),
  };
  const ike = index.find("IkePolicy", value.ikepolicy, entry, ["ikepolicy"]);
  const ipsec = index.find("IpsecPolicy", value.ipsecpolicy, entry, ["ipsecpolicy"]);
  if (service !== undefined) judgePeerAddress(value, service, report);
  const endpoints = endpointsOf(entry, service, groups, index, report);
  if (ike === undefined || ipsec === undefined || endpoints === undefined) return undefined;
  return {
    ...identified(entry),
    origin: { file: raw.file, line: raw.lineOf([]) },
    enabled: value.admin_state_up,
    peerAddress: value.peer_address,
    peerId: value.peer_id,
    localId: value.local_id,
    initiator: value.initiator,
    mtuBytes: value.mtu,
    dpd: { action: value.dpd.action, intervalSeconds: value.dpd.interval, timeoutSeconds: value.dpd.timeout },
    ikePolicy: ikePolicyOf(ike),
    ipsecPolicy: ipsecPolicyOf(ipsec),
    ...endpoints,
  };
}

function judgePeerAddress(
  { peer_address: address }: Parsed<"IpsecSiteConnection">,
  { name, external }: CatalogueService,
  report: ConnectionReport,
): void {
  const family = readFamily(address) ?? 4;
  if (!external.addresses.some((one) => one.family === family)) {
    const hint = `but VpnService ${name} has no IPv${family} address in external.fixed_ips: add one`;
    report.problem(["peer_address"], `peer_address ${address} is IPv${family}, ${hint}`);
  }
  if (external.addresses.some((one) => one.address === address)) {
    const text = `peer_address ${address} is an external address of VpnService ${name} itself: name the peer's`;
    report.problem(["peer_address"], text);
  }
}

export const pskOf = ({ id, value, raw }: Entry<"IpsecSiteConnection">): CataloguePsk => ({
  connectionId: id,
  connectionName: value.name,
  reference: referenceOf(value.psk),
  origin: { file: raw.file, line: raw.lineOf(["psk"]) },
});

function referenceOf(psk: Parsed<"IpsecSiteConnection">["psk"]): PskReference {
  if (typeof psk === "string") return { kind: "literal", secret: new Secret(psk) };
  if ("file" in psk) return { kind: "file", path: psk.file };
  if ("env" in psk) return { kind: "env", name: psk.env };
  return { kind: "credential", name: psk.credential };
}

type PolicyEntry = Entry<"IkePolicy"> | Entry<"IpsecPolicy">;

const commonPolicy = (entry: PolicyEntry): CataloguePolicy => ({
  ...identified(entry),
  encryption: entry.value.encryption_algorithm,
  authentication: entry.value.auth_algorithm,
  dhGroup: entry.value.pfs,
  lifetimeSeconds: entry.value.lifetime.value,
});

const ikePolicyOf = (entry: Entry<"IkePolicy">): CatalogueIkePolicy => ({
  ...commonPolicy(entry),
  ikeVersion: entry.value.ike_version,
  mode: entry.value.phase1_negotiation_mode,
});

const ipsecPolicyOf = (entry: Entry<"IpsecPolicy">): CatalogueIpsecPolicy => ({
  ...commonPolicy(entry),
  protocol: entry.value.transform_protocol,
  encapsulation: entry.value.encapsulation_mode,
});
