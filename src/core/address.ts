// IP and MAC arithmetic on text. Addresses come out canonical: IPv6 in the form of RFC 5952, CIDRs with host bits masked.
import ipaddr from "ipaddr.js";
import type { Cidr, IpFamily } from "./model.ts";

type ParsedCidr = { readonly family: IpFamily; readonly bytes: readonly number[]; readonly prefixLength: number };

export const familyOf = (text: string): IpFamily => (text.includes(":") ? 6 : 4);
export const addressBits = (family: IpFamily): number => (family === 4 ? 32 : 128);
export const canonicalAddress = (text: string): string => ipaddr.parse(text).toString();
export const addressBytes = (text: string): readonly number[] => ipaddr.parse(text).toByteArray();
export const addressText = (bytes: readonly number[]): string => ipaddr.fromByteArray([...bytes]).toString();

export function parseCidr(cidr: Cidr): ParsedCidr {
  const [address = "", length = ""] = cidr.split("/");
  const family = familyOf(address);
  const prefixLength = length === "" ? addressBits(family) : Number(length);
  const bytes = withHostBits(addressBytes(address), prefixLength, 0);
  return { family, bytes, prefixLength };
}

export function canonicalCidr(cidr: Cidr): Cidr {
  const { bytes, prefixLength } = parseCidr(cidr);
  return `${addressText(bytes)}/${prefixLength}`;
}

/** Are all addresses of `inner` also addresses of `outer`? */
export function cidrContains(outer: Cidr, inner: Cidr): boolean {
  const a = parseCidr(outer);
  const b = parseCidr(inner);
  if (a.family !== b.family || a.prefixLength > b.prefixLength) return false;
  const masked = withHostBits(b.bytes, a.prefixLength, 0);
  return masked.every((byte, index) => byte === a.bytes[index]);
}

/**
 * The CIDR of a selector as charon prints one: `10.2.0.0/24`, or `10.2.0.0/24[tcp/http]` where it has a protocol or port.
 * Undefined for a range of addresses that is none.
 */
export function cidrOfSelector(selector: string): Cidr | undefined {
  const cidr = selector.replace(/\[.*\]$/, "");
  return ipaddr.isValidCIDR(cidr) ? canonicalCidr(cidr) : undefined;
}

/** The same addresses in as few CIDRs as containment gives: one that lies in another is left out. Sorted. */
export function withoutContained(cidrs: readonly Cidr[]): readonly Cidr[] {
  const parsed = [...new Set(cidrs)].sort().map((cidr) => ({ cidr, ...parseCidr(cidr) }));
  const keyOf = (family: IpFamily, bytes: readonly number[], length: number): string =>
    `${family} ${length} ${withHostBits(bytes, length, 0).join(".")}`;
  const keys = new Set(parsed.map(({ family, bytes, prefixLength }) => keyOf(family, bytes, prefixLength)));
  const lengths = [...new Set(parsed.map(({ prefixLength }) => prefixLength))];
  return parsed
    .filter(
      ({ family, bytes, prefixLength }) =>
        !lengths.some((shorter) => shorter < prefixLength && keys.has(keyOf(family, bytes, shorter))),
    )
    .map(({ cidr }) => cidr);
}

/** The netmask of a prefix length, as an address. */
export const maskText = (family: IpFamily, prefixLength: number): string =>
  addressText(withHostBits(Array<number>(addressBits(family) / 8).fill(255), prefixLength, 0));

/** The highest address of a CIDR. */
export function lastAddress(cidr: Cidr): string {
  const { bytes, prefixLength } = parseCidr(cidr);
  return addressText(withHostBits(bytes, prefixLength, 1));
}

/** fe80:: with the modified EUI-64 of a MAC address (RFC 4291, appendix A). */
export function linkLocalOf(macAddress: string): string {
  const [first = 0, ...rest] = macAddress.split(":").map((part) => Number.parseInt(part, 16));
  const identifier = [first ^ 0x02, ...rest.slice(0, 2), 0xff, 0xfe, ...rest.slice(2)];
  return addressText([0xfe, 0x80, 0, 0, 0, 0, 0, 0, ...identifier]);
}

function withHostBits(bytes: readonly number[], prefixLength: number, bit: 0 | 1): readonly number[] {
  return bytes.map((byte, index) => {
    const kept = Math.max(0, Math.min(8, prefixLength - index * 8));
    const mask = (0xff << (8 - kept)) & 0xff;
    return bit === 0 ? byte & mask : byte | (~mask & 0xff);
  });
}
