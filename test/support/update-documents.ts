// The documents of the measured connection and its neighbours, as they are wanted at one moment of the updates' test.
import {
  baseDocuments,
  connectionDocuments,
  connectionPair,
  LEFT_ADDRESS,
  LEFT_ADDRESS_V6,
  RIGHT_ADDRESS,
  RIGHT_ADDRESS_V6,
  sidesOf,
  type RouterIds,
} from "../../scripts/lab-documents.ts";
import type { LabDocument, LabSide } from "../../scripts/lab.ts";

export type Version = "v1" | "v2";
type Suite = LabDocument & { readonly encryption_algorithm: string };

/** The measured connection `site`, and what else the left router has, as they are wanted now. */
export type Wanted = {
  readonly version: Version;
  readonly name: string;
  readonly description: string;
  readonly mtu: number;
  readonly ikeLifetime: number;
  readonly ipsecLifetime: number;
  readonly dpd: { readonly action: string; readonly interval: number; readonly timeout: number };
  readonly subnets: readonly string[];
  readonly psk: { readonly left: string; readonly right: string };
  readonly rightId: "its address" | "@right.example";
  readonly rightAddress: string;
  readonly ike: Suite;
  readonly ipsec: Suite;
  readonly leftInitiator: string;
  readonly isLeftUp: boolean;
  /** One more connection of the left router: `beside` goes to the same peer, `apart` to another. */
  readonly more: "none" | "beside" | "apart";
  /** A connection from gateway to gateway, to the same peer. */
  readonly gateways: "none" | "tunnel" | "transport";
};

export const AES_128 = { encryption_algorithm: "aes-128", auth_algorithm: "sha256", pfs: "group19" };
export const AES_256 = { encryption_algorithm: "aes-256", auth_algorithm: "sha384", pfs: "group19" };
// The lowest, so that it leads whichever other connection there is to its peer.
const SITE_ID = "00000000-0000-4000-8000-000000000001";
const BACK_ID = "00000000-0000-4000-8000-000000000002";
export const MOVED_ADDRESS = "203.0.113.21";
const THIRD_ADDRESS = "203.0.113.30";

export const AT_FIRST: Wanted = {
  version: "v1",
  name: "site",
  description: "",
  mtu: 1500,
  ikeLifetime: 3600,
  ipsecLifetime: 3600,
  dpd: { action: "restart", interval: 5, timeout: 20 },
  subnets: ["10.2.0.0/24"],
  psk: { left: "one secret", right: "one secret" },
  rightId: "its address",
  rightAddress: RIGHT_ADDRESS,
  ike: AES_128,
  ipsec: AES_128,
  leftInitiator: "bi-directional",
  isLeftUp: true,
  more: "none",
  gateways: "none",
};

/** Of the gateway ports of Neutron's routers, by side. */
export const EXTERNAL_ADDRESSES: readonly (readonly string[])[] = [
  [LEFT_ADDRESS, LEFT_ADDRESS_V6],
  [RIGHT_ADDRESS, MOVED_ADDRESS, RIGHT_ADDRESS_V6],
  [THIRD_ADDRESS],
];

/** The left router has a second peer, the third router, which is on the right gateway machine. */
export const threeSides =
  (third: string) =>
  (routers: RouterIds): readonly LabSide[] => [
    ...sidesOf(routers),
    {
      host: `${routers.hostPrefix ?? ""}-right`,
      routerId: third,
      lan: ["10.4.0.1/24"],
      hosts: [{ name: "third", addresses: ["10.4.0.9/24"], gateways: ["10.4.0.1"] }],
    },
  ];

export function documentsOf(wanted: Wanted, routers: RouterIds, third: string): readonly LabDocument[] {
  const { version, ike, ipsec, ikeLifetime, ipsecLifetime } = wanted;
  const policy = (kind: string, name: string, more: LabDocument): LabDocument => ({
    kind,
    project: "acme",
    name,
    ...AES_128,
    ...more,
  });
  const common = { mtu: wanted.mtu, description: wanted.description, dpd: wanted.dpd };
  const own = { ikepolicy: "own", ipsecpolicy: "own" };
  return [
    ...baseDocuments(routers, {
      ike: { ...ike, ike_version: version, lifetime: { units: "seconds", value: ikeLifetime } },
      ipsec: { ...ipsec, lifetime: { units: "seconds", value: ipsecLifetime } },
    }).map((document) =>
      document["kind"] === "VpnService" && document["name"] === "right"
        ? { ...document, external: { network: "internet", fixed_ips: [wanted.rightAddress, RIGHT_ADDRESS_V6] } }
        : document,
    ),
    policy("IkePolicy", "own", { ike_version: "v2" }),
    policy("IpsecPolicy", "own", {}),
    policy("IpsecPolicy", "transport", { encapsulation_mode: "transport" }),
    { kind: "Router", project: "acme", name: "third-router", id: third },
    {
      kind: "VpnService",
      project: "acme",
      name: "third",
      host: `${routers.hostPrefix ?? ""}-right`,
      router: "third-router",
      external: { network: "internet", fixed_ips: [THIRD_ADDRESS] },
    },
    ...connectionDocuments({
      name: "site",
      service: "left",
      local: ["10.1.0.0/24"],
      peer: wanted.subnets,
      peerAddress: wanted.rightAddress,
      psk: wanted.psk.left,
      more: {
        ...common,
        id: SITE_ID,
        name: wanted.name,
        ...identities(wanted).ofLeft,
        initiator: wanted.leftInitiator,
        admin_state_up: wanted.isLeftUp,
      },
    }),
    ...connectionDocuments({
      name: "site-back",
      service: "right",
      local: wanted.subnets,
      peer: ["10.1.0.0/24"],
      peerAddress: LEFT_ADDRESS,
      psk: wanted.psk.right,
      more: {
        ...common,
        id: BACK_ID,
        name: `${wanted.name}-back`,
        ...identities(wanted).ofRight,
      },
    }),
    ...connectionDocuments({
      name: "quiet",
      service: "left",
      local: ["10.1.0.0/24"],
      peer: ["10.4.0.0/24"],
      peerAddress: THIRD_ADDRESS,
      psk: "quiet secret",
      more: own,
    }),
    ...connectionDocuments({
      name: "quiet-back",
      service: "right",
      local: ["10.4.0.0/24"],
      peer: ["10.1.0.0/24"],
      peerAddress: LEFT_ADDRESS,
      psk: "quiet secret",
      more: { ...own, vpnservice: "third" },
    }),
    ...(wanted.more === "none" ? [] : more(wanted)),
    ...(wanted.gateways === "none" ? [] : gateways(wanted)),
  ];
}

const more = (wanted: Wanted): readonly LabDocument[] =>
  wanted.more === "beside"
    ? sharingPeer(wanted, "more", ["10.1.0.0/24"], ["10.3.0.0/24"], {})
    : connectionPair({ name: "more", left: ["10.1.0.0/24"], right: ["10.3.0.0/24"], isOuterIpv6: true });

const gateways = (wanted: Wanted): readonly LabDocument[] =>
  sharingPeer(wanted, "gateways", [`${LEFT_ADDRESS}/32`], [`${wanted.rightAddress}/32`], {
    ipsecpolicy: wanted.gateways === "transport" ? "transport" : "ipsec",
  });

/** A pair of connections that share the IKE SA of `site`. */
function sharingPeer(
  wanted: Wanted,
  name: string,
  left: readonly string[],
  right: readonly string[],
  more: LabDocument,
): readonly LabDocument[] {
  const { ofLeft, ofRight } = identities(wanted);
  const { dpd, psk, rightAddress } = wanted;
  return [
    ...connectionDocuments({
      ...{ name, service: "left", local: left, peer: right, peerAddress: rightAddress, psk: psk.left },
      more: { dpd, ...ofLeft, ...more },
    }),
    ...connectionDocuments({
      ...{
        name: `${name}-back`,
        service: "right",
        local: right,
        peer: left,
        peerAddress: LEFT_ADDRESS,
        psk: psk.right,
      },
      more: { dpd, ...ofRight, ...more },
    }),
  ];
}

/** What each side's connection says of the right gateway's identity. */
const identities = ({ rightId, rightAddress }: Wanted): Readonly<Record<"ofLeft" | "ofRight", LabDocument>> =>
  rightId === "its address"
    ? { ofLeft: { peer_id: rightAddress }, ofRight: {} }
    : { ofLeft: { peer_id: rightId }, ofRight: { local_id: rightId } };
