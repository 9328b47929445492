// Addresses and CIDRs as people and Neutron write them, in every spelling.
import { expect, test } from "vitest";
import {
  doOverlap,
  hostRange,
  isInside,
  isUnspecified,
  readAddress,
  readCidr,
} from "../../../src/core/read-address.ts";

test.each([
  ["203.0.113.1", "203.0.113.1"],
  ["2001:DB8:0:0::1", "2001:db8::1"],
  ["10.1", undefined],
  ["12345", undefined],
  ["010.0.0.1", undefined],
  ["fe80::1%eth0", undefined],
  ["vpn.example", undefined],
  ["", undefined],
])("the text %j is the address %j", (text, address) => {
  expect(readAddress(text)).toBe(address);
});

test.each([
  ["10.1.2.3/16", "10.1.0.0/16"],
  ["10.1.2.3/32", "10.1.2.3/32"],
  ["0.0.0.0/0", "0.0.0.0/0"],
  ["2001:DB8::7/64", "2001:db8::/64"],
  ["10.1.2.3/33", undefined],
  ["10.1.2.3", undefined],
  ["2001:db8::/129", undefined],
  ["10.1.2.3/-1", undefined],
])("the text %j is the CIDR %j", (text, cidr) => {
  expect(readCidr(text)).toBe(cidr);
});

test.each([
  ["10.0.0.0/24", "10.0.0.1", "10.0.0.254"],
  ["10.0.0.4/31", "10.0.0.4", "10.0.0.5"],
  ["10.0.0.4/32", "10.0.0.4", "10.0.0.4"],
  ["2001:db8::/64", "2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff"],
  ["2001:db8::8/127", "2001:db8::8", "2001:db8::9"],
])("the hosts of %s are %s to %s", (cidr, first, last) => {
  expect(hostRange(cidr)).toEqual({ first, last });
});

test("containment and overlap keep families apart", () => {
  expect(isInside("10.0.0.0/8", "10.9.9.9")).toBe(true);
  expect(isInside("10.0.0.0/8", "10.9.0.0/16")).toBe(true);
  expect(isInside("10.9.0.0/16", "10.0.0.0/8")).toBe(false);
  expect(isInside("0.0.0.0/0", "2001:db8::1")).toBe(false);
  expect(doOverlap("10.9.0.0/16", "10.0.0.0/8")).toBe(true);
  expect([isUnspecified("0.0.0.0"), isUnspecified("0::0"), isUnspecified("x")]).toEqual([true, true, false]);
});
