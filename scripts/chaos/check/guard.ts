// The packet filter of the namespace that charon is in: every pair of subnets of a listed connection is dropped both ways,
// and segments are clamped.
import { run } from "./run.ts";
import type { Finding } from "./subject.ts";
import type { WantedRouter } from "./wanted.ts";

type Expression = Readonly<Record<string, unknown>>;
export type Rule = { readonly chain: string; readonly expr: readonly Expression[] };
type Chain = { readonly name: string; readonly hook?: string };
export type Table = { readonly rules: readonly Rule[]; readonly chains: readonly Chain[] };

/** Either has to hold all that is looked for. */
const TABLES = ["swanherd", "swanherd_spare"];

/** What is wrong with the two, by what is wrong with one. */
export async function checkTables(
  router: WantedRouter,
  namespace: string,
  problemsOf: (router: WantedRouter, table: Table) => readonly string[] = guardProblems,
): Promise<readonly Finding[]> {
  const tables = await readTables(namespace);
  return tables.flatMap(({ name, table }) =>
    (table === undefined ? ["it is not there"] : problemsOf(router, table)).map((text): Finding => {
      return { invariant: "guard", about: router.id, text: `table inet ${name}: ${text}` };
    }),
  );
}

/** Which of them there are. */
export async function tablesIn(namespace: string): Promise<readonly string[]> {
  const tables = await readTables(namespace);
  return tables.flatMap(({ name, table }) => (table === undefined ? [] : [name]));
}

const readTables = (namespace: string) =>
  Promise.all(TABLES.map(async (name) => ({ name, table: await readTable(namespace, name) })));

/** A table of family inet; undefined: there is none. */
async function readTable(namespace: string, name: string): Promise<Table | undefined> {
  const text = await run("ip", "netns", "exec", namespace, "nft", "-j", "list", "table", "inet", name);
  if (text === undefined) return undefined;
  const listing = JSON.parse(text) as {
    readonly nftables: readonly { readonly rule?: Rule; readonly chain?: Chain }[];
  };
  return {
    rules: listing.nftables.flatMap(({ rule }) => rule ?? []),
    chains: listing.nftables.flatMap(({ chain }) => chain ?? []),
  };
}

const HOOKS = ["forward", "input", "output"];

/** What holds in every place. */
export function guardProblems(router: WantedRouter, { rules, chains }: Table): readonly string[] {
  const pairs = guardedPairs(router);
  return [
    ...HOOKS.filter((hook) => !chains.some((one) => one.name === hook && one.hook === hook)).map(
      (hook) => `nothing at hook ${hook}`,
    ),
    ...differencesIn(rules, "drop", {
      forward: pairs.flatMap((pair) => [pair.out, pair.in]),
      input: pairs.map((pair) => pair.in),
      output: pairs.map((pair) => pair.out),
    }),
    ...openings(rules),
    ...clampProblems(router, rules),
  ];
}

/** What goes out from a local subnet to a peer's, and comes in. */
export const guardedPairs = (router: WantedRouter): readonly { readonly out: string; readonly in: string }[] =>
  router.connections.flatMap(({ localSubnets, peerSubnets }) =>
    localSubnets.flatMap((local) =>
      peerSubnets.map((peer) => ({ out: pairText(local, peer), in: pairText(peer, local) })),
    ),
  );

export const pairText = (from: string, to: string): string => `${from} > ${to}`;

/** The pairs that rules of a chain do that to, against those that they should. */
export function differencesIn(
  rules: readonly Rule[],
  what: string,
  expected: Readonly<Record<string, readonly string[]>>,
): readonly string[] {
  return Object.entries(expected).flatMap(([chain, wanted]) => {
    const are = rules.filter((rule) => rule.chain === chain && rule.expr.some((one) => what in one)).flatMap(pairsOf);
    return [
      ...wanted.filter((pair) => !are.includes(pair)).map((pair) => `${chain} has no ${what} of ${pair}`),
      ...are.filter((pair) => !wanted.includes(pair)).map((pair) => `${chain} has a ${what} of ${pair}, unwanted`),
    ];
  });
}

/** Sources and destinations of a rule, each with each. */
function pairsOf({ expr }: Rule): readonly string[] {
  const sources = addressesAt(expr, "saddr");
  const targets = addressesAt(expr, "daddr");
  return sources.flatMap((from) => targets.map((to) => pairText(from, to)));
}

type Matched = {
  readonly payload?: { readonly field?: string };
  readonly ct?: { readonly key?: string };
  /** With a netmask. */
  readonly "&"?: readonly [Matched, string];
};

function addressesAt(expr: readonly Expression[], field: string): readonly string[] {
  return expr.flatMap(({ match }) => {
    const { left, right } = (match ?? {}) as { left?: Matched; right?: unknown };
    const [address, mask] = left?.["&"] ?? [left];
    // Of a packet, or of the connection that it belongs to: `ct original ip saddr`.
    const is = address?.payload?.field ?? /^ip (\w+)$/.exec(address?.ct?.key ?? "")?.[1];
    if (is !== field) return [];
    return prefixesOf(right).map((one) => (mask === undefined ? one : `${one}/${lengthOf(mask)}`));
  });
}

/** Of a netmask such as 255.255.255.0. */
function lengthOf(mask: string): number {
  const bits = mask.split(".").map((byte) => Number(byte).toString(2));
  return bits.join("").replaceAll("0", "").length;
}

function prefixesOf(value: unknown): readonly string[] {
  if (typeof value === "string") return [value];
  const { prefix, set } = value as { prefix?: { addr: string; len: number }; set?: readonly unknown[] };
  if (prefix !== undefined) return [`${prefix.addr}/${prefix.len}`];
  return (set ?? []).flatMap(prefixesOf);
}

/** What is let through when forwarding has to be encrypted, or to come from where it was. */
function openings(rules: readonly Rule[]): readonly string[] {
  return rules
    .filter((rule) => rule.chain === "forward" && rule.expr.some((one) => "accept" in one))
    .map(({ expr }) => JSON.stringify(expr))
    .filter((expr) => !/"ipsec0"|"ipsec"|"secpath"/.test(expr))
    .map((expr) => `forward lets through ${expr}`);
}

function clampProblems(router: WantedRouter, rules: readonly Rule[]): readonly string[] {
  const clamped = new Map(
    rules
      .filter(({ chain }) => chain === "mss")
      .flatMap((rule) => pairsOf(rule).map((pair) => [pair, sizeOf(rule)] as const)),
  );
  // What is off lets nothing through that could be clamped.
  const enabled = router.connections.filter(({ isEnabled }) => isEnabled);
  return enabled.flatMap(({ localSubnets, peerSubnets, mtu }) =>
    localSubnets.flatMap((local) =>
      peerSubnets.flatMap((peer) => {
        const is = clamped.get(pairText(local, peer));
        // The headers of IPv4 and TCP are 20 bytes each.
        return is === mtu - 40 ? [] : [`segments of ${pairText(local, peer)} are ${String(is)}, not ${mtu - 40}`];
      }),
    ),
  );
}

const sizeOf = ({ expr }: Rule): number | undefined => {
  const [, size] = /"mangle":\{.*?"value":(\d+)/.exec(JSON.stringify(expr)) ?? [];
  return size === undefined ? undefined : Number(size);
};
