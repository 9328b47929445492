// What must never pass in clear, as one nftables transaction (libnftables JSON). It knows neither nft nor the kernel.
import { addressBits, addressText, canonicalCidr, familyOf, maskText, parseCidr, withoutContained } from "./address.ts";
import type { Cidr, Guarded, IpFamily } from "./model.ts";

export type EspBackEnd = "kernel" | "userland";

/** `mtuBytes` undefined: no MSS clamp for this pair. */
export type GuardPair = Guarded & { readonly mtuBytes: number | undefined };

type CommonGuard = {
  readonly pairs: readonly GuardPair[];
  readonly espBackEnd: EspBackEnd;
  /** Addresses on `lo` that exist for kernel-libipsec only; no packet is for them. */
  readonly loopbackAddresses: readonly string[];
};

/** In a namespace of our own. */
export type TransitGuard = CommonGuard & {
  /** The link towards the local subnets. */
  readonly transitLink: string;
};

/** In the namespace of a router, beside its own packet filter and NAT. */
export type RouterGuard = CommonGuard & {
  /** Names of the links towards the local subnets; `*` at the end stands for anything. */
  readonly innerLinks: readonly string[];
  /** Of IPv4, which charon speaks from: what it sends keeps its address and port, which Neutron would change. */
  readonly ikeAddresses: readonly string[];
  /** An empty chain whose name says whose a table is. */
  readonly ownerChain: string;
};

export type Guard = TransitGuard | RouterGuard;

/** Both hold the same: whoever deletes or flushes one of them, or takes a rule out of it, opens nothing. */
export const GUARD_TABLES = ["swanherd", "swanherd_spare"] as const;
/** kernel-libipsec's TUN device; the name is fixed in strongSwan (kernel_libipsec_router.c). */
export const USERLAND_ESP_LINK = "ipsec0";

type Expression = Readonly<Record<string, unknown>>;
type Rule = readonly Expression[];
type Chain = {
  readonly name: string;
  readonly type?: "filter" | "nat";
  readonly hook: string;
  readonly prio: number;
  readonly rules: readonly Rule[];
};

// A drop is final in whatever chain it happens, so the only thing that priority decides is who sees the packet before:
// ours run before the filter chains (0) of others, and the MSS is set at mangle's usual place.
const GUARD_PRIORITY = -10;
const MANGLE_PRIORITY = -150;

const match = (left: Expression, op: string, right: unknown): Expression => ({ match: { op, left, right } });
const meta = (key: string): Expression => ({ meta: { key } });
const payload = (protocol: string, field: string): Expression => ({ payload: { protocol, field } });

/** The commands of one transaction, which replaces whole tables: readers see the old rules or the new ones. */
export function guardRuleset(guard: Guard): { readonly nftables: readonly Expression[] } {
  const ofRouter = "ownerChain" in guard ? guard : undefined;
  const blocks = coveredBlocks(guard.pairs);
  const drops: readonly Chain[] = [
    { name: "forward", hook: "forward", prio: GUARD_PRIORITY, rules: forwardRules(guard, blocks) },
    { name: "input", hook: "input", prio: GUARD_PRIORITY, rules: inputRules(guard, blocks) },
    { name: "output", hook: "output", prio: GUARD_PRIORITY, rules: outputRules(guard, blocks) },
    ...(ofRouter === undefined ? [] : [egressChain(ofRouter, blocks)]),
  ];
  const chains: readonly Chain[] = [
    ...drops,
    { name: "mss", hook: "forward", prio: MANGLE_PRIORITY, rules: mssRules(guard.pairs) },
    ...(ofRouter === undefined ? [] : natChains(ofRouter, blocks)),
  ];
  return {
    nftables: GUARD_TABLES.flatMap((table, at) => [
      ...emptyTable(table, ofRouter?.ownerChain),
      ...drops.map(({ name }) => ({ add: { counter: { family: "inet", table, name: counterName(name) } } })),
      // Chains of one priority have no order that could be relied on: the spare's come after, and count what the others missed.
      ...chains.flatMap((chain) => addChain(table, { ...chain, prio: chain.prio + at })),
    ]),
  };
}

const addTable = (name: string): Expression => ({ add: { table: { family: "inet", name } } });

/** `add` first: `delete` of a table that is not there would fail the transaction. */
const noTable = (name: string): readonly Expression[] => [
  addTable(name),
  { delete: { table: { family: "inet", name } } },
];

const emptyTable = (table: string, ownerChain: string | undefined): readonly Expression[] => [
  ...noTable(table),
  addTable(table),
  ...(ownerChain === undefined ? [] : [{ add: { chain: { family: "inet", table, name: ownerChain } } }]),
];

const addChain = (table: string, { name, type = "filter", hook, prio, rules }: Chain): readonly Expression[] => [
  { add: { chain: { family: "inet", table, name, type, hook, prio, policy: "accept" } } },
  ...rules.map((expr) => ({ add: { rule: { family: "inet", table, chain: name, expr } } })),
];

/** Takes the tables away, also where there are none. */
export const noGuardRuleset: { readonly nftables: readonly Expression[] } = { nftables: GUARD_TABLES.flatMap(noTable) };

/** Counts what was dropped in a hook because it was in clear. */
export const counterName = (hook: string): string => `clear_${hook}`;

/** Does `outer` guard at least all that `inner` guards? */
export function guardCovers(outer: Guard, inner: Guard): boolean {
  const held = new Set(pairKeys(outer.pairs));
  return (
    outer.espBackEnd === inner.espBackEnd &&
    guardWays(outer) === guardWays(inner) &&
    pairKeys(inner.pairs).every((key) => held.has(key)) &&
    inner.loopbackAddresses.every((address) => outer.loopbackAddresses.includes(address))
  );
}

/** Guards what either guards; where they cannot both be, it is `wanted` that counts. */
export const guardUnion = (wanted: Guard, held: Guard): Guard => ({
  ...wanted,
  pairs: [...wanted.pairs, ...held.pairs],
  loopbackAddresses: [...new Set([...wanted.loopbackAddresses, ...held.loopbackAddresses])],
});

export const guardsEqual = (a: Guard, b: Guard): boolean =>
  JSON.stringify(a) === JSON.stringify(b) || JSON.stringify(guardRuleset(a)) === JSON.stringify(guardRuleset(b));

const guardWays = (guard: Guard): string =>
  "ownerChain" in guard ? [guard.ownerChain, ...guard.innerLinks].join(" ") : guard.transitLink;

/** Does it guard all of these? */
export function holdsPairs(guard: Guard | undefined, pairs: readonly Guarded[]): boolean {
  const held = new Set(pairKeys(guard?.pairs ?? []));
  return pairKeys(pairs).every((key) => held.has(key));
}

function pairKeys(pairs: readonly Guarded[]): readonly string[] {
  return pairs.flatMap((pair) =>
    pair.localSubnets.flatMap((local) => pair.peerSubnets.map((peer) => `${local} ${peer}`)),
  );
}

/** Of one family and one prefix length, by their first addresses. */
type Subnets = { readonly family: IpFamily; readonly prefixLength: number; readonly networks: readonly string[] };

/** Each of the locals is guarded against each of the peers, which are of the same family. */
type Block = { readonly locals: Subnets; readonly peers: Subnets };

/**
 * Not one rule a pair: locals with the same peers share a rule with all of these, one for each prefix length of the locals and
 * each of the peers.
 * A set of concatenations would be one lookup, but the kernel refuses overlapping elements there (ENOTEMPTY), and pairs
 * of independent connections may overlap in any way.
 */
function coveredBlocks(pairs: readonly Guarded[]): readonly Block[] {
  const peersOf = new Map<Cidr, Set<Cidr>>();
  for (const pair of pairs) {
    for (const local of pair.localSubnets.map(canonicalCidr)) {
      const peers = pair.peerSubnets.map(canonicalCidr).filter((peer) => familyOf(peer) === familyOf(local));
      if (peers.length === 0) continue;
      peersOf.set(local, new Set([...(peersOf.get(local) ?? []), ...peers]));
    }
  }
  const blocks = new Map<string, { readonly locals: Cidr[]; readonly peers: readonly Cidr[] }>();
  for (const [local, all] of peersOf) {
    const peers = withoutContained([...all]);
    const key = peers.join(" ");
    const block = blocks.get(key);
    if (block === undefined) blocks.set(key, { locals: [local], peers });
    else block.locals.push(local);
  }
  return [...blocks.entries()]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([, block]) =>
      byPrefixLength(withoutContained(block.locals)).flatMap((locals) =>
        byPrefixLength(block.peers).map((peers) => ({ locals, peers })),
      ),
    );
}

function byPrefixLength(cidrs: readonly Cidr[]): readonly Subnets[] {
  const byLength = new Map<number, { family: IpFamily; prefixLength: number; networks: string[] }>();
  for (const cidr of cidrs) {
    const { family, bytes, prefixLength } = parseCidr(cidr);
    const same = byLength.get(prefixLength) ?? { family, prefixLength, networks: [] };
    same.networks.push(addressText(bytes));
    byLength.set(prefixLength, same);
  }
  return [...byLength.values()];
}

/**
 * Is the address in one of the subnets? Its network is looked up in a set of single addresses. Prefixes would make it a set of
 * intervals, in which nothing is found for some 0.1 ms after the rules of a new table are in force (Linux 6.18: nf_tables_commit
 * publishes what such sets hold last of all): with each replacement of the guard some packets would pass it.
 */
function within(address: Expression, { family, prefixLength, networks }: Subnets): Expression {
  if (prefixLength === 0) return match(meta("nfproto"), "==", family === 4 ? "ipv4" : "ipv6");
  const isWhole = prefixLength === addressBits(family);
  const network = isWhole ? address : { "&": [address, maskText(family, prefixLength)] };
  const [first, ...more] = networks;
  return match(network, "==", more.length === 0 ? first : { set: [...networks] });
}

type Field = "saddr" | "daddr";
/** What nft calls the header that holds such addresses. */
const headerOf = ({ family }: { readonly family: IpFamily }): string => (family === 4 ? "ip" : "ip6");
const addressIn = (field: Field, subnets: Subnets): Expression => within(payload(headerOf(subnets), field), subnets);

const outbound = ({ locals, peers }: Block): Rule => [addressIn("saddr", locals), addressIn("daddr", peers)];
const inbound = ({ locals, peers }: Block): Rule => [addressIn("saddr", peers), addressIn("daddr", locals)];
const droppedBy = (hook: string): Rule => [{ counter: counterName(hook) }, { drop: null }];
const ACCEPT: Expression = { accept: null };

// rt ipsec: the route has an xfrm transformation ahead; meta secpath: the packet came through one. Kernels without ESP
// accept the rules and never match them, so they can be tried only where the kernel does ESP.
const willBeEncrypted = match({ rt: { key: "ipsec" } }, "==", true);
const wasEncrypted = match(meta("secpath"), "==", true);
const from = (link: string): Expression => match(meta("iifname"), "==", link);
const to = (link: string): Expression => match(meta("oifname"), "==", link);

/** Ways of a guarded packet through the gateway that are not in clear. Selectors may be 0.0.0.0/0 on both sides. */
function protectedWays(guard: Guard): readonly Rule[] {
  const inner = innerLinks(guard);
  if (guard.espBackEnd === "kernel") return [[willBeEncrypted], ...inner.map((link) => [wasEncrypted, to(link)])];
  return [
    ...inner.flatMap((link) => [
      [from(link), to(USERLAND_ESP_LINK)],
      [from(USERLAND_ESP_LINK), to(link)],
    ]),
    [from(USERLAND_ESP_LINK), to(USERLAND_ESP_LINK)],
  ];
}

const innerLinks = (guard: Guard): readonly string[] =>
  "ownerChain" in guard ? guard.innerLinks : [guard.transitLink];

function forwardRules(guard: Guard, blocks: readonly Block[]): readonly Rule[] {
  return [
    ...protectedWays(guard).map((way) => [...way, ACCEPT]),
    ...blocks.flatMap((block) => [
      [...outbound(block), ...droppedBy("forward")],
      [...inbound(block), ...droppedBy("forward")],
    ]),
  ];
}

// What keeps a gateway alive even when the guarded networks are 0.0.0.0/0 and ::/0: IKE and ESP with the peers, and the
// neighbours on the links (ARP is not seen by an inet table).
const gatewayTraffic = (port: "sport" | "dport"): readonly Rule[] => [
  ...ipsecTraffic(port),
  [match(payload("ip6", "saddr"), "==", { prefix: { addr: "fe80::", len: 10 } }), ACCEPT],
  [
    match(payload("ip", "saddr"), "==", { prefix: { addr: "169.254.0.0", len: 16 } }),
    match(payload("ip", "daddr"), "==", { prefix: { addr: "169.254.0.0", len: 16 } }),
    ACCEPT,
  ],
  [match(payload("icmpv6", "type"), "==", { set: ["nd-neighbor-solicit", "nd-neighbor-advert"] }), ACCEPT],
];

// Path MTU discovery of the outer packets needs them. Taken in only: an error that we send quotes a packet in clear.
const receivedErrors: readonly Rule[] = [
  [
    match(payload("icmp", "type"), "==", { set: ["destination-unreachable", "time-exceeded", "parameter-problem"] }),
    ACCEPT,
  ],
  [
    match(payload("icmpv6", "type"), "==", {
      set: ["destination-unreachable", "packet-too-big", "time-exceeded", "parameter-problem"],
    }),
    ACCEPT,
  ],
];

const IKE_PORTS = { set: [500, 4500] };
const IPSEC_PROTOCOLS = { set: ["esp", "ah"] };
const ipsecTraffic = (port: "sport" | "dport"): readonly Rule[] => [
  [match(payload("udp", port), "==", IKE_PORTS), ACCEPT],
  [match(meta("l4proto"), "==", IPSEC_PROTOCOLS), ACCEPT],
];

// A router answers its own networks, such as their questions for metadata and names, also where a peer claims them.
const leaving = (guard: Guard): Rule =>
  "ownerChain" in guard ? guard.innerLinks.map((link) => match(meta("oifname"), "!=", link)) : [];
const arriving = (guard: Guard): Rule =>
  "ownerChain" in guard ? guard.innerLinks.map((link) => match(meta("iifname"), "!=", link)) : [];

function inputRules(guard: Guard, blocks: readonly Block[]): readonly Rule[] {
  const clear = guard.espBackEnd === "kernel" ? match(meta("secpath"), "==", false) : notOn("iifname");
  const loopbacks = ([4, 6] as const).flatMap((family) => {
    const addresses = guard.loopbackAddresses.filter((address) => familyOf(address) === family);
    if (addresses.length === 0) return [];
    return [[match(payload(headerOf({ family }), "daddr"), "==", { set: [...addresses] }), { drop: null }]];
  });
  return [
    [match(meta("iif"), "==", "lo"), ACCEPT],
    ...loopbacks,
    ...gatewayTraffic("dport"),
    ...receivedErrors,
    ...blocks.map((block) => [clear, ...arriving(guard), ...inbound(block), ...droppedBy("input")]),
  ];
}

function outputRules(guard: Guard, blocks: readonly Block[]): readonly Rule[] {
  const clear = guard.espBackEnd === "kernel" ? match({ rt: { key: "ipsec" } }, "==", false) : notOn("oifname");
  return [
    [match(meta("oif"), "==", "lo"), ACCEPT],
    ...gatewayTraffic("sport"),
    ...blocks.map((block) => [clear, ...leaving(guard), ...outbound(block), ...droppedBy("output")]),
  ];
}

// NAT of the kernel is settled by the first of all nat chains that translates, whoever's it is and however it was made
// (nf_nat_inet_fn); an accept settles nothing. So ours come before those of others (-100 and 100) and translate an address
// to itself. They are in no chain of Neutron's, which rewrites its own.
const NAT_LEAD = 10;
const DNAT_PRIORITY = -100 - NAT_LEAD;
const SNAT_PRIORITY = 100 - NAT_LEAD;
/** Before connection tracking (-200): a connection that was translated before the guard came must not be found again. */
const ZONE_PRIORITY = -300;
/** After all of NAT. */
const EGRESS_PRIORITY = 300;
/** After Neutron's marks (-150). */
const SCOPE_PRIORITY = -149;
/** Any number: of a router's namespace nobody else divides the connections. */
const CONNTRACK_ZONE = 215;

/** What the router's own NAT and filter must not do to a guarded packet; unrelated ones match nothing in here. */
function natChains(guard: RouterGuard, blocks: readonly Block[]): readonly Chain[] {
  const zone: readonly Expression[] = [{ mangle: { key: { ct: { key: "zone" } }, value: CONNTRACK_ZONE } }];
  const bothWays = (then: (block: Block) => readonly Expression[]): readonly Rule[] =>
    blocks.flatMap((block) => [
      [...outbound(block), ...then(block)],
      [...inbound(block), ...then(block)],
    ]);
  const toItself = (kind: "snat" | "dnat") => (block: Block) => [
    {
      [kind]: {
        family: headerOf(block.locals),
        addr: payload(headerOf(block.locals), kind === "snat" ? "saddr" : "daddr"),
      },
    },
  ];
  const received = ownRules(guard, "daddr", "dport", zone);
  const sent = ownRules(guard, "saddr", "sport", zone);
  // With another port either side takes itself to be behind NAT, and has the peer's port change whenever that is chosen anew;
  // and AH is of the address, too, which need not be the one that Neutron translates to.
  const untranslated = ownRules(guard, "saddr", "sport", [{ snat: { family: "ip", addr: payload("ip", "saddr") } }]);
  return [
    {
      name: "zone",
      hook: "prerouting",
      prio: ZONE_PRIORITY,
      rules: [...bothWays(() => zone), ...received],
    },
    {
      name: "zone_output",
      hook: "output",
      prio: ZONE_PRIORITY,
      rules: [...bothWays(() => zone), ...sent],
    },
    {
      name: "nat_destination",
      type: "nat",
      hook: "prerouting",
      prio: DNAT_PRIORITY,
      rules: bothWays(toItself("dnat")),
    },
    {
      name: "nat_source",
      type: "nat",
      hook: "postrouting",
      prio: SNAT_PRIORITY,
      rules: [...bothWays(toItself("snat")), ...untranslated],
    },
    ...(guard.espBackEnd === "userland"
      ? [{ name: "scope", hook: "prerouting", prio: SCOPE_PRIORITY, rules: blocks.map(scopeRule) }]
      : []),
  ];
}

/** Of charon itself, by its address: hosts of the router may speak IKE, too, and are translated as all else is. */
function ownRules(
  { ikeAddresses }: RouterGuard,
  address: "saddr" | "daddr",
  port: "sport" | "dport",
  then: readonly Expression[],
): readonly Rule[] {
  if (ikeAddresses.length === 0) return [];
  const isOwn = match(payload("ip", address), "==", { set: [...ikeAddresses] });
  return [match(payload("udp", port), "==", IKE_PORTS), match(meta("l4proto"), "==", IPSEC_PROTOCOLS)].map((what) => [
    isOwn,
    what,
    ...then,
  ]);
}

/**
 * A packet that NAT changed after the other hooks had seen it matches no IPsec policy any more, and would leave in clear.
 * Connection tracking knows what it was.
 */
function egressChain(guard: RouterGuard, blocks: readonly Block[]): Chain {
  const clear = guard.espBackEnd === "kernel" ? match({ rt: { key: "ipsec" } }, "==", false) : notOn("oifname");
  const rules: readonly Rule[] = [
    // Also where the two gateways themselves are what is guarded.
    ...ipsecTraffic("sport"),
    ...blocks.map((block) => [
      match({ ct: { key: "direction" } }, "==", "original"),
      trackedIn("saddr", block.locals),
      trackedIn("daddr", block.peers),
      ...leaving(guard),
      clear,
      ...droppedBy("egress"),
    ]),
  ];
  return { name: "egress", hook: "postrouting", prio: EGRESS_PRIORITY, rules };
}

const trackedIn = (field: Field, subnets: Subnets): Expression =>
  within({ ct: { key: `${headerOf(subnets)} ${field}`, dir: "original" } }, subnets);

// Neutron lets out of an inner link only what bears the mark of its address scope (l3/router_info.py, filter chain
// `scope`); what enters by a link of charon's bears none. This is the mark of networks without an address scope.
const SCOPE_MASK = 0xffff0000;
const NO_SCOPE_MARK = 0x04000000;

const scopeRule = (block: Block): Rule => [
  from(USERLAND_ESP_LINK),
  ...inbound(block),
  {
    mangle: {
      key: meta("mark"),
      value: { "|": [{ "&": [meta("mark"), ~SCOPE_MASK >>> 0] }, NO_SCOPE_MARK] },
    },
  },
];

const notOn = (key: "iifname" | "oifname"): Expression => match(meta(key), "!=", USERLAND_ESP_LINK);

// TCP's MSS leaves out the fixed headers: 20 bytes of TCP and 20 of IPv4 or 40 of IPv6 (RFC 9293, 3.7.1).
const headerBytes = (family: IpFamily): number => (family === 4 ? 40 : 60);

function mssRules(pairs: readonly GuardPair[]): readonly Rule[] {
  const byMtu = new Map<number, GuardPair[]>();
  for (const pair of pairs) {
    if (pair.mtuBytes !== undefined) byMtu.set(pair.mtuBytes, [...(byMtu.get(pair.mtuBytes) ?? []), pair]);
  }
  const segment = { "tcp option": { name: "maxseg", field: "size" } };
  return [...byMtu.entries()]
    .sort(([a], [b]) => a - b)
    .flatMap(([mtuBytes, ofMtu]) =>
      coveredBlocks(ofMtu).flatMap((block) => {
        const size = mtuBytes - headerBytes(block.locals.family);
        const clamp = [
          match({ "&": [payload("tcp", "flags"), "syn"] }, "==", "syn"),
          match(segment, ">", size),
          { mangle: { key: segment, value: size } },
        ];
        return [
          [...outbound(block), ...clamp],
          [...inbound(block), ...clamp],
        ];
      }),
    );
}
