// `swanherd sync`: wakes the loop now.
import type { ApiClient } from "../io/api/client.ts";
import { reportFailure } from "./failure.ts";
import { EXIT, type Terminal } from "./terminal.ts";

export async function runSync(client: ApiClient, router: string | undefined, terminal: Terminal): Promise<number> {
  try {
    await client.sync(router);
  } catch (err) {
    return reportFailure(err, terminal);
  }
  terminal.out(router === undefined ? "woken: all routers\n" : `woken: router ${router}\n`);
  return EXIT.ok;
}
