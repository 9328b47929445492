// One row and one connection: when something is written, what is said of it, and how often.
import { expect, test } from "vitest";
import { keepRow, type RowVerdict } from "../../../../src/io/ovn/keep-row.ts";
import { OvsdbClosedError, OvsdbRefusedError, OvsdbTimeoutError } from "../../../../src/ovsdb-client/errors.ts";
import type { OperationResult } from "../../../../src/ovsdb-client/operations.ts";
import type { SeenSouthbound } from "../../../../src/wire/ovn/southbound.ts";
import { fakeTiming } from "../../../support/fake-timing.ts";

const AGENT = "14600321-7f6f-586e-94c8-1c62343c1b69";
const seen = (generation: number | undefined, agentId?: string, answer?: string, uuid = "row"): SeenSouthbound => ({
  generation,
  row: { uuid, announcement: { agentId, answer } },
  hostname: "gw-left",
});

/** A keeper whose transactions wait until the test lets them end. */
function arrange() {
  const clock = fakeTiming();
  const verdicts: RowVerdict[] = [];
  const writes: string[] = [];
  const results: string[] = [];
  const pending: ((outcome: Error | number) => void)[] = [];
  let isClosed = false;
  const keeper = keepRow({
    session: {
      transact: (_database, operations) =>
        new Promise<readonly OperationResult[]>((resolve, reject) => {
          writes.push(JSON.stringify(operations));
          pending.push((outcome) => {
            if (typeof outcome === "number") resolve([{ count: outcome }]);
            else reject(outcome);
          });
        }),
      close: () => {
        isClosed = true;
        return Promise.resolve();
      },
    },
    chassis: "gw-left",
    agentId: AGENT,
    clock,
    onVerdict: (verdict) => verdicts.push(verdict),
    onWrite: (result) => results.push(result),
  });
  return {
    keeper,
    clock,
    verdicts,
    writes,
    results,
    isClosed: () => isClosed,
    /** Ends the oldest transaction. */
    finish: async (outcome: Error | number = 1) => {
      pending.shift()?.(outcome);
      await clock.advance(0);
    },
  };
}

const last = (verdicts: readonly RowVerdict[]) => verdicts.at(-1);

test("a row that knows us and the generation is written to by nobody", () => {
  const { keeper, writes, verdicts } = arrange();
  keeper.look(seen(7, AGENT, "7"));
  expect([writes, verdicts]).toEqual([[], [{ kind: "registered" }]]);
});

test("a new row gets id and answer, and counts as registered when they are seen there", async () => {
  const { keeper, writes, verdicts, results, finish } = arrange();
  keeper.look(seen(7));
  expect(writes).toHaveLength(1);
  expect(writes[0]).toContain(AGENT);
  await finish();
  expect([verdicts, results]).toEqual([[], ["ok"]]);
  keeper.look(seen(7, AGENT, "7"));
  expect(verdicts).toEqual([{ kind: "registered" }]);
});

test("generations that come while a write runs and right after it are answered with one more write, of the newest", async () => {
  const { keeper, writes, clock, finish } = arrange();
  keeper.look(seen(7, AGENT, "6"));
  for (let generation = 8; generation <= 500; generation += 1) keeper.look(seen(generation, AGENT, "6"));
  await finish();
  for (let generation = 501; generation <= 1000; generation += 1) keeper.look(seen(generation, AGENT, "7"));
  expect(writes).toHaveLength(1);
  await clock.advance(200);
  expect(writes).toHaveLength(2);
  expect(writes[1]).toContain('"1000"');
});

test("a generation that waits for its answer does not make us unregistered", async () => {
  const { keeper, verdicts, finish } = arrange();
  keeper.look(seen(7, AGENT, "7"));
  keeper.look(seen(8, AGENT, "7"));
  await finish();
  keeper.look(seen(8, AGENT, "8"));
  expect(new Set(verdicts.map(({ kind }) => kind))).toEqual(new Set(["registered"]));
});

test("without a row nothing is written, and the chassis is named", () => {
  const { keeper, writes, verdicts } = arrange();
  keeper.look({ generation: 7, row: undefined, hostname: undefined });
  expect(writes).toEqual([]);
  expect(verdicts).toEqual([{ kind: "waiting", on: "row", why: expect.stringContaining('"gw-left"') as string }]);
});

test("without a generation nothing is written", () => {
  const { keeper, writes, verdicts } = arrange();
  keeper.look(seen(undefined));
  expect([writes, last(verdicts)]).toEqual([[], expect.objectContaining({ on: "initialisation" })]);
});

test.each([
  ["another row in the same moment", seen(7, undefined, undefined, "another")],
  ["the same row without our id", seen(7, undefined, "7")],
])("%s counts as lost until it is written again", async (_what, now) => {
  const { keeper, verdicts, writes, finish, clock } = arrange();
  keeper.look(seen(7, AGENT, "7"));
  keeper.look(now);
  expect(last(verdicts)).toMatchObject({ kind: "waiting", on: "row" });
  expect(writes).toHaveLength(1);
  await finish();
  await clock.advance(200);
  keeper.look(seen(7, AGENT, "7"));
  expect(last(verdicts)).toEqual({ kind: "registered" });
});

test("a write that met no row is not counted, and is decided anew from what is seen then", async () => {
  const { keeper, writes, results, finish, clock } = arrange();
  keeper.look(seen(7));
  await finish(0);
  keeper.look(seen(7, undefined, undefined, "another"));
  await clock.advance(200);
  expect(results).toEqual([]);
  expect(writes.map((write) => /"uuid","(\w+)"/.exec(write)?.[1])).toEqual(["row", "another"]);
});

test("a refused write is told, and tried again with growing pauses", async () => {
  const { keeper, writes, verdicts, results, finish, clock } = arrange();
  keeper.look(seen(7));
  const refusal = new OvsdbRefusedError("transact", "permission error", "no role");
  for (const [attempt, pauseMs] of [500, 1000, 2000].entries()) {
    expect(writes).toHaveLength(attempt + 1);
    await finish(refusal);
    expect(last(verdicts)).toMatchObject({ on: "permission", why: expect.stringContaining("no role") as string });
    keeper.look(seen(8 + attempt));
    await clock.advance(pauseMs - 1);
    expect(writes).toHaveLength(attempt + 1);
    await clock.advance(1);
  }
  expect(results).toEqual(["failed", "failed", "failed"]);
});

test("a server that does not answer costs the connection", async () => {
  const { keeper, isClosed, results, finish } = arrange();
  keeper.look(seen(7));
  await finish(new OvsdbTimeoutError("transact", 10_000, true));
  expect([isClosed(), results]).toEqual([true, ["failed"]]);
});

test.each([new OvsdbClosedError("tcp:a:1", "ECONNRESET", true), 1])(
  "after the end nothing is written and nothing is said (%#)",
  async (outcome) => {
    const { keeper, writes, verdicts, clock, finish } = arrange();
    keeper.look(seen(7));
    keeper.stop();
    await finish(outcome);
    await clock.advance(60_000);
    keeper.look(seen(8));
    expect([writes.length, verdicts]).toEqual([1, []]);
  },
);
