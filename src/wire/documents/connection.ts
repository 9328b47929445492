// One IpsecSiteConnection document -> a connection of the catalogue, with what its keys have to do with each other.
import { readFamily } from "../../core/read-address.ts";
import { Secret } from "../../core/secret.ts";
import type { IpFamily } from "../../core/model.ts";
import type {
  CatalogueConnection,
  CatalogueIkePolicy,
  CatalogueIpsecPolicy,
  CataloguePolicy,
  CatalogueService,
  PskReference,
} from "./catalogue.ts";
import type { GroupCidrs } from "./endpoint-group.ts";
import { identified, type Entry, type NameIndex } from "./index-of-names.ts";
import type { Parsed } from "./schema.ts";

// RFC 791 and RFC 8200.
const MIN_MTU_BYTES = { 4: 68, 6: 1280 } as const;

type Endpoints = Pick<CatalogueConnection, "localGroupId" | "peerGroupId" | "localCidrs" | "peerCidrs">;
type ConnectionEntry = Entry<"IpsecSiteConnection">;

/** Undefined when a reference leads nowhere or its ends cannot be told; `service` is undefined when that is spoilt. */
export function buildConnection(
  entry: ConnectionEntry,
  service: CatalogueService | undefined,
  groups: GroupCidrs,
  index: NameIndex,
): CatalogueConnection | undefined {
  const { value, raw } = entry;
  const report = (at: readonly PropertyKey[], text: string): void =>
    index.report(raw, at, `IpsecSiteConnection ${value.name}: ${text}`);
  const ike = index.find("IkePolicy", value.ikepolicy, entry, ["ikepolicy"]);
  const ipsec = index.find("IpsecPolicy", value.ipsecpolicy, entry, ["ipsecpolicy"]);
  if (value.dpd.timeout <= value.dpd.interval) {
    report(
      ["dpd", "timeout"],
      `dpd.timeout ${value.dpd.timeout} is not above dpd.interval ${value.dpd.interval}: raise it`,
    );
  }
  judgeOuterFamily(value, service, report);
  const endpoints = endpointsOf(entry, service, groups, index, report);
  const localFamily = endpoints === undefined ? undefined : innerFamily(endpoints, value, report);
  if (ike === undefined || ipsec === undefined || endpoints === undefined || localFamily === undefined)
    return undefined;
  return {
    ...identified(entry),
    origin: { file: raw.file, line: raw.lineOf([]) },
    enabled: value.admin_state_up,
    peerAddress: value.peer_address,
    peerId: value.peer_id,
    localId: value.local_id,
    psk: pskOf(value.psk),
    pskOrigin: { file: raw.file, line: raw.lineOf(["psk"]) },
    initiator: value.initiator,
    mtuBytes: value.mtu,
    dpd: { action: value.dpd.action, intervalSeconds: value.dpd.interval, timeoutSeconds: value.dpd.timeout },
    ikePolicy: ikePolicyOf(ike),
    ipsecPolicy: ipsecPolicyOf(ipsec),
    ...endpoints,
    localFamily,
  };
}

type Report = (at: readonly PropertyKey[], text: string) => void;

function judgeOuterFamily(
  value: Parsed<"IpsecSiteConnection">,
  service: CatalogueService | undefined,
  report: Report,
): void {
  const family = readFamily(value.peer_address);
  if (service === undefined || service.external.addresses.some((external) => external.family === family)) return;
  const hint = `but VpnService ${service.name} has no IPv${family ?? 4} address in external.fixed_ips: add one`;
  report(["peer_address"], `peer_address ${value.peer_address} is IPv${family ?? 4}, ${hint}`);
}

function endpointsOf(
  entry: ConnectionEntry,
  service: CatalogueService | undefined,
  groups: GroupCidrs,
  index: NameIndex,
  report: Report,
): Endpoints | undefined {
  const { value } = entry;
  const { local_ep_group: localName, peer_ep_group: peerName, peer_cidrs: peerCidrs } = value;
  if (peerCidrs !== undefined) {
    if (localName !== undefined || peerName !== undefined) {
      report(["peer_cidrs"], "peer_cidrs and endpoint groups are both given: keep one form");
      return undefined;
    }
    if (service === undefined) return undefined;
    if (service.subnet === undefined) {
      report(
        ["peer_cidrs"],
        `peer_cidrs needs the older form, but VpnService ${service.name} has no subnet: give it one, or use local_ep_group and peer_ep_group`,
      );
      return undefined;
    }
    return { localGroupId: null, peerGroupId: null, localCidrs: [service.subnet.cidr], peerCidrs };
  }
  if (localName === undefined || peerName === undefined) {
    const missing = [
      localName === undefined ? "local_ep_group" : [],
      peerName === undefined ? "peer_ep_group" : [],
    ].flat();
    const at = localName === undefined ? (peerName === undefined ? [] : ["peer_ep_group"]) : ["local_ep_group"];
    report(
      at,
      `${missing.join(" and ")} missing: give both endpoint groups, or peer_cidrs with a service that has a subnet`,
    );
    return undefined;
  }
  if (service?.subnet !== undefined) {
    report(
      ["local_ep_group"],
      `endpoint groups and the subnet of VpnService ${service.name} are both given: keep one form`,
    );
    return undefined;
  }
  const localGroup = index.find("EndpointGroup", localName, entry, ["local_ep_group"]);
  const peerGroup = index.find("EndpointGroup", peerName, entry, ["peer_ep_group"]);
  if (peerGroup?.value.type === "subnet") {
    report(
      ["peer_ep_group"],
      `peer_ep_group ${peerName} is of type subnet: a peer's networks are no subnets of ours, use type cidr`,
    );
    return undefined;
  }
  const local = localGroup === undefined ? undefined : groups.get(localGroup);
  const peer = peerGroup === undefined ? undefined : groups.get(peerGroup);
  if (localGroup === undefined || peerGroup === undefined || local === undefined || peer === undefined)
    return undefined;
  return { localGroupId: localGroup.id, peerGroupId: peerGroup.id, localCidrs: local, peerCidrs: peer };
}

function innerFamily(ends: Endpoints, value: Parsed<"IpsecSiteConnection">, report: Report): IpFamily | undefined {
  const cidrs = [...ends.localCidrs, ...ends.peerCidrs];
  const families = new Set(cidrs.map(readFamily));
  const [family] = families;
  if (family === undefined || families.size > 1) {
    const at = ends.peerGroupId === null ? ["peer_cidrs"] : ["peer_ep_group"];
    report(at, `local and peer networks mix IPv4 and IPv6 (${cidrs.join(", ")}): make one connection for each`);
    return undefined;
  }
  if (value.mtu < MIN_MTU_BYTES[family]) {
    report(["mtu"], `mtu ${value.mtu} is below IPv${family}'s minimum of ${MIN_MTU_BYTES[family]}`);
  }
  return family;
}

function pskOf(psk: Parsed<"IpsecSiteConnection">["psk"]): PskReference {
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
