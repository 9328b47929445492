// The whole vocabulary of policies between two real charons: every row of support/policy-rows.ts at once, each with
// addresses of its own. A row counts when its SAs came up, ten packets crossed each way, list-sas shows exactly what was
// asked for, and a rekeying and ten packets more passed. What cannot be has to be known before it is loaded.
import { execFile, execFileSync } from "node:child_process";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { patiently } from "../../../scripts/patience.ts";
import { secretFingerprint } from "../../../src/core/fingerprint.ts";
import type { EspBackEnd } from "../../../src/core/guard.ts";
import { connectionId, type ConnectionId } from "../../../src/core/ids.ts";
import type { Tunnel } from "../../../src/core/model.ts";
import { groupPeers, type Peer } from "../../../src/core/peers.ts";
import { unsupported, type Abilities } from "../../../src/core/support.ts";
import { describeDifferences } from "../../../src/core/views.ts";
import { comparisons } from "../../../src/io/charon/texts.ts";
import { valuesOfChildSa, valuesOfConn, valuesOfIkeSa } from "../../../src/io/charon/values.ts";
import { probeKernelEsp } from "../../../src/io/kernel/probe.ts";
import { getAlgorithms } from "../../../src/vici-client/algorithms.ts";
import { initiate, listConns, listSas, loadConn, loadShared, rekey } from "../../../src/vici-client/commands.ts";
import { version } from "../../../src/vici-client/daemon.ts";
import type { Algorithms, ChildSa, IkeSa } from "../../../src/vici-client/sas.ts";
import { openViciSession, type ViciSession } from "../../../src/vici-client/session.ts";
import { decodeTunnel } from "../../../src/wire/neutron/connection.ts";
import { computedBy } from "../../../src/wire/swanctl/algorithms.ts";
import { peerSecret, peerSection } from "../../../src/wire/swanctl/peer.ts";
import { strongswanConf } from "../../../src/wire/swanctl/strongswan-conf.ts";
import { CharonLab, whyNoCharon } from "../../support/charon.ts";
import { eventually } from "../../support/eventually.ts";
import { whyNoKernelEsp } from "../../support/kernel-esp.ts";
import { BASE, ROWS, STRANGERS, type Agreed, type Row } from "../../support/policy-rows.ts";

const reason = whyNoCharon();
if (reason !== undefined && process.env["REQUIRE_NETNS"] === "1") throw new Error(`no charon here: ${reason}`);
const backEnds: readonly EspBackEnd[] = (await whyNoKernelEsp()) === undefined ? ["kernel", "userland"] : ["userland"];

const KEY = new Uint8Array(32).fill(7);
const SIDES = ["left", "right"] as const;
type Side = (typeof SIDES)[number];
const OTHER = { left: "right", right: "left" } as const;
const PACKETS = 10;
/** ESP in userland drops what comes faster than it computes; then ping sends more, until so many have come back. */
const PINGS_AT_ONCE = 16;
const run = promisify(execFile);

type Outcome =
  | { readonly kind: "refused"; readonly text: string }
  | { readonly kind: "failed"; readonly why: string }
  | { readonly kind: "up"; readonly left: Agreed; readonly right: Agreed; readonly missingPings: number };

describe.skipIf(reason !== undefined).each(backEnds)("with charon, ESP by %s", (espBackEnd) => {
  const scene = new Scene(espBackEnd);
  beforeAll(() => scene.play(), patiently(120_000));
  afterAll(() => scene.dispose());

  test.each(ROWS.map((row) => [row.name, row] as const))("%s", (_, row) => {
    const outcome = scene.outcomes.get(row);
    const expected = row.expected({ strongswan: scene.strongswan, espBackEnd });
    if (expected instanceof RegExp) {
      expect(outcome).toEqual({ kind: "refused", text: expect.stringMatching(expected) as string });
    } else {
      expect(settled(outcome, expected)).toEqual({ kind: "up", left: expected, right: expected, missingPings: 0 });
    }
  });

  test("B-13: what is negotiated is what was wanted, as charon tells of every row, and nothing where the sides have no suite in common", () => {
    expect([...scene.strangers.keys()]).toEqual(STRANGERS.map(({ name }) => name));
    expect([...scene.strangers.values()].flat()).toEqual([]);
    expect(scene.differences).toEqual([]);
  });

  test("no row was left out", () => {
    const count = (kind: Outcome["kind"]): number =>
      [...scene.outcomes.values()].filter((outcome) => outcome.kind === kind).length;
    console.log(
      `strongSwan ${scene.strongswan}, ESP by ${espBackEnd}: ${String(count("up"))} rows up, ` +
        `${String(count("refused"))} ERROR by design, ${String(count("failed"))} failed, ` +
        `${String(ROWS.length - scene.outcomes.size)} skipped`,
    );
    expect(scene.outcomes.size).toBe(ROWS.length);
  });
});

/** charon counts lifetimes in whole seconds, each from its own begin: two less or more are the same. */
function settled(outcome: Outcome | undefined, expected: Agreed): Outcome | undefined {
  if (outcome?.kind !== "up") return outcome;
  const side = (found: Agreed): Agreed =>
    Math.abs(Number(found.lifeSeconds) - Number(expected.lifeSeconds)) <= 2
      ? { ...found, lifeSeconds: expected.lifeSeconds }
      : found;
  return { ...outcome, left: side(outcome.left), right: side(outcome.right) };
}

/** Of row `number`. */
const addressOf = (side: Side, number: number): string => `100.64.${String(number)}.${side === "left" ? "1" : "2"}`;
function subnetsOf(side: Side, number: number, row: Row): readonly string[] {
  if (row.isHostToHost === true) return [`${addressOf(side, number)}/32`];
  const net = `10.${side === "left" ? "1" : "2"}.${String(number)}`;
  return row.hasTwoSubnets === true ? [`${net}.0/25`, `${net}.128/25`] : [`${net}.0/24`];
}
/** The first host of a subnet, or the only one. */
const hostIn = (subnet: string): string =>
  subnet.replace(/(\d+)\/(\d+)$/, (_, last, bits) => String(Number(last) + (bits === "32" ? 0 : 1)));

const wireOf = (side: Side, number: number, row: Row): unknown => {
  const wish = side === "left" ? row.left : (row.right ?? row.left);
  return {
    peer_address: addressOf(OTHER[side], number),
    peer_id: addressOf(OTHER[side], number),
    psk: `psk of row ${String(number)}`,
    external_ip: addressOf(side, number),
    local_cidrs: subnetsOf(side, number, row),
    peer_cidrs: subnetsOf(OTHER[side], number, row),
    ...wish.connection,
    ikepolicy: { ...BASE.ike, ...wish.ike },
    ipsecpolicy: { ...BASE.ipsec, ...wish.ipsec },
  };
};

const spaced = (...parts: readonly (string | undefined)[]): string => parts.filter(Boolean).join(" ");
const cipher = ({ encryption, encryptionKeyBits }: Algorithms): string =>
  [encryption, encryptionKeyBits].filter((part) => part !== undefined).join("-");

function agreedBy(side: Side, number: number, sa: IkeSa, children: readonly ChildSa[]): Agreed {
  const [child] = children;
  if (child === undefined) throw new Error("an SA without a child");
  const ids = [sa.localId, sa.remoteId] as const;
  const areAddresses = ids[0] === addressOf(side, number) && ids[1] === addressOf(OTHER[side], number);
  const [left, right] = side === "left" ? ids : ([ids[1], ids[0]] as const);
  const { lifeSeconds, installSeconds = 0 } = child;
  return {
    ikeVersion: sa.ikeVersion === 1 ? 1 : 2,
    ike: spaced(cipher(sa.algorithms), sa.algorithms.integrity, sa.algorithms.prf, sa.algorithms.dhGroup),
    child: spaced(cipher(child.algorithms), child.algorithms.integrity),
    dhGroup: child.algorithms.dhGroup ?? "none",
    mode: child.mode === "TRANSPORT" ? "TRANSPORT" : "TUNNEL",
    protocol: child.protocol === "AH" ? "AH" : "ESP",
    children: children.length,
    ids: areAddresses ? "addresses" : [left, right],
    lifeSeconds: lifeSeconds === undefined ? "unlimited" : lifeSeconds + installSeconds,
  };
}

type Wanted = { readonly number: number; readonly peers: Record<Side, Peer>; readonly names: readonly string[] };

/** Two gateways with a charon each, and what became of every row. */
class Scene {
  readonly outcomes = new Map<Row, Outcome>();
  /** In what charon tells otherwise of a row than was loaded. */
  readonly differences: string[] = [];
  /** What came of those that have no suite in common. */
  readonly strangers = new Map<string, readonly string[]>();
  strongswan = "";
  readonly #espBackEnd: EspBackEnd;
  readonly #lab = new CharonLab();
  readonly #namespaces: Record<Side, string> = { left: this.#lab.addNamespace(), right: this.#lab.addNamespace() };
  readonly #sessions: ViciSession[] = [];
  readonly #wanted = new Map<Row, Wanted>();

  constructor(espBackEnd: EspBackEnd) {
    this.#espBackEnd = espBackEnd;
  }

  async dispose(): Promise<void> {
    await Promise.all(this.#sessions.map((session) => session.close()));
    await this.#lab.dispose();
  }

  async play(): Promise<void> {
    // Before charon: of so many new addresses at once it misses some, and kernel-libipsec wants them known.
    this.#join();
    const vici = { left: await this.#charon("left"), right: await this.#charon("right") };
    this.strongswan = (await version(vici.left)).version;
    const abilities: Abilities = {
      espBackEnd: this.#espBackEnd,
      kernelEsp: await probeKernelEsp(),
      charon: computedBy(await getAlgorithms(vici.left)),
    };
    for (const [number, row] of ROWS.entries()) await this.#load(vici, number, row, abilities);
    for (const [row, { peers, names }] of this.#wanted) {
      const side = row.initiator ?? "left";
      for (const child of names) {
        const name = peers[side].members[0]?.children[names.indexOf(child)]?.name ?? child;
        await initiate(vici[side], { child: name, ike: peers[side].name });
      }
    }
    await this.#areAll(vici, "up", () => true);
    const firstLost = await this.#ping();
    const before = await this.#children(vici.left);
    for (const child of [...before.values()].flat()) await rekey(vici.left, { childId: child.uniqueId });
    const old = new Set([...before.values()].flat().map((child) => child.uniqueId));
    await this.#areAll(vici, "rekeyed", (child) => !old.has(child.uniqueId));
    const thenLost = await this.#ping();
    await this.#judge(vici, old, (row) => (firstLost.get(row) ?? 0) + (thenLost.get(row) ?? 0));
    for (const [at, row] of STRANGERS.entries()) await this.#meet(vici, ROWS.length + at, row, abilities);
  }

  /** charon refuses at once, or gives up. */
  async #meet(vici: Record<Side, ViciSession>, number: number, row: Row, abilities: Abilities): Promise<void> {
    await this.#load(vici, number, row, abilities);
    const { peers, names } = this.#wanted.get(row) ?? {};
    if (peers === undefined) return;
    for (const child of names ?? []) {
      await initiate(vici.left, { child, ike: peers.left.name }, { waitMs: patiently(5_000) }).catch(() => undefined);
    }
    const children = installedOf(await listSas(vici.left), peers.left);
    this.strangers.set(
      row.name,
      children.map(({ name, algorithms }) => `${name}: ${spaced(cipher(algorithms), algorithms.integrity)}`),
    );
  }

  async #charon(side: Side): Promise<ViciSession> {
    const charon = await this.#lab.startCharon(this.#namespaces[side], (viciSocket) =>
      strongswanConf({ viciSocket, espBackEnd: this.#espBackEnd, retransmission: {} }),
    );
    const session = await openViciSession({ path: charon.viciPath });
    this.#sessions.push(session);
    return session;
  }

  #join(): void {
    const { left, right } = this.#namespaces;
    this.#lab.joinByVeth(
      "out",
      { namespace: left, address: "192.0.2.1/30" },
      { namespace: right, address: "192.0.2.2/30" },
    );
    for (const side of SIDES) {
      const commands = [...ROWS, ...STRANGERS].flatMap((row, number) => [
        `address add ${addressOf(side, number)}/24 dev out`,
        ...(row.isHostToHost === true
          ? []
          : subnetsOf(side, number, row).map((subnet) => `address add ${hostIn(subnet)}/32 dev lo`)),
      ]);
      const input = [...commands, "route add 10.0.0.0/8 dev out"].join("\n");
      execFileSync("ip", ["-n", this.#namespaces[side], "-batch", "-"], { input });
    }
  }

  async #load(vici: Record<Side, ViciSession>, number: number, row: Row, abilities: Abilities): Promise<void> {
    const peers = new Map<Side, Peer>();
    for (const side of SIDES) {
      const id = connectionId(
        `c0000000-0000-4000-8000-${side === "left" ? "1" : "2"}${String(number).padStart(11, "0")}`,
      );
      const decoded = decodeTunnel(wireOf(side, number, row), id, "recommended");
      const text = decoded.kind === "unusable" ? decoded.reason.text : unsupported(decoded.tunnel, abilities);
      if (decoded.kind === "unusable" || text !== undefined) {
        this.outcomes.set(row, { kind: "refused", text: text ?? "" });
        return;
      }
      peers.set(side, peerOf(decoded.tunnel, row.splitChildren ?? false));
    }
    const [left, right] = [peers.get("left"), peers.get("right")];
    if (left === undefined || right === undefined) return;
    for (const [side, peer] of peers) {
      const secret = peerSecret(peer, secretFingerprint(KEY, peer.leader));
      await loadShared(vici[side], { ...secret, data: peer.leader.psk.reveal() });
      await loadConn(vici[side], peer.name, peerSection(peer, this.#espBackEnd));
    }
    const names = left.members.flatMap((member) => member.children.map((child) => child.name));
    this.#wanted.set(row, { number, peers: { left, right }, names });
  }

  /** Of each row, what is installed on the left. */
  async #children(left: ViciSession): Promise<ReadonlyMap<Row, readonly ChildSa[]>> {
    const sas = await listSas(left);
    return new Map([...this.#wanted].map(([row, { peers }]) => [row, installedOf(sas, peers.left)] as const));
  }

  /** Waits; what is not so in the end shows in the outcome. */
  async #areAll(vici: Record<Side, ViciSession>, what: string, isSo: (child: ChildSa) => boolean): Promise<void> {
    const areAll = async (): Promise<boolean> => {
      const children = await this.#children(vici.left);
      return [...this.#wanted].every(([row, { names }]) => {
        const found = new Set((children.get(row) ?? []).filter(isSo).map((child) => child.name));
        return found.size >= names.length;
      });
    };
    await eventually(areAll, { what, timeoutMs: 15_000 }).catch(() => undefined);
  }

  /** Ten packets and their answers between the hosts of every pair of subnets; how many are missing of the ten. */
  async #ping(): Promise<ReadonlyMap<Row, number>> {
    const pairs = [...this.#wanted].flatMap(([row, { number }]) =>
      subnetsOf("left", number, row).flatMap((from) =>
        subnetsOf("right", number, row).map((to) => ({ row, from: hostIn(from), to: hostIn(to) })),
      ),
    );
    const pings = pairs.map(
      ({ from, to }, index) =>
        `ping -n -q -c ${String(PACKETS)} -i 0.05 -w ${String(patiently(5_000) / 1000)} -I ${from} ${to} | sed "s/^/${String(index)} /" &`,
    );
    const script = pings.map((ping, index) => (index % PINGS_AT_ONCE === 0 ? `wait\n${ping}` : ping)).join("\n");
    const command = ["netns", "exec", this.#namespaces.left, "sh", "-c", `${script}\nwait`];
    const { stdout } = await run("ip", command, { maxBuffer: 2 ** 24 });
    const lost = new Map<Row, number>();
    for (const [index, { row }] of pairs.entries()) {
      const received = new RegExp(`^${String(index)} .* (\\d+) received`, "m").exec(stdout)?.[1] ?? "0";
      lost.set(row, (lost.get(row) ?? 0) + Math.max(0, PACKETS - Number(received)));
    }
    return lost;
  }

  /** Views: of what was loaded, and of what was negotiated. */
  async #compare(vici: Record<Side, ViciSession>, sas: Record<Side, readonly IkeSa[]>): Promise<void> {
    const { compare } = comparisons(KEY, this.#espBackEnd);
    for (const side of SIDES) {
      const conns = new Map((await listConns(vici[side])).map((conn) => [conn.name, conn]));
      for (const [row, { peers }] of this.#wanted) {
        const peer = peers[side];
        const conn = conns.get(peer.name);
        const differences = [
          ...(conn === undefined ? [] : compare.loaded(peer, valuesOfConn(conn))),
          ...sas[side].filter((sa) => sa.name === peer.name).flatMap((sa) => compare.ikeSa(peer, valuesOfIkeSa(sa))),
          ...peer.members.flatMap((member) =>
            member.children.flatMap((child) =>
              installedOf(sas[side], peer)
                .filter((sa) => sa.name === child.name)
                .flatMap((sa) => compare.childSa(peer, child, valuesOfChildSa(sa))),
            ),
          ),
        ];
        if (conn === undefined || differences.length > 0) {
          this.differences.push(`${row.name}, ${side}: ${describeDifferences(differences)}`);
        }
      }
    }
  }

  async #judge(vici: Record<Side, ViciSession>, old: ReadonlySet<number>, lostOf: (row: Row) => number): Promise<void> {
    const sas = { left: await listSas(vici.left), right: await listSas(vici.right) };
    await this.#compare(vici, sas);
    for (const [row, { number, peers, names }] of this.#wanted) {
      const of = (side: Side): Agreed | string => {
        const sa = sas[side].find((one) => one.name === peers[side].name && one.state === "ESTABLISHED");
        const installed = installedOf(sas[side], peers[side]);
        const newest = [...new Map(installed.map((child) => [child.name, child])).values()];
        if (sa === undefined) return `no IKE SA on the ${side}`;
        if (newest.length < names.length)
          return `${String(newest.length)} of ${String(names.length)} children on the ${side}`;
        if (side === "left" && newest.some((child) => old.has(child.uniqueId))) return "not rekeyed";
        const packets = newest.map((child) => Math.min(child.packetsIn, child.packetsOut));
        if (packets.some((count) => count < PACKETS)) return `packets on the ${side}: ${packets.join(" ")}`;
        return agreedBy(side, number, sa, newest);
      };
      const [left, right] = [of("left"), of("right")];
      if (typeof left === "string") this.outcomes.set(row, { kind: "failed", why: left });
      else if (typeof right === "string") this.outcomes.set(row, { kind: "failed", why: right });
      else this.outcomes.set(row, { kind: "up", left, right, missingPings: lostOf(row) });
    }
  }
}

const installedOf = (sas: readonly IkeSa[], peer: Peer): readonly ChildSa[] =>
  sas
    .filter((sa) => sa.name === peer.name && sa.state === "ESTABLISHED")
    .flatMap((sa) => sa.childSas)
    .filter((child) => child.state === "INSTALLED")
    .sort((a, b) => a.uniqueId - b.uniqueId);

function peerOf(tunnel: Tunnel, splitChildren: boolean): Peer {
  const held = { committed: new Set<ConnectionId>(), leaders: new Set<ConnectionId>() };
  const [peer] = groupPeers([tunnel], held, splitChildren).peers;
  if (peer === undefined) throw new Error("a tunnel without a peer");
  return peer;
}
