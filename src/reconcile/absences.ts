// What an operator is told about what is missing from the list: one line an event, whatever the number of routers, with
// what is waited for and how not to wait.
import type { Logger } from "pino";
import type { ConnectionId, RouterId } from "../core/ids.ts";
import { looksLeft, type AbsentKey, type RemovalDecision, type RemovalInput } from "../core/removal.ts";

/** More ids than these make no line clearer; `swanherd status` has them all. */
const MAX_NAMED = 10;

export function tellAbsences(decision: RemovalDecision, input: RemovalInput, log: Logger): void {
  const removed = routersOf(decision.removed, input.known);
  const explained = removed.filter((router) => input.named.has(router));
  const confirmed = removed.filter((router) => !input.named.has(router));
  if (explained.length > 0) log.info(named(explained), "no longer listed after a cast that named it, removing");
  if (confirmed.length > 0) log.info(named(confirmed), "missing from further fetches too, removing");
  // A fetch for another reason, too early to count as a look, is no event.
  const isNews = [...decision.absences].some(([key, { count }]) => input.absences.get(key)?.count !== count);
  if (isNews) tellKept(decision, input, log);
}

function tellKept({ absences, kept, confirmAtMs }: RemovalDecision, input: RemovalInput, log: Logger): void {
  const routers = routersOf(kept, input.known);
  const values = [...absences.values()];
  const doubt = values.map((absence) => absence.doubt).find((found) => found !== undefined);
  log.warn(
    {
      ...named(routers),
      why: doubt ?? "absent without a word",
      fetchesLeft: values.reduce((most, absence) => Math.max(most, looksLeft(absence)), 0),
      nextFetchInMs: (confirmAtMs ?? input.nowMs) - input.nowMs,
      how: howToForce(routers, input.listed),
    },
    "missing from the list, kept until further fetches say the same",
  );
}

const named = (routers: readonly RouterId[]) => ({
  routers: routers.slice(0, MAX_NAMED),
  routerCount: routers.length,
});

function howToForce(routers: readonly RouterId[], listed: RemovalInput["listed"]): string {
  const [first, ...more] = routers;
  const command = `\`swanherd teardown --router ${more.length === 0 ? (first ?? "ID") : "ID"} --yes\``;
  return routers.every((router) => listed.has(router))
    ? `a cast that names the router confirms it at once; ${command} takes the whole router down now`
    : `${command} removes ${more.length === 0 ? "it" : "one of them"} now`;
}

function routersOf(
  keys: ReadonlySet<AbsentKey>,
  known: ReadonlyMap<RouterId, ReadonlySet<ConnectionId>>,
): readonly RouterId[] {
  return [...known].flatMap(([router, connections]) =>
    keys.has(router) || [...connections].some((connection) => keys.has(connection)) ? [router] : [],
  );
}
