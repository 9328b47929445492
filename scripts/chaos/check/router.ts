// Topology `router`: in the router's own namespace, beside what is Neutron's, which has to stay as it is, nothing but two tables
// of nft, routes and rules that stand in for them, and what charon makes for ESP in userland.
import { checkTables, differencesIn, guardedPairs, guardProblems, tablesIn, type Table } from "./guard.ts";
import { checkNoIpsec } from "./ipsec.ts";
import { CHARON_LINK, missing, networkFinding, readLinks, readOurRoutes, readRules, unique } from "./kernel.ts";
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
  checkNetwork: async (wanted, of, subject) =>
    (await problemsIn(of, subject, charonsIn(subject), standInsOf(wanted, subject))).map((text) =>
      networkFinding(wanted.id, text),
    ),
  checkGuard: (wanted) => checkTables(wanted, namespaceOf(wanted.id), problemsOfTable),
  checkLeft: async (of, subject) => {
    const tables = await tablesIn(namespaceOf(of.id));
    return [
      ...tables.map((name) => `table inet ${name} is left of it`),
      ...(await problemsIn(of, subject, [], { rules: [], routes: [] })),
      ...(subject.espBackEnd === "kernel" ? await checkNoIpsec(namespaceOf(of.id)) : []),
    ].map((text) => networkFinding(of.id, text));
  },
};

type StandIns = { readonly rules: readonly string[]; readonly routes: readonly string[] };

/** It makes its rule with ESP in the kernel, too, where nothing is in the table. */
const charonsIn = ({ espBackEnd }: Subject): readonly string[] =>
  espBackEnd === "kernel" ? [CHARON_RULE] : [CHARON_LINK, CHARON_RULE];

/**
 * What keeps the router's default route from taking what is for a peer, should both tables of nft be gone. With ESP in the
 * kernel policies do that.
 */
function standInsOf({ connections }: WantedRouter, { espBackEnd }: Subject): StandIns {
  if (connections.length === 0 || espBackEnd === "kernel") return { rules: [], routes: [] };
  const pairs = connections.flatMap(({ localSubnets, peerSubnets }) =>
    localSubnets.flatMap((local) => peerSubnets.map((peer) => `32765: 215 from ${local} to ${peer}`)),
  );
  return { rules: ["32764: main but its default", ...unique(pairs)], routes: ["blackhole default table 215"] };
}

/** What is not Neutron's, and not among what charon may have; and what is Neutron's, and is another. */
async function problemsIn(
  { id, isOwnLink }: SubjectRouter,
  subject: Subject,
  allowed: readonly string[],
  standIns: StandIns,
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
  const strangers = names.filter((one) => !allowed.includes(one));
  const known = subject.chainsOf(id);
  return [
    ...strangers.map((one) => `${one} is a stranger in ${own}`),
    ...missing(
      standIns.rules,
      rules.filter((one) => !allowed.includes(one)),
      own,
    ),
    ...missing(standIns.routes, routes, own),
    ...(chains !== undefined && known !== undefined && rulesOf(chains) === rulesOf(known)
      ? []
      : [`Neutron's chains in ${own} are not as it wrote them`]),
  ];
}

/** Without the times in it, and what was counted. */
const rulesOf = (saved: string): string => saved.replaceAll(/^#.*\n?/gm, "").replaceAll(/\[\d+:\d+\]/g, "[0:0]");

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
