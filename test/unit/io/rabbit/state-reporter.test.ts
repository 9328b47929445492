import { pino } from "pino";
import { expect, test } from "vitest";
import { createStateReporter } from "../../../../src/io/rabbit/state-reporter.ts";
import { fakeTiming } from "../../../support/fake-timing.ts";

/** A bus whose server answers as told. */
function world(answer: { of: () => unknown }) {
  const reports: Readonly<Record<string, unknown>>[] = [];
  const told: string[] = [];
  const warnings: string[] = [];
  let connected = (): void => undefined;
  let disconnected = (): void => undefined;
  const timing = fakeTiming();
  const reporter = createStateReporter(
    {
      onConnected: (listener) => ((connected = listener), () => undefined),
      onDisconnected: (listener) => ((disconnected = listener), () => undefined),
      call: (topic, method, args) => {
        expect([topic, method]).toEqual(["q-reports-plugin", "report_state"]);
        reports.push((args["agent_state"] as { agent_state: Readonly<Record<string, unknown>> }).agent_state);
        return Promise.resolve().then(() => answer.of());
      },
    },
    {
      host: "gw-1",
      mode: "dvr_snat",
      availabilityZone: "east",
      intervalMs: 30_000,
      routers: () => 3,
      onRevived: () => told.push("revived"),
      onReport: (result) => told.push(result),
      log: pino({ level: "warn" }, { write: (line: string) => void warnings.push(line) }),
      timing,
    },
  );
  return { reports, told, warnings, timing, reporter, connect: () => connected(), disconnect: () => disconnected() };
}

test("reports at once on every connect, then every interval, and marks the first one that is taken", async () => {
  const answer = { of: (): unknown => "new" };
  const { reports, told, timing, connect, disconnect, reporter } = world(answer);
  await timing.advance(60_000);
  expect(reports).toEqual([]);
  connect();
  await timing.advance(0);
  expect(reports).toEqual([expect.objectContaining({ host: "gw-1", start_flag: true, availability_zone: "east" })]);
  expect(reports[0]?.["configurations"]).toMatchObject({ agent_mode: "dvr_snat", routers: 3, extensions: ["vpnaas"] });
  expect(told).toEqual(["ok", "revived"]);
  answer.of = () => "alive";
  await timing.advance(60_000);
  expect(reports).toHaveLength(3);
  expect(reports[2]).not.toHaveProperty("start_flag");
  expect(told).toEqual(["ok", "revived", "ok", "ok"]);
  disconnect();
  await timing.advance(90_000);
  expect(reports).toHaveLength(3);
  answer.of = () => "revived";
  connect();
  await timing.advance(0);
  expect(told.slice(4)).toEqual(["ok", "revived"]);
  reporter.close();
  await timing.advance(90_000);
  expect(reports).toHaveLength(4);
});

test("a report that fails is tried again soon, with one line in the log for all of them", async () => {
  const answer = {
    of: (): unknown => {
      throw new Error("nobody serves it");
    },
  };
  const { reports, told, warnings, timing, connect } = world(answer);
  connect();
  await timing.advance(25_000);
  expect(told).toEqual(["failed", "failed", "failed"]);
  expect(warnings).toHaveLength(1);
  answer.of = () => "alive";
  await timing.advance(10_000);
  expect(told.at(-1)).toBe("ok");
  expect(reports.at(-1)).toHaveProperty("start_flag");
});

test("a report that the server takes for stale stays the first one, and is told", async () => {
  const { reports, told, warnings, timing, connect } = world({ of: () => null });
  connect();
  await timing.advance(30_000);
  expect(reports).toHaveLength(2);
  expect(reports[1]).toHaveProperty("start_flag");
  expect(told).toEqual(["ok", "ok"]);
  expect(warnings[0]).toContain("compare the clocks");
});
