// Topology `router`: in the router's own namespace, beside what is Neutron's, which has to stay as it is, nothing but two tables
// of nft, and what charon makes for ESP in userland.
import { checkTables, differencesIn, guardedPairs, guardProblems, tablesIn, type Table } from "./guard.ts";
import { CHARON_LINK, networkFinding, readLinks, readOurRoutes, readRules } from "./kernel.ts";
import type { PlaceCheck } from "./places.ts";
import { run } from "./run.ts";
import type { Subject, SubjectRouter } from "./subject.ts";
import type { WantedRouter } from "./wanted.ts";

const CHARON_RULE = "220: 220";
const namespaceOf = (id: string): string => `qrouter-${id}`;

export const router: PlaceCheck = {
  namespaceOf,
  isOwnNamespace: false,
  bridgePorts: 0,
  checkNetwork: async ({ id }, of, subject) =>
    (await problemsIn(of, subject, [CHARON_LINK, CHARON_RULE])).map((text) => networkFinding(id, text)),
  checkGuard: (wanted) => checkTables(wanted, namespaceOf(wanted.id), problemsOfTable),
  checkLeft: async (of, subject) => {
    const tables = await tablesIn(namespaceOf(of.id));
    return [...tables.map((name) => `table inet ${name} is left of it`), ...(await problemsIn(of, subject, []))].map(
      (text) => networkFinding(of.id, text),
    );
  },
};

/** What is not Neutron's, and not among what charon may have; and what is Neutron's, and is another. */
async function problemsIn(
  { id, isOwnLink }: SubjectRouter,
  subject: Subject,
  allowed: readonly string[],
): Promise<readonly string[]> {
  const own = namespaceOf(id);
  const [links, routes, rules, chains] = await Promise.all([
    readLinks(own),
    readOurRoutes(own, "table", "all"),
    readRules(own),
    run("ip", "netns", "exec", own, "iptables-nft-save"),
  ]);
  if (links === undefined || routes === undefined || rules === undefined) return [`${own} is not there`];
  const names = links.map(({ ifname }) => ifname).filter((name) => !isOwnLink(name));
  const strangers = [...names, ...rules].filter((one) => !allowed.includes(one));
  const known = subject.chainsOf(id);
  return [
    ...strangers.map((one) => `${one} is a stranger in ${own}`),
    ...routes.map((route) => `route ${route} is a stranger in ${own}`),
    ...(chains !== undefined && rulesOf(chains) === known
      ? []
      : [`Neutron's chains in ${own} are not as it wrote them`]),
  ];
}

/** Without the times in it; those who use nft below iptables have no counters. */
const rulesOf = (saved: string): string => saved.replaceAll(/^#.*\n?/gm, "");

/** Beside what holds everywhere no packet of a connection is translated, or leaves after it was. */
function problemsOfTable(wanted: WantedRouter, table: Table): readonly string[] {
  const pairs = guardedPairs(wanted);
  const both = pairs.flatMap((pair) => [pair.out, pair.in]);
  return [
    ...guardProblems(wanted, table),
    ...differencesIn(table.rules, "drop", { egress: pairs.map((pair) => pair.out) }),
    ...differencesIn(table.rules, "dnat", { nat_destination: both }),
    ...differencesIn(table.rules, "snat", { nat_source: both }),
  ];
}
