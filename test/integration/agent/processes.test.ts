// Looking at everything starts no process: the kernel, charon and the guard are asked over sockets. Only a change does.
import { afterAll, expect, test } from "vitest";
import { baseDocuments, connectionPair, type RouterIds } from "../../../scripts/lab-documents.ts";
import { until, type LabDocument } from "../../../scripts/lab.ts";
import { apiClient } from "../../../src/io/api/client.ts";
import { createCleanup } from "../../support/broker.ts";
import { areActive, connectionIs, labForThisFile } from "../../support/lab.ts";
import { traceProcesses } from "../../../scripts/process-trace.ts";
import { scrape } from "../../support/scrape.ts";

const documents =
  (right: readonly string[]) =>
  (routers: RouterIds): readonly LabDocument[] => [
    ...baseDocuments(routers),
    ...connectionPair({ name: "site", left: ["10.1.0.0/24"], right }),
  ];

const lab = await labForThisFile({
  documents: documents(["10.2.0.0/24"]),
  agentConfig: { listSasIntervalSeconds: 1 },
});
const cleanup = createCleanup();
afterAll(() => cleanup.run());
await areActive(lab, "site");
// What belongs to coming up is over when passes have nothing more to do.
const steps = async (): Promise<number> => (await scrape(lab.left)).value("swanherd_steps_total") ?? 0;
const passes = async (): Promise<number> => (await scrape(lab.left)).value("swanherd_passes_total") ?? 0;
const fetches = async (): Promise<number> =>
  (await scrape(lab.left)).value("swanherd_fetches_total", { result: "ok" }) ?? 0;
await until("three passes in a row have nothing to do", 30_000, async () => {
  const [stepsBefore, passesBefore] = [await steps(), await passes()];
  await until("three more passes", 10_000, async () => (await passes()) >= passesBefore + 3);
  return (await steps()) === stepsBefore;
});
const trace = await traceProcesses(lab.left.pid);
cleanup.add(() => trace.stop());

test("B-27: fetching the list, a full pass over everything and several looks at the SAs start no process", async () => {
  const [fetchesBefore, passesBefore, stepsBefore] = [await fetches(), await passes(), await steps()];
  await apiClient(lab.left.socket).sync();
  await until("the list was fetched", 10_000, async () => (await fetches()) > fetchesBefore);
  await until("one full pass and three looks are done", 20_000, async () => (await passes()) >= passesBefore + 4);
  expect(await steps()).toBe(stepsBefore);
  expect(trace.executed()).toEqual([]);
  expect(trace.forked()).toEqual([]);
});

test("a new subnet starts nft and nothing else, which also shows that the tracer sees", async () => {
  lab.write(documents(["10.2.0.0/24", "10.3.0.0/24"])(lab.routers));
  await until("the subnet is reached", 20_000, async () => (await lab.world.ping("left", "10.3.0.9")).received > 0);
  await connectionIs(lab.left, "site", "ACTIVE");
  const executed = trace.executed();
  // nsenter takes the new process into the namespace and becomes nft there.
  expect(executed.filter((name) => name !== "nsenter" && name !== "nft")).toEqual([]);
  expect(executed).toContain("nft");
  expect(trace.forked().length).toBeGreaterThan(0);
});
