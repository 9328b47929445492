// `swanherd teardown`: the only command that removes tunnels on purpose, so it wants a yes.
import { isUuid, routerId, type RouterId } from "../core/ids.ts";
import { UnreachableError, type ApiClient } from "../io/api/client.ts";
import { reportFailure } from "./failure.ts";
import { decodeState } from "./state.ts";
import { EXIT, type Terminal } from "./terminal.ts";
import { countWords } from "./words.ts";

export type TeardownOptions = { readonly router?: string | undefined; readonly yes: boolean };

/** Does the same without an agent; says which routers were there. */
export type OfflineTeardown = (router: RouterId | undefined) => Promise<readonly RouterId[]>;

export async function runTeardown(
  client: ApiClient,
  { router, yes }: TeardownOptions,
  terminal: Terminal,
  offline: OfflineTeardown,
): Promise<number> {
  if (router !== undefined && !isUuid(router)) {
    terminal.err("--router must be a lower-case UUID\n");
    return EXIT.failure;
  }
  try {
    if (!yes) {
      const what = await affected(client, router);
      terminal.err(`this would take down ${what}; add --yes to do it, swanherd sync brings them back\n`);
      return EXIT.failure;
    }
    await client.teardown(router);
  } catch (err) {
    if (yes && err instanceof UnreachableError) {
      const gone = await offline(router === undefined ? undefined : routerId(router));
      const after = "an agent that is started here builds them again";
      terminal.out(`torn down without an agent: ${countWords(gone.length, "router")}; ${after}\n`);
      return EXIT.ok;
    }
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
