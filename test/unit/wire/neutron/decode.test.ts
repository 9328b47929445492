// One connection of the wire, spoilt key by key: what it becomes, or why it cannot be used.
import { describe, expect, test } from "vitest";
import { routerId } from "../../../../src/core/ids.ts";
import type { DesiredConnection, Tunnel } from "../../../../src/core/model.ts";
import { decodeServiceList } from "../../../../src/wire/neutron/decode.ts";
import {
  aWireConnection,
  aWirePolicy,
  aWireService,
  CONNECTION,
  PSK,
  ROUTER,
  SERVICE,
  type Keys,
} from "../../../support/wire-connection.ts";

function decodeOne(connection: unknown, service: Keys = {}): DesiredConnection {
  const list = decodeServiceList([aWireService({ ipsec_site_connections: [connection], ...service })]);
  const [decoded] = list.routers.get(routerId(ROUTER))?.connections ?? [];
  if (decoded === undefined) throw new Error(JSON.stringify(list.problems));
  return decoded;
}

function tunnelOf(changed: Keys): Tunnel {
  const decoded = decodeOne(aWireConnection(changed));
  if (decoded.kind !== "usable") throw new Error(JSON.stringify(decoded));
  return decoded.tunnel;
}

function refusalOf(changed: Keys): string {
  const decoded = decodeOne(aWireConnection(changed));
  if (decoded.kind !== "unusable") expect.fail(`is ${decoded.kind}`);
  expect(decoded.guarded).toMatchObject({ localSubnets: expect.any(Array) as unknown });
  expect(decoded.reason.text).not.toContain(PSK);
  return `${decoded.reason.code}: ${decoded.reason.text}`;
}

describe("a connection that can be configured", () => {
  test("is a tunnel with every value of the wire in our words", () => {
    const tunnel = tunnelOf({});
    expect(tunnel.psk.reveal()).toBe(PSK);
    expect({ ...tunnel, psk: undefined }).toEqual({
      id: CONNECTION,
      localAddress: "203.0.113.10",
      peerAddress: "203.0.113.20",
      localId: "203.0.113.10",
      peerId: "203.0.113.20",
      psk: undefined,
      localSubnets: ["10.1.0.0/24"],
      peerSubnets: ["10.2.0.0/24"],
      ike: {
        version: 2,
        mode: "main",
        encryption: "aes-256",
        authentication: "sha256",
        dhGroup: "group14",
        lifetime: { kind: "seconds", seconds: 3600 },
      },
      ipsec: {
        protocol: "esp",
        mode: "tunnel",
        encryption: "aes-256",
        authentication: "sha256",
        dhGroup: "group14",
        lifetime: { kind: "seconds", seconds: 3600 },
      },
      initiator: "bi-directional",
      dpd: { action: "hold", intervalSeconds: 30, timeoutSeconds: 120 },
      mtuBytes: 1500,
    });
  });

  test("has CIDRs with host bits masked, IPv6 compressed in lower case, and duplicates gone", () => {
    const tunnel = tunnelOf({
      local_cidrs: ["2001:DB8:0::7/64", "2001:db8::/64"],
      peer_cidrs: ["2001:db8:2::1/48"],
      local_ip_vers: 6,
    });
    expect(tunnel.localSubnets).toEqual(["2001:db8::/64"]);
    expect(tunnel.peerSubnets).toEqual(["2001:db8:2::/48"]);
  });

  test("has Neutron's defaults where keys are absent", () => {
    const left = Object.fromEntries(
      Object.entries(aWireConnection()).filter(([key]) => !/^(dpd_|mtu|initiator|local_ip_vers|auth_mode)/.test(key)),
    );
    const decoded = decodeOne(left);
    expect(decoded.kind === "usable" && decoded.tunnel).toMatchObject({
      dpd: { action: "hold", intervalSeconds: 30, timeoutSeconds: 120 },
      mtuBytes: 1500,
      initiator: "bi-directional",
    });
  });

  test.each([
    [{ mtu: 0 }, { mtuBytes: 1500 }],
    [{ mtu: 1400 }, { mtuBytes: 1400 }],
    [{ peer_address: "0.0.0.0" }, { peerAddress: "%any" }],
    [
      { peer_address: "::", external_ip: "2001:DB8::1" },
      { peerAddress: "%any", localAddress: "2001:db8::1" },
    ],
    [{ local_id: null }, { localId: "203.0.113.10" }],
    [{ dpd_interval: 0 }, { dpd: { intervalSeconds: 0 } }],
    [{ peer_address: "2001:DB8::20", external_ip: "2001:db8::10" }, { peerAddress: "2001:db8::20" }],
  ])("%j gives %j", (changed, expected) => {
    expect(tunnelOf(changed)).toMatchObject(expected);
  });

  test("keeps an ESP lifetime in kilobytes", () => {
    const tunnel = tunnelOf({ ipsecpolicy: aWirePolicy({ lifetime_units: "kilobytes", lifetime_value: 500000 }) });
    expect(tunnel.ipsec.lifetime).toEqual({ kind: "kilobytes", kilobytes: 500000 });
  });
});

test("a name is kept as long as Neutron's own may be", () => {
  expect(decodeOne(aWireConnection({ name: "n".repeat(1_000_000) })).name).toBe("n".repeat(255));
});

describe("a connection that cannot be configured says why", () => {
  const policy = (key: "ikepolicy" | "ipsecpolicy", changed: Keys): Keys => ({
    [key]: aWirePolicy({ ...(key === "ikepolicy" ? { ike_version: "v2" } : {}), ...changed }),
  });
  test.each<[Keys, string]>([
    [{ psk: "" }, "invalid-value: psk is empty"],
    [{ psk: 17 }, "invalid-value: psk is not a text"],
    [{ psk: "x".repeat(65_536) }, "invalid-value: psk is 65536 bytes long, charon takes 65535 at most"],
    [{ external_ip: null }, "no-external-address: the router has no external IPv4 address"],
    [{ external_ip: "2001:db8::1" }, "invalid-value: external_ip 2001:db8::1 and peer_address 203.0.113.20"],
    [{ peer_address: "vpn.example" }, 'invalid-value: peer_address "vpn.example" is no IP address'],
    [policy("ipsecpolicy", { transform_protocol: "ah-esp" }), 'unsupported: ipsecpolicy transform_protocol "ah-esp"'],
    [policy("ikepolicy", { encryption_algorithm: "des" }), 'unsupported: ikepolicy encryption_algorithm "des"'],
    [policy("ikepolicy", { auth_algorithm: "md5" }), 'unsupported: ikepolicy auth_algorithm "md5"'],
    [policy("ipsecpolicy", { pfs: "group1" }), 'unsupported: ipsecpolicy pfs "group1"'],
    [policy("ikepolicy", { ike_version: "v3" }), 'unsupported: ikepolicy ike_version "v3"'],
    [policy("ikepolicy", { lifetime_units: "kilobytes" }), "unsupported: ikepolicy lifetime_units kilobytes"],
    [policy("ikepolicy", { lifetime_value: 59 }), "invalid-value: ikepolicy.lifetime_value is 59"],
    [{ auth_mode: "cert" }, 'unsupported: auth_mode is "cert"'],
    [{ dpd_action: "reboot" }, 'unsupported: dpd_action "reboot"'],
    [{ dpd_interval: -1 }, "invalid-value: dpd_interval is -1"],
    [{ mtu: 40 }, "invalid-value: mtu 40 is below IPv4's minimum of 68"],
    [{ mtu: 65_536 }, "invalid-value: mtu 65536 is above 65535"],
    [{ local_cidrs: [] }, "invalid-value: local_cidrs is empty"],
    [{ peer_cidrs: ["10.2.0.0"] }, 'invalid-value: peer_cidrs has "10.2.0.0"'],
    [{ peer_cidrs: ["2001:db8::/64"] }, "invalid-value: local_cidrs and peer_cidrs mix IPv4 and IPv6"],
    [{ local_ip_vers: 6 }, "invalid-value: local_ip_vers is 6, but local_cidrs are IPv4"],
    [{ peer_id: "@a\nb" }, 'invalid-value: peer_id "@a\\nb" contains a control character'],
    [{ local_id: `@${"x".repeat(255)}` }, "invalid-value: local_id"],
    [{ peer_id: "@*.example" }, "invalid-value: peer_id"],
    [{ peer_id: "@^.*$" }, "invalid-value: peer_id"],
    [{ peer_id: "" }, 'invalid-value: peer_id "" is empty'],
    [{ local_id: "@" }, 'invalid-value: local_id "@" is empty'],
    [{ ikepolicy: null }, "invalid-value: ikepolicy"],
  ])("%j", (changed, expected) => {
    expect(refusalOf(changed)).toContain(expected);
  });

  test("B-19: a line break in an identity is refused, while quotes and ampersands stay what they are", () => {
    expect(refusalOf({ peer_id: "@x\nleftupdown=/bin/sh" })).toContain("contains a control character");
    expect(tunnelOf({ peer_id: `@a&b'c"d<e>` }).peerId).toBe(`fqdn:a&b'c"d<e>`);
  });

  test("and is guarded as far as its CIDRs can be read", () => {
    const decoded = decodeOne(aWireConnection({ psk: "", peer_cidrs: ["10.2.0.9/24", "nonsense", 5] }));
    expect(decoded.guarded).toEqual({ localSubnets: ["10.1.0.0/24"], peerSubnets: ["10.2.0.0/24"] });
  });

  test("and is guarded when nothing but its id and CIDRs is there", () => {
    const decoded = decodeOne({ id: CONNECTION, local_cidrs: ["10.1.0.0/24"], peer_cidrs: ["10.2.0.0/24"] });
    expect(decoded).toMatchObject({ kind: "unusable", guarded: { peerSubnets: ["10.2.0.0/24"] } });
  });

  test("and leaves its neighbours alone", () => {
    const other = "33333333-3333-4333-8333-333333333333";
    const connections = [aWireConnection({ psk: "" }), aWireConnection({ id: other })];
    const list = decodeServiceList([aWireService({ ipsec_site_connections: connections })]);
    expect(list.routers.get(routerId(ROUTER))?.connections.map(({ kind }) => kind)).toEqual(["unusable", "usable"]);
    expect(list.complete).toBe(true);
  });
});

describe("a connection that is switched off", () => {
  test("is disabled by itself", () => {
    expect(decodeOne(aWireConnection({ admin_state_up: false }))).toMatchObject({
      kind: "disabled",
      why: "connection",
      guarded: { localSubnets: ["10.1.0.0/24"], peerSubnets: ["10.2.0.0/24"] },
    });
  });

  test("is disabled by its service, whatever else is wrong with it", () => {
    expect(decodeOne(aWireConnection({ psk: "" }), { admin_state_up: false })).toMatchObject({
      kind: "disabled",
      why: "service",
    });
  });
});

describe("the list", () => {
  test("B-09: merges all services of one router", () => {
    const second = aWireService({
      id: "44444444-4444-4444-8444-444444444444",
      ipsec_site_connections: [aWireConnection({ id: "55555555-5555-4555-8555-555555555555" })],
    });
    const list = decodeServiceList([aWireService(), second]);
    const router = list.routers.get(routerId(ROUTER));
    expect(list.routers.size).toBe(1);
    expect(router?.services).toHaveLength(2);
    expect(router?.connections).toHaveLength(2);
  });

  test.each<[string, unknown, string]>([
    ["no object", 7, "services[0]: is no object: the service is skipped"],
    [
      "without connections",
      { id: SERVICE, router_id: ROUTER },
      `service ${SERVICE}: ipsec_site_connections is missing`,
    ],
    ["with a spoilt id", aWireService({ id: "x" }), 'services[0]: id "x" is no lower-case UUID'],
    ["without a router", aWireService({ router_id: null }), `service ${SERVICE}: router_id is null`],
  ])("reports a service %s and keeps its neighbours", (_what, service, text) => {
    const list = decodeServiceList([service, aWireService({ id: "66666666-6666-4666-8666-666666666666" })]);
    expect(list.problems.map((problem) => `${problem.where}: ${problem.text}`).join("\n")).toContain(text);
    expect(list.complete).toBe(false);
    expect([...list.routers.keys()]).toEqual([ROUTER]);
  });

  test("shows no key of a service whose connections are no list", () => {
    const list = decodeServiceList([aWireService({ ipsec_site_connections: { psk: PSK } })]);
    expect(JSON.stringify(list.problems)).not.toContain(PSK);
  });

  test("names the router of a connection without id, whose absence then proves nothing", () => {
    const list = decodeServiceList([aWireService({ ipsec_site_connections: [aWireConnection({ id: 5 })] })]);
    expect(list.problems).toMatchObject([{ router: ROUTER }]);
    expect(list.complete).toBe(false);
  });

  test("takes a connection that is listed twice once", () => {
    const list = decodeServiceList([aWireService({ ipsec_site_connections: [aWireConnection(), aWireConnection()] })]);
    expect(list.routers.get(routerId(ROUTER))?.connections).toHaveLength(1);
    expect(list.problems).toHaveLength(1);
  });

  test("is incomplete when it is no list", () => {
    expect(decodeServiceList({ services: [] })).toMatchObject({ complete: false, routers: new Map() });
  });
});
