// Arithmetic on addresses, at the edges of both families.
import { expect, test } from "vitest";
import {
  canonicalCidr,
  cidrContains,
  lastAddress,
  linkLocalOf,
  maskText,
  withoutContained,
} from "../../../src/core/address.ts";

test("a CIDR has its host bits masked and IPv6 compressed", () => {
  expect(canonicalCidr("10.1.2.3/20")).toBe("10.1.0.0/20");
  expect(canonicalCidr("2001:DB8:0:0::5/64")).toBe("2001:db8::/64");
  expect(canonicalCidr("10.1.2.3/0")).toBe("0.0.0.0/0");
});

test("containment does not cross families and holds at the edges", () => {
  expect(cidrContains("0.0.0.0/0", "10.0.0.0/8")).toBe(true);
  expect(cidrContains("0.0.0.0/0", "fd00::/8")).toBe(false);
  expect(cidrContains("10.1.0.0/25", "10.1.0.0/24")).toBe(false);
  expect(cidrContains("10.1.0.0/31", "10.1.0.1/32")).toBe(true);
  expect(cidrContains("fd00::/9", "fd80::/16")).toBe(false);
  expect(withoutContained(["10.2.0.0/16", "10.2.3.0/24", "fd00::/8"])).toEqual(["10.2.0.0/16", "fd00::/8"]);
});

test("a netmask has as many leading ones as the prefix is long", () => {
  expect([1, 9, 24, 25, 31].map((length) => maskText(4, length))).toEqual([
    "128.0.0.0",
    "255.128.0.0",
    "255.255.255.0",
    "255.255.255.128",
    "255.255.255.254",
  ]);
  expect([1, 48, 65, 127].map((length) => maskText(6, length))).toEqual([
    "8000::",
    "ffff:ffff:ffff::",
    "ffff:ffff:ffff:ffff:8000::",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe",
  ]);
});

test("the last address has all host bits set", () => {
  expect(lastAddress("10.1.0.0/24")).toBe("10.1.0.255");
  expect(lastAddress("fd00::/127")).toBe("fd00::1");
});

test("a link-local address is made of the MAC address with its universal bit flipped", () => {
  // RFC 4291, appendix A: 34-56-78-9A-BC-DE gives 36-56-78-FF-FE-9A-BC-DE.
  expect(linkLocalOf("34:56:78:9a:bc:de")).toBe("fe80::3656:78ff:fe9a:bcde");
});
