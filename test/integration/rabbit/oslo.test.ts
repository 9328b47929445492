// oslo.messaging itself, both ways: it serves ipsec_driver for our client, and calls our agent's topic.
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { DeadlineError, PayloadError } from "../../../src/core/errors.ts";
import { createStateReporter } from "../../../src/io/rabbit/state-reporter.ts";
import { systemTiming } from "../../../src/io/rabbit/timing.ts";
import { createCleanup, startBroker } from "../../support/broker.ts";
import { eventually } from "../../support/eventually.ts";
import { type PythonPeer, startPythonPeer } from "../../support/python-peer.ts";
import { type PrivateRabbitmq, startPrivateRabbitmq } from "../../../scripts/private-rabbitmq.ts";

const HOST = "gw-host1";
const SERVICES = [{ id: "svc", psk: 'ünï"code\n', ipsec_site_connections: [] }];
const ANSWERS = {
  get_vpn_services_on_host: { results: { [HOST]: SERVICES, other: [] } },
  get_vpn_transit_network_details: { raise: { class: "AttributeError", message: "'NoneType' has no attribute 'id'" } },
  report_state: { result: "revived" },
  get_subnet_info: { delaySeconds: 3, result: { cidr: "10.1.0.0/24" } },
};

let rabbit: PrivateRabbitmq;
let directory: string;
const whole = createCleanup();
const cleanup = createCleanup();
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "swanherd-test-oslo-"));
  whole.add(() => rmSync(directory, { recursive: true, force: true }));
  rabbit = await startPrivateRabbitmq();
  whole.add(() => rabbit.stop());
});
afterAll(() => whole.run());
afterEach(() => cleanup.run());

const soon = { timeoutMs: 10_000 };

function answersFile(name: string, answers: unknown): string {
  const path = join(directory, name);
  writeFileSync(path, JSON.stringify(answers));
  return path;
}

describe("oslo.messaging serves and we call", () => {
  let neutron: PythonPeer;
  beforeAll(async () => {
    neutron = await startPythonPeer("neutron_server.py", [rabbit.url, answersFile("answers.json", ANSWERS)]);
    whole.add(() => neutron.stop());
  });

  test("a call brings the result, and the server sees an admin's context", async () => {
    const { broker, lines } = await startBroker(cleanup, rabbit.url);
    const result = await broker.call("ipsec_driver", "get_vpn_services_on_host", { host: HOST }, soon);
    expect(result).toEqual(SERVICES);
    const { context } = await neutron.waitFor("the call", ({ event }) => event === "call");
    expect(context).toMatchObject({ is_admin: true, roles: ["admin", "member", "reader"] });
    expect((context as { request_id: string }).request_id).toMatch(/^req-[0-9a-f-]{36}$/);
    expect(lines.filter(({ level }) => level >= 40)).toEqual([]);
  });

  test("the reports of an L3 agent are read, and who was not taken for alive is told", async () => {
    const told: string[] = [];
    await startBroker(cleanup, rabbit.url, (broker) => {
      const reporter = createStateReporter(broker, {
        host: HOST,
        mode: "legacy",
        availabilityZone: "nova",
        intervalMs: 100,
        routers: () => 2,
        onRevived: () => told.push("revived"),
        onReport: (result) => told.push(result),
        log: pino({ enabled: false }),
        timing: systemTiming,
      });
      cleanup.add(() => reporter.close());
    });
    const reports = () => neutron.events.filter(({ method }) => method === "report_state").map(({ args }) => args);
    await eventually(() => told.length >= 3 && reports(), { what: "reports" });
    expect(told.slice(0, 4)).toEqual(["ok", "revived", "ok", "revived"]);
    const [first, second] = reports();
    expect(first).toMatchObject({
      host: HOST,
      start_flag: true,
      agent_type: "L3 agent",
      configurations: { routers: 2 },
    });
    expect(second).not.toHaveProperty("start_flag");
  });

  test("update_status arrives as it was sent and answers null", async () => {
    const { broker } = await startBroker(cleanup, rabbit.url);
    const status = [{ id: "svc", status: "ACTIVE", updated_pending_status: true, ipsec_site_connections: {} }];
    expect(await broker.call("ipsec_driver", "update_status", { status }, soon)).toBeNull();
    expect(await neutron.waitFor("the status", ({ event }) => event === "status")).toMatchObject({ status });
  });

  test("its exceptions are RemoteErrors that carry the Python class", async () => {
    const { broker } = await startBroker(cleanup, rabbit.url);
    const call = broker.call("ipsec_driver", "get_vpn_transit_network_details", { router_id: "r" }, soon);
    await expect(call).rejects.toMatchObject({
      code: "RPC_REMOTE_ERROR",
      remoteClass: "AttributeError",
      remoteModule: "builtins",
      message: "'NoneType' has no attribute 'id'",
    });
    await expect(broker.call("ipsec_driver", "no_such_method", {}, soon)).rejects.toMatchObject({
      remoteClass: "NoSuchMethod",
      remoteModule: "oslo_messaging.rpc.dispatcher",
      message: "Endpoint does not support RPC method no_such_method",
    });
  });

  test("its heartbeats keep a monitored call alive, and no call over its deadline", async () => {
    const { broker } = await startBroker(cleanup, rabbit.url);
    const monitored = { timeoutMs: 20_000, monitorTimeoutSeconds: 2 };
    const slow = broker.call("ipsec_driver", "get_subnet_info", { subnet_id: "s" }, monitored);
    const short = broker.call("ipsec_driver", "get_subnet_info", { subnet_id: "s" }, { ...monitored, timeoutMs: 1500 });
    await expect(short).rejects.toThrow(DeadlineError);
    expect(await slow).toEqual({ cidr: "10.1.0.0/24" });
  });

  test("its answers can be changed while it runs", async () => {
    const { broker } = await startBroker(cleanup, rabbit.url);
    const changed = { ...ANSWERS, get_vpn_services_on_host: { result: [] } };
    neutron.send(`answers ${answersFile("changed.json", changed)}`);
    const call = () => broker.call("ipsec_driver", "get_vpn_services_on_host", { host: HOST }, soon);
    await eventually(async () => ((await call()) as unknown[]).length === 0, { what: "the new answer" });
  });

  test("it casts to the agent of a host, and calls it", async () => {
    const host = randomUUID();
    const seen: unknown[] = [];
    await startBroker(cleanup, rabbit.url, (b) =>
      b.serve(`ipsec_agent.${host}`, {
        vpnservice_updated: (args, { isCall }) => Promise.resolve(void seen.push({ args, isCall })),
        vpnservice_added_to_agent: ({ router_ids }) => Promise.resolve(router_ids),
      }),
    );
    const args = { router: { id: "r1" } };
    neutron.send(`cast ${JSON.stringify({ host, method: "vpnservice_updated", args })}`);
    await eventually(() => seen.length === 1, { what: "the cast" });
    expect(seen).toEqual([{ args, isCall: false }]);
    const call = { id: host, host, method: "vpnservice_added_to_agent", args: { router_ids: ["r1"] } };
    neutron.send(`call ${JSON.stringify(call)}`);
    expect(await neutron.waitFor("the answer", ({ id }) => id === host)).toMatchObject({ result: ["r1"] });
  });
});

describe("oslo.messaging calls and we serve", () => {
  const results: unknown[] = [];
  const casts: unknown[] = [];
  let client: PythonPeer;
  beforeAll(async () => {
    await startBroker(
      whole,
      rabbit.url,
      (b) =>
        b.serve(`ipsec_agent.${HOST}`, {
          echo: (args) => Promise.resolve(args),
          note: (args, { requestId }) => Promise.resolve(void casts.push({ args, requestId })),
          refuse: () => Promise.reject(new PayloadError("router_ids is not a list")),
          slow: () => eventually(slowness(), { what: "three seconds" }).then(() => "at last"),
        }),
      { onMessage: ({ result }) => results.push(result) },
    );
    // The way Neutron addresses its agents: topic ipsec_agent, server = host.
    client = await startPythonPeer("oslo_client.py", [rabbit.url, "ipsec_agent", HOST]);
    whole.add(() => client.stop());
  });

  /** True from three seconds after the first look on. */
  function slowness() {
    let since: number | undefined;
    return () => performance.now() - (since ??= performance.now()) > 3000;
  }

  function ask(order: Readonly<Record<string, unknown>>) {
    const id = randomUUID();
    client.send(JSON.stringify({ id, ...order }));
    return client.waitFor(`the answer to ${String(order["method"])}`, (event) => event["id"] === id, 20_000);
  }

  test("a call gets its result", async () => {
    const args = { router_ids: ["a", "ü"], nested: { deep: [null, 1.5] } };
    expect(await ask({ method: "echo", args })).toMatchObject({ result: args });
  });

  test("a cast is executed and not answered", async () => {
    expect(await ask({ kind: "cast", method: "note", args: { n: 1 }, context: { request_id: "req-7" } })).toMatchObject(
      {
        result: null,
      },
    );
    await eventually(() => casts.length === 1, { what: "the cast" });
    expect(casts).toEqual([{ args: { n: 1 }, requestId: "req-7" }]);
  });

  test("a failing cast is not answered either, and serving goes on", async () => {
    const before = results.length;
    await ask({ kind: "cast", method: "refuse" });
    await eventually(() => results.length > before, { what: "the cast is over" });
    expect(results.at(-1)).toBe("failed");
    expect(await ask({ method: "echo", args: {} })).toMatchObject({ result: {} });
  });

  test("our exceptions arrive as RemoteError, never as a Python builtin", async () => {
    expect(await ask({ method: "refuse" })).toMatchObject({
      error: { class: "RemoteError", remoteClass: "PayloadError", message: "router_ids is not a list" },
    });
  });

  test("an unknown method and an unknown version are refused in oslo's own words", async () => {
    expect(await ask({ method: "nope" })).toMatchObject({
      error: {
        class: "RemoteError",
        remoteClass: "NoSuchMethod",
        message: "Endpoint does not support RPC method nope",
      },
    });
    expect(await ask({ method: "echo", version: "1.1" })).toMatchObject({
      error: {
        class: "RemoteError",
        remoteClass: "UnsupportedVersion",
        message: "Endpoint does not support RPC version 1.1. Attempted method: echo",
      },
    });
    expect(await ask({ method: "echo", namespace: "other" })).toMatchObject({
      error: { remoteClass: "UnsupportedVersion" },
    });
  });

  test("the ping of oslo.messaging is answered", async () => {
    expect(await ask({ method: "oslo_rpc_server_ping" })).toMatchObject({ result: "pong" });
  });

  test("our heartbeats keep its monitored call alive", async () => {
    // oslo.messaging gives up after 2 s without one, the handler takes 3 s.
    expect(await ask({ method: "slow", monitorTimeoutSeconds: 2, timeoutSeconds: 15 })).toMatchObject({
      result: "at last",
    });
  });

  test("a caller without a monitor timeout gets no heartbeat, which would crash it", async () => {
    expect(await ask({ method: "slow", timeoutSeconds: 15 })).toMatchObject({ result: "at last" });
  });
});
