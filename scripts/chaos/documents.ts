// The model as the controller's documents.
import { NETWORK, type LabDocument } from "../lab.ts";
import {
  addressOf,
  bondOf,
  LAN_OCTETS,
  octetsOf,
  otherSide,
  SIDES,
  subnetOf,
  type Bond,
  type Model,
  type Pair,
  type Side,
  type SiteRouter,
} from "./model.ts";

const PROJECT = "chaos";

export const documentsOf = (model: Model): readonly LabDocument[] => [
  { kind: "Network", name: NETWORK, mtu: 1500, subnets: [{ cidr: "203.0.113.0/24", gateway_ip: "203.0.113.1" }] },
  ...model.routers.flatMap((router) => routerDocuments(model, router)),
  ...model.bonds.flatMap((bond) => SIDES.flatMap((side) => policyDocuments(bond, side))),
  ...model.pairs.flatMap((pair) => SIDES.flatMap((side) => connectionDocuments(model, pair, side))),
];

function routerDocuments(model: Model, router: SiteRouter): readonly LabDocument[] {
  const { number, id, side } = router;
  const lan = LAN_OCTETS.map((octet) => {
    const cidr = subnetOf(router, octet);
    return { kind: "Subnet", project: PROJECT, name: cidr, cidr };
  });
  const service: LabDocument = {
    kind: "VpnService",
    project: PROJECT,
    name: `service-${number}`,
    host: model.hosts[side],
    router: `router-${number}`,
    external: { network: NETWORK, fixed_ips: [addressOf(router)] },
    admin_state_up: !model.disabled.has(number),
  };
  return [
    { kind: "Router", project: PROJECT, name: `router-${number}`, id },
    ...lan,
    ...(model.withdrawn.has(number) ? [] : [service]),
  ];
}

function policyDocuments({ number, version, policy }: Bond, side: Side): readonly LabDocument[] {
  const { ikeEncryption, ikeAuth, ikeGroup, ikeLifetime, espEncryption, espAuth, espGroup, espLifetime } = policy[side];
  const lifetime = (value: number): LabDocument => ({ units: "seconds", value });
  return [
    {
      kind: "IkePolicy",
      project: PROJECT,
      name: `ike-${number}-${side}`,
      ike_version: version,
      encryption_algorithm: ikeEncryption,
      auth_algorithm: ikeAuth,
      pfs: ikeGroup,
      lifetime: lifetime(ikeLifetime),
    },
    {
      kind: "IpsecPolicy",
      project: PROJECT,
      name: `esp-${number}-${side}`,
      encryption_algorithm: espEncryption,
      auth_algorithm: espAuth,
      pfs: espGroup,
      lifetime: lifetime(espLifetime),
    },
  ];
}

function connectionDocuments(model: Model, pair: Pair, side: Side): readonly LabDocument[] {
  const bond = bondOf(model, pair);
  const end = pair.ends[side];
  if (!end.isPresent || model.withdrawn.has(bond[side].number)) return [];
  const there = otherSide(side);
  const group = (suffix: string, type: "subnet" | "cidr", of: Side): LabDocument => ({
    kind: "EndpointGroup",
    project: PROJECT,
    name: `${end.name}-${suffix}`,
    type,
    endpoints: octetsOf(pair, of).map((octet) => subnetOf(bond[of], octet)),
  });
  const connection: LabDocument = {
    kind: "IpsecSiteConnection",
    project: PROJECT,
    name: end.name,
    id: end.id,
    vpnservice: `service-${bond[side].number}`,
    ikepolicy: `ike-${bond.number}-${side}`,
    ipsecpolicy: `esp-${bond.number}-${side}`,
    local_ep_group: `${end.name}-local`,
    peer_ep_group: `${end.name}-peer`,
    peer_address: addressOf(bond[there]),
    peer_id: addressOf(bond[there]),
    psk: bond.psk[side],
    dpd: bond.dpd,
    mtu: pair.mtu,
    admin_state_up: end.isUp,
  };
  return [group("local", "subnet", side), group("peer", "cidr", there), connection];
}
