// What a back end, or transport mode, cannot carry is known before anything is loaded.
import { expect, test } from "vitest";
import type { Tunnel } from "../../../src/core/model.ts";
import { judged } from "../../../src/core/support.ts";
import type { EspBackEnd } from "../../../src/core/guard.ts";
import { aConnection, anIpsecPolicy, aRouterWith, aTunnel } from "../../support/builders.ts";

/** The reason against it; undefined when it is left as it was. */
function reasonAgainst(more: Partial<Tunnel>, backEnd: EspBackEnd): string | undefined {
  const tunnel = aTunnel(1, more);
  const [connection] = judged(aRouterWith([tunnel]), backEnd).connections;
  if (connection?.kind === "usable") expect(connection).toEqual(aConnection(tunnel));
  else expect(connection).toMatchObject({ kind: "unusable", guarded: aConnection(tunnel).guarded });
  return connection?.kind === "unusable" ? `${connection.reason.code}: ${connection.reason.text}` : undefined;
}

const ah = anIpsecPolicy({ protocol: "ah" });
const transport = anIpsecPolicy({ mode: "transport" });
const hosts = { localSubnets: ["203.0.113.10/32"], peerSubnets: ["203.0.113.20/32"] };

test("a tunnel with ESP is carried by both back ends", () => {
  expect([reasonAgainst({}, "kernel"), reasonAgainst({}, "userland")]).toEqual([undefined, undefined]);
});

test("one subnet on both sides is carried by userland only, whose packets come and go by a link of their own", () => {
  const everything = { localSubnets: ["10.1.0.0/24", "0.0.0.0/0"], peerSubnets: ["0.0.0.0/0"] };
  expect(reasonAgainst(everything, "userland")).toBeUndefined();
  expect(reasonAgainst(everything, "kernel")).toMatch(
    /^unsupported: 0\.0\.0\.0\/0 is on both sides, .*; make one side/,
  );
  expect(reasonAgainst({ peerSubnets: ["0.0.0.0/0"] }, "kernel")).toBeUndefined();
});

test("AH and transport mode are the kernel's only", () => {
  expect(reasonAgainst({ ipsec: ah }, "userland")).toMatch(/^unsupported: transform_protocol "ah" needs kernel ESP/);
  expect(reasonAgainst({ ipsec: transport, ...hosts }, "userland")).toMatch(
    /^unsupported: encapsulation_mode "transport" needs kernel ESP/,
  );
  expect(reasonAgainst({ ipsec: ah }, "kernel")).toBeUndefined();
  expect(reasonAgainst({ ipsec: transport, ...hosts }, "kernel")).toBeUndefined();
});

test("transport mode from gateway to gateway is carried over IPv6 too, and to a peer of any address", () => {
  const v6 = {
    localAddress: "2001:db8:ff::10",
    peerAddress: "2001:db8:ff::20",
    localSubnets: ["2001:db8:ff::10/128"],
    peerSubnets: ["2001:db8:ff::20/128"],
  };
  expect(reasonAgainst({ ipsec: transport, ...v6 }, "kernel")).toBeUndefined();
  expect(reasonAgainst({ ipsec: transport, ...hosts, peerAddress: "%any" }, "kernel")).toBeUndefined();
});

test.each([
  ["sites", { localSubnets: ["10.1.0.0/24"], peerSubnets: ["10.2.0.0/24"] }],
  ["a site here", { ...hosts, localSubnets: ["10.1.0.0/24"] }],
  ["a site there", { ...hosts, peerSubnets: ["10.2.0.0/24"] }],
  ["a host that is not the gateway", { ...hosts, peerSubnets: ["203.0.113.21/32"] }],
  ["a site beside the gateway", { ...hosts, localSubnets: ["203.0.113.10/32", "10.1.0.0/24"] }],
  ["a site of a peer of any address", { ...hosts, peerAddress: "%any", peerSubnets: ["10.2.0.0/24"] }],
])("transport mode for %s is refused with the reason", (_what, more) => {
  const reason = reasonAgainst({ ipsec: transport, ...more }, "kernel");
  expect(reason).toMatch(/^unsupported: encapsulation_mode "transport" carries only what the two gateways themselves/);
  expect(reason).toContain(`${more.localSubnets.join(" ")} === ${more.peerSubnets.join(" ")}; use tunnel`);
});
