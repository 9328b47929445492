// Who shares an IKE config, who leads, and who cannot take part.
import { describe, expect, test } from "vitest";
import type { ConnectionId } from "../../../src/core/ids.ts";
import type { Tunnel } from "../../../src/core/model.ts";
import { childrenOf, groupPeers, peerNameOf } from "../../../src/core/peers.ts";
import { Secret } from "../../../src/core/secret.ts";
import { aConnectionId, anIkePolicy, aTunnel } from "../../support/builders.ts";

const ids = (...numbers: readonly number[]): Set<ConnectionId> => new Set(numbers.map(aConnectionId));
const group = (
  tunnels: readonly Tunnel[],
  { committed = [], leaders = [] }: { committed?: readonly number[]; leaders?: readonly number[] } = {},
) => groupPeers(tunnels, { committed: ids(...committed), leaders: ids(...leaders) }, false);
const elsewhere = { peerAddress: "203.0.113.30", peerId: "203.0.113.30" };
const other = { psk: new Secret("other") };

describe("who shares an IKE config", () => {
  test("connections with the same addresses and identities do", () => {
    const { peers, conflicts } = group([aTunnel(2), aTunnel(1)]);
    expect(peers.map((peer) => peer.members.map((member) => member.tunnel.id))).toEqual([[...ids(1, 2)]]);
    expect(conflicts.size).toBe(0);
  });

  test.each<[string, Partial<Tunnel>]>([
    ["local address", { localAddress: "203.0.113.11" }],
    ["peer address", { peerAddress: "203.0.113.30" }],
    ["local id", { localId: "fqdn:left" }],
    ["peer id", { peerId: "fqdn:right" }],
  ])("another %s is another peer", (_, change) => {
    expect(peerNameOf(aTunnel(1, change))).not.toBe(peerNameOf(aTunnel(1)));
    expect(group([aTunnel(1), aTunnel(2, change)]).peers).toHaveLength(2);
  });

  test("a pair of identities that two peers have is nobody's own", () => {
    const own = (tunnels: readonly Tunnel[]): readonly boolean[] =>
      group(tunnels).peers.map((peer) => peer.hasOwnIdentities);
    expect(own([aTunnel(1), aTunnel(2, elsewhere)])).toEqual([true, true]);
    expect(own([aTunnel(1), aTunnel(2, { peerAddress: "203.0.113.30" })])).toEqual([false, false]);
  });
});

describe("who leads", () => {
  const leader = (...args: Parameters<typeof group>): ConnectionId | undefined => group(...args).peers[0]?.leader.id;

  test("the lowest id of a new peer does", () => {
    expect(leader([aTunnel(3), aTunnel(2)])).toBe(aConnectionId(2));
  });

  test("the leader stays it when a lower id joins", () => {
    expect(leader([aTunnel(1), aTunnel(2)], { committed: [2], leaders: [2] })).toBe(aConnectionId(2));
  });

  test("when the leader goes, a member that charon holds follows, not a newcomer", () => {
    expect(leader([aTunnel(1), aTunnel(3)], { committed: [3] })).toBe(aConnectionId(3));
  });
});

describe("who cannot take part", () => {
  test.each<[string, Partial<Tunnel>, Partial<Tunnel>]>([
    ["psk", other, {}],
    ["ike_version", { ike: anIkePolicy({ version: 1 }) }, {}],
    ["ike encryption_algorithm", { ike: anIkePolicy({ encryption: "aes-128" }) }, {}],
    ["ike auth_algorithm", { ike: anIkePolicy({ authentication: "sha512" }) }, {}],
    ["ike pfs", { ike: anIkePolicy({ dhGroup: "group19" }) }, {}],
    [
      "phase1_negotiation_mode",
      { ike: anIkePolicy({ version: 1, mode: "aggressive" }) },
      { ike: anIkePolicy({ version: 1 }) },
    ],
  ])("a member that differs from its leader in %s is named so", (what, change, leads) => {
    const { peers, conflicts } = group([aTunnel(1, leads), aTunnel(2, change)]);
    expect(peers[0]?.members).toHaveLength(1);
    expect(conflicts.get(aConnectionId(2))).toEqual({
      peer: peerNameOf(aTunnel(1)),
      reason: {
        code: "differs-from-leader",
        text: `differs from connection ${aConnectionId(1)} to the same peer in: ${what}; make them equal`,
      },
    });
  });

  test("all differences are told at once", () => {
    const ike = anIkePolicy({ dhGroup: "group19", encryption: "aes-128" });
    const text = group([aTunnel(1), aTunnel(2, { ...other, ike })]).conflicts.get(aConnectionId(2))?.reason.text;
    expect(text).toContain("in: psk, ike encryption_algorithm, ike pfs;");
  });

  test.each<[string, Partial<Tunnel>]>([
    ["DPD", { dpd: { action: "clear", intervalSeconds: 1, timeoutSeconds: 2 } }],
    ["the IKE lifetime", { ike: anIkePolicy({ lifetime: { kind: "seconds", seconds: 60 } }) }],
    ["the initiator", { initiator: "response-only" }],
    ["the mode, which IKEv2 does not have", { ike: anIkePolicy({ mode: "aggressive" }) }],
  ])("a member may differ in %s", (_, change) => {
    expect(group([aTunnel(1), aTunnel(2, change)]).conflicts.size).toBe(0);
  });

  test("B-45: a pair of subnets is one connection's only, the one's that charon holds", () => {
    const second = aTunnel(2, {
      ...elsewhere,
      peerSubnets: aTunnel(1).peerSubnets,
      localSubnets: aTunnel(1).localSubnets,
    });
    expect([...group([aTunnel(1), second]).conflicts.keys()]).toEqual([aConnectionId(2)]);
    const { conflicts } = group([aTunnel(1), second], { committed: [2] });
    expect(conflicts.get(aConnectionId(1))).toEqual({
      reason: {
        code: "conflicts-with-connection",
        text: `10.1.1.0/24 === 10.2.1.0/24 belongs to connection ${aConnectionId(2)} of this router already; change one of them`,
      },
    });
  });

  test("one that does not take part takes no pair from others", () => {
    const { conflicts } = group([
      aTunnel(1),
      aTunnel(2, other),
      aTunnel(3, { ...elsewhere, localSubnets: aTunnel(2).localSubnets, peerSubnets: aTunnel(2).peerSubnets }),
    ]);
    expect([...conflicts.keys()]).toEqual([aConnectionId(2)]);
  });
});

describe("children", () => {
  const subnets = { localSubnets: ["10.1.0.0/24", "10.1.1.0/24"], peerSubnets: ["10.2.0.0/24", "10.3.0.0/24"] };

  test("in IKEv2 one child carries all pairs", () => {
    expect(childrenOf(aTunnel(1, subnets), false)).toEqual([{ name: aConnectionId(1), ...subnets }]);
  });

  test("in IKEv1, and when asked for, each pair has a child of its own, whose name outlives the others", () => {
    const v1 = childrenOf(aTunnel(1, { ...subnets, ike: anIkePolicy({ version: 1 }) }), false);
    expect(v1).toHaveLength(4);
    expect(new Set(v1.map((child) => child.name)).size).toBe(4);
    expect(childrenOf(aTunnel(1, subnets), true)).toEqual(v1);
    const fewer = childrenOf(aTunnel(1, { ...subnets, peerSubnets: ["10.3.0.0/24"] }), true);
    for (const child of fewer) expect(v1).toContainEqual(child);
  });
});
