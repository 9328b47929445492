// What must never pass in clear, as one nftables transaction (libnftables JSON). It knows neither nft nor the kernel.
import { canonicalCidr, familyOf, withoutContained } from "./address.ts";
import type { Cidr, Guarded, IpFamily } from "./model.ts";

export type EspBackEnd = "kernel" | "userland";

/** `mtuBytes` undefined: no MSS clamp for this pair. */
export type GuardPair = Guarded & { readonly mtuBytes: number | undefined };

export type Guard = {
  readonly pairs: readonly GuardPair[];
  readonly espBackEnd: EspBackEnd;
  /** Addresses on `lo` that exist for kernel-libipsec only; no packet is for them. */
  readonly loopbackAddresses: readonly string[];
  /** The link towards the local subnets. */
  readonly transitLink: string;
};

export const GUARD_TABLE = "swanherd";
/** kernel-libipsec's TUN device; the name is fixed in strongSwan (kernel_libipsec_router.c). */
export const USERLAND_ESP_LINK = "ipsec0";

type Expression = Readonly<Record<string, unknown>>;
type Rule = readonly Expression[];

// A drop is final in whatever chain it happens, so the only thing that priority decides is who sees the packet before:
// ours run before the filter chains (0) of others, and the MSS is set at mangle's usual place.
const GUARD_PRIORITY = -10;
const MANGLE_PRIORITY = -150;

const match = (left: Expression, op: string, right: unknown): Expression => ({ match: { op, left, right } });
const meta = (key: string): Expression => ({ meta: { key } });
const payload = (protocol: string, field: string): Expression => ({ payload: { protocol, field } });

/** The commands of one transaction, which replaces the whole table: readers see the old rules or the new ones. */
export function guardRuleset(guard: Guard): { readonly nftables: readonly Expression[] } {
  const table = { family: "inet", name: GUARD_TABLE };
  const blocks = coveredBlocks(guard.pairs);
  const chains: readonly (readonly [name: string, hook: string, priority: number, rules: readonly Rule[]])[] = [
    ["forward", "forward", GUARD_PRIORITY, forwardRules(guard, blocks)],
    ["input", "input", GUARD_PRIORITY, inputRules(guard, blocks)],
    ["output", "output", GUARD_PRIORITY, outputRules(guard, blocks)],
    ["mss", "forward", MANGLE_PRIORITY, mssRules(guard.pairs)],
  ];
  return {
    nftables: [
      // `add` first: `delete` of a table that is not there would fail the transaction.
      { add: { table } },
      { delete: { table } },
      { add: { table } },
      ...["forward", "input", "output"].map((hook) => ({
        add: { counter: { family: "inet", table: GUARD_TABLE, name: counterName(hook) } },
      })),
      ...chains.flatMap(([name, hook, prio, rules]) => [
        {
          add: {
            chain: { family: "inet", table: GUARD_TABLE, name, type: "filter", hook, prio, policy: "accept" },
          },
        },
        ...rules.map((expr) => ({ add: { rule: { family: "inet", table: GUARD_TABLE, chain: name, expr } } })),
      ]),
    ],
  };
}

/** Counts what was dropped in a hook because it was in clear. */
export const counterName = (hook: string): string => `clear_${hook}`;

/** Does `outer` guard at least all that `inner` guards? */
export function guardCovers(outer: Guard, inner: Guard): boolean {
  const held = new Set(pairKeys(outer.pairs));
  return (
    outer.espBackEnd === inner.espBackEnd &&
    outer.transitLink === inner.transitLink &&
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

/** Locals and peers of one family, each of the one guarded against each of the other. */
type Block = { readonly family: IpFamily; readonly locals: readonly Cidr[]; readonly peers: readonly Cidr[] };

/**
 * Not one rule a pair: all peers of a local subnet are gathered in one set, and locals with the same peers share a rule.
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
  const blocks = new Map<string, { family: IpFamily; locals: Cidr[]; peers: readonly Cidr[] }>();
  for (const [local, all] of peersOf) {
    const peers = withoutContained([...all]);
    const key = peers.join(" ");
    const block = blocks.get(key);
    if (block === undefined) blocks.set(key, { family: familyOf(local), locals: [local], peers });
    else block.locals.push(local);
  }
  return [...blocks.entries()]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, block]) => ({ ...block, locals: withoutContained(block.locals) }));
}

const isEverything = (cidr: Cidr): boolean => cidr.endsWith("/0");

function addressIn(family: IpFamily, field: "saddr" | "daddr", cidrs: readonly Cidr[]): Rule {
  if (cidrs.some(isEverything)) return [match(meta("nfproto"), "==", family === 4 ? "ipv4" : "ipv6")];
  const elements = cidrs.map((cidr) => {
    const [addr = "", len = ""] = cidr.split("/");
    return { prefix: { addr, len: Number(len) } };
  });
  return [match(payload(family === 4 ? "ip" : "ip6", field), "==", { set: elements })];
}

const outbound = (block: Block): Rule => [
  ...addressIn(block.family, "saddr", block.locals),
  ...addressIn(block.family, "daddr", block.peers),
];
const inbound = (block: Block): Rule => [
  ...addressIn(block.family, "saddr", block.peers),
  ...addressIn(block.family, "daddr", block.locals),
];
const droppedBy = (hook: string): Rule => [{ counter: counterName(hook) }, { drop: null }];
const ACCEPT: Expression = { accept: null };

// rt ipsec: the route has an xfrm transformation ahead; meta secpath: the packet came through one. Kernels without ESP
// accept the rules and never match them, so they can be tried only where the kernel does ESP.
const willBeEncrypted = match({ rt: { key: "ipsec" } }, "==", true);
const wasEncrypted = match(meta("secpath"), "==", true);
const from = (link: string): Expression => match(meta("iifname"), "==", link);
const to = (link: string): Expression => match(meta("oifname"), "==", link);

/** Ways of a guarded packet through the gateway that are not in clear. Selectors may be 0.0.0.0/0 on both sides. */
function protectedWays({ espBackEnd, transitLink }: Guard): readonly Rule[] {
  if (espBackEnd === "kernel") return [[willBeEncrypted], [wasEncrypted, to(transitLink)]];
  return [
    [from(transitLink), to(USERLAND_ESP_LINK)],
    [from(USERLAND_ESP_LINK), to(transitLink)],
    [from(USERLAND_ESP_LINK), to(USERLAND_ESP_LINK)],
  ];
}

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
  [match(payload("udp", port), "==", { set: [500, 4500] }), ACCEPT],
  [match(meta("l4proto"), "==", { set: ["esp", "ah"] }), ACCEPT],
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

function inputRules(guard: Guard, blocks: readonly Block[]): readonly Rule[] {
  const clear = guard.espBackEnd === "kernel" ? match(meta("secpath"), "==", false) : notOn("iifname");
  const loopbacks = ([4, 6] as const).flatMap((family) => {
    const addresses = guard.loopbackAddresses.filter((address) => familyOf(address) === family);
    if (addresses.length === 0) return [];
    return [[match(payload(family === 4 ? "ip" : "ip6", "daddr"), "==", { set: [...addresses] }), { drop: null }]];
  });
  return [
    [match(meta("iif"), "==", "lo"), ACCEPT],
    ...loopbacks,
    ...gatewayTraffic("dport"),
    ...receivedErrors,
    ...blocks.map((block) => [clear, ...inbound(block), ...droppedBy("input")]),
  ];
}

function outputRules(guard: Guard, blocks: readonly Block[]): readonly Rule[] {
  const clear = guard.espBackEnd === "kernel" ? match({ rt: { key: "ipsec" } }, "==", false) : notOn("oifname");
  return [
    [match(meta("oif"), "==", "lo"), ACCEPT],
    ...gatewayTraffic("sport"),
    ...blocks.map((block) => [clear, ...outbound(block), ...droppedBy("output")]),
  ];
}

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
        const size = mtuBytes - headerBytes(block.family);
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
