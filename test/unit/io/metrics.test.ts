// Which series each call moves, and that what is gone leaves none.
import { expect, test } from "vitest";
import { connectionId, routerId, serviceId } from "../../../src/core/ids.ts";
import type { ConnectionState, RouterState } from "../../../src/core/status.ts";
import { createMetrics, type Metrics } from "../../../src/io/metrics.ts";

const ROUTER = routerId("11111111-1111-4111-8111-111111111111");
const FIRST = connectionId("22222222-2222-4222-8222-222222222222");
const SECOND = connectionId("33333333-3333-4333-8333-333333333333");
const SERVICE = serviceId("44444444-4444-4444-8444-444444444444");

const aConnection = (over: Partial<ConnectionState> = {}): ConnectionState => ({
  id: FIRST,
  name: "to-right",
  service: SERVICE,
  status: "ACTIVE",
  inSync: true,
  children: [],
  ...over,
});

const aRouter = (over: Partial<RouterState> = {}): RouterState => ({
  id: ROUTER,
  namespace: `qvpn-${ROUTER}`,
  charon: "up",
  services: [],
  connections: [aConnection()],
  ...over,
});

const fresh = () => createMetrics({ version: "1.2.3", processMetrics: false });

const seriesOf = async (metrics: Metrics): Promise<string[]> =>
  (await metrics.text()).split("\n").filter((line) => line !== "" && !line.startsWith("#"));

/** What one call changed: series that are new or have another value. */
async function moved(metrics: Metrics, act: (metrics: Metrics) => void): Promise<string[]> {
  const before = new Set(await seriesOf(metrics));
  act(metrics);
  return (await seriesOf(metrics)).filter((line) => !before.has(line));
}

test.each<[string, (metrics: Metrics) => void, string]>([
  ["passDone", (m) => m.passDone("converged", 0.002), 'swanherd_passes_total{outcome="converged"} 1'],
  ["passDone", (m) => m.passDone("converged", 0.002), 'swanherd_pass_duration_seconds_bucket{le="0.0025"} 1'],
  ["stepDone", (m) => m.stepDone("loadPeer", "ok"), 'swanherd_steps_total{kind="loadPeer",result="ok"} 1'],
  ["brokerConnected", (m) => m.brokerConnected(true), "swanherd_broker_connected 1"],
  [
    "viciCommand",
    (m) => m.viciCommand("load-conn", "failed"),
    'swanherd_vici_commands_total{command="load-conn",result="failed"} 1',
  ],
  ["charonRestarted", (m) => m.charonRestarted(ROUTER), `swanherd_charon_restarts_total{router="${ROUTER}"} 1`],
  [
    "message",
    (m) => m.message("vpnservice_updated", "ok"),
    'swanherd_rpc_messages_total{method="vpnservice_updated",result="ok"} 1',
  ],
  [
    "message with a foreign method",
    (m) => m.message("x".repeat(99), "rejected"),
    'swanherd_rpc_messages_total{method="other",result="rejected"} 1',
  ],
  ["fetchDone", (m) => m.fetchDone("failed"), 'swanherd_fetches_total{result="failed"} 1'],
  ["reportDone", (m) => m.reportDone("ok"), 'swanherd_status_reports_total{result="ok"} 1'],
  ["ovnRegistered", (m) => m.ovnRegistered(true), "swanherd_ovn_registered 1"],
  ["ovnWriteDone", (m) => m.ovnWriteDone("failed"), 'swanherd_ovn_writes_total{result="failed"} 1'],
  ["internalError", (m) => m.internalError(), "swanherd_internal_errors_total 1"],
  ["setRouter", (m) => m.setRouter(aRouter()), 'swanherd_connections{status="ACTIVE"} 1'],
])("%s moves its metric", async (_method, act, line) => {
  expect(await moved(fresh(), act)).toContain(line);
});

test("a successful fetch sets the time of the last one, a failed one does not", async () => {
  const metrics = fresh();
  expect((await moved(metrics, (m) => m.fetchDone("failed"))).join()).not.toContain("last_fetch");
  expect((await moved(metrics, (m) => m.fetchDone("ok"))).join()).toMatch(/last_fetch_timestamp_seconds 1\d{9}/);
});

test("a router shows what its connections and its charon are doing", async () => {
  const down = aConnection({
    id: SECOND,
    status: "DOWN",
    inSync: false,
    reason: { code: "peer-unreachable", text: "no answer", sinceMs: 0 },
  });
  const state = aRouter({ charon: "starting", connections: [aConnection(), down] });
  expect((await moved(fresh(), (m) => m.setRouter(state))).sort()).toEqual(
    [
      'swanherd_connections{status="ACTIVE"} 1',
      'swanherd_connections{status="DOWN"} 1',
      `swanherd_connection_in_sync{router="${ROUTER}",connection="${FIRST}"} 1`,
      `swanherd_connection_in_sync{router="${ROUTER}",connection="${SECOND}"} 0`,
      `swanherd_connection_up{router="${ROUTER}",connection="${FIRST}"} 1`,
      `swanherd_connection_up{router="${ROUTER}",connection="${SECOND}"} 0`,
      `swanherd_connection_reason_info{router="${ROUTER}",connection="${SECOND}",reason="peer-unreachable"} 1`,
      `swanherd_charon_up{router="${ROUTER}"} 0`,
    ].sort(),
  );
});

test("a reason that passed and a connection that went leave no series behind", async () => {
  const metrics = fresh();
  const down = aConnection({ status: "DOWN", reason: { code: "negotiating", text: "", sinceMs: 0 } });
  metrics.setRouter(aRouter({ connections: [down] }));
  metrics.setRouter(aRouter({ connections: [aConnection()] }));
  expect(await metrics.text()).not.toContain('reason="negotiating"');
  metrics.setRouter(aRouter({ connections: [], charon: "not-wanted" }));
  expect(await metrics.text()).not.toContain(ROUTER);
});

test("a forgotten router leaves no series behind", async () => {
  const metrics = fresh();
  const down = aConnection({ status: "DOWN", reason: { code: "negotiating", text: "", sinceMs: 0 } });
  metrics.setRouter(aRouter({ connections: [down] }));
  metrics.charonRestarted(ROUTER);
  metrics.forgetRouter(ROUTER);
  expect(await metrics.text()).not.toContain(ROUTER);
  expect(await metrics.text()).toContain('swanherd_connections{status="DOWN"} 0');
});

test("two sets of metrics know nothing of each other, and the process is told under its usual names", async () => {
  fresh().internalError();
  const text = await createMetrics({ version: "1.2.3" }).text();
  expect(text).toContain("swanherd_internal_errors_total 0");
  expect(text).toContain("process_cpu_seconds_total");
  expect(text).toContain(`swanherd_build_info{version="1.2.3",node="${process.versions.node}"} 1`);
});
