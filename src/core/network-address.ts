// Foreign text -> IP addresses and CIDRs: judged strictly, written canonically, so that equal things are equal strings.
import ipaddr from "ipaddr.js";
import type { Cidr, IpFamily } from "./model.ts";

// inet_aton's short forms ("10.1", "12345", "0x7f000001") are no addresses here: they are names to charon and the kernel.
function parse(text: string): ipaddr.IPv4 | ipaddr.IPv6 | undefined {
  if (ipaddr.IPv4.isValidFourPartDecimal(text)) return ipaddr.IPv4.parse(text);
  if (text.includes(":") && !text.includes("%") && ipaddr.IPv6.isValid(text)) return ipaddr.IPv6.parse(text);
  return undefined;
}

/** The address in canonical form, undefined when the text is none. */
export const readAddress = (text: string): string | undefined => parse(text)?.toString();

/** Family of an address or a CIDR, undefined when the text is neither. */
export function readFamily(text: string): IpFamily | undefined {
  const kind = parse(text.replace(/\/\d{1,3}$/, ""))?.kind();
  return kind === undefined ? undefined : kind === "ipv4" ? 4 : 6;
}

/** 0.0.0.0 or ::, however written. */
export function isUnspecified(text: string): boolean {
  const address = parse(text);
  return address?.toByteArray().every((byte) => byte === 0) ?? false;
}

type Network = { readonly address: ipaddr.IPv4 | ipaddr.IPv6; readonly prefixLength: number };

function parseCidr(text: string): Network | undefined {
  const match = /^([^/]+)\/(\d{1,3})$/.exec(text);
  const address = match?.[1] === undefined ? undefined : parse(match[1]);
  const prefixLength = Number(match?.[2]);
  if (address === undefined || prefixLength > address.toByteArray().length * 8) return undefined;
  return { address, prefixLength };
}

/** The CIDR with its host bits masked and its address canonical, undefined when the text is none. */
export function readCidr(text: string): Cidr | undefined {
  const network = parseCidr(text);
  if (network === undefined) return undefined;
  const cidr = `${network.address.toString()}/${network.prefixLength}`;
  const masked =
    network.address.kind() === "ipv4"
      ? ipaddr.IPv4.networkAddressFromCIDR(cidr)
      : ipaddr.IPv6.networkAddressFromCIDR(cidr);
  return `${masked.toString()}/${network.prefixLength}`;
}

export const readPrefixLength = (cidr: string): number | undefined => parseCidr(cidr)?.prefixLength;

/** Whether the address (or the whole of a second CIDR) lies in the CIDR; false when one of them is not readable. */
export function isInside(cidr: string, addressOrCidr: string): boolean {
  const outer = parseCidr(cidr);
  const inner = parseCidr(
    addressOrCidr.includes("/") ? addressOrCidr : `${addressOrCidr}/${addressOrCidr.includes(":") ? 128 : 32}`,
  );
  if (outer === undefined || inner === undefined || outer.address.kind() !== inner.address.kind()) return false;
  if (inner.prefixLength < outer.prefixLength) return false;
  return readCidr(`${inner.address.toString()}/${outer.prefixLength}`) === readCidr(cidr);
}

export const doOverlap = (a: string, b: string): boolean => isInside(a, b) || isInside(b, a);

/** First address of a network after the network's own, and its last one that is no broadcast address. */
export function hostRange(cidr: string): { readonly first: string; readonly last: string } | undefined {
  const network = parseCidr(readCidr(cidr) ?? "");
  if (network === undefined) return undefined;
  const first = network.address.toByteArray();
  const last = first.map((byte, index) => byte | (0xff >> Math.max(0, Math.min(8, network.prefixLength - index * 8))));
  const at = first.length - 1;
  const hostBits = first.length * 8 - network.prefixLength;
  // /31, /32, /127 and /128 have no address to leave out (RFC 3021, RFC 6164).
  if (hostBits > 1) {
    first[at] = (first[at] ?? 0) | 1;
    if (first.length === 4) last[at] = (last[at] ?? 0) & 0xfe;
  }
  return { first: ipaddr.fromByteArray(first).toString(), last: ipaddr.fromByteArray(last).toString() };
}
