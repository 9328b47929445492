// oslo.messaging itself at the other end: as a Neutron server that drives two agents to a tunnel with its own recorded
// answers, and as client and agent of our controller.
import { randomBytes, randomUUID } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  demoDocuments,
  LEFT_ADDRESS,
  LEFT_ADDRESS_V6,
  RIGHT_ADDRESS,
  RIGHT_ADDRESS_V6,
} from "../../../scripts/lab-documents.ts";
import { LabBuilder, NETWORK, until } from "../../../scripts/lab.ts";
import { createCleanup } from "../../support/broker.ts";
import { connectionIs, labForThisFile } from "../../support/lab.ts";
import { neutronAnswers, type NeutronSite } from "../../support/neutron-answers.ts";
import { startPythonPeer, type PeerEvent, type PythonPeer } from "../../support/python-peer.ts";

type Reported = {
  readonly id: string;
  readonly status: string;
  readonly updated_pending_status: boolean;
  readonly ipsec_site_connections: Readonly<Record<string, { status: string; updated_pending_status: boolean }>>;
};

/** Sends an order with an id of its own and gives the answer to it. */
async function ask(peer: PythonPeer, command: "call" | "", order: object): Promise<PeerEvent> {
  const id = randomUUID();
  peer.send(`${command} ${JSON.stringify({ id, ...order })}`.trim());
  return peer.waitFor(`an answer to ${JSON.stringify(order)}`, (event) => event["id"] === id, 20_000);
}

const driven = await labForThisFile({ startsController: false });
const cleanup = createCleanup();
afterAll(() => cleanup.run());

describe("a Neutron server", () => {
  const lab = driven;
  let neutron: PythonPeer;
  let sites: { left: NeutronSite; right: NeutronSite };

  const answer = (left: Partial<NeutronSite> = {}, right: Partial<NeutronSite> = {}): void => {
    sites = { left: { ...sites.left, ...left }, right: { ...sites.right, ...right } };
    const file = path.join(lab.directory, `answers-${randomBytes(4).toString("hex")}.json`);
    writeFileSync(file, JSON.stringify(neutronAnswers([sites.left, sites.right])));
    neutron.send(`answers ${file}`);
  };
  const cast = (host: string, method: string, args: object): void =>
    neutron.send(`cast ${JSON.stringify({ host, method, args })}`);
  const updated = (site: NeutronSite): void => cast(site.host, "vpnservice_updated", { router: { id: site.router } });
  const fetchesOf = (host: string): number =>
    neutron.events.filter((event) => {
      return event["method"] === "get_vpn_services_on_host" && (event["args"] as { host: string }).host === host;
    }).length;
  const reportsOf = (site: NeutronSite): readonly Reported[] =>
    neutron.events
      .flatMap((event) => (event.event === "status" ? (event["status"] as Reported[]) : []))
      .filter((service) => service.id === site.service);
  const isReported = (site: NeutronSite, status: string): Promise<Reported> =>
    until(`${site.host} reports ${status}`, 20_000, () => {
      const last = reportsOf(site).at(-1);
      return last?.ipsec_site_connections[site.connection]?.status === status ? last : undefined;
    });

  beforeAll(async () => {
    const common = { psk: "as neutron keeps it", status: "PENDING_CREATE", network: NETWORK };
    const site = (side: "left" | "right", rest: Pick<NeutronSite, "address" | "address6" | "subnet">): NeutronSite => {
      const isLeft = side === "left";
      return {
        ...common,
        ...rest,
        host: lab[side].host,
        router: lab.routers[side],
        service: randomUUID(),
        connection: randomUUID(),
        peerAddress: isLeft ? RIGHT_ADDRESS : LEFT_ADDRESS,
        peerSubnet: isLeft ? "10.2.0.0/24" : "10.1.0.0/24",
        ports: { gateway: randomUUID(), transit: randomUUID() },
        macs: isLeft
          ? { gateway: "fa:16:3e:b4:ea:d2", transit: "fa:16:3e:7c:aa:ce" }
          : { gateway: "fa:16:3e:b4:ea:d3", transit: "fa:16:3e:7c:aa:cf" },
      };
    };
    sites = {
      left: site("left", { address: LEFT_ADDRESS, address6: LEFT_ADDRESS_V6, subnet: "10.1.0.0/24" }),
      right: site("right", { address: RIGHT_ADDRESS, address6: RIGHT_ADDRESS_V6, subnet: "10.2.0.0/24" }),
    };
    const nothing = { get_vpn_services_on_host: { results: { [lab.left.host]: [], [lab.right.host]: [] } } };
    const file = path.join(lab.directory, "no-answers.json");
    writeFileSync(file, JSON.stringify(nothing));
    neutron = await startPythonPeer("neutron_server.py", [lab.rabbitmq.url, file]);
    cleanup.add(() => neutron.stop());
  });

  /** A connection that was not there when the agents started. */
  async function isOrdered(): Promise<void> {
    await until("both have a list", 20_000, async () => {
      const states = await Promise.all([lab.left.status(), lab.right.status()]);
      return states.every((state) => state.desired === "fetched");
    });
    answer();
    updated(sites.left);
    updated(sites.right);
  }

  test("B-02: casts an update, and is told ACTIVE for service and connection, both leaving PENDING_CREATE", async () => {
    await isOrdered();
    for (const site of [sites.left, sites.right]) {
      const reported = await isReported(site, "ACTIVE");
      expect(reported).toMatchObject({ id: site.service, status: "ACTIVE", updated_pending_status: true });
      expect(reported.ipsec_site_connections).toEqual({
        [site.connection]: { status: "ACTIVE", updated_pending_status: true },
      });
    }
    expect((await lab.world.ping("left", "10.2.0.9", { count: 3 })).received).toBe(3);
  });

  test("sees no call but the four of the driver", () => {
    const methods = new Set(
      neutron.events.filter(({ event }) => event === "call").map((event) => String(event["method"])),
    );
    expect([...methods].sort()).toEqual([
      "get_subnet_info",
      "get_vpn_services_on_host",
      "get_vpn_transit_network_details",
      "update_status",
    ]);
  });

  test("B-01: changes a PSK on one gateway: the tunnel goes down there, and comes up when the other has it too", async () => {
    await isOrdered();
    await isReported(sites.left, "ACTIVE");
    await isReported(sites.right, "ACTIVE");
    const before = await connectionIs(lab.left, "fx1", "ACTIVE");
    answer({ psk: "changed by an update", status: "ACTIVE" }, { status: "ACTIVE" });
    updated(sites.left);
    const down = await isReported(sites.left, "DOWN");
    expect(down.ipsec_site_connections[sites.left.connection]?.updated_pending_status).toBe(false);
    await connectionIs(lab.left, "fx1", "DOWN", { reason: "authentication-failed" });

    answer({}, { psk: "changed by an update" });
    updated(sites.right);
    await isReported(sites.left, "ACTIVE");
    await isReported(sites.right, "ACTIVE");
    const after = await connectionIs(lab.left, "fx1", "ACTIVE");
    expect(after.inSync).toBe(true);
    expect(after.ikeSpis).not.toBe(before.ikeSpis);
  });

  test("asks for a method that does not exist, and gets NoSuchMethod", async () => {
    expect(
      await ask(neutron, "call", { host: lab.left.host, method: "vpnservice_teleported", args: {} }),
    ).toMatchObject({
      error: { remoteClass: "NoSuchMethod", message: "Endpoint does not support RPC method vpnservice_teleported" },
    });
  });

  test("takes a router away: its namespace goes without a fetch, which would bind the router here again", async () => {
    const fetches = fetchesOf(lab.left.host);
    cast(lab.left.host, "vpnservice_removed_from_agent", { router_id: lab.routers.left });
    await until("the namespace is gone", 10_000, () => !existsSync(`/run/netns/${lab.namespaces.left}`));
    await until("the router is forgotten", 10_000, async () => (await lab.left.status()).routers.length === 0);
    expect(fetchesOf(lab.left.host)).toBe(fetches);
    expect(lab.left.charon(lab.routers.left)).toBeUndefined();
  });

  test("gives the router back: the call is answered null at once, and the tunnel comes up after it", async () => {
    const fetches = fetchesOf(lab.left.host);
    const startedAt = performance.now();
    const order = {
      host: lab.left.host,
      method: "vpnservice_added_to_agent",
      args: { router_ids: [lab.routers.left] },
    };
    const answered = await ask(neutron, "call", order);
    expect(answered).toMatchObject({ result: null });
    // Neutron binds the ports only after the answer.
    expect(performance.now() - startedAt).toBeLessThan(1_000);
    await connectionIs(lab.left, "fx1", "ACTIVE");
    expect(fetchesOf(lab.left.host)).toBeGreaterThan(fetches);
  });
});

describe("the controller", () => {
  const routers = { left: randomUUID(), right: randomUUID() };
  const lab = new LabBuilder({
    prefix: `t${randomBytes(3).toString("hex")}`,
    sides: [],
    documents: demoDocuments(routers),
  });
  // Its directory is there from now on, also when none of its tests is run.
  cleanup.add(() => lab.destroy());
  let client: PythonPeer;

  beforeAll(async () => {
    const { url } = await lab.startBroker();
    await lab.startController();
    client = await startPythonPeer("oslo_client.py", [url, "ipsec_driver"]);
    cleanup.add(() => client.stop());
  });
  const call = async (method: string, args: object): Promise<unknown> => {
    const answered = await ask(client, "", { method, args });
    if (answered["error"] !== undefined) throw new Error(JSON.stringify(answered["error"]));
    return answered["result"];
  };
  type Service = {
    readonly id: string;
    readonly status: string;
    readonly router_id: string;
    readonly external_ip: string;
    readonly ipsec_site_connections: readonly { readonly id: string; readonly status: string; readonly psk: string }[];
  };
  const services = async (): Promise<readonly Service[]> =>
    (await call("get_vpn_services_on_host", { host: "gw-left" })) as readonly Service[];

  test("answers a Python client's get_vpn_services_on_host with the documents of that host", async () => {
    const [service, ...more] = await services();
    expect(more).toEqual([]);
    expect(service).toMatchObject({ router_id: routers.left, external_ip: LEFT_ADDRESS, status: "PENDING_CREATE" });
    expect(service?.ipsec_site_connections).toMatchObject([
      { name: "to-right", peer_address: RIGHT_ADDRESS, peer_cidrs: ["10.2.0.0/24"], local_cidrs: ["10.1.0.0/24"] },
    ]);
    expect(await call("get_vpn_services_on_host", { host: "gw-nowhere" })).toEqual([]);
  });

  test("answers its get_vpn_transit_network_details and get_subnet_info so that every address has its prefix", async () => {
    type Port = { readonly fixed_ips: readonly { readonly ip_address: string; readonly subnet_id: string }[] };
    const details = (await call("get_vpn_transit_network_details", { router_id: routers.left })) as {
      readonly gw_port: Port;
      readonly transit_port: Port;
      readonly external_network: { readonly name: string; readonly mtu: number };
    };
    expect(details.external_network).toMatchObject({ name: NETWORK, mtu: 1500 });
    expect(details.gw_port.fixed_ips.map((fixed) => fixed.ip_address).sort()).toEqual(
      [LEFT_ADDRESS, LEFT_ADDRESS_V6].sort(),
    );
    const cidrs: unknown[] = [];
    for (const { subnet_id } of [...details.gw_port.fixed_ips, ...details.transit_port.fixed_ips]) {
      cidrs.push(((await call("get_subnet_info", { subnet_id })) as { cidr: string }).cidr);
    }
    expect(cidrs.sort()).toEqual(["169.254.0.0/28", "2001:db8:ff::/64", "203.0.113.0/24"]);
  });

  test("takes its update_status, and lists the status from then on", async () => {
    const [service] = await services();
    const [connection] = service?.ipsec_site_connections ?? [];
    if (service === undefined || connection === undefined) throw new Error("nothing is listed");
    const entry = { status: "ACTIVE", updated_pending_status: true };
    const status = [{ id: service.id, ...entry, ipsec_site_connections: { [connection.id]: entry } }];
    expect(await call("update_status", { status })).toBeNull();
    const [after] = await services();
    expect(after?.status).toBe("ACTIVE");
    expect(after?.ipsec_site_connections[0]?.status).toBe("ACTIVE");
  });

  test("refuses a router that nobody has with an exception, not with an answer", async () => {
    const answered = await ask(client, "", {
      method: "get_vpn_transit_network_details",
      args: { router_id: randomUUID() },
    });
    expect(answered).toMatchObject({ error: { class: "RemoteError" } });
  });

  test("casts to a Python agent of the host when a document changes, and serves the change to its question", async () => {
    const agent = await startPythonPeer("vpn_agent.py", [lab.rabbitmq?.url ?? "", "gw-left"]);
    try {
      lab.write(demoDocuments(routers, { leftPsk: "changed in the document" }));
      // Asks only when it is told to. The cast of the controller's start may come late, before the change is in force.
      let heard = 0;
      await until("a cast after which the change is served", 10_000, async () => {
        const casts = agent.events.filter(({ event }) => event === "cast");
        if (casts.length === heard) return false;
        heard = casts.length;
        expect(casts.at(-1)).toMatchObject({ method: "vpnservice_updated", args: { router: { id: routers.left } } });
        return (await services())[0]?.ipsec_site_connections[0]?.psk === "changed in the document";
      });
    } finally {
      await agent.stop();
    }
  });
});
