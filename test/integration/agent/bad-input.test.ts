// What a control plane should never send: the agent says what is wrong with it, and goes on. One connection is up all the
// time, beside the bad ones and in their own router; its SAs must not notice.
import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { LEFT_ADDRESS, LEFT_ADDRESS_V6, RIGHT_ADDRESS, RIGHT_ADDRESS_V6 } from "../../../scripts/lab-documents.ts";
import { NETWORK, until } from "../../../scripts/lab.ts";
import { patiently } from "../../../scripts/patience.ts";
import type { ConnectionState } from "../../../src/core/status.ts";
import { createCleanup, openChannel } from "../../support/broker.ts";
import { areSettled, connectionIs, labForThisFile } from "../../support/lab.ts";
import { neutronAnswers, type NeutronSite } from "../../support/neutron-answers.ts";
import { PlayedControlPlane, Raised, Raw } from "../../support/played-control-plane.ts";

const RPC_TIMEOUT_SECONDS = Math.ceil(patiently(2_000) / 1_000);
const lab = await labForThisFile({
  startsController: false,
  agentConfig: {
    rpcTimeoutSeconds: RPC_TIMEOUT_SECONDS,
    // As it is by default: ten thousand routers that fail are tried again no faster than that.
    retry: { baseMs: 200, capMs: 30_000 },
    removal: { absenceConfirmSeconds: 1 },
    log: { level: "debug", pretty: "off" },
  },
});
const cleanup = createCleanup();
afterAll(() => cleanup.run());

const PSK = "as neutron keeps it";
const OTHER_PSK = "the pre-shared key of a bad one";
const HUGE_PSK = "huge ".repeat(200_000);

type Wire = Readonly<Record<string, unknown>>;
type WireService = Wire & { readonly id: string; readonly ipsec_site_connections: readonly Wire[] };

const siteOf = (of: {
  readonly host: string;
  readonly router: string;
  readonly addresses: readonly [v4: string, v6: string];
  readonly subnets: readonly [local: string, peer: string];
  readonly peerAddress: string;
  readonly number: number;
}): NeutronSite => ({
  host: of.host,
  router: of.router,
  service: randomUUID(),
  connection: randomUUID(),
  address: of.addresses[0],
  address6: of.addresses[1],
  subnet: of.subnets[0],
  peerAddress: of.peerAddress,
  peerSubnet: of.subnets[1],
  psk: PSK,
  status: "PENDING_CREATE",
  network: NETWORK,
  ports: { gateway: randomUUID(), transit: randomUUID() },
  macs: { gateway: `fa:16:3e:b4:ea:d${String(of.number)}`, transit: `fa:16:3e:7c:aa:c${String(of.number)}` },
});

const left = siteOf({
  host: lab.left.host,
  router: lab.routers.left,
  addresses: [LEFT_ADDRESS, LEFT_ADDRESS_V6],
  subnets: ["10.1.0.0/24", "10.2.0.0/24"],
  peerAddress: RIGHT_ADDRESS,
  number: 2,
});
const right = siteOf({
  host: lab.right.host,
  router: lab.routers.right,
  addresses: [RIGHT_ADDRESS, RIGHT_ADDRESS_V6],
  subnets: ["10.2.0.0/24", "10.1.0.0/24"],
  peerAddress: LEFT_ADDRESS,
  number: 3,
});

type Answers = {
  readonly services: ReadonlyMap<string, WireService>;
  readonly details: ReadonlyMap<string, Wire>;
  readonly subnets: ReadonlyMap<string, Wire>;
};

/** What a server answers of these sites: services by host, details by router. */
function answersOf(...sites: readonly NeutronSite[]): Answers {
  const all = neutronAnswers(sites) as Readonly<
    Record<string, { readonly results: Readonly<Record<string, unknown>> }>
  >;
  const entries = (method: string): [string, unknown][] => Object.entries(all[method]?.results ?? {});
  const lists = entries("get_vpn_services_on_host") as [string, readonly [WireService]][];
  return {
    services: new Map(lists.map(([host, [only]]) => [host, only])),
    details: new Map(entries("get_vpn_transit_network_details") as [string, Wire][]),
    subnets: new Map(entries("get_subnet_info") as [string, Wire][]),
  };
}

const good = answersOf(left, right);
/** The left host's service and connection as they are in order. */
const service = good.services.get(left.host) ?? { id: "", ipsec_site_connections: [] };
const healthy = service.ipsec_site_connections[0] ?? {};

let controlPlane: PlayedControlPlane;
/** What the left host is told when it asks; the right one is told of its healthy connection always. */
let list: unknown = [];
const details = new Map(good.details);
let pid: number | undefined;
let spis: string;
let round = 0;

/** The healthy connection as it is this time, which charon has to be told of, and others beside it. */
const wholeList = (...bad: readonly unknown[]): readonly Wire[] => {
  const ipsecpolicy = { ...(healthy["ipsecpolicy"] as Wire), lifetime_value: 3600 + 60 * (round % 2) };
  return [{ ...service, ipsec_site_connections: [{ ...healthy, name: `fx${String(round)}`, ipsecpolicy }, ...bad] }];
};

async function spisOf(): Promise<string> {
  const sides = await Promise.all([lab.left.ikeSas(lab.routers.left), lab.right.ikeSas(lab.routers.right)]);
  return JSON.stringify(
    sides.map((ikeSas) =>
      ikeSas.map((sa) => [sa.initiatorSpi, sa.responderSpi, sa.childSas.map((child) => [child.spiIn, child.spiOut])]),
    ),
  );
}

const castUpdated = (): void => controlPlane.cast(left.host, "vpnservice_updated", { router: { id: left.router } });

/** The list with this beside what is healthy, told and cast. */
function listed(answer: unknown): void {
  list = answer;
  castUpdated();
}

const aConnection = (changed: Wire = {}): Wire & { readonly id: string } => ({
  ...healthy,
  id: randomUUID(),
  name: "bad",
  peer_cidrs: ["10.77.0.0/24"],
  status: "PENDING_CREATE",
  ...changed,
});

/** Lists such a connection beside the healthy one; resolves with what the agent says of it. */
async function spoilt(changed: Wire): Promise<ConnectionState> {
  const connection = aConnection(changed);
  listed(wholeList(connection));
  const state = await until("the bad connection is told of", 20_000, async () => {
    const { routers } = await lab.left.status();
    return routers.flatMap(({ connections }) => connections).find(({ id }) => id === connection.id);
  });
  await until("the control plane is told", 10_000, () => controlPlane.reported(connection.id) === "ERROR");
  return state;
}

const linesOf = (msg: string): readonly Wire[] =>
  lab.left
    .log()
    .split("\n")
    .filter((line) => line.includes(msg))
    .map((line) => JSON.parse(line) as Wire);

/** One line more in the log than before. */
const saidOnce = (msg: string, before: number): Promise<Wire> =>
  until(msg, 10_000, () => {
    const lines = linesOf(msg);
    return lines.length > before ? lines.at(-1) : undefined;
  });

const rssMib = (): number => {
  const status = readFileSync(`/proc/${String(lab.left.pid)}/status`, "utf8");
  return Math.round(Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) / 1024);
};

beforeAll(async () => {
  controlPlane = await PlayedControlPlane.start(cleanup, lab.rabbitmq.url);
  const rightService = good.services.get(right.host);
  // The left one alone initiates: no second IKE SA has to be settled.
  const passive = rightService?.ipsec_site_connections.map((one) => ({ ...one, initiator: "response-only" }));
  controlPlane.answers.set("get_vpn_services_on_host", ({ host }) =>
    host === left.host ? list : [{ ...rightService, ipsec_site_connections: passive }],
  );
  controlPlane.answers.set(
    "get_vpn_transit_network_details",
    ({ router_id: id }) =>
      details.get(String(id)) ?? new Raised("AttributeError", "'NoneType' object has no attribute 'gw_port'"),
  );
  controlPlane.answers.set("get_subnet_info", ({ subnet_id: id }) => good.subnets.get(String(id)) ?? null);
  list = wholeList();
  for (const { host } of [left, right]) controlPlane.cast(host, "vpnservice_updated", {});
  await connectionIs(lab.left, "fx0", "ACTIVE");
  await areSettled(lab);
  pid = lab.left.pid;
  spis = await spisOf();
});

/** The agent goes on: it is the same process, answers, applies what is good, and has left the healthy SAs alone. */
afterEach(async () => {
  round += 1;
  details.clear();
  for (const [router, answer] of good.details) details.set(router, answer);
  const answered = await controlPlane.call(left.host, "vpnservice_added_to_agent", { router_ids: [] });
  expect(answered).toEqual({ result: null, failure: null });
  listed(wholeList());
  await connectionIs(lab.left, `fx${String(round)}`, "ACTIVE");
  await until("what was bad is gone, and what is good in force", 20_000, async () => {
    const { routers } = await lab.left.status();
    return routers.length === 1 && routers[0]?.connections.length === 1 && routers[0].connections[0]?.inSync === true;
  });
  expect(await spisOf()).toBe(spis);
  expect([lab.left.isRunning, lab.left.pid]).toEqual([true, pid]);
});

describe("messages to the agent", () => {
  const REJECTED = "undecodable message rejected";
  const isDrained = async (): Promise<void> => {
    const { channel } = await openChannel(cleanup, lab.rabbitmq.url);
    expect((await channel.checkQueue(`ipsec_agent.${left.host}`)).messageCount).toBe(0);
  };

  test("that are not JSON are rejected with a line in the log, and none is delivered again", async () => {
    const before = linesOf(REJECTED).length;
    controlPlane.publish(left.host, `{"method": "vpnservice_updated", "psk": "${OTHER_PSK}`);
    expect(await saidOnce(REJECTED, before)).toMatchObject({ level: "warn", err: { message: "body is not JSON" } });
    await isDrained();
  });

  test("without an envelope of oslo.messaging are refused: who waits for an answer is told what is missing", async () => {
    const address = controlPlane.address();
    controlPlane.publish(left.host, JSON.stringify({ hello: "agent", psk: OTHER_PSK, ...address }));
    expect(await controlPlane.answerTo(address)).toMatchObject({
      result: null,
      failure: { class: "PayloadError", message: "request is unusable in: method" },
    });
    const before = linesOf(REJECTED).length;
    controlPlane.publish(left.host, JSON.stringify({ "oslo.version": "2.0", "oslo.message": { psk: OTHER_PSK } }));
    expect(await saidOnce(REJECTED, before)).toMatchObject({ err: { message: "oslo.message is not a string" } });
    await isDrained();
  });

  test("that name an unknown method are answered NoSuchMethod", async () => {
    expect(await controlPlane.call(left.host, "vpnservice_teleported", { psk: OTHER_PSK })).toMatchObject({
      failure: { class: "NoSuchMethod", message: "Endpoint does not support RPC method vpnservice_teleported" },
    });
  });

  test.each<[method: string, args: Wire, message: string]>([
    ["vpnservice_added_to_agent", { router_ids: "all" }, 'router_ids is "all": expected array, received string'],
    ["vpnservice_added_to_agent", { router_ids: [7] }, "router_ids.0 is 7: expected string, received number"],
    ["vpnservice_added_to_agent", { router_ids: ["x"] }, 'router_ids.0 is "x": expected a lower-case UUID'],
    ["vpnservice_removed_from_agent", {}, "router_id is missing: expected string, received undefined"],
    ["vpnservice_removed_from_agent", { router_id: { psk: OTHER_PSK } }, "router_id is an object: expected string"],
  ])("with arguments of a wrong type (%s %j) are answered with which and why", async (method, args, message) => {
    const { failure } = await controlPlane.call(left.host, method, args);
    expect(failure).toMatchObject({ class: "PayloadError" });
    expect(failure?.message).toContain(`arguments of ${method}: ${message}`);
  });

  test("with arguments that are no map are refused", async () => {
    const address = controlPlane.address();
    controlPlane.publish(left.host, JSON.stringify({ method: "vpnservice_updated", args: [1, 2], ...address }));
    expect(await controlPlane.answerTo(address)).toMatchObject({
      failure: { class: "PayloadError", message: "request is unusable in: args" },
    });
  });

  test("that hint at a router in a way nobody understands cause a fetch all the same", async () => {
    const { result, failure } = await controlPlane.call(left.host, "vpnservice_updated", { router: [OTHER_PSK] });
    expect([result, failure]).toEqual([null, null]);
  });
});

describe("answers of the control plane", () => {
  const NOT_FETCHED = "list not fetched, the last one stays in force, will retry";
  const UNREADABLE = "listed, but not readable";

  test("that are not JSON are an answer that never comes: the last list stays in force", async () => {
    const before = linesOf(NOT_FETCHED).length;
    listed(new Raw("<html>Bad Gateway</html>"));
    expect(await saidOnce(NOT_FETCHED, before)).toMatchObject({
      level: "warn",
      err: {
        message: `call get_vpn_services_on_host to ipsec_driver: no reply within ${String(RPC_TIMEOUT_SECONDS)}000 ms`,
      },
    });
  });

  test("B-23: that are an exception leave the last list in force", async () => {
    const before = linesOf(NOT_FETCHED).length;
    listed(new Raised("PendingRollbackError", "This Session's transaction has been rolled back"));
    expect(await saidOnce(NOT_FETCHED, before)).toMatchObject({ level: "warn", err: { class: "RemoteError" } });
  });

  test.each<[what: string, answer: unknown, problem: string]>([
    ["no list", { services: [] }, "the answer is no list of services"],
    ["a list of texts", ["a service"], "is no object: the service is skipped"],
    ["a service without connections", [{ ...service, ipsec_site_connections: null }], "ipsec_site_connections"],
    ["a service whose id is a number", [{ ...service, id: 5 }], "id is 5: expected string, received number"],
    ["a service whose router is nobody's", [{ ...service, router_id: "r" }], 'router_id "r" is no lower-case UUID'],
    ["a connection that is a number", wholeList(17), "the connection has no readable id: it is skipped"],
    ["the same connection twice", wholeList({ ...healthy, psk: OTHER_PSK }), "it is listed twice"],
  ])("with %s are told of in the log, and take nothing away", async (_what, answer, problem) => {
    const before = linesOf(UNREADABLE).length;
    listed(answer);
    const line = await saidOnce(UNREADABLE, before);
    expect(line).toMatchObject({ level: "warn" });
    expect(String(line["problem"])).toContain(problem);
    expect((await connectionIs(lab.left, `fx${String(round)}`, "ACTIVE")).inSync).toBe(true);
  });

  test.each<[what: string, changed: Wire]>([
    ["an MTU beyond any link's", { external_network: { id: "x", name: NETWORK, mtu: 2 ** 33 } }],
    [
      "a gateway port without addresses",
      { gw_port: { ...(good.details.get(left.router)?.["gw_port"] as Wire), fixed_ips: [] } },
    ],
    ["nothing in them", { gw_port: null, transit_port: null }],
  ])("with transit network details of %s leave the router plumbed as it is", async (_what, changed) => {
    details.set(left.router, { ...good.details.get(left.router), ...changed });
    listed(wholeList());
    controlPlane.cast(left.host, "agent_updated", {});
    const fetchedAtMs = Date.now();
    await until("it was fetched", 10_000, async () => ((await lab.left.status()).lastFetchAtMs ?? 0) >= fetchedAtMs);
    expect(await connectionIs(lab.left, `fx${String(round)}`, "ACTIVE")).toMatchObject({ inSync: true });
  });
});

describe("a connection that cannot be had is ERROR, by itself, with a reason", () => {
  const long = "m".repeat(1_000_000);
  const policy = (name: "ikepolicy" | "ipsecpolicy", changed: Wire): Wire => ({
    [name]: { ...(healthy[name] as Wire), ...changed },
  });

  test.each<[what: string, changed: Wire, code: string, text: string]>([
    [
      "no external address",
      { external_ip: null },
      "no-external-address",
      "the router has no external IPv4 address to reach",
    ],
    ["an empty PSK", { psk: "" }, "invalid-value", "psk is empty: give the connection a pre-shared key"],
    ["a PSK that is a number", { psk: 8_675_309_867_530 }, "invalid-value", "psk is not a text"],
    ["a PSK of 1 MB", { psk: HUGE_PSK }, "invalid-value", "psk is 1000000 bytes long, charon takes 65535 at most"],
    [
      "an admin state that is a text",
      { admin_state_up: "yes" },
      "invalid-value",
      'admin_state_up is "yes": expected boolean',
    ],
    [
      "a control character in peer_id",
      { peer_id: "@a\nb" },
      "invalid-value",
      'peer_id "@a\\nb" contains a control character',
    ],
    [
      "a control character in local_id",
      { local_id: "\u0000" },
      "invalid-value",
      'local_id "\\u0000" contains a control',
    ],
    ["a peer_id of 256 bytes", { peer_id: "ü".repeat(128) }, "invalid-value", "is longer than 255 bytes: change it"],
    ["a local_id of 256 bytes", { local_id: "x".repeat(256) }, "invalid-value", "is longer than 255 bytes: change it"],
    [
      "a peer_id that is any",
      { peer_id: "*" },
      "invalid-value",
      "peer_id \"*\" contains '*', which would match other peers",
    ],
    [
      "a peer_id with a wildcard",
      { peer_id: "@*.example" },
      "invalid-value",
      "contains '*', which would match other peers",
    ],
    [
      "a regular expression",
      { peer_id: "^.+$" },
      "invalid-value",
      'peer_id "^.+$" is a regular expression, which would',
    ],
    [
      "ah-esp",
      policy("ipsecpolicy", { transform_protocol: "ah-esp" }),
      "unsupported",
      'transform_protocol "ah-esp" is not',
    ],
    [
      "an unknown cipher",
      policy("ikepolicy", { encryption_algorithm: "rot13" }),
      "unsupported",
      'ikepolicy encryption_algorithm "rot13" is not supported',
    ],
    [
      "an unknown hash",
      policy("ipsecpolicy", { auth_algorithm: "crc32" }),
      "unsupported",
      'auth_algorithm "crc32" is not',
    ],
    [
      "a CIDR that is none",
      { peer_cidrs: ["10.77.0.0/33"] },
      "invalid-value",
      'peer_cidrs has "10.77.0.0/33": expected a CIDR',
    ],
    ["a CIDR that is a number", { peer_cidrs: [10] }, "invalid-value", "peer_cidrs.0 is 10: expected string"],
    ["an MTU beyond any packet's", { mtu: 2 ** 31 }, "invalid-value", "mtu 2147483648 is above 65535"],
    ["a peer address of 1 MB", { peer_address: long }, "invalid-value", "m… is no IP address"],
    ["an id of 1 MB", { peer_id: long }, "invalid-value", "is longer than 255 bytes: change it"],
  ])("%s", async (_what, changed, code, text) => {
    const state = await spoilt(changed);
    expect([state.status, state.reason?.code]).toEqual(["ERROR", code]);
    expect(state.reason?.text).toContain(text);
    // Short enough to be read.
    expect(state.reason?.text.length).toBeLessThan(300);
    expect(await connectionIs(lab.left, `fx${String(round)}`, "ACTIVE")).toMatchObject({ inSync: true });
  });

  test("a name of 1 MB is cut, and its connection is as good as any", async () => {
    listed(wholeList(aConnection({ name: long, admin_state_up: false })));
    const state = await connectionIs(lab.left, "m".repeat(255), "DOWN");
    expect(state.reason?.code).toBe("admin-down");
    const { stdout } = await lab.left.run("status");
    expect(Math.max(...stdout.split("\n").map((line) => line.length))).toBeLessThan(600);
  });
});

// Nothing that a control plane could send was left that the decoder lets pass and a pass trips over. So the disk lends the
// exception: a plain file where charon's directory of that router is to be.
test("a file that cannot be written keeps its router down, with the reason, and goes when its cause goes", async () => {
  const router = randomUUID();
  const site = siteOf({
    host: left.host,
    router,
    addresses: ["203.0.113.30", "2001:db8:ff::30"],
    subnets: ["10.30.0.0/24", "10.31.0.0/24"],
    peerAddress: "203.0.113.99",
    number: 4,
  });
  const answers = answersOf({ ...site, psk: OTHER_PSK });
  const found = answers.services.get(left.host);
  const only = found?.ipsec_site_connections.map((connection) => ({ ...connection, name: "elsewhere" }));
  const routerNamespace = `qrouter-${router}`;
  const inTheWay = path.join(lab.left.runDirectory, `qvpn-${router}`);
  // What a killed run leaves is found by these ids.
  const made = path.join(lab.directory, "made.json");
  const before = JSON.parse(readFileSync(made, "utf8")) as { readonly routers: readonly string[] };
  writeFileSync(made, JSON.stringify({ ...before, routers: [...before.routers, router] }));
  cleanup.add(() => {
    if (existsSync(`/run/netns/${routerNamespace}`)) execFileSync("ip", ["netns", "delete", routerNamespace]);
  });
  execFileSync("ip", ["netns", "add", routerNamespace]);
  mkdirSync(lab.left.runDirectory, { recursive: true });
  writeFileSync(inTheWay, "");

  for (const [id, answer] of answers.details) details.set(id, answer);
  list = [...wholeList(), { ...found, ipsec_site_connections: only }];
  controlPlane.cast(left.host, "vpnservice_updated", { router: { id: router } });
  const broken = await connectionIs(lab.left, "elsewhere", "DOWN", { reason: "charon-down" });
  expect(broken.reason?.text).toMatch(/^cannot write .*strongswan\.conf: E[A-Z]+; look at the room/);
  const [line] = linesOf("router not converged, will retry").filter((one) => one["router"] === router);
  expect(line).toMatchObject({ level: "warn", err: { class: "FileError" } });
  await until("the control plane is told", 10_000, () => controlPlane.reported(site.connection) === "DOWN");

  rmSync(inTheWay);
  await lab.left.order("sync", router);
  // Nobody is at its peer's address.
  await connectionIs(lab.left, "elsewhere", "DOWN", { reason: "negotiating" });
  controlPlane.cast(left.host, "vpnservice_removed_from_agent", { router_id: router });
  await until("its namespace is gone", 10_000, () => !existsSync(`/run/netns/qvpn-${router}`));
});

// The kernel lab's guest, slow as it is, would need minutes for as many.
const COUNT = process.env["KERNEL_LAB"] === undefined ? 10_000 : 500;

test(
  `a list of ${String(COUNT)} services that cannot be plumbed is as many ERRORs, and stalls nobody`,
  async () => {
    const ids: string[] = [];
    const many = Array.from({ length: COUNT }, (_, number): WireService => {
      const id = randomUUID();
      ids.push(id);
      const cidr = `10.${String(100 + Math.floor(number / 256))}.${String(number % 256)}.0/24`;
      const connection = { ...healthy, id, name: `many-${String(number)}`, external_ip: null, peer_cidrs: [cidr] };
      return { ...service, id: randomUUID(), router_id: randomUUID(), ipsec_site_connections: [connection] };
    });
    const secondsSince = (atMs: number): string => ((performance.now() - atMs) / 1_000).toFixed(1);
    // A status of thousands is long: asking for it all the time would be what is measured.
    const untilNow = (what: string, check: () => Promise<boolean> | boolean): Promise<boolean> =>
      until(what, 80_000, async () => {
        await sleep(300);
        return check();
      });
    const waits: number[] = [];
    const done = new AbortController();
    const asking = (async () => {
      while (!done.signal.aborted) {
        const askedAt = performance.now();
        await controlPlane.call(left.host, "vpnservice_added_to_agent", { router_ids: [] });
        waits.push(performance.now() - askedAt);
        await sleep(100);
      }
    })();
    const listedAt = performance.now();
    listed([...wholeList(), ...many]);
    await untilNow("all are told of", () => ids.every((id) => controlPlane.reported(id) === "ERROR")).finally(() =>
      done.abort(),
    );
    const told = secondsSince(listedAt);
    await asking;
    expect((await lab.left.status()).routers).toHaveLength(COUNT + 1);
    const made = new Set(readdirSync("/run/netns"));
    expect(many.filter((one) => made.has(`qvpn-${String(one["router_id"])}`))).toEqual([]);
    expect(await connectionIs(lab.left, `fx${String(round)}`, "ACTIVE")).toMatchObject({ inSync: true });
    const memory = rssMib();

    round += 1;
    const updatedAt = performance.now();
    listed([...wholeList(), ...many]);
    await untilNow("the healthy one is updated", async () => {
      return (await lab.left.connection(`fx${String(round)}`))?.inSync === true;
    });
    const updated = secondsSince(updatedAt);

    const unlistedAt = performance.now();
    listed(wholeList());
    await untilNow("they are gone", async () => (await lab.left.status()).routers.length === 1);
    process.stdout.write(
      `${String(COUNT)} services: all told of after ${told} s, an update beside them in force after ${updated} s, ` +
        `all gone after ${secondsSince(unlistedAt)} s; a call waited ${Math.max(...waits).toFixed(0)} ms at most; ` +
        `${String(memory)} MiB\n`,
    );
  },
  patiently(180_000),
);

test("no pre-shared key of all these is in the log", () => {
  const log = lab.left.log() + lab.right.log();
  expect(log.length).toBeGreaterThan(10_000);
  const texts = [PSK, OTHER_PSK, HUGE_PSK.slice(0, 30), "8675309867530"];
  const found = texts.flatMap((text) => [
    text,
    Buffer.from(text).toString("base64").slice(0, -4),
    Buffer.from(text).toString("hex"),
  ]);
  expect(found.filter((text) => log.includes(text))).toEqual([]);
});
