// Peers as swanctl sections, whole and key by key.
import { describe, expect, test } from "vitest";
import { encodeMarker, fingerprintsOf, secretFingerprint, type Marker } from "../../../../src/core/fingerprint.ts";
import type { EspBackEnd } from "../../../../src/core/guard.ts";
import type { DpdAction, Lifetime, Tunnel } from "../../../../src/core/model.ts";
import { groupPeers, type Member, type Peer } from "../../../../src/core/peers.ts";
import { Secret } from "../../../../src/core/secret.ts";
import { markerSecret, memberFile, peerSection, peerSecret, secretOwners } from "../../../../src/wire/swanctl/peer.ts";
import { sectionText, type Section, type SectionValue } from "../../../../src/wire/swanctl/section.ts";
import { aConnectionId, anIkePolicy, anIpsecPolicy, aTunnel, PSK } from "../../../support/builders.ts";
import { NODE_KEY } from "../../../support/charon-options.ts";

function peerOf(...tunnels: readonly Tunnel[]): Peer {
  const [peer] = groupPeers(tunnels, { committed: new Set(), leaders: new Set() }, false).peers;
  if (peer === undefined) throw new Error("no peer");
  return peer;
}

const isSection = (value: SectionValue | undefined): value is Section =>
  typeof value === "object" && !Array.isArray(value);
const sectionOf = (tunnel: Tunnel, backEnd: EspBackEnd = "kernel"): Section => peerSection(peerOf(tunnel), backEnd);

function childOf(tunnel: Tunnel, backEnd: EspBackEnd = "kernel"): Section {
  const children = sectionOf(tunnel, backEnd)["children"];
  const child = isSection(children) ? Object.values(children)[0] : undefined;
  if (!isSection(child)) throw new Error("no child");
  return child;
}

test("B-16: an IKEv2 peer, whole", () => {
  expect(sectionOf(aTunnel())).toEqual({
    version: "2",
    local_addrs: ["203.0.113.10"],
    remote_addrs: ["203.0.113.20"],
    proposals: ["aes256-sha256-prfsha256-modp2048"],
    rekey_time: "3240s",
    over_time: "360s",
    rand_time: "180s",
    reauth_time: "0s",
    dpd_delay: "30s",
    mobike: "no",
    fragmentation: "yes",
    send_certreq: "no",
    unique: "replace",
    keyingtries: "0",
    local: { auth: "psk", id: "203.0.113.10" },
    remote: { auth: "psk", id: "203.0.113.20" },
    children: {
      [aConnectionId(1)]: {
        mode: "tunnel",
        local_ts: ["10.1.1.0/24"],
        remote_ts: ["10.2.1.0/24"],
        esp_proposals: ["aes256-sha256-modp2048"],
        life_time: "3600s",
        rekey_time: "3240s",
        rand_time: "180s",
        start_action: "trap",
        close_action: "trap",
        dpd_action: "restart",
      },
    },
  });
});

test("an IKEv1 peer says its mode and its DPD timeout, and has a child for each pair", () => {
  const subnets = { localSubnets: ["10.1.0.0/24", "10.1.1.0/24"], peerSubnets: ["10.2.0.0/24", "10.3.0.0/24"] };
  const section = sectionOf(aTunnel(1, { ...subnets, ike: anIkePolicy({ version: 1, mode: "aggressive" }) }));
  expect(section).toMatchObject({ version: "1", aggressive: "yes", dpd_timeout: "120s" });
  const children = isSection(section["children"]) ? Object.values(section["children"]) : [];
  expect(children.map((child) => (isSection(child) ? [child["local_ts"], child["remote_ts"]] : []))).toEqual([
    [["10.1.0.0/24"], ["10.2.0.0/24"]],
    [["10.1.0.0/24"], ["10.3.0.0/24"]],
    [["10.1.1.0/24"], ["10.2.0.0/24"]],
    [["10.1.1.0/24"], ["10.3.0.0/24"]],
  ]);
  expect(sectionOf(aTunnel(1, { ike: anIkePolicy({ version: 1 }) }))["aggressive"]).toBe("no");
});

test("B-42: MOBIKE is off, since Neutron knows one address of each side", () => {
  expect(sectionOf(aTunnel())["mobike"]).toBe("no");
});

test("AH in transport mode has no ESP proposals", () => {
  const child = childOf(aTunnel(1, { ipsec: anIpsecPolicy({ protocol: "ah", mode: "transport" }) }));
  expect(child).toMatchObject({ mode: "transport", ah_proposals: ["sha256-modp2048"] });
  expect(child["esp_proposals"]).toBeUndefined();
});

test.each([
  [60, "45s", "15s", "3s"],
  [119, "89s", "30s", "5s"],
  [120, "108s", "12s", "6s"],
  [3600, "3240s", "360s", "180s"],
  [86_400, "77760s", "8640s", "4320s"],
])("B-15: a lifetime of %i s is rekeyed after %s, at the latest %s later", (seconds, rekey, over, spread) => {
  const lifetime: Lifetime = { kind: "seconds", seconds };
  const tunnel = aTunnel(1, { ike: anIkePolicy({ lifetime }), ipsec: anIpsecPolicy({ lifetime }) });
  expect(sectionOf(tunnel)).toMatchObject({ rekey_time: rekey, over_time: over, rand_time: spread });
  expect(childOf(tunnel)).toMatchObject({ life_time: `${String(seconds)}s`, rekey_time: rekey, rand_time: spread });
});

test("B-17: a lifetime in kilobytes limits bytes, not time", () => {
  const child = childOf(aTunnel(1, { ipsec: anIpsecPolicy({ lifetime: { kind: "kilobytes", kilobytes: 1000 } }) }));
  expect(child).toMatchObject({ life_bytes: "1024000", rekey_bytes: "921600", rand_bytes: "51200" });
  expect(child["life_time"]).toBeUndefined();
});

test.each<[DpdAction, Tunnel["initiator"], EspBackEnd, string]>([
  ["hold", "bi-directional", "kernel", "trap"],
  ["hold", "bi-directional", "userland", "clear"],
  ["hold", "response-only", "kernel", "clear"],
  ["clear", "bi-directional", "kernel", "clear"],
  ["restart", "bi-directional", "kernel", "restart"],
  ["restart", "bi-directional", "userland", "restart"],
  ["restart", "response-only", "kernel", "clear"],
  ["restart-by-peer", "bi-directional", "kernel", "restart"],
  ["disabled", "bi-directional", "kernel", "clear"],
])("B-12: DPD action %s, %s, %s: %s", (action, initiator, backEnd, expected) => {
  const tunnel = aTunnel(1, { initiator, dpd: { action, intervalSeconds: 30, timeoutSeconds: 120 } });
  expect(childOf(tunnel, backEnd)["dpd_action"]).toBe(expected);
  expect(sectionOf(tunnel, backEnd)["dpd_delay"]).toBe(action === "disabled" ? "0s" : "30s");
});

test.each<[Partial<Tunnel>, EspBackEnd, string, string]>([
  [{}, "kernel", "trap", "0"],
  [{}, "userland", "none", "0"],
  [{ initiator: "response-only" }, "kernel", "none", "1"],
  [{ initiator: "response-only" }, "userland", "none", "1"],
  // Nobody knows whom to call.
  [{ peerAddress: "%any" }, "kernel", "none", "1"],
])("%o with ESP in %s: start action %s, %s tries", (change, backEnd, action, tries) => {
  const child = childOf(aTunnel(1, change), backEnd);
  expect([child["start_action"], child["close_action"]]).toEqual([action, action]);
  expect(sectionOf(aTunnel(1, change), backEnd)["keyingtries"]).toBe(tries);
});

test("B-40: a peer that shares its identities with another one replaces nobody's SA", () => {
  const { peers } = groupPeers(
    [aTunnel(1), aTunnel(2, { peerAddress: "203.0.113.30" })],
    { committed: new Set(), leaders: new Set() },
    false,
  );
  expect(peers.map((peer) => peerSection(peer, "kernel")["unique"])).toEqual(["never", "never"]);
});

describe("secrets", () => {
  test.each<[Partial<Tunnel>, readonly string[]]>([
    [{}, ["203.0.113.10", "203.0.113.20"]],
    [{ localId: "fqdn:left", peerId: "fqdn:right" }, ["fqdn:left", "fqdn:right"]],
    [{ peerId: "fqdn:right", ike: anIkePolicy({ version: 1 }) }, ["203.0.113.10", "fqdn:right", "203.0.113.20"]],
    [{ peerId: "fqdn:right", peerAddress: "%any", ike: anIkePolicy({ version: 1 }) }, ["203.0.113.10", "fqdn:right"]],
    [{ localId: "203.0.113.20" }, ["203.0.113.20"]],
  ])("%o: owned by %o", (change, owners) => {
    expect(secretOwners(aTunnel(1, change))).toEqual(owners);
  });

  const peer = peerOf(aTunnel(1, { psk: new Secret('"ü\n0s#{}\\') }));
  const [member] = peer.members;
  const secret = secretFingerprint(NODE_KEY, peer.leader);
  const markerOf = (one: Member): Marker => ({
    connection: one.tunnel.id,
    leads: true,
    fingerprints: fingerprintsOf(NODE_KEY, peer, one),
  });

  test("the file of a member holds its children, the secret in base64, and its marker", () => {
    if (member === undefined) throw new Error("no member");
    const marker = markerOf(member);
    const file = memberFile(peer, member, { secret, marker, markerData: "feedc0de", backEnd: "kernel" });
    expect(file["connections"]).toEqual({ [peer.name]: peerSection(peer, "kernel") });
    expect(file["secrets"]).toEqual({
      [`ike-${peer.name}-${secret}`]: {
        "id-1": "203.0.113.10",
        "id-2": "203.0.113.20",
        secret: `0s${Buffer.from('"ü\n0s#{}\\').toString("base64")}`,
      },
      [encodeMarker(marker)]: {
        "id-1": `fqdn:${aConnectionId(1)}.marker.swanherd.invalid`,
        secret: "feedc0de",
      },
    });
  });

  test("a marker takes part in no negotiation", () => {
    if (member === undefined) throw new Error("no member");
    expect(markerSecret(markerOf(member))).toMatchObject({
      type: "NTLM",
      owners: [expect.stringContaining(".invalid")],
    });
    expect(peerSecret(peer, secret)).toMatchObject({ type: "IKE" });
  });

  test("a section, which is compared and logged, holds no PSK", () => {
    expect(sectionText(sectionOf(aTunnel()))).not.toContain(PSK);
  });
});
