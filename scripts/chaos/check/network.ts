// Desired against the network: a router's links, addresses and routes, in its VPN namespace and in its own.
import { run, runJson } from "./run.ts";
import type { Finding, Subject } from "./subject.ts";
import type { WantedRouter } from "./wanted.ts";

type Link = {
  readonly ifname: string;
  readonly ifalias?: string;
  readonly mtu: number;
  readonly operstate: string;
  readonly flags: readonly string[];
  readonly linkinfo?: { readonly info_kind?: string };
  readonly addr_info?: readonly { readonly local: string; readonly prefixlen: number; readonly family: string }[];
};
type Route = {
  readonly dst: string;
  readonly type?: string;
  readonly gateway?: string;
  readonly dev?: string;
  readonly protocol?: string;
  readonly table?: string;
};
type RoutingRule = { readonly priority: number; readonly table: string; readonly suppress_prefixlen?: number };

const TRANSIT = { near: "169.254.0.1", far: "169.254.0.2", prefix: 28 };
/** What the program marks its routes with. */
const PROTOCOL = "215";
/** What keeps a router's default route from taking what is for a peer, should the routes of table main be gone. */
const STAND_IN = { table: "215", rules: ["32764: main but its default", "32765: 215"] };

export async function checkNetwork(router: WantedRouter, subject: Subject): Promise<readonly Finding[]> {
  const vpn = `qvpn-${router.id}`;
  const own = `qrouter-${router.id}`;
  const [links, routes, ownLinks, ownRoutes, ownRules] = await Promise.all([
    readLinks(vpn),
    readRoutes(vpn),
    readLinks(own),
    readRoutes(own, "table", "all"),
    readRules(own),
  ]);
  if (links === undefined || routes === undefined) return [findingOf(router, "its namespace is not there")];
  if (ownLinks === undefined || ownRoutes === undefined || ownRules === undefined)
    throw new Error(`${own} is gone, and nobody may take it`);
  const outside = links.find((link) => has(link, router.address, 24));
  const inside = links.find((link) => has(link, TRANSIT.far, TRANSIT.prefix));
  const near = ownLinks.find((link) => has(link, TRANSIT.near, TRANSIT.prefix));
  const strangers = ownLinks.filter((link) => link !== near && !subject.isOwnLink(link.ifname));
  return [
    ...linkProblems("outside", outside, router.mtu),
    ...linkProblems("inside", inside, undefined),
    ...linkProblems("near", near, undefined),
    ...surplusLinks(links, outside, inside),
    ...strangers.map(({ ifname }) => `${ifname} is a stranger in ${own}`),
    ...missing(wantedRoutes(router, outside, inside), ours(routes), vpn),
    ...missing(wantedOwnRoutes(router, near), ours(ownRoutes), own),
    ...missing(router.connections.length === 0 ? [] : STAND_IN.rules, ownRules, own),
  ].map((text) => findingOf(router, text));
}

const findingOf = (router: WantedRouter, text: string): Finding => ({ invariant: "network", about: router.id, text });

const readLinks = async (namespace: string): Promise<readonly Link[] | undefined> =>
  (await runJson("ip", "-n", namespace, "-j", "-d", "addr", "show")) as readonly Link[] | undefined;

const readRoutes = async (namespace: string, ...tables: readonly string[]): Promise<readonly Route[] | undefined> =>
  (await runJson("ip", "-n", namespace, "-j", "-d", "-4", "route", "show", ...tables)) as readonly Route[] | undefined;

/** Those that are not the kernel's. */
async function readRules(namespace: string): Promise<readonly string[] | undefined> {
  const rules = (await runJson("ip", "-n", namespace, "-j", "-4", "rule", "show")) as
    readonly RoutingRule[] | undefined;
  return rules
    ?.filter(({ priority }) => ![0, 32_766, 32_767].includes(priority))
    .map((rule) => `${rule.priority}: ${rule.table}${rule.suppress_prefixlen === 0 ? " but its default" : ""}`);
}

const has = (link: Link, address: string, prefix: number): boolean =>
  (link.addr_info ?? []).some(({ local, prefixlen }) => local === address && prefixlen === prefix);

function linkProblems(what: string, link: Link | undefined, mtu: number | undefined): readonly string[] {
  if (link === undefined) return [`no link has the ${what} address`];
  const extra = (link.addr_info ?? []).filter(({ family }) => family === "inet").length - 1;
  return [
    ...(link.flags.includes("LOWER_UP") && link.flags.includes("UP") ? [] : [`${link.ifname} is not up`]),
    ...(mtu === undefined || link.mtu === mtu ? [] : [`${link.ifname} has MTU ${link.mtu}, not ${mtu}`]),
    ...(extra === 0 ? [] : [`${link.ifname} has ${extra} addresses too many`]),
  ];
}

const surplusLinks = (links: readonly Link[], ...expected: readonly (Link | undefined)[]): readonly string[] =>
  links
    // strongSwan's TUN device is charon's own.
    .filter((link) => !expected.includes(link) && !["lo", "ipsec0"].includes(link.ifname))
    .map(({ ifname }) => `${ifname} is a stranger in its namespace`);

const ours = (routes: readonly Route[]): readonly string[] =>
  routes.filter(({ protocol }) => protocol === PROTOCOL).map(routeText);

const routeText = ({ dst, type = "unicast", gateway, dev, table = "main" }: Route): string =>
  [
    type === "unicast" ? `${dst} via ${String(gateway)} dev ${String(dev)}` : `${type} ${dst}`,
    ...(table === "main" ? [] : [`table ${table}`]),
  ].join(" ");

const unique = (texts: readonly string[]): readonly string[] => [...new Set(texts)];

const wantedRoutes = (router: WantedRouter, outside: Link | undefined, inside: Link | undefined): readonly string[] => [
  `default via ${router.gateway} dev ${String(outside?.ifname)}`,
  ...unique(router.connections.flatMap(({ localSubnets }) => localSubnets)).map(
    (subnet) => `${subnet} via ${TRANSIT.near} dev ${String(inside?.ifname)}`,
  ),
];

/** A peer's subnet is reached through the VPN namespace or not at all. */
const wantedOwnRoutes = (router: WantedRouter, near: Link | undefined): readonly string[] =>
  unique(router.connections.flatMap(({ peerSubnets }) => peerSubnets)).flatMap((subnet) => [
    `${subnet} via ${TRANSIT.far} dev ${String(near?.ifname)}`,
    `unreachable ${subnet}`,
    `unreachable ${subnet} table ${STAND_IN.table}`,
  ]);

function missing(expected: readonly string[], are: readonly string[], where: string): readonly string[] {
  return [
    ...expected.filter((one) => !are.includes(one)).map((one) => `no ${one} in ${where}`),
    ...are.filter((one) => !expected.includes(one)).map((one) => `${one} in ${where}, unwanted`),
  ];
}

type Expression = Readonly<Record<string, unknown>>;
type Rule = { readonly chain: string; readonly expr: readonly Expression[] };

/** The packet filter: every pair of subnets of a listed connection, both ways, and the clamp of the segment size. */
export async function checkGuard(router: WantedRouter): Promise<readonly Finding[]> {
  const finding = (text: string): Finding => ({ invariant: "guard", about: router.id, text });
  const text = await run("ip", "netns", "exec", `qvpn-${router.id}`, "nft", "-j", "list", "table", "inet", "swanherd");
  if (text === undefined) return [finding("there is no table inet swanherd")];
  const listing = JSON.parse(text) as {
    readonly nftables: readonly { readonly rule?: Rule; readonly chain?: { readonly hook?: string } }[];
  };
  const rules = listing.nftables.flatMap(({ rule }) => rule ?? []);
  const hooks = listing.nftables.flatMap(({ chain }) => chain?.hook ?? []);
  return [
    ...["forward", "input", "output"].filter((hook) => !hooks.includes(hook)).map((hook) => `nothing at hook ${hook}`),
    ...dropProblems(router, rules),
    ...openings(rules),
    ...clampProblems(router, rules),
  ].map(finding);
}

const pairText = (from: string, to: string): string => `${from} > ${to}`;

function dropProblems(router: WantedRouter, rules: readonly Rule[]): readonly string[] {
  const pairs = router.connections.flatMap(({ localSubnets, peerSubnets }) =>
    localSubnets.flatMap((local) =>
      peerSubnets.map((peer) => ({ out: pairText(local, peer), in: pairText(peer, local) })),
    ),
  );
  const expected: Readonly<Record<string, readonly string[]>> = {
    forward: pairs.flatMap((pair) => [pair.out, pair.in]),
    input: pairs.map((pair) => pair.in),
    output: pairs.map((pair) => pair.out),
  };
  return Object.entries(expected).flatMap(([chain, wanted]) => {
    const dropped = rules
      .filter((rule) => rule.chain === chain && rule.expr.some((one) => "drop" in one))
      .flatMap(pairsOf);
    return [
      ...wanted.filter((pair) => !dropped.includes(pair)).map((pair) => `${chain} does not drop ${pair}`),
      ...dropped.filter((pair) => !wanted.includes(pair)).map((pair) => `${chain} drops ${pair}, unwanted`),
    ];
  });
}

/** Sources and destinations of a rule, each with each. */
function pairsOf({ expr }: Rule): readonly string[] {
  const sources = addressesAt(expr, "saddr");
  const targets = addressesAt(expr, "daddr");
  return sources.flatMap((from) => targets.map((to) => pairText(from, to)));
}

function addressesAt(expr: readonly Expression[], field: string): readonly string[] {
  return expr.flatMap(({ match }) => {
    const { left, right } = (match ?? {}) as { left?: { payload?: { field?: string } }; right?: unknown };
    return left?.payload?.field === field ? prefixesOf(right) : [];
  });
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
