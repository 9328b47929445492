// The documents and the world of the demo and of most tests: two sites, one connection from each to the other.
import { NETWORK, type LabDocument, type LabSide } from "./lab.ts";

/** Ids of the two routers: namespaces are named after them, so labs that run side by side need their own. */
export type RouterIds = {
  readonly left: string;
  readonly right: string;
  /** Hosts are `<this>-left` and `<this>-right`. Two agents with one host take each other's routers for leftovers. */
  readonly hostPrefix?: string;
};

const hostOf = ({ hostPrefix = "gw" }: RouterIds, side: "left" | "right"): string => `${hostPrefix}-${side}`;

export const sidesOf = (routers: RouterIds): readonly LabSide[] => [
  {
    host: hostOf(routers, "left"),
    routerId: routers.left,
    lan: ["10.1.0.1/24", "fd00:1::1/64"],
    hosts: [{ name: "left", addresses: ["10.1.0.9/24", "fd00:1::9/64"], gateways: ["10.1.0.1", "fd00:1::1"] }],
  },
  {
    host: hostOf(routers, "right"),
    routerId: routers.right,
    lan: ["10.2.0.1/24", "10.3.0.1/24", "fd00:2::1/64"],
    hosts: [
      { name: "right", addresses: ["10.2.0.9/24", "fd00:2::9/64"], gateways: ["10.2.0.1", "fd00:2::1"] },
      { name: "other", addresses: ["10.3.0.9/24"], gateways: ["10.3.0.1"] },
    ],
  },
];

export const LEFT_ADDRESS = "203.0.113.10";
export const RIGHT_ADDRESS = "203.0.113.20";
export const LEFT_ADDRESS_V6 = "2001:db8:ff::10";
export const RIGHT_ADDRESS_V6 = "2001:db8:ff::20";

export type Settings = {
  readonly leftPsk: string;
  readonly rightPsk: string;
  /** Subnets behind the right gateway that the tunnel carries. */
  readonly rightSubnets: readonly string[];
  readonly leftSubnets: readonly string[];
  readonly ike: LabDocument;
  readonly ipsec: LabDocument;
  readonly connection: LabDocument;
};

const DEFAULTS: Settings = {
  leftPsk: "correct horse battery staple",
  rightPsk: "correct horse battery staple",
  leftSubnets: ["10.1.0.0/24"],
  rightSubnets: ["10.2.0.0/24"],
  ike: { ike_version: "v2", encryption_algorithm: "aes-256", auth_algorithm: "sha256", pfs: "group14" },
  ipsec: { encryption_algorithm: "aes-256", auth_algorithm: "sha256", pfs: "group14" },
  connection: {},
};

const PROJECT = "acme";

/** Documents common to all: the network, the routers, the policies and a service on each side. */
export function baseDocuments(routers: RouterIds, settings: Partial<Settings> = {}): readonly LabDocument[] {
  const { ike, ipsec } = { ...DEFAULTS, ...settings };
  const service = (name: string, host: string, router: string, address: string, v6: string): LabDocument => ({
    kind: "VpnService",
    project: PROJECT,
    name,
    host,
    router,
    external: { network: NETWORK, fixed_ips: [address, v6] },
  });
  return [
    {
      kind: "Network",
      name: NETWORK,
      mtu: 1500,
      subnets: [
        { cidr: "203.0.113.0/24", gateway_ip: "203.0.113.1" },
        { cidr: "2001:db8:ff::/64", gateway_ip: "2001:db8:ff::1" },
      ],
    },
    { kind: "Router", project: PROJECT, name: "left-router", id: routers.left },
    { kind: "Router", project: PROJECT, name: "right-router", id: routers.right },
    { kind: "IkePolicy", project: PROJECT, name: "ike", ...ike },
    { kind: "IpsecPolicy", project: PROJECT, name: "ipsec", ...ipsec },
    service("left", hostOf(routers, "left"), "left-router", LEFT_ADDRESS, LEFT_ADDRESS_V6),
    service("right", hostOf(routers, "right"), "right-router", RIGHT_ADDRESS, RIGHT_ADDRESS_V6),
  ];
}

/** One connection with its endpoint groups. */
export function connectionDocuments(of: {
  readonly name: string;
  readonly service: "left" | "right";
  readonly local: readonly string[];
  readonly peer: readonly string[];
  readonly peerAddress: string;
  readonly psk: string;
  readonly more?: LabDocument;
}): readonly LabDocument[] {
  const group = (suffix: string, type: "subnet" | "cidr", endpoints: readonly string[]): LabDocument => ({
    kind: "EndpointGroup",
    project: PROJECT,
    name: `${of.name}-${suffix}`,
    type,
    endpoints,
  });
  const subnetName = (cidr: string): string => `${of.name}-${cidr}`;
  const subnets = of.local.map((cidr) => ({ kind: "Subnet", project: PROJECT, name: subnetName(cidr), cidr }));
  return [
    ...subnets,
    group("local", "subnet", of.local.map(subnetName)),
    group("peer", "cidr", of.peer),
    {
      kind: "IpsecSiteConnection",
      project: PROJECT,
      name: of.name,
      vpnservice: of.service,
      ikepolicy: "ike",
      ipsecpolicy: "ipsec",
      local_ep_group: `${of.name}-local`,
      peer_ep_group: `${of.name}-peer`,
      peer_address: of.peerAddress,
      peer_id: of.peerAddress,
      psk: of.psk,
      dpd: { action: "restart", interval: 5, timeout: 20 },
      ...of.more,
    },
  ];
}

/** `to-right` on the left gateway and `to-left` on the right one. */
export function demoDocuments(routers: RouterIds, settings: Partial<Settings> = {}): readonly LabDocument[] {
  const { leftPsk, rightPsk, leftSubnets, rightSubnets, connection } = { ...DEFAULTS, ...settings };
  return [
    ...baseDocuments(routers, settings),
    ...connectionDocuments({
      name: "to-right",
      service: "left",
      local: leftSubnets,
      peer: rightSubnets,
      peerAddress: RIGHT_ADDRESS,
      psk: leftPsk,
      more: connection,
    }),
    ...connectionDocuments({
      name: "to-left",
      service: "right",
      local: rightSubnets,
      peer: leftSubnets,
      peerAddress: LEFT_ADDRESS,
      psk: rightPsk,
      more: connection,
    }),
  ];
}

/** The same connection seen from both gateways, as two documents: `<name>` on the left, `<name>-back` on the right. */
export function connectionPair(of: {
  readonly name: string;
  readonly left: readonly string[];
  readonly right: readonly string[];
  readonly psk?: string;
  readonly isOuterIpv6?: boolean;
  readonly more?: LabDocument;
}): readonly LabDocument[] {
  const psk = of.psk ?? DEFAULTS.leftPsk;
  const isV6 = of.isOuterIpv6 === true;
  const more = of.more ?? {};
  return [
    ...connectionDocuments({
      name: of.name,
      service: "left",
      local: of.left,
      peer: of.right,
      peerAddress: isV6 ? RIGHT_ADDRESS_V6 : RIGHT_ADDRESS,
      psk,
      more,
    }),
    ...connectionDocuments({
      name: `${of.name}-back`,
      service: "right",
      local: of.right,
      peer: of.left,
      peerAddress: isV6 ? LEFT_ADDRESS_V6 : LEFT_ADDRESS,
      psk,
      more,
    }),
  ];
}
