// Foreign text -> IP addresses and CIDRs, judged strictly: undefined for everything that is none. What it gives is
// canonical, so that equal things are equal strings, and fit for the arithmetic of address.ts.
import ipaddr from "ipaddr.js";
import {
  addressBits,
  addressBytes,
  addressText,
  canonicalAddress,
  canonicalCidr,
  cidrContains,
  familyOf,
  lastAddress,
  parseCidr,
} from "./address.ts";
import type { Cidr, IpFamily } from "./model.ts";

// inet_aton's short forms ("10.1", "12345", "0x7f000001") are no addresses here: they are names to charon and the kernel.
const isAddress = (text: string): boolean =>
  ipaddr.IPv4.isValidFourPartDecimal(text) || (text.includes(":") && !text.includes("%") && ipaddr.IPv6.isValid(text));

export const readAddress = (text: string): string | undefined => (isAddress(text) ? canonicalAddress(text) : undefined);

/** Family of an address or a CIDR. */
export function readFamily(text: string): IpFamily | undefined {
  const address = text.replace(/\/\d{1,3}$/, "");
  return isAddress(address) ? familyOf(address) : undefined;
}

/** 0.0.0.0 or ::, however written. */
export const isUnspecified = (text: string): boolean => ["0.0.0.0", "::"].includes(readAddress(text) ?? "");

/** The CIDR with its host bits masked. */
export function readCidr(text: string): Cidr | undefined {
  const [, address, length] = /^([^/]+)\/(\d{1,3})$/.exec(text) ?? [];
  if (address === undefined || !isAddress(address) || Number(length) > addressBits(familyOf(address))) return undefined;
  return canonicalCidr(text);
}

export function readPrefixLength(text: string): number | undefined {
  const cidr = readCidr(text);
  return cidr === undefined ? undefined : parseCidr(cidr).prefixLength;
}

/** Whether the address (or the whole of a second CIDR) lies in the CIDR; false when one of them is not readable. */
export function isInside(cidr: string, addressOrCidr: string): boolean {
  const outer = readCidr(cidr);
  const inner = readCidr(addressOrCidr) ?? readAddress(addressOrCidr);
  return outer !== undefined && inner !== undefined && cidrContains(outer, inner);
}

export const doOverlap = (a: string, b: string): boolean => isInside(a, b) || isInside(b, a);

/** First address of a network after the network's own, and its last one that is no broadcast address. */
export function hostRange(text: string): { readonly first: string; readonly last: string } | undefined {
  const cidr = readCidr(text);
  if (cidr === undefined) return undefined;
  const { family, bytes, prefixLength } = parseCidr(cidr);
  const first = [...bytes];
  const last = [...addressBytes(lastAddress(cidr))];
  const at = bytes.length - 1;
  // /31, /32, /127 and /128 have no address to leave out (RFC 3021, RFC 6164).
  if (addressBits(family) - prefixLength > 1) {
    first[at] = (first[at] ?? 0) | 1;
    if (family === 4) last[at] = (last[at] ?? 0) & 0xfe;
  }
  return { first: addressText(first), last: addressText(last) };
}
