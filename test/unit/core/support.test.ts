// What a back end, or transport mode, cannot carry is known before anything is loaded.
import { expect, test } from "vitest";
import type { Tunnel } from "../../../src/core/model.ts";
import { judged, type Abilities } from "../../../src/core/support.ts";
import type { EspBackEnd } from "../../../src/core/guard.ts";
import {
  ALL_ALGORITHMS,
  aConnection,
  anIkePolicy,
  anIpsecPolicy,
  aRouterWith,
  aTunnel,
} from "../../support/builders.ts";

/** The reason against it; undefined when it is left as it was. */
function reasonAgainst(
  more: Partial<Tunnel>,
  backEnd: EspBackEnd,
  abilities: Partial<Abilities> = {},
): string | undefined {
  const tunnel = aTunnel(1, more);
  const kernelEsp = backEnd === "kernel" ? ALL_ALGORITHMS : undefined;
  const all: Abilities = { espBackEnd: backEnd, kernelEsp, charon: ALL_ALGORITHMS, ...abilities };
  const [connection] = judged(aRouterWith([tunnel]), all).connections;
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

const without = (key: "encryption" | "authentication" | "prf" | "dhGroups", word: string) => ({
  ...ALL_ALGORITHMS,
  [key]: new Set([...ALL_ALGORITHMS[key]].filter((known) => known !== word)),
});

test.each([
  ["encryption", "aes-128-ctr", { ike: anIkePolicy({ encryption: "aes-128-ctr" }) }, "ikepolicy encryption_algorithm"],
  ["authentication", "aes-xcbc", { ike: anIkePolicy({ authentication: "aes-xcbc" }) }, "ikepolicy auth_algorithm"],
  ["prf", "aes-cmac", { ike: anIkePolicy({ authentication: "aes-cmac" }) }, "ikepolicy auth_algorithm"],
  ["dhGroups", "group27", { ike: anIkePolicy({ dhGroup: "group27" }) }, "ikepolicy pfs"],
  ["dhGroups", "group27", { ipsec: anIpsecPolicy({ dhGroup: "group27" }) }, "ipsecpolicy pfs"],
] as const)("without charon's plugin for %s %s nothing that needs it is loaded", (key, word, more, says) => {
  for (const backEnd of ["kernel", "userland"] as const) {
    expect(reasonAgainst(more, backEnd)).toBeUndefined();
    const reason = reasonAgainst(more, backEnd, { charon: without(key, word) });
    expect(reason).toContain(`unsupported: ${says} "${word}": charon has no plugin for it here`);
    expect(reasonAgainst(more, backEnd, { charon: undefined })).toBeUndefined();
  }
});

test("IKE's integrity algorithm does not matter beside a cipher that authenticates, its PRF does", () => {
  const more = { ike: anIkePolicy({ encryption: "aes-256-gcm-16", authentication: "aes-xcbc" }) };
  expect(reasonAgainst(more, "kernel", { charon: without("authentication", "aes-xcbc") })).toBeUndefined();
  expect(reasonAgainst(more, "kernel", { charon: without("prf", "aes-xcbc") })).toContain('"aes-xcbc"');
});

test("ESP is computed by the kernel, or in userland by charon", () => {
  const more = { ipsec: anIpsecPolicy({ encryption: "aes-128-ccm-8" }) };
  const poor = without("encryption", "aes-128-ccm-8");
  expect(reasonAgainst(more, "kernel", { charon: poor })).toBeUndefined();
  expect(reasonAgainst(more, "kernel", { kernelEsp: poor })).toBe(
    'unsupported: ipsecpolicy encryption_algorithm "aes-128-ccm-8": this machine\'s kernel does not take it, use another',
  );
  expect(reasonAgainst(more, "userland", { charon: poor })).toContain("charon has no plugin for it here");
  const xcbc = { ipsec: anIpsecPolicy({ authentication: "aes-xcbc" }) };
  expect(reasonAgainst(xcbc, "kernel", { kernelEsp: without("authentication", "aes-xcbc") })).toContain(
    'ipsecpolicy auth_algorithm "aes-xcbc"',
  );
  expect(reasonAgainst({ ipsec: ah }, "kernel", { kernelEsp: { ...ALL_ALGORITHMS, hasAh: false } })).toContain(
    "the kernel has no AH",
  );
  expect(reasonAgainst({}, "kernel", { kernelEsp: undefined })).toContain("this machine's kernel has no ESP");
});

test.each(["aes-128-ctr", "aes-256-ccm-12", "aes-192-gcm-16"])("%s protects no IKEv1 SA, and its children", (word) => {
  expect(reasonAgainst({ ike: anIkePolicy({ version: 1, encryption: word }) }, "kernel")).toContain(
    `ikepolicy encryption_algorithm "${word}" cannot protect an IKEv1 SA: use another, or IKEv2`,
  );
  const child = { ike: anIkePolicy({ version: 1 }), ipsec: anIpsecPolicy({ encryption: word }) };
  expect(reasonAgainst(child, "kernel")).toBeUndefined();
});

test.each(["aes-xcbc", "aes-cmac"])("%s authenticates no IKEv1 SA", (word) => {
  expect(reasonAgainst({ ike: anIkePolicy({ version: 1, authentication: word }) }, "userland")).toContain(
    `ikepolicy auth_algorithm "${word}" cannot protect an IKEv1 SA`,
  );
});
