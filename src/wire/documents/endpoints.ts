// What a connection connects: in which form it is said, and whether the networks fit together. The rules are those of
// Neutron's validator (db/vpn/vpn_validator.py), but for a subnet beside endpoint groups, which it refuses: the groups
// are the newer form and say more, so they win.
import { isInside, readFamily } from "../../core/read-address.ts";
import type { IpFamily } from "../../core/model.ts";
import type { CatalogueConnection, CatalogueService, CatalogueSubnet } from "./catalogue.ts";
import type { GroupCidrs } from "./endpoint-group.ts";
import type { Entry, NameIndex } from "./index-of-names.ts";

// RFC 791 and RFC 8200.
const MIN_MTU_BYTES = { 4: 68, 6: 1280 } as const;

export type Endpoints = Pick<
  CatalogueConnection,
  "localGroupId" | "peerGroupId" | "localCidrs" | "peerCidrs" | "localFamily"
>;

export type ConnectionReport = {
  problem(at: readonly PropertyKey[], text: string): void;
  note(at: readonly PropertyKey[], text: string): void;
};

/** One side of a connection; `what` names it in a sentence. */
type Side = {
  readonly what: string;
  readonly at: readonly PropertyKey[];
  readonly groupId: string | null;
  readonly cidrs: readonly string[];
};

/** Undefined when there is a problem; `service` is undefined when that is spoilt. */
export function endpointsOf(
  entry: Entry<"IpsecSiteConnection">,
  service: CatalogueService | undefined,
  groups: GroupCidrs,
  index: NameIndex,
  report: ConnectionReport,
): Endpoints | undefined {
  const { value } = entry;
  const hasGroups = value.local_ep_group !== undefined || value.peer_ep_group !== undefined;
  if (hasGroups && value.peer_cidrs !== undefined) {
    report.problem(["peer_cidrs"], "peer_cidrs and endpoint groups are both given: keep one form");
    return undefined;
  }
  const sides = hasGroups
    ? {
        local: groupSide("local_ep_group", "subnet", entry, groups, index, report),
        peer: groupSide("peer_ep_group", "cidr", entry, groups, index, report),
      }
    : olderForm(value.peer_cidrs, service, report);
  const local = sides?.local && ofOneFamily(sides.local, report);
  const peer = sides?.peer && ofOneFamily(sides.peer, report);
  if (local === undefined || peer === undefined) return undefined;
  if (local.family !== peer.family) {
    const text = `${local.what} is IPv${local.family}, but ${peer.what} is IPv${peer.family}`;
    report.problem(peer.at, `${text} (${[...local.cidrs, ...peer.cidrs].join(", ")}): make one connection for each`);
    return undefined;
  }
  judgeOverlap(local, peer, report);
  const minimum = MIN_MTU_BYTES[local.family];
  if (value.mtu < minimum) {
    report.problem(["mtu"], `mtu ${value.mtu} is below IPv${local.family}'s minimum of ${minimum}: raise it`);
  }
  return {
    localGroupId: local.groupId,
    peerGroupId: peer.groupId,
    localCidrs: local.cidrs,
    peerCidrs: peer.cidrs,
    localFamily: local.family,
  };
}

const WHY_TYPE = {
  subnet: "what is behind us are subnets of ours, use a group of type subnet",
  cidr: "a peer's networks are no subnets of ours, use a group of type cidr",
} as const;

function groupSide(
  key: "local_ep_group" | "peer_ep_group",
  type: "subnet" | "cidr",
  entry: Entry<"IpsecSiteConnection">,
  groups: GroupCidrs,
  index: NameIndex,
  report: ConnectionReport,
): Side | undefined {
  const name = entry.value[key];
  if (name === undefined) {
    const other = key === "local_ep_group" ? "peer_ep_group" : "local_ep_group";
    report.problem([other], `${key} is missing: it belongs to ${other}, give both`);
    return undefined;
  }
  const group = index.find("EndpointGroup", name, entry, [key]);
  if (group === undefined) return undefined;
  if (group.value.type !== type) {
    report.problem([key], `${key} ${name} is of type ${group.value.type}: ${WHY_TYPE[type]}`);
    return undefined;
  }
  const cidrs = groups.get(group);
  return cidrs === undefined ? undefined : { what: `${key} ${name}`, at: [key], groupId: group.id, cidrs };
}

function olderForm(
  peerCidrs: readonly string[] | undefined,
  service: CatalogueService | undefined,
  report: ConnectionReport,
): { readonly local: Side; readonly peer: Side } | undefined {
  if (service === undefined) return undefined;
  const { subnet } = service;
  if (peerCidrs === undefined) {
    const text =
      subnet === undefined
        ? "local_ep_group and peer_ep_group are missing: give both"
        : `peer_cidrs is missing: VpnService ${service.name} has subnet ${subnet.name}, so name the peer's networks, or give local_ep_group and peer_ep_group`;
    report.problem([], text);
    return undefined;
  }
  if (subnet === undefined) {
    const hint = "give it one, or use local_ep_group and peer_ep_group";
    report.problem(["peer_cidrs"], `peer_cidrs need a local subnet, but VpnService ${service.name} has none: ${hint}`);
    return undefined;
  }
  return {
    local: localSubnet(service, subnet),
    peer: { what: "peer_cidrs", at: ["peer_cidrs"], groupId: null, cidrs: peerCidrs },
  };
}

const localSubnet = (service: CatalogueService, subnet: CatalogueSubnet): Side => ({
  what: `subnet ${subnet.name} of VpnService ${service.name}`,
  at: ["vpnservice"],
  groupId: null,
  cidrs: [subnet.cidr],
});

function ofOneFamily(side: Side, report: ConnectionReport): (Side & { readonly family: IpFamily }) | undefined {
  const families = new Set(side.cidrs.map(readFamily));
  const [family] = families;
  if (family !== undefined && families.size === 1) return { ...side, family };
  const hint = "make one connection for each";
  report.problem(side.at, `${side.what} mixes IPv4 and IPv6 (${side.cidrs.join(", ")}): ${hint}`);
  return undefined;
}

/**
 * A peer's network may well contain ours: a branch sends everything to the head office, which may say that everything is
 * behind it. Else a part of our own subnet cannot be the peer's: whoever is in it looks for its neighbours there.
 */
function judgeOverlap(local: Side, peer: Side, report: ConnectionReport): void {
  const isEverything = (cidr: string): boolean => cidr.endsWith("/0");
  for (const theirs of peer.cidrs) {
    for (const ours of local.cidrs) {
      if (isEverything(ours) || isEverything(theirs)) continue;
      if (isInside(ours, theirs)) {
        const relation = ours === theirs ? "is" : "lies in";
        const text = `the peer's network ${theirs} ${relation} our own ${ours} (${local.what}): what is for it would never leave`;
        report.problem(peer.at, `${text}; correct one of them`);
      } else if (isInside(theirs, ours)) {
        report.note(peer.at, `the peer's network ${theirs} contains our own ${ours}: that part of it stays here`);
      }
    }
  }
}
