// From documents that are written to the agents that have looked at what came of them.
import { until } from "../../scripts/lab.ts";
import type { TestLab } from "./lab.ts";

export type Told = { readonly host: string; readonly router: string; readonly atMs: number };

/** Whom the controller has told of a change since its log was `from` characters long. */
export const toldSince = (lab: TestLab, from: number): readonly Told[] =>
  lab.controller
    .log()
    .slice(from)
    .split("\n")
    .flatMap((line) => {
      if (!line.includes('"agent told of a change"')) return [];
      const { host, router, time } = JSON.parse(line) as { host: string; router: string; time: string };
      return [{ host, router, atMs: Date.parse(time) }];
    });

/** Runs `change`; resolves when every agent that was told of it has looked. Nobody has to be told for `untoldMs`. */
export async function seenByAgents(lab: TestLab, change: () => void, untoldMs = 1_500): Promise<void> {
  const from = lab.controller.log().length;
  change();
  const deadline = performance.now() + untoldMs;
  const told = await until("the agents are told", 20_000, () => {
    const found = toldSince(lab, from);
    return found.length > 0 || performance.now() > deadline ? found : undefined;
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
