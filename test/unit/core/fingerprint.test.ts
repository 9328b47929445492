// Which change of a tunnel changes which fingerprint, and that none of them shows a secret.
import { inspect } from "node:util";
import { describe, expect, test } from "vitest";
import {
  decodeMarker,
  encodeMarker,
  FINGERPRINT_PARTS,
  fingerprintsOf,
  isMarkerId,
  peerOfSecretId,
  secretFingerprint,
  secretId,
  tunnelFingerprint,
  type Fingerprints,
  type Marker,
} from "../../../src/core/fingerprint.ts";
import type { Tunnel } from "../../../src/core/model.ts";
import { groupPeers, type Member, type Peer } from "../../../src/core/peers.ts";
import { Secret } from "../../../src/core/secret.ts";
import { aConnectionId, anIkePolicy, anIpsecPolicy, aTunnel, PSK } from "../../support/builders.ts";
import { NODE_KEY } from "../../support/charon-options.ts";

function peerOf(...tunnels: readonly Tunnel[]): { peer: Peer; member: Member } {
  const [peer] = groupPeers(tunnels, { committed: new Set(), leaders: new Set() }, false).peers;
  const [member] = peer?.members ?? [];
  if (peer === undefined || member === undefined) throw new Error("no peer");
  return { peer, member };
}

function fingerprints(tunnel: Tunnel, key = NODE_KEY): Fingerprints {
  const { peer, member } = peerOf(tunnel);
  return fingerprintsOf(key, peer, member);
}

const marker = (leads = true): Marker => ({
  connection: aConnectionId(1),
  leads,
  fingerprints: fingerprints(aTunnel()),
});

describe("a marker", () => {
  test("comes back from its id", () => {
    for (const one of [marker(true), marker(false)]) expect(decodeMarker(encodeMarker(one))).toEqual(one);
  });

  test("is a legal section name of 96 hex characters behind the uuid", () => {
    expect(encodeMarker(marker())).toMatch(/^ntlm-swanherd-[0-9a-f-]{36}-l[0-9a-f]{96}$/);
    expect(encodeMarker(marker(false))).toMatch(/-m[0-9a-f]{96}$/);
  });

  test.each([
    ["another secret", "ike-peer-0123456789ab-0123456789abcdef"],
    ["an operator's NTLM secret", "ntlm-somebody"],
    ["no uuid", `ntlm-swanherd-${"-".repeat(36)}-l${"0".repeat(96)}`],
    ["too short", encodeMarker(marker()).slice(0, -1)],
    ["upper case", encodeMarker(marker()).toUpperCase()],
    ["another role", encodeMarker(marker()).replace("-l", "-x")],
  ])("is not read from %s", (_, id) => {
    expect(decodeMarker(id)).toBeUndefined();
  });

  test("of a damaged id is still known as ours", () => {
    expect(isMarkerId("ntlm-swanherd-x")).toBe(true);
    expect(isMarkerId("ntlm-somebody")).toBe(false);
  });
});

describe("what changes which part", () => {
  const base = fingerprints(aTunnel());
  test.each<[string, Partial<Tunnel>, readonly (keyof Fingerprints)[]]>([
    ["the PSK", { psk: new Secret("other") }, ["secret"]],
    ["the peer's id", { peerId: "fqdn:x" }, ["secret"]],
    ["the IKE group", { ike: anIkePolicy({ dhGroup: "group19" }) }, ["ike"]],
    ["the IKE cipher", { ike: anIkePolicy({ encryption: "aes-128" }) }, ["ike"]],
    ["the IKE mode of IKEv2, which has none", { ike: anIkePolicy({ mode: "aggressive" }) }, []],
    ["the ESP cipher", { ipsec: anIpsecPolicy({ encryption: "aes-128" }) }, ["child"]],
    ["the mode", { ipsec: anIpsecPolicy({ mode: "transport" }) }, ["child"]],
    ["a subnet", { peerSubnets: ["10.9.0.0/24"] }, ["selectors"]],
    ["the IKE lifetime", { ike: anIkePolicy({ lifetime: { kind: "seconds", seconds: 60 } }) }, ["terms"]],
    ["the IPsec lifetime", { ipsec: anIpsecPolicy({ lifetime: { kind: "kilobytes", kilobytes: 60 } }) }, ["soft"]],
    ["the initiator", { initiator: "response-only" }, ["terms", "soft"]],
    ["the action of DPD", { dpd: { action: "hold", intervalSeconds: 30, timeoutSeconds: 120 } }, ["soft"]],
    ["the interval of DPD", { dpd: { action: "restart", intervalSeconds: 10, timeoutSeconds: 120 } }, ["terms"]],
    [
      "the timeout of DPD, which IKEv2 has not",
      { dpd: { action: "restart", intervalSeconds: 30, timeoutSeconds: 90 } },
      [],
    ],
    ["DPD off", { dpd: { action: "disabled", intervalSeconds: 30, timeoutSeconds: 120 } }, ["terms", "soft"]],
    ["the MTU, which charon does not know", { mtuBytes: 1400 }, []],
  ])("%s", (_, change, expected) => {
    const changed = fingerprints(aTunnel(1, change));
    expect(FINGERPRINT_PARTS.filter((part) => changed[part] !== base[part])).toEqual(expected);
  });

  test("IKEv1 changes its IKE part, and its children's names", () => {
    const changed = fingerprints(aTunnel(1, { ike: anIkePolicy({ version: 1 }) }));
    expect(FINGERPRINT_PARTS.filter((part) => changed[part] !== base[part])).toEqual(["ike", "terms", "selectors"]);
  });

  test("another node key changes every part", () => {
    const changed = fingerprints(aTunnel(), new Uint8Array(32).fill(8));
    expect(FINGERPRINT_PARTS.filter((part) => changed[part] !== base[part])).toEqual(FINGERPRINT_PARTS);
  });

  test("what was refused is worth another try whatever changes", () => {
    const one = tunnelFingerprint(NODE_KEY, aTunnel());
    expect(tunnelFingerprint(NODE_KEY, aTunnel())).toBe(one);
    for (const change of [
      { psk: new Secret("x") },
      { mtuBytes: 1400 },
      { ipsec: anIpsecPolicy({ dhGroup: "group19" }) },
    ]) {
      expect(tunnelFingerprint(NODE_KEY, aTunnel(1, change))).not.toBe(one);
    }
  });
});

test("a secret's id names its peer and is no other's", () => {
  const { peer } = peerOf(aTunnel());
  const id = secretId(peer.name, secretFingerprint(NODE_KEY, aTunnel()));
  expect(peerOfSecretId(id)).toBe(peer.name);
  for (const other of ["ike-by-hand", `${id}0`, `x${id}`]) expect(peerOfSecretId(other)).toBeUndefined();
});

test("no output shows a PSK", () => {
  const { peer, member } = peerOf(aTunnel());
  const shown = [JSON.stringify(peer), inspect(peer, { depth: 9 }), String(member.tunnel.psk), encodeMarker(marker())];
  for (const text of shown) expect(text).not.toContain(PSK);
  expect(shown[0]).toContain("[secret]");
});
