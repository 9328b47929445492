// The whole controller on a broker of its own, asked by the agent's own client.
import { cp, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { readControllerConfig } from "../../../src/config.ts";
import { runController } from "../../../src/controller/controller.ts";
import { routerId } from "../../../src/core/ids.ts";
import { apiClient } from "../../../src/io/api/client.ts";
import { createControlPlane } from "../../../src/io/rabbit/control-plane.ts";
import { createCleanup, startBroker } from "../../support/broker.ts";
import { eventually } from "../../support/eventually.ts";
import { startPrivateRabbitmq, type PrivateRabbitmq } from "../../../scripts/private-rabbitmq.ts";

const ROUTER = routerId("7d3c2a52-4a55-4c1c-9a3b-0d1f6f1a2b01");
const SAMPLE = fileURLToPath(new URL("../../../etc/documents", import.meta.url));

let rabbit: PrivateRabbitmq;
beforeAll(async () => void (rabbit = await startPrivateRabbitmq()));
afterAll(() => rabbit.stop());
const cleanup = createCleanup();
afterEach(() => cleanup.run());

test("an agent fetches, reports, and hears of a changed key", async () => {
  const root = await mkdtemp(path.join(tmpdir(), "swanherd-controller-"));
  cleanup.add(() => rm(root, { recursive: true, force: true }));
  await cp(SAMPLE, path.join(root, "documents"), { recursive: true });
  const keys = {
    transportUrl: { env: "URL" },
    documents: path.join(root, "documents"),
    stateDirectory: path.join(root, "state"),
    controlSocket: path.join(root, "controller.sock"),
    http: { enabled: false },
    log: { level: "fatal" },
  };
  await writeFile(path.join(root, "controller.yaml"), JSON.stringify(keys));
  const config = readControllerConfig({ env: { URL: rabbit.url }, file: path.join(root, "controller.yaml") });
  if (config.kind === "invalid") throw new Error(config.problems.join("\n"));
  const stop = new AbortController();
  const ended = runController(config.value, stop.signal, {
    onAsked: () => undefined,
    read: () => ({ kind: "invalid", file: "", problems: [] }),
  });
  cleanup.add(async () => {
    stop.abort();
    await ended;
  });

  const casts: unknown[] = [];
  const { broker } = await startBroker(cleanup, rabbit.url, (bus) => {
    bus.serve("ipsec_agent.gw-left", { vpnservice_updated: (args) => Promise.resolve(void casts.push(args)) });
  });
  const controlPlane = createControlPlane(broker, { host: "gw-left", timeoutMs: () => 5000 });
  const { signal } = stop;
  const fetch = () => controlPlane.fetchRouters(signal);
  const list = await eventually(() => fetch(), { what: "the controller answers" });
  const [connection] = list.routers.get(ROUTER)?.connections ?? [];
  if (connection?.kind !== "usable") throw new Error("the sample's connection is not usable");
  expect(connection.tunnel.psk.reveal()).toBe("replace-this-key-left-right");
  expect((await controlPlane.fetchPlumbing(ROUTER, signal)).kind).toBe("known");
  await expect(controlPlane.fetchPlumbing(routerId("7d3c2a52-4a55-4c1c-9a3b-0d1f6f1a2b02"), signal)).rejects.toThrow(
    /no VPN service with a connection names router/,
  );

  const report = { id: connection.id, status: "ACTIVE", fetchedStatus: connection.reportedStatus } as const;
  await controlPlane.reportStatus(
    [{ id: connection.service, status: "ACTIVE", fetchedStatus: "PENDING_CREATE", connections: [report] }],
    signal,
  );
  const [reported] = (await fetch()).routers.get(ROUTER)?.connections ?? [];
  expect(reported?.reportedStatus).toBe("ACTIVE");
  const state = JSON.stringify(await apiClient(path.join(root, "controller.sock")).status());
  expect(state).toContain('"brokerConnected":true');
  expect(state).toContain('"status":"ACTIVE"');

  const before = casts.length;
  await writeFile(path.join(root, "key"), "another-key\n");
  await rename(path.join(root, "key"), path.join(root, "documents/psk/to-right"));
  await eventually(() => casts.length > before, { what: "the agent is told" });
  expect(casts.at(-1)).toEqual({ router: { id: ROUTER } });
  const [changed] = (await fetch()).routers.get(ROUTER)?.connections ?? [];
  expect(changed?.kind === "usable" && changed.tunnel.psk.reveal()).toBe("another-key");
});
