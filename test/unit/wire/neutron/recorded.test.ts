// Every list that a real Neutron answered, and the plumbing that goes with it.
import { describe, expect, test } from "vitest";
import { routerId } from "../../../../src/core/ids.ts";
import type { DesiredConnection } from "../../../../src/core/model.ts";
import { decodeServiceList } from "../../../../src/wire/neutron/decode.ts";
import { decodePlumbing, subnetIdsOf } from "../../../../src/wire/neutron/plumbing.ts";
import { fixtureNames, fixtureResult, namedResult } from "../../../support/neutron-fixtures.ts";

const FX1_ROUTER = routerId("f045ce96-7f2f-44ac-bec1-a7c888514e92");
const FX2_ROUTER = routerId("bb8f57a9-83b0-40b4-9cfa-88ccb78f1782");

const policies = {
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
    encryption: "aes-128",
    authentication: "sha256",
    dhGroup: "group14",
    lifetime: { kind: "seconds", seconds: 3600 },
  },
  initiator: "bi-directional",
  dpd: { action: "restart", intervalSeconds: 5, timeoutSeconds: 20 },
};

const revealed = (connection: DesiredConnection | undefined): unknown =>
  connection?.kind === "usable" ? { ...connection.tunnel, psk: connection.tunnel.psk.reveal() } : connection;

describe.each(["ovn", "l3"] as const)("lists recorded with %s", (variant) => {
  test.each(fixtureNames(variant, "get_vpn_services_on_host.reply"))("%s is read without a problem", (name) => {
    const json = namedResult(variant, name) as { id: string; status: string; ipsec_site_connections: unknown[] }[];
    const list = decodeServiceList(json);
    const routers = [...list.routers.values()];
    expect(list.problems).toEqual([]);
    expect(routers.flatMap((router) => router.services.map(({ id, reportedStatus }) => [id, reportedStatus]))).toEqual(
      json.map(({ id, status }) => [id, status]),
    );
    const connections = routers.flatMap((router) => router.connections);
    expect(connections).toHaveLength(json.flatMap((service) => service.ipsec_site_connections).length);
    expect(connections.filter(({ kind }) => kind === "unusable")).toEqual([]);
  });
});

test("endpoint groups (017) give this router", () => {
  const router = decodeServiceList(fixtureResult("ovn", "017")).routers.get(FX1_ROUTER);
  expect(router?.services).toEqual([
    {
      id: "764a65aa-113a-4dba-bd58-f6812b98b3b1",
      name: "fx1",
      project: "fake_project_id",
      enabled: true,
      reportedStatus: "PENDING_CREATE",
    },
  ]);
  expect(router?.connections).toMatchObject([
    {
      id: "66156e04-c1d5-49ce-b211-7e108a890dcd",
      service: "764a65aa-113a-4dba-bd58-f6812b98b3b1",
      name: "fx1",
      guarded: { localSubnets: ["10.10.1.0/24"], peerSubnets: ["10.20.1.0/24"] },
      reportedStatus: "PENDING_CREATE",
    },
  ]);
  expect(revealed(router?.connections[0])).toEqual({
    id: "66156e04-c1d5-49ce-b211-7e108a890dcd",
    localAddress: "203.0.113.148",
    peerAddress: "203.0.113.200",
    localId: "203.0.113.148",
    peerId: "203.0.113.200",
    psk: "secret-fx1",
    localSubnets: ["10.10.1.0/24"],
    peerSubnets: ["10.20.1.0/24"],
    mtuBytes: 1500,
    ...policies,
  });
});

test("the older form (032) gives the second router beside the first", () => {
  const { routers } = decodeServiceList(fixtureResult("ovn", "032"));
  expect([...routers.keys()]).toEqual([FX2_ROUTER, FX1_ROUTER]);
  expect(revealed(routers.get(FX2_ROUTER)?.connections[0])).toMatchObject({
    localAddress: "203.0.113.160",
    localSubnets: ["10.10.2.0/24"],
    peerSubnets: ["10.20.2.0/24"],
    psk: "secret-fx2",
  });
});

test("each accepted update changes what it is about (047, 050, 056, 068)", () => {
  const connectionOf = (number: string): unknown =>
    revealed(decodeServiceList(fixtureResult("ovn", number)).routers.get(FX1_ROUTER)?.connections[0]);
  expect(connectionOf("047")).toMatchObject({ psk: "new-secret-fx1" });
  expect(connectionOf("050")).toMatchObject({ peerAddress: "203.0.113.201", peerId: "203.0.113.201" });
  expect(connectionOf("056")).toMatchObject({ mtuBytes: 1400 });
  expect(connectionOf("065")).toMatchObject({ kind: "disabled", why: "connection" });
  expect(connectionOf("068")).toMatchObject({ localId: "fqdn:here.example.org", peerId: "fqdn:gw.example.org" });
});

test("a service that is down disables its connection (l3 065)", () => {
  const { routers } = decodeServiceList(fixtureResult("l3", "065"));
  const connections = [...routers.values()].flatMap((router) => router.connections);
  expect(connections.map((connection) => (connection.kind === "disabled" ? connection.why : connection.kind))).toEqual([
    "usable",
    "service",
  ]);
});

describe("the plumbing", () => {
  const details = fixtureResult("ovn", "019");
  const subnets = new Map([
    ["150fe890-6172-4663-8d4c-08571e86ec57", fixtureResult("ovn", "021")],
    ["a0a9ad79-8b84-4a37-b6b4-1acee87120a5", fixtureResult("ovn", "023")],
  ]);

  test("of the recorded answers (019, 021, 023) is complete", () => {
    expect(subnetIdsOf(details)).toEqual({
      external: [...subnets.keys()],
      transit: ["2160803c-80fc-49a4-94fc-a6622b07349a"],
    });
    expect(decodePlumbing(details, subnets)).toEqual({
      kind: "known",
      value: {
        external: {
          port: "3a6f05b0-ecd3-4d25-97e5-cca674aa23ba",
          macAddress: "fa:16:3e:b4:ea:d2",
          mtuBytes: 1500,
          addresses: [
            { address: "2001:db8:ff::1280", prefixLength: 64 },
            { address: "203.0.113.148", prefixLength: 24 },
          ],
          gateways: ["2001:db8:ff::1", "203.0.113.1"],
          network: { id: "8ce68d57-0754-45f0-96b5-861a1d852dbb", name: "public" },
        },
        transit: {
          port: "426a5f41-bd43-4caa-bc7d-e634cda3e13b",
          macAddress: "fa:16:3e:7c:aa:ce",
          addresses: [{ address: "169.254.0.2", prefixLength: 28 }],
          gatewayAddress: "169.254.0.1",
        },
      },
    });
  });

  test("takes the transit network's prefix length from its subnet when that is known", () => {
    const transit = { cidr: "169.254.0.0/30", gateway_ip: null };
    const plumbing = decodePlumbing(
      details,
      new Map<string, unknown>([...subnets, ["2160803c-80fc-49a4-94fc-a6622b07349a", transit]]),
    );
    expect(plumbing).toMatchObject({ value: { transit: { addresses: [{ prefixLength: 30 }] } } });
  });

  test("B-34: has no default route where the subnet has no gateway", () => {
    const without = [...subnets].map(([id, subnet]) => [id, { ...(subnet as object), gateway_ip: null }] as const);
    expect(decodePlumbing(details, new Map(without))).toMatchObject({ value: { external: { gateways: [] } } });
  });

  test("is unknown while a subnet of the external port is", () => {
    const why = decodePlumbing(details, new Map([["150fe890-6172-4663-8d4c-08571e86ec57", null]]));
    expect(why).toMatchObject({ kind: "unknown", why: expect.stringContaining("150fe890") as unknown });
  });

  test("is unknown when an address and its subnet are of different IP versions", () => {
    const exchanged = [...subnets.values()].toReversed();
    const why = decodePlumbing(details, new Map([...subnets.keys()].map((id, index) => [id, exchanged[index]])));
    expect(why).toMatchObject({
      kind: "unknown",
      why: expect.stringMatching(/^subnet .* of address .* is IPv[46]$/) as unknown,
    });
  });

  test("is unknown when the network's MTU is longer than any packet", () => {
    const wide = { ...(details as object), external_network: { id: "net", name: "public", mtu: 2 ** 33 } };
    const why = 'mtu 8589934592 of external network "public" is above 65535';
    expect(decodePlumbing(wide, subnets)).toEqual({ kind: "unknown", why });
  });

  test.each([null, {}, { gw_port: {} }, "x"])("is unknown when the answer is %j", (answer) => {
    expect(decodePlumbing(answer, subnets).kind).toBe("unknown");
    expect(subnetIdsOf(answer)).toEqual({ external: [], transit: [] });
  });
});
