// `swanherd teardown`: the only command that removes tunnels on purpose, so it wants a yes.
import type { ApiClient } from "../io/api/client.ts";
import { reportFailure } from "./failure.ts";
import { decodeState } from "./state.ts";
import { EXIT, type Terminal } from "./terminal.ts";
import { countWords } from "./words.ts";

export type TeardownOptions = { readonly router?: string | undefined; readonly yes: boolean };

export async function runTeardown(
  client: ApiClient,
  { router, yes }: TeardownOptions,
  terminal: Terminal,
): Promise<number> {
  try {
    if (!yes) {
      const what = await affected(client, router);
      terminal.err(`this would take down ${what}; add --yes to do it, swanherd sync brings them back\n`);
      return EXIT.failure;
    }
    await client.teardown(router);
  } catch (err) {
    return reportFailure(err, terminal);
  }
  const what = router === undefined ? "all routers" : `router ${router}`;
  terminal.out(`torn down: ${what}; paused until swanherd sync\n`);
  return EXIT.ok;
}

async function affected(client: ApiClient, router: string | undefined): Promise<string> {
  const decoded = decodeState(await client.status());
  if (decoded.kind === "unusable") return router === undefined ? "every router" : `router ${router}`;
  const routers = decoded.state.routers.filter(({ id }) => router === undefined || id === router);
  const active = routers.flatMap(({ connections }) => connections).filter(({ status }) => status === "ACTIVE");
  return `${countWords(routers.length, "router")} with ${countWords(active.length, "ACTIVE connection")}`;
}
