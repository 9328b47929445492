// Every metric moves because something happened, and the health answers say what is so.
// swanherd_internal_errors_total is the exception: it counts bugs, of which none is known to be had on demand; those of OVN
// move in ../ovn/agent.test.ts.
import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { afterAll, expect, test } from "vitest";
import { baseDocuments, connectionDocuments, connectionPair } from "../../../scripts/lab-documents.ts";
import { until, type LabDocument } from "../../../scripts/lab.ts";
import { apiClient } from "../../../src/io/api/client.ts";
import { programVersion } from "../../../src/config.ts";
import { createCleanup, startBroker } from "../../support/broker.ts";
import { anotherCharonRuns, areActive, connectionIs, labForThisFile } from "../../support/lab.ts";
import { scrape, type Scrape } from "../../support/scrape.ts";

const PAIR = { name: "site", left: ["10.1.0.0/24"], right: ["10.2.0.0/24"] };
const GHOST = randomUUID();
/** A gateway on a router that has no namespace on this machine. */
const ghost = (host: string): readonly LabDocument[] => [
  { kind: "Router", project: "acme", name: "ghost-router", id: GHOST },
  {
    kind: "VpnService",
    project: "acme",
    name: "ghost",
    host,
    router: "ghost-router",
    external: { network: "internet", fixed_ips: ["203.0.113.30"] },
  },
  ...connectionDocuments({
    name: "haunted",
    service: "left",
    local: ["10.9.0.0/24"],
    peer: ["10.8.0.0/24"],
    peerAddress: "203.0.113.40",
    psk: "boo",
    more: { vpnservice: "ghost" },
  }),
];

const lab = await labForThisFile({
  documents: (routers) => [...baseDocuments(routers), ...connectionPair(PAIR)],
  // A request that nobody takes waits in the queue of the control plane until its time is up.
  agentConfig: { listSasIntervalSeconds: 1, rpcTimeoutSeconds: 1 },
});
const cleanup = createCleanup();
afterAll(() => cleanup.run());
const write = (...more: readonly (readonly LabDocument[])[]): void =>
  lab.write([...baseDocuments(lab.routers), ...more.flat()]);

/** Waits until the scrape is as said; a metric that stays away or is another fails with what it was. */
async function becomes(
  what: string,
  name: string,
  labels: Readonly<Record<string, string>>,
  isIt: (value: number | undefined) => boolean,
): Promise<void> {
  let last: number | undefined;
  await until(what, 20_000, async () => {
    last = (await scrape(lab.left)).value(`swanherd_${name}`, labels);
    return isIt(last);
  }).catch((cause: unknown) => {
    throw new Error(`${what}: swanherd_${name}${JSON.stringify(labels)} is ${String(last)}`, { cause });
  });
}
const grows = async (name: string, labels: Readonly<Record<string, string>>, cause: () => unknown): Promise<void> => {
  const before = (await scrape(lab.left)).value(`swanherd_${name}`, labels) ?? 0;
  await cause();
  await becomes("it grows", name, labels, (value) => (value ?? 0) > before);
};
const health = async (path: "/healthz" | "/readyz"): Promise<{ code: number; missing: readonly string[] }> => {
  const response = await fetch(`http://127.0.0.1:${String(lab.left.httpPort)}${path}`);
  const { missing } = (await response.json()) as { readonly missing: readonly string[] };
  return { code: response.status, missing };
};
const idOf = async (name: string): Promise<string> => (await lab.left.connection(name))?.id ?? "";

test("this file knows every metric that is declared", async () => {
  const own = (await scrape(lab.left)).names.filter((name) => name.startsWith("swanherd_"));
  expect(own.sort()).toEqual(
    [
      "swanherd_broker_connected",
      "swanherd_build_info",
      "swanherd_charon_restarts_total",
      "swanherd_charon_up",
      "swanherd_connection_in_sync",
      "swanherd_connection_reason_info",
      "swanherd_connection_up",
      "swanherd_connections",
      "swanherd_drift_total",
      "swanherd_fetches_total",
      "swanherd_internal_errors_total",
      "swanherd_last_fetch_timestamp_seconds",
      "swanherd_ovn_registered",
      "swanherd_ovn_writes_total",
      "swanherd_pass_duration_seconds",
      "swanherd_passes_total",
      "swanherd_rpc_messages_total",
      "swanherd_state_reports_total",
      "swanherd_status_reports_total",
      "swanherd_steps_total",
      "swanherd_vici_commands_total",
    ].sort(),
  );
});

test("a connection that came up moves what tells of it, and nothing tells of a failure", async () => {
  await areActive(lab, "site");
  const connection = await idOf("site");
  const labels = { router: lab.routers.left, connection };
  await becomes("it is up", "connection_up", labels, (value) => value === 1);
  const { value } = await scrape(lab.left);
  const of: Scrape["value"] = (name, wanted) => value(`swanherd_${name}`, wanted);
  expect(of("build_info", { version: programVersion(), node: process.versions.node })).toBe(1);
  expect(of("broker_connected")).toBe(1);
  expect(of("charon_up", { router: lab.routers.left })).toBe(1);
  expect(of("connection_in_sync", labels)).toBe(1);
  expect(of("connection_reason_info", labels)).toBeUndefined();
  expect(["ACTIVE", "DOWN", "ERROR"].map((status) => of("connections", { status }))).toEqual([1, 0, 0]);
  expect(of("fetches_total", { result: "ok" })).toBeGreaterThan(0);
  expect(of("status_reports_total", { result: "ok" })).toBeGreaterThan(0);
  expect(of("passes_total", { outcome: "converged" })).toBeGreaterThan(0);
  expect(of("pass_duration_seconds_count")).toBe(of("passes_total"));
  expect(of("pass_duration_seconds_sum")).toBeGreaterThan(0);
  for (const kind of ["createNamespace", "loadPeer", "loadSecret", "commit"]) {
    expect([kind, of("steps_total", { kind, result: "ok" })]).toEqual([kind, expect.any(Number)]);
  }
  for (const command of ["load-conn", "load-shared"]) {
    expect(of("vici_commands_total", { command, result: "ok" })).toBeGreaterThan(0);
  }
  expect(of("internal_errors_total")).toBe(0);
  expect(of("charon_restarts_total")).toBeUndefined();
});

test("the time of the last fetch is that of the last fetch", async () => {
  const earliest = Date.now() / 1000;
  await apiClient(lab.left.socket).sync();
  await becomes("it is later", "last_fetch_timestamp_seconds", {}, (value) => (value ?? 0) >= earliest);
  expect((await scrape(lab.left)).value("swanherd_last_fetch_timestamp_seconds")).toBeLessThanOrEqual(
    Date.now() / 1000,
  );
});

test("passes and the commands they send are counted while nothing happens", async () => {
  await grows("passes_total", { outcome: "converged" }, () => undefined);
  await grows("vici_commands_total", { command: "list-sas", result: "ok" }, () => undefined);
});

test("a connection that is switched off counts as DOWN with its reason, and the reason goes with it", async () => {
  const connection = await idOf("site");
  write(connectionPair({ ...PAIR, more: { admin_state_up: false } }));
  const labels = { router: lab.routers.left, connection };
  await becomes("the reason", "connection_reason_info", { ...labels, reason: "admin-down" }, (value) => value === 1);
  await becomes("one is DOWN", "connections", { status: "DOWN" }, (value) => value === 1);
  await becomes("none is ACTIVE", "connections", { status: "ACTIVE" }, (value) => value === 0);
  await becomes("it is not up", "connection_up", labels, (value) => value === 0);
  await becomes("no charon is wanted", "charon_up", { router: lab.routers.left }, (value) => value === undefined);
  write(connectionPair(PAIR));
  await areActive(lab, "site");
  await becomes("the reason is gone", "connection_reason_info", labels, (value) => value === undefined);
});

test("what peers send is counted by method and result; a method that nobody knows is no label", async () => {
  const { broker } = await startBroker(cleanup, lab.rabbitmq.url);
  const cast = (method: string, args: object) => () =>
    broker.cast({ topic: "ipsec_agent", server: lab.left.host }, method, { ...args });
  const updated = "vpnservice_updated";
  await grows("rpc_messages_total", { method: updated, result: "ok" }, cast(updated, {}));
  const removed = "vpnservice_removed_from_agent";
  await grows("rpc_messages_total", { method: removed, result: "failed" }, cast(removed, { router_id: 1 }));
  await grows("rpc_messages_total", { method: "other", result: "rejected" }, cast("drop_everything", {}));
});

test("a charon that was killed and started again counts as a restart", async () => {
  const router = lab.routers.left;
  const before = lab.left.runningCharon(router).pid;
  await grows("charon_restarts_total", { router }, () => process.kill(before, "SIGKILL"));
  await anotherCharonRuns(lab.left, router, before);
  await connectionIs(lab.left, "site", "ACTIVE");
  expect((await scrape(lab.left)).value("swanherd_charon_up", { router })).toBe(1);
});

test("what somebody takes away is drift of its kind", async () => {
  const kind = { kind: "guard" };
  const command = ["netns", "exec", lab.namespaces.left, "nft", "delete", "table", "inet", "swanherd"];
  await grows("drift_total", kind, () => execFileSync("ip", command));
});

test("a router that cannot be plumbed is an incomplete pass and a failed step, and is forgotten with its router", async () => {
  const incomplete = { outcome: "incomplete" };
  await grows("passes_total", incomplete, () => write(connectionPair(PAIR), ghost(lab.left.host)));
  await becomes("its reason", "connection_reason_info", { router: GHOST, reason: "namespace-missing" }, (v) => v === 1);
  await becomes("a step failed", "steps_total", { result: "failed" }, (value) => (value ?? 0) > 0);
  write(connectionPair(PAIR));
  await until("it is gone", 15_000, async () => (await lab.left.status()).routers.every(({ id }) => id !== GHOST));
  for (const name of ["connection_in_sync", "connection_up", "connection_reason_info", "charon_up"]) {
    expect((await scrape(lab.left)).value(`swanherd_${name}`, { router: GHOST })).toBeUndefined();
  }
});

test("without a control plane fetches and reports fail, and are counted so", async () => {
  await lab.controller.stop();
  try {
    await grows("fetches_total", { result: "failed" }, () => apiClient(lab.left.socket).sync());
    await grows("status_reports_total", { result: "failed" }, () => apiClient(lab.left.socket).teardown());
  } finally {
    await lab.controller.start();
  }
  await grows("fetches_total", { result: "ok" }, () => apiClient(lab.left.socket).sync());
  await areActive(lab, "site");
});

test("the agent is healthy and ready; while the broker is away it is healthy and not ready", async () => {
  expect(await health("/healthz")).toEqual({ code: 200, missing: [] });
  expect(await health("/readyz")).toEqual({ code: 200, missing: [] });
  await lab.rabbitmq.stopBroker();
  await becomes("the broker is missed", "broker_connected", {}, (value) => value === 0);
  expect(await health("/healthz")).toEqual({ code: 200, missing: [] });
  expect(await health("/readyz")).toEqual({ code: 503, missing: ["broker: not connected"] });
  await lab.rabbitmq.startBroker();
  await becomes("the broker is back", "broker_connected", {}, (value) => value === 1);
  await until("it is ready", 20_000, async () => (await health("/readyz")).code === 200);
});

test("an agent that only remembers is not ready, and a router that it may not create makes it wait", async () => {
  await apiClient(lab.left.socket).teardown();
  await until("the router is gone", 10_000, () => !existsSync(`/run/netns/${lab.namespaces.left}`));
  await lab.left.stop();
  await lab.rabbitmq.stopBroker();
  await lab.left.start();
  // Also when it looks at SAs only: it starts no charon in a namespace that is not there.
  await becomes("it waits", "passes_total", { outcome: "waiting" }, (value) => (value ?? 0) >= 3);
  expect((await scrape(lab.left)).value("swanherd_passes_total", { outcome: "incomplete" })).toBeUndefined();
  expect((await health("/readyz")).missing).toEqual([
    "broker: not connected",
    "control plane: desired state is remembered",
  ]);
  await lab.rabbitmq.startBroker();
  await areActive(lab, "site");
  expect(await health("/readyz")).toEqual({ code: 200, missing: [] });
});
