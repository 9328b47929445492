// rtnetlink's messages: links, addresses, routes and rules, to bytes and back. It sends nothing.
import { addressBits, addressBytes, addressText, familyOf, parseCidr } from "../../core/address.ts";
import { KernelError } from "../../core/errors.ts";
import type { Cidr, IpFamily } from "../../core/model.ts";
import type { LinkAddress, LinkEnd, Route, Rule } from "../../core/network.ts";
import {
  attribute,
  nested,
  parseAttributes,
  readText,
  readU32,
  text,
  u32,
  type Attributes,
  type Message,
} from "./netlink.ts";

// linux/rtnetlink.h
export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;
export const RTM_SETLINK = 19;
export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
export const RTM_GETADDR = 22;
export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
export const RTM_GETROUTE = 26;
export const RTM_NEWNEIGH = 28;
export const RTM_DELNEIGH = 29;
export const RTM_GETNEIGH = 30;
export const RTM_NEWRULE = 32;
export const RTM_DELRULE = 33;
export const RTM_GETRULE = 34;

const AF_INET = 2;
const AF_INET6 = 10;
const IFF_UP = 1;
const IFA_F_NODAD = 2;
const IFA_F_NOPREFIXROUTE = 0x200;
const RTN = { unicast: 1, blackhole: 6, unreachable: 7 } as const;
const RTNH_F_ONLINK = 4;
const RT_SCOPE_UNIVERSE = 0;
const FR_ACT_TO_TABLE = 1;
const RTEXT_FILTER_SKIP_STATS = 8;

const IFLA = {
  address: 1,
  name: 3,
  mtu: 4,
  peer: 5,
  master: 10,
  linkInfo: 18,
  alias: 20,
  namespaceFd: 28,
  filter: 29,
  perFamily: 26,
};
const IFLA_INFO = { kind: 1, data: 2 };
const VETH_INFO_PEER = 1;
const IFA = { address: 1, local: 2, flags: 8 };
const RTA = { destination: 1, link: 4, gateway: 5, metric: 6, multipath: 9, table: 15 };
const FRA = {
  destination: 1,
  source: 2,
  inputLink: 3,
  preference: 6,
  suppressPrefixLength: 14,
  table: 15,
  protocol: 21,
};

const rawFamily = (family: IpFamily): number => (family === 4 ? AF_INET : AF_INET6);
const packed = (address: string): Buffer => Buffer.from(addressBytes(address));
const unpacked = (bytes: Buffer): string => addressText([...bytes]);
const packedMac = (mac: string): Buffer => Buffer.from(mac.replaceAll(":", ""), "hex");
const unpackedMac = (bytes: Buffer | undefined): string =>
  [...(bytes ?? [])].map((b) => b.toString(16).padStart(2, "0")).join(":");

function body(message: Message, headerBytes: number): Attributes {
  if (message.data.length < headerBytes) throw new KernelError("read a short rtnetlink message", "EBADMSG");
  return parseAttributes(message.data.subarray(headerBytes));
}

const IFINFO_BYTES = 16;
function ifinfo(flags: number, index = 0): Buffer {
  const out = Buffer.alloc(IFINFO_BYTES);
  out.writeInt32LE(index, 4);
  out.writeUInt32LE(flags, 8);
  out.writeUInt32LE(flags, 12); // the mask of flags to change
  return out;
}

export type RawLink = {
  readonly index: number;
  readonly name: string;
  readonly macAddress: string;
  readonly mtuBytes: number;
  readonly up: boolean;
  readonly alias: string | undefined;
  readonly kind: string | undefined;
  readonly peerIndex: number | undefined;
  readonly masterIndex: number | undefined;
  /** The settings below net/ipv4/conf/<link> and net/ipv6/conf/<link>, as the kernel packs them. */
  readonly perFamily: Buffer | undefined;
};

export function decodeLink(message: Message): RawLink {
  const found = body(message, IFINFO_BYTES);
  const info = found.get(IFLA.linkInfo);
  return {
    index: message.data.readInt32LE(4),
    name: readText(found.get(IFLA.name)) ?? "",
    macAddress: unpackedMac(found.get(IFLA.address)),
    mtuBytes: readU32(found.get(IFLA.mtu)) ?? 0,
    up: (message.data.readUInt32LE(8) & IFF_UP) !== 0,
    alias: readText(found.get(IFLA.alias)),
    kind: info === undefined ? undefined : readText(parseAttributes(info).get(IFLA_INFO.kind)),
    peerIndex: readU32(found.get(IFLA.peer)),
    masterIndex: readU32(found.get(IFLA.master)),
    perFamily: found.get(IFLA.perFamily),
  };
}

// Places in the arrays of IFLA_INET_CONF (linux/ip.h, counted from 1) and IFLA_INET6_CONF (linux/ipv6.h, from 0).
const INET_CONF = 1;
const INET6_CONF = 2;
const INET6_ADDR_GEN_MODE = 8;
const IPV4_SETTINGS: Readonly<Record<string, number>> = {
  forwarding: 1,
  // eslint-disable-next-line @typescript-eslint/naming-convention -- the kernel's words
  send_redirects: 6,
  // eslint-disable-next-line @typescript-eslint/naming-convention -- the kernel's words
  rp_filter: 8,
  // eslint-disable-next-line @typescript-eslint/naming-convention -- the kernel's words
  accept_local: 23,
};
const IPV6_SETTINGS: Readonly<Record<string, number>> = {
  forwarding: 0,
  // eslint-disable-next-line @typescript-eslint/naming-convention -- the kernel's words
  accept_ra: 3,
  // eslint-disable-next-line @typescript-eslint/naming-convention -- the kernel's words
  disable_ipv6: 26,
  // eslint-disable-next-line @typescript-eslint/naming-convention -- the kernel's words
  accept_dad: 27,
};

/** A setting of a link as text, undefined when the link's message does not tell it: then the file does. */
export function readLinkSetting(link: RawLink, family: IpFamily, name: string): string | undefined {
  const spec = link.perFamily === undefined ? undefined : parseAttributes(link.perFamily).get(rawFamily(family));
  if (spec === undefined) return undefined;
  const attributes = parseAttributes(spec);
  if (family === 6 && name === "addr_gen_mode") return attributes.get(INET6_ADDR_GEN_MODE)?.readUInt8(0).toString();
  const place = family === 4 ? (IPV4_SETTINGS[name] ?? 0) - 1 : (IPV6_SETTINGS[name] ?? -1);
  const values = attributes.get(family === 4 ? INET_CONF : INET6_CONF);
  if (place < 0 || values === undefined || values.length < 4 * (place + 1)) return undefined;
  return values.readInt32LE(4 * place).toString();
}

/** 0 for the messages that concern an address family, for instance those about a bridge's ports. */
export const familyOfLinkMessage = (message: Message): number => message.data.readUInt8(0);

const skipStatistics = attribute(IFLA.filter, u32(RTEXT_FILTER_SKIP_STATS));
export const allLinks = (): Buffer[] => [ifinfo(0), skipStatistics];
export const linkNamed = (name: string): Buffer[] => [ifinfo(0), attribute(IFLA.name, text(name)), skipStatistics];

const endAttributes = (end: LinkEnd): Buffer[] => [
  attribute(IFLA.name, text(end.name)),
  attribute(IFLA.address, packedMac(end.macAddress)),
  attribute(IFLA.mtu, u32(end.mtuBytes)),
];

/** `outerFd` is the namespace of the other end. */
export function encodeVeth(inner: LinkEnd, outer: LinkEnd, outerFd: number): Buffer[] {
  const peer = attribute(VETH_INFO_PEER, ifinfo(0), ...endAttributes(outer), attribute(IFLA.namespaceFd, u32(outerFd)));
  const info = [attribute(IFLA_INFO.kind, text("veth")), nested(IFLA_INFO.data, peer)];
  return [ifinfo(0), ...endAttributes(inner), nested(IFLA.linkInfo, ...info)];
}

const changed = (name: string, flags: number, ...attributes: readonly Buffer[]): Buffer[] => [
  ifinfo(flags),
  attribute(IFLA.name, text(name)),
  ...attributes,
];
export const linkUp = (name: string): Buffer[] => changed(name, IFF_UP);
export const linkMac = (name: string, mac: string): Buffer[] =>
  changed(name, 0, attribute(IFLA.address, packedMac(mac)));
export const linkMtu = (name: string, mtuBytes: number): Buffer[] =>
  changed(name, 0, attribute(IFLA.mtu, u32(mtuBytes)));
export const linkAlias = (name: string, alias: string): Buffer[] =>
  changed(name, 0, attribute(IFLA.alias, Buffer.from(alias, "utf8")));
export const linkMaster = (name: string, masterIndex: number): Buffer[] =>
  changed(name, 0, attribute(IFLA.master, u32(masterIndex)));

const IFADDR_BYTES = 8;
export const allAddresses = (): Buffer[] => [Buffer.alloc(IFADDR_BYTES)];

export type RawAddress = { readonly linkIndex: number; readonly address: string; readonly prefixLength: number };

export function decodeAddress(message: Message): RawAddress | undefined {
  const found = body(message, IFADDR_BYTES);
  const address = found.get(IFA.local) ?? found.get(IFA.address);
  if (address === undefined) return undefined;
  return {
    linkIndex: message.data.readUInt32LE(4),
    address: unpacked(address),
    prefixLength: message.data.readUInt8(1),
  };
}

export const linkIndexOfAddressMessage = (message: Message): number => message.data.readUInt32LE(4);

export function encodeAddress({ address, prefixLength }: LinkAddress, linkIndex: number): Buffer[] {
  const family = familyOf(address);
  const header = Buffer.from([rawFamily(family), prefixLength, 0, RT_SCOPE_UNIVERSE, 0, 0, 0, 0]);
  header.writeUInt32LE(linkIndex, 4);
  const bytes = packed(address);
  // IPv6 would put a route to a single address, through its link, into table main, where the rule of a borrowed one looks.
  const noRoute = prefixLength === addressBits(family) ? IFA_F_NOPREFIXROUTE : 0;
  const flags = family === 6 ? [attribute(IFA.flags, u32(IFA_F_NODAD | noRoute))] : [];
  return [header, attribute(IFA.local, bytes), attribute(IFA.address, bytes), ...flags];
}

const RTMSG_BYTES = 12;
/** Of all families, which is one dump and not two. */
export const allRoutes = (): Buffer[] => [Buffer.alloc(RTMSG_BYTES)];

const ROUTE_KINDS = ["unicast", "blackhole", "unreachable"] as const satisfies readonly Route["kind"][];

/** `linkIndex` 0: none. */
export type RawRoute = Omit<Route, "namespace" | "link"> & { readonly linkIndex: number; readonly protocol: number };

/** One for each next hop: IPv6 joins routes that differ in nothing else. Kinds that we never make are left out. */
export function decodeRoute(message: Message): readonly RawRoute[] {
  const found = body(message, RTMSG_BYTES);
  const { data } = message;
  const spoken = data.readUInt8(0);
  if (spoken !== AF_INET && spoken !== AF_INET6) return [];
  const family: IpFamily = spoken === AF_INET ? 4 : 6;
  const type = data.readUInt8(7);
  const kind = ROUTE_KINDS.find((one) => RTN[one] === type);
  if (kind === undefined) return [];
  const address = found.get(RTA.destination);
  const shared = {
    kind,
    table: readU32(found.get(RTA.table)) ?? data.readUInt8(4),
    destination: `${address === undefined ? (family === 4 ? "0.0.0.0" : "::") : unpacked(address)}/${data.readUInt8(1)}`,
    metric: readU32(found.get(RTA.metric)) ?? 0,
    protocol: data.readUInt8(5),
  } as const;
  const hop = (attributes: Attributes, linkIndex: number, flags: number): RawRoute => {
    const gateway = attributes.get(RTA.gateway);
    const via = gateway === undefined ? undefined : unpacked(gateway);
    // IPv6 puts the others on lo.
    const onLink = kind === "unicast" ? { linkIndex, via } : { linkIndex: 0, via: undefined };
    return { ...shared, ...onLink, onlink: (flags & RTNH_F_ONLINK) !== 0 };
  };
  const multipath = found.get(RTA.multipath);
  if (multipath === undefined) return [hop(found, readU32(found.get(RTA.link)) ?? 0, data.readUInt32LE(8))];
  const hops: RawRoute[] = [];
  for (let at = 0; at + 8 <= multipath.length;) {
    const length = multipath.readUInt16LE(at);
    if (length < 8 || at + length > multipath.length) throw new KernelError("read the next hops of a route", "EBADMSG");
    const attributes = parseAttributes(multipath.subarray(at + 8, at + length));
    hops.push(hop(attributes, multipath.readInt32LE(at + 4), multipath.readUInt8(at + 2)));
    at += (length + 3) & ~3;
  }
  return hops;
}

export function encodeRoute(route: Route, linkIndex: number | undefined, protocol: number): Buffer[] {
  const { family, bytes, prefixLength } = parseCidr(route.destination);
  const header = Buffer.alloc(RTMSG_BYTES);
  header.writeUInt8(rawFamily(family), 0);
  header.writeUInt8(prefixLength, 1);
  header.writeUInt8(route.table < 256 ? route.table : 0, 4);
  header.writeUInt8(protocol, 5);
  header.writeUInt8(RT_SCOPE_UNIVERSE, 6);
  header.writeUInt8(RTN[route.kind], 7);
  header.writeUInt32LE(route.onlink ? RTNH_F_ONLINK : 0, 8);
  return [
    header,
    ...(prefixLength === 0 ? [] : [attribute(RTA.destination, Buffer.from(bytes))]),
    ...(linkIndex === undefined ? [] : [attribute(RTA.link, u32(linkIndex))]),
    ...(route.via === undefined ? [] : [attribute(RTA.gateway, packed(route.via))]),
    attribute(RTA.metric, u32(route.metric)),
    attribute(RTA.table, u32(route.table)),
  ];
}

const FIB_RULE_BYTES = 12;
export const allRules = (): Buffer[] => [Buffer.alloc(FIB_RULE_BYTES)];

export type RawRule = { readonly rule: Omit<Rule, "namespace">; readonly protocol: number };

/** Undefined for a rule that does more than send to a table what is for or from an address, or comes from a link. */
export function decodeRule(message: Message): RawRule | undefined {
  const { data } = message;
  const found = body(message, FIB_RULE_BYTES);
  const sourceLength = data.readUInt8(2);
  const spoken = data.readUInt8(0);
  if (spoken !== AF_INET && spoken !== AF_INET6) return undefined;
  if (data.readUInt8(7) !== FR_ACT_TO_TABLE) return undefined;
  const address = found.get(FRA.destination);
  const source = found.get(FRA.source);
  const rule = {
    family: spoken === AF_INET ? 4 : 6,
    // The kernel leaves out a preference of 0.
    preference: readU32(found.get(FRA.preference)) ?? 0,
    table: readU32(found.get(FRA.table)) ?? data.readUInt8(4),
    ...(source === undefined ? {} : { source: `${unpacked(source)}/${sourceLength}` }),
    destination: address === undefined ? undefined : `${unpacked(address)}/${data.readUInt8(1)}`,
    inputLink: readText(found.get(FRA.inputLink)),
    // All bits set where nothing is suppressed.
    skipsDefault: readU32(found.get(FRA.suppressPrefixLength)) === 0,
  } as const;
  return { rule, protocol: found.get(FRA.protocol)?.readUInt8(0) ?? 0 };
}

/** `protocol` undefined: not marked; to delete, whoever made it. */
export function encodeRule(rule: Rule, protocol: number | undefined): Buffer[] {
  const header = Buffer.alloc(FIB_RULE_BYTES);
  header.writeUInt8(rawFamily(rule.family), 0);
  header.writeUInt8(rule.table < 256 ? rule.table : 0, 4);
  header.writeUInt8(FR_ACT_TO_TABLE, 7);
  const attributes = [attribute(FRA.preference, u32(rule.preference)), attribute(FRA.table, u32(rule.table))];
  const range = (cidr: Cidr | undefined, lengthAt: number, type: number): void => {
    if (cidr === undefined) return;
    const { bytes, prefixLength } = parseCidr(cidr);
    header.writeUInt8(prefixLength, lengthAt);
    attributes.push(attribute(type, Buffer.from(bytes)));
  };
  range(rule.destination, 1, FRA.destination);
  range(rule.source, 2, FRA.source);
  if (rule.inputLink !== undefined) attributes.push(attribute(FRA.inputLink, text(rule.inputLink)));
  if (rule.skipsDefault) attributes.push(attribute(FRA.suppressPrefixLength, u32(0)));
  if (protocol !== undefined) attributes.push(attribute(FRA.protocol, Buffer.from([protocol])));
  return [header, ...attributes];
}

// linux/neighbour.h
const NDMSG_BYTES = 12;
const NDA = { destination: 1, macAddress: 2, flagsMore: 15 };
const NTF_EXT_MANAGED = 1;
/** Incomplete and failed ones have none that is good for anything; PERMANENT, NOARP and those that were heard of have. */
const NUD_VALID = 0x80 | 0x40 | 0x02 | 0x10 | 0x04 | 0x08;

/** Of IPv4. */
export const allNeighbours = (): Buffer[] => [Buffer.concat([Buffer.from([AF_INET]), Buffer.alloc(NDMSG_BYTES - 1)])];

export type RawNeighbour = {
  readonly linkIndex: number;
  readonly address: string;
  readonly macAddress: string | undefined;
  readonly isKept: boolean;
};

/** Undefined for what is no neighbour in IPv4. */
export function decodeNeighbour(message: Message): RawNeighbour | undefined {
  const found = body(message, NDMSG_BYTES);
  const { data } = message;
  const address = found.get(NDA.destination);
  if (data.readUInt8(0) !== AF_INET || address === undefined) return undefined;
  const isValid = message.type === RTM_NEWNEIGH && (data.readUInt16LE(8) & NUD_VALID) !== 0;
  const mac = found.get(NDA.macAddress);
  return {
    linkIndex: data.readInt32LE(4),
    address: unpacked(address),
    macAddress: isValid && mac !== undefined ? unpackedMac(mac) : undefined,
    isKept: ((readU32(found.get(NDA.flagsMore)) ?? 0) & NTF_EXT_MANAGED) !== 0,
  };
}

/** An entry that the kernel asks for at once and goes on asking for (since Linux 5.16). */
export function keptNeighbour(address: string, linkIndex: number): Buffer[] {
  const header = Buffer.alloc(NDMSG_BYTES);
  header.writeUInt8(rawFamily(familyOf(address)), 0);
  header.writeInt32LE(linkIndex, 4);
  return [header, attribute(NDA.destination, packed(address)), attribute(NDA.flagsMore, u32(NTF_EXT_MANAGED))];
}

/** The table that a route or rule message is about. */
export const tableOf = (message: Message): number =>
  readU32(body(message, RTMSG_BYTES).get(RTA.table)) ?? message.data.readUInt8(4);
export const protocolOfRouteMessage = (message: Message): number => message.data.readUInt8(5);
