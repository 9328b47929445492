// Topology `router`: in the router's own namespace, beside what is Neutron's, which has to stay as it is, nothing but two tables
// of nft, and what charon makes for ESP in userland.
import { differencesIn, DROPS, guardedPairs, guardFinding, guardProblems, readTable, type Table } from "./guard.ts";
import { CHARON_LINK, networkFinding, readLinks, readOurRoutes, readRules } from "./kernel.ts";
import type { PlaceCheck } from "./places.ts";
import { run } from "./run.ts";
import type { Finding, Subject, SubjectRouter } from "./subject.ts";
import type { WantedRouter } from "./wanted.ts";

const CHARON_RULE = "220: 220";
const NAT = "swanherd_nat";
const namespaceOf = (id: string): string => `qrouter-${id}`;

export const router: PlaceCheck = {
  namespaceOf,
  isOwnNamespace: false,
  bridgePorts: 0,
  checkNetwork: async ({ id }, of, subject) =>
    (await problemsIn(of, subject, [CHARON_LINK, CHARON_RULE])).map((text) => networkFinding(id, text)),
  checkGuard,
  checkLeft: async (of, subject) => {
    const tables = await readBoth(namespaceOf(of.id));
    return [
      ...Object.entries(tables).flatMap(([name, table]) =>
        table === undefined ? [] : [`table inet ${name} is left of it`],
      ),
      ...(await problemsIn(of, subject, [])),
    ].map((text) => networkFinding(of.id, text));
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

async function checkGuard(wanted: WantedRouter): Promise<readonly Finding[]> {
  const { [DROPS]: drops, [NAT]: nat } = await readBoth(namespaceOf(wanted.id));
  return [
    ...(drops === undefined ? [`there is no table inet ${DROPS}`] : dropProblems(wanted, drops)),
    ...(nat === undefined ? [`there is no table inet ${NAT}`] : natProblems(wanted, nat)),
  ].map((text) => guardFinding(wanted, text));
}

const readBoth = async (namespace: string) => ({
  [DROPS]: await readTable(namespace, DROPS),
  [NAT]: await readTable(namespace, NAT),
});

/** Beside what holds everywhere no packet of a connection leaves after it was translated. */
const dropProblems = (wanted: WantedRouter, table: Table): readonly string[] => [
  ...guardProblems(wanted, table),
  ...differencesIn(table.rules, "drop", { egress: guardedPairs(wanted).map((pair) => pair.out) }),
];

/** No packet of a connection is translated. */
function natProblems(wanted: WantedRouter, { rules }: Table): readonly string[] {
  const both = guardedPairs(wanted).flatMap((pair) => [pair.out, pair.in]);
  return [
    ...differencesIn(rules, "dnat", { nat_destination: both }),
    ...differencesIn(rules, "snat", { nat_source: both }),
  ];
}
