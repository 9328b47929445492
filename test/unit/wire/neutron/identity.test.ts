// The '@' rule of Neutron undone, identity by identity.
import { describe, expect, test } from "vitest";
import { decodeIdentity, type IdentityReading } from "../../../../src/wire/neutron/identity.ts";

const read = (wire: string, side: "local" | "peer" = "peer", reading: IdentityReading = "recommended"): string => {
  const decoded = decodeIdentity(wire, side, reading);
  return decoded.kind === "identity" ? decoded.value : `refused: ${decoded.why}`;
};

describe("the '@' rule is undone", () => {
  test.each([
    // wire, recommended, compatible, smart
    ["203.0.113.1", "203.0.113.1", "203.0.113.1", "203.0.113.1"],
    ["2001:DB8::1", "2001:db8::1", "2001:db8::1", "2001:db8::1"],
    ["12345", "fqdn:12345", "fqdn:12345", "fqdn:12345"],
    ["10.1", "fqdn:10.1", "fqdn:10.1", "fqdn:10.1"],
    ["@vpn.example", "fqdn:vpn.example", "fqdn:vpn.example", "fqdn:vpn.example"],
    ["@user@host", "fqdn:user@host", "fqdn:user@host", "email:user@host"],
    ["@@x", "email:x", "email:x", "fqdn:x"],
    ["@203.0.113.1", "203.0.113.1", "fqdn:203.0.113.1", "203.0.113.1"],
    ["@2001:db8::1", "2001:db8::1", "fqdn:2001:db8::1", "2001:db8::1"],
    ["@%any", "%any", "fqdn:%any", "%any"],
    ["@C=CH, O=x", "C=CH, O=x", "keyid:@C=CH, O=x", "C=CH, O=x"],
    ["@0.0.0.0", "fqdn:0.0.0.0", "fqdn:0.0.0.0", "fqdn:0.0.0.0"],
    ["0.0.0.0", "%any", "%any", "%any"],
    ["@keyid:a=b", "keyid:keyid:a=b", "keyid:@keyid:a=b", "keyid:keyid:a=b"],
    ["@#0aFF", "keyid:#0aFF", "keyid:#0aFF", "keyid:#0aFF"],
    ["@#tag", "fqdn:#23746167", "fqdn:#23746167", "fqdn:#23746167"],
    ["@zürich", "fqdn:#7ac3bc72696368", "fqdn:#7ac3bc72696368", "fqdn:#7ac3bc72696368"],
  ])("%s", (wire, recommended, compatible, smart) => {
    expect([read(wire), read(wire, "peer", "compatible"), read(wire, "peer", "smart")]).toEqual([
      recommended,
      compatible,
      smart,
    ]);
  });

  test("B-21: an address, an e-mail address and a name keep their type beside an identity of another", () => {
    expect(["@203.0.113.1", "@user@host", "@C=CH, O=x"].map((wire) => read(wire))).toEqual([
      "203.0.113.1",
      "fqdn:user@host",
      "C=CH, O=x",
    ]);
  });

  test("an identity of our own is never a wildcard", () => {
    expect(read("0.0.0.0", "local")).toMatch(/^refused/);
    expect(read("%any", "local")).toMatch(/^refused/);
    expect(read("@%any", "local")).toBe("fqdn:%any");
  });

  test("what no buffer of charon holds is refused", () => {
    expect(read(`@${"é".repeat(100)}`)).toMatch(/^refused: is too long/);
  });
});
