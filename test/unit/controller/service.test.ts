// The controller's service over real directories and a bus that keeps what it was told.
import { chmod, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { startControllerService, type ControllerService } from "../../../src/controller/service.ts";
import { decodeServiceList } from "../../../src/wire/neutron/decode.ts";
import { decodePlumbing } from "../../../src/wire/neutron/plumbing.ts";
import { BASE, CONNECTION, OLDER_FORM, SERVICE } from "../../support/documents.ts";
import { FakeBus } from "../../support/fake-bus.ts";
import { keyStructure } from "../../support/key-structure.ts";
import { fixtureResult } from "../../support/neutron-fixtures.ts";

const ROUTER = "7d3c2a52-4a55-4c1c-9a3b-0d1f6f1a2b01";
type Listed = { id: string; status: string; ipsec_site_connections: Record<string, unknown>[] }[];

let root: string;
let documents: string;
let bus: FakeBus;
let lines: string[];
const running: ControllerService[] = [];

beforeEach(async () => {
  root = await mkdtemp(path.join(tmpdir(), "swanherd-controller-"));
  documents = path.join(root, "documents");
  bus = new FakeBus();
  lines = [];
  await mkdir(path.join(documents, "psk"), { recursive: true });
  await put("base.yaml", BASE);
  await put("service.yaml", SERVICE);
  await put("connection.yaml", CONNECTION);
  await put("psk/to-right", "first-key\n");
});

afterEach(async () => {
  await Promise.all(running.splice(0).map((service) => service.close()));
  await rm(root, { recursive: true });
});

/** As git and editors do it: the file is whole whenever somebody reads it. */
async function put(name: string, text: string): Promise<void> {
  await writeFile(path.join(root, "new"), text);
  await rename(path.join(root, "new"), path.join(documents, name));
}

async function start(environment: Record<string, string> = {}, begins = true): Promise<ControllerService> {
  const service = await startControllerService({
    bus,
    documents,
    stateDirectory: path.join(root, "state"),
    environment,
    log: pino({ level: "debug" }, { write: (line: string) => void lines.push(line) }),
    debounceMs: 20,
    rereadMs: 100,
    castRetryMs: 20,
    nowMs: () => 1_000,
  });
  running.push(service);
  if (begins) service.begin();
  return service;
}

async function restart(): Promise<ControllerService> {
  await running.pop()?.close();
  bus = new FakeBus();
  return start();
}

const list = async (host = "gw-left"): Promise<Listed> =>
  (await bus.call("ipsec_driver", "get_vpn_services_on_host", { host })) as Listed;
const connectionOf = async (): Promise<Record<string, unknown> | undefined> =>
  (await list())[0]?.ipsec_site_connections[0];
const castsTo = (server: string): unknown[] =>
  bus.casts.filter((cast) => cast.server === server).map(({ args }) => args);
const eventually = (check: () => void | Promise<void>): Promise<void> =>
  vi.waitFor(check, { timeout: 5000, interval: 10 });

describe("agents are answered", () => {
  test("with their host's services, as Neutron lists them", async () => {
    await start();
    expect(keyStructure(await list())).toEqual(keyStructure(fixtureResult("ovn", "017")));
    expect(await list("somewhere-else")).toEqual([]);
    const decoded = decodeServiceList(await list());
    expect(decoded.problems).toEqual([]);
    const [connection] = [...decoded.routers.values()].flatMap((router) => router.connections);
    expect(connection?.kind === "usable" && connection.tunnel.psk.reveal()).toBe("first-key");
    expect(connection).toMatchObject({
      kind: "usable",
      reportedStatus: "PENDING_CREATE",
      tunnel: { localAddress: "203.0.113.10", peerAddress: "203.0.113.20", localSubnets: ["10.1.0.0/24"] },
    });
  });

  test("in the older form with the whole subnet", async () => {
    await rm(path.join(documents, "connection.yaml"));
    await put("service.yaml", OLDER_FORM);
    await start();
    const [recorded] = fixtureResult("ovn", "032") as unknown[];
    expect(keyStructure((await list())[0])).toEqual(keyStructure(recorded));
  });

  test("with the external address of the peer's family, and null where there is none", async () => {
    await put("connection.yaml", CONNECTION.replace("peer_address: 203.0.113.20", "peer_address: 2001:db8::9"));
    await start();
    expect(await connectionOf()).toMatchObject({ external_ip: "2001:db8:ff::10" });
    expect((await list())[0]).toMatchObject({ external_ip: "203.0.113.10", external_v6_ip: "2001:db8:ff::10" });
  });

  test.each([
    ["203.0.113.20", "", "203.0.113.20", ""],
    ["gw.example", "", "@gw.example", ""],
    ["gw.example", "203.0.113.10", "@gw.example", "@203.0.113.10"],
    ["203.0.113.20", "here.example", "@203.0.113.20", "@here.example"],
    ['"@west"', "", "@@west", ""],
  ])("with the '@' rule: peer %s, local '%s'", async (peer, local, wirePeer, wireLocal) => {
    await put("connection.yaml", CONNECTION.replace("peer_id: 203.0.113.20", `peer_id: ${peer}\nlocal_id: "${local}"`));
    await start();
    expect(await connectionOf()).toMatchObject({ peer_id: wirePeer, local_id: wireLocal });
  });

  test("with the plumbing of a router, the same after a restart", async () => {
    await start();
    const ask = (): Promise<unknown> =>
      bus.call("ipsec_driver", "get_vpn_transit_network_details", { router_id: ROUTER });
    const details = await ask();
    const shape = keyStructure(fixtureResult("ovn", "019")) as Record<string, Record<string, unknown>>;
    for (const port of ["gw_port", "transit_port"]) (shape[port] ?? {})["binding_levels"] = ".";
    expect(keyStructure(details)).toEqual(shape);

    const ports = details as Record<string, { fixed_ips: { subnet_id: string }[] }>;
    const subnetIds = ["gw_port", "transit_port"].flatMap(
      (port) => ports[port]?.fixed_ips.map((ip) => ip.subnet_id) ?? [],
    );
    const subnets = new Map<string, unknown>();
    for (const id of subnetIds) subnets.set(id, await bus.call("ipsec_driver", "get_subnet_info", { subnet_id: id }));
    expect(keyStructure(subnets.get(subnetIds[0] ?? ""))).toEqual(keyStructure(fixtureResult("ovn", "021")));
    const plumbing = decodePlumbing(details, subnets);
    expect(plumbing).toMatchObject({
      kind: "known",
      value: {
        external: {
          mtuBytes: 1500,
          macAddress: expect.stringMatching(/^fa:16:3e:/) as unknown,
          addresses: [
            { address: "203.0.113.10", prefixLength: 24 },
            { address: "2001:db8:ff::10", prefixLength: 64 },
          ],
          gateways: ["203.0.113.1", "2001:db8:ff::1"],
          network: { name: "internet" },
        },
        transit: { addresses: [{ address: "169.254.0.2", prefixLength: 28 }], gatewayAddress: "169.254.0.1" },
      },
    });
    await restart();
    expect(await ask()).toEqual(details);
  });

  test("with a refusal about an unknown router, and null about an unknown subnet", async () => {
    await start();
    const router = bus.call("ipsec_driver", "get_vpn_transit_network_details", { router_id: "nope" });
    await expect(router).rejects.toMatchObject({ name: "UnknownRouterError" });
    expect(await bus.call("ipsec_driver", "get_subnet_info", { subnet_id: "nope" })).toBeNull();
    await expect(bus.call("ipsec_driver", "get_vpn_services_on_host", {})).rejects.toThrow(/host/);
  });

  test("not with a service that has no connection", async () => {
    await rm(path.join(documents, "connection.yaml"));
    await start();
    expect(await list()).toEqual([]);
  });

  test("with keys from the environment and from systemd's credentials", async () => {
    await put("connection.yaml", CONNECTION.replace("{file: psk/to-right}", "{env: KEY}"));
    await start({ KEY: "from-the-environment" });
    expect(await connectionOf()).toMatchObject({ psk: "from-the-environment" });
    await running.pop()?.close();

    await put("connection.yaml", CONNECTION.replace("{file: psk/to-right}", "{credential: to-right}"));
    bus = new FakeBus();
    await start({ CREDENTIALS_DIRECTORY: path.join(documents, "psk") });
    expect(await connectionOf()).toMatchObject({ psk: "first-key" });
  });
});

describe("while documents have problems", () => {
  test("the last good ones stay in force, and every problem is logged once", async () => {
    const service = await start();
    const before = await list();
    await put("connection.yaml", CONNECTION.replace("ikepolicy: strong", "ikepolicy: strog"));
    await eventually(() => expect(service.problems).toHaveLength(1));
    expect(await list()).toEqual(before);
    expect(bus.casts).toHaveLength(1);
    await put("connection.yaml", CONNECTION);
    await eventually(() => expect(service.problems).toEqual([]));
    expect(lines.filter((line) => line.includes("did you mean strong"))).toHaveLength(1);
  });

  test("from the start, agents are refused instead of told that there is nothing", async () => {
    await put("connection.yaml", "kind: Nonsense");
    const service = await start();
    await expect(list()).rejects.toMatchObject({ name: "NoDocumentsError" });
    expect(service.hasDocuments).toBe(false);
    await put("connection.yaml", CONNECTION);
    await eventually(() => expect(service.hasDocuments).toBe(true));
    expect(await list()).toHaveLength(1);
  });

  test("a missing key is one, with file and line", async () => {
    await rm(path.join(documents, "psk/to-right"));
    const service = await start();
    expect(service.problems).toMatchObject([{ file: "connection.yaml", line: 11 }]);
    expect(service.problems[0]?.text).toContain("cannot be read (ENOENT)");
  });

  test("a directory that lost all of them takes nothing away; an empty list does", async () => {
    const service = await start();
    for (const name of ["base.yaml", "service.yaml", "connection.yaml"]) await rm(path.join(documents, name));
    await eventually(() => expect(service.problems[0]?.text).toContain("holds no *.yaml"));
    expect(await list()).toHaveLength(1);
    await put("none.yaml", "[]\n");
    await eventually(() => expect(service.problems).toEqual([]));
    expect(await list()).toEqual([]);
  });
});

describe("agents are told of a change", () => {
  const told = { router: { id: ROUTER } };

  test("of everything at the start, when they may have missed something", async () => {
    await start();
    expect(bus.casts).toEqual([{ topic: "ipsec_agent", server: "gw-left", method: "vpnservice_updated", args: told }]);
  });

  test.each<[string, () => Promise<void>]>([
    ["a connection", () => put("connection.yaml", CONNECTION.replace("interval: 30", "interval: 31"))],
    ["a policy", () => put("base.yaml", BASE.replace("value: 3600", "value: 3601"))],
    ["a subnet behind a group", () => put("base.yaml", BASE.replaceAll("10.1.0.", "10.9.0."))],
    ["the external network", () => put("base.yaml", BASE.replace("mtu: 1500", "mtu: 1400"))],
    ["the key's file", () => put("psk/to-right", "second-key\n")],
  ])("of %s", async (_what, change) => {
    await start();
    await change();
    await eventually(() => expect(castsTo("gw-left")).toEqual([told, told]));
  });

  test("but not of one that changes nothing for them", async () => {
    await start();
    await put("base.yaml", `# a comment\n${BASE}- {kind: Subnet, project: acme, name: spare, cidr: 10.77.0.0/24}\n`);
    const other = [BASE, SERVICE, CONNECTION].map((text) => text.replaceAll("acme", "other")).join("---\n");
    const elsewhere = other
      .replace(/- \{kind: Network.*\n/, "")
      .replace(/, id: 7d3c[^}]*/, "")
      .replace("gw-left", "gw-two")
      .replace("203.0.113.10, 2001:db8:ff::10", "203.0.113.77");
    await put("other.yaml", elsewhere);
    await eventually(() => expect(castsTo("gw-two")).toHaveLength(1));
    expect(castsTo("gw-left")).toHaveLength(1);
  });

  test("on both hosts when a router moves, and on the old one when it vanishes", async () => {
    await start();
    await put("service.yaml", SERVICE.replace("gw-left", "gw-new"));
    await eventually(() => expect(castsTo("gw-new")).toEqual([told]));
    expect(castsTo("gw-left")).toEqual([told, told]);
    await rm(path.join(documents, "connection.yaml"));
    await eventually(() => expect(castsTo("gw-new")).toEqual([told, told]));
    expect(castsTo("gw-left")).toHaveLength(2);
  });

  test("later, when the broker is away now", async () => {
    bus.isConnected = false;
    await start();
    bus.isConnected = true;
    await eventually(() => expect(bus.casts).toHaveLength(1));
  });
});

describe("reported status", () => {
  const report = async (status: string, updatedPending: boolean): Promise<void> => {
    const [service] = await list();
    const entry = { status, updated_pending_status: updatedPending };
    const connections = Object.fromEntries(
      (service?.ipsec_site_connections ?? []).map(({ id }) => [String(id), entry]),
    );
    await bus.call("ipsec_driver", "update_status", {
      status: [{ id: service?.id, ...entry, ipsec_site_connections: connections }],
    });
  };

  test("is PENDING_CREATE until a report says that it was pending", async () => {
    const service = await start();
    await report("ACTIVE", false);
    expect(await connectionOf()).toMatchObject({ status: "PENDING_CREATE" });
    await report("DOWN", true);
    expect((await list())[0]).toMatchObject({ status: "DOWN" });
    await report("ACTIVE", false);
    expect(await connectionOf()).toMatchObject({ status: "ACTIVE" });
    expect(service.statusRows()).toMatchObject([
      {
        host: "gw-left",
        router: ROUTER,
        project: "acme",
        service: { name: "left", status: "ACTIVE", sinceMs: 1_000 },
        connection: { name: "to-right", status: "ACTIVE", peerAddress: "203.0.113.20", enabled: true },
      },
    ]);
    expect(bus.casts).toHaveLength(1);
  });

  test("outlives a restart in a file that only the owner reads", async () => {
    await start();
    await report("ERROR", true);
    await restart();
    expect(await connectionOf()).toMatchObject({ status: "ERROR" });
    const file = path.join(root, "state", "statuses.json");
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await readFile(file, "utf8")).not.toContain("first-key");
  });

  test("is not written before the bus is ours: the file may be that of who serves it", async () => {
    const file = path.join(root, "state", "statuses.json");
    const service = await start({}, false);
    await running.pop()?.close();
    await expect(stat(path.dirname(file))).rejects.toThrow("ENOENT");

    await mkdir(path.dirname(file));
    await writeFile(file, '{"version":1,"statuses":{"of-somebody-else":{"status":"ACTIVE","sinceMs":1}}}');
    bus = new FakeBus();
    const waiting = await start({}, false);
    expect(await readFile(file, "utf8")).toContain("of-somebody-else");
    waiting.begin();
    await eventually(async () => expect(await readFile(file, "utf8")).not.toContain("of-somebody-else"));
    expect(service.statusRows()).toHaveLength(1);
  });

  test("is kept in the file as it changes, whole whenever somebody reads it", async () => {
    const file = path.join(root, "state", "statuses.json");
    await start();
    for (const status of ["DOWN", "ACTIVE", "ERROR"]) {
      await report(status, true);
      await eventually(async () => expect(await readFile(file, "utf8")).toContain(status));
    }
    expect(await readdir(path.dirname(file))).toEqual(["statuses.json"]);
  });

  test("of a deleted connection is forgotten: its successor of the same name is pending", async () => {
    await start();
    await report("ACTIVE", true);
    await rm(path.join(documents, "connection.yaml"));
    await eventually(async () => expect(await list()).toEqual([]));
    await put("connection.yaml", CONNECTION);
    await eventually(async () => expect(await list()).toHaveLength(1));
    expect(await connectionOf()).toMatchObject({ status: "PENDING_CREATE" });
  });

  test("of something unknown is ignored, and one with a key missing is refused whole", async () => {
    await start();
    const unknown = { id: "x", status: "ACTIVE", updated_pending_status: true, ipsec_site_connections: {} };
    await bus.call("ipsec_driver", "update_status", { status: [unknown] });
    const spoilt = [{ ...unknown, ipsec_site_connections: { y: { status: "ACTIVE" } } }];
    await expect(bus.call("ipsec_driver", "update_status", { status: spoilt })).rejects.toThrow(
      /updated_pending_status/,
    );
  });

  test("that cannot be read back is pending again, and said so", async () => {
    await mkdir(path.join(root, "state"), { recursive: true });
    await writeFile(path.join(root, "state", "statuses.json"), "{");
    await chmod(path.join(root, "state", "statuses.json"), 0o600);
    await start();
    expect(await connectionOf()).toMatchObject({ status: "PENDING_CREATE" });
    expect(lines.some((line) => line.includes("everything is pending again"))).toBe(true);
  });
});

test("no key is ever logged", async () => {
  const service = await start();
  await put("psk/to-right", "second-key\n");
  await eventually(() => expect(bus.casts).toHaveLength(2));
  await put("connection.yaml", CONNECTION.replace("{file: psk/to-right}", "{literal: third-key}"));
  await eventually(() => expect(service.problems).toHaveLength(1));
  expect(lines.join("\n")).not.toMatch(/(first|second|third)-key/);
});
