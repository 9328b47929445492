// From documents that are written to the agents that have looked at what came of them.
import { until } from "../../scripts/lab.ts";
import type { TestLab } from "./lab.ts";

/** `atMs`: since when the change was in force; an agent may have fetched it before the controller knows that it was told. */
export type Told = { readonly host: string; readonly router: string; readonly atMs: number };

type Line = { readonly msg: string; readonly time: string; readonly changes: number; readonly host: string } & Pick<
  Told,
  "router"
>;

/** Whom the controller has told of a change since its log was `from` characters long, and how many it has still to tell. */
function readLog(lab: TestLab, from: number): { readonly told: readonly Told[]; readonly untold: number } {
  const lines = lab.controller.log().slice(from).split("\n");
  const told: Told[] = [];
  let changes = 0;
  let atMs: number | undefined;
  for (const text of lines.filter((line) => /"msg":"(documents in force|agent told of a change)"/.test(line))) {
    const { msg, time, host, router, ...line } = JSON.parse(text) as Line;
    if (msg === "documents in force") {
      changes += line.changes;
      atMs = Date.parse(time);
    } else if (atMs !== undefined) told.push({ host, router, atMs });
    // Else one was told late of what had changed before.
  }
  return { told, untold: changes - told.length };
}

export const toldSince = (lab: TestLab, from: number): readonly Told[] => readLog(lab, from).told;

/** Runs `change`; resolves when every agent that was told of it has looked. Nobody has to be told for `untoldMs`. */
export async function seenByAgents(lab: TestLab, change: () => void, untoldMs = 1_500): Promise<void> {
  const from = lab.controller.log().length;
  change();
  const deadline = performance.now() + untoldMs;
  const told = await until("the agents are told", 20_000, () => {
    const found = readLog(lab, from);
    const isDone = found.untold <= 0 && (found.told.length > 0 || performance.now() > deadline);
    return isDone ? found.told : undefined;
  });
  for (const { host, router, atMs } of told) {
    await until(`${host} has looked`, 20_000, async () => {
      const { lastFetchAtMs = 0, routers } = await lab.agent(host).status();
      if (lastFetchAtMs < atMs) return false;
      const lastPassAtMs = routers.find((one) => one.id === router)?.lastPassAtMs ?? 0;
      // A list in which nothing has changed causes no pass.
      return lastPassAtMs >= lastFetchAtMs || Date.now() - lastFetchAtMs > untoldMs;
    });
  }
}
