// Updates under traffic, measured in one of the places where a router's charon runs: registers a test for each kind of change.
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { expect, test } from "vitest";
import { LEFT_ADDRESS } from "../../scripts/lab-documents.ts";
import { until, type Agent } from "../../scripts/lab.ts";
import { areSettled, connectionIs } from "./lab.ts";
import { labAt, type Place } from "./places.ts";
import { seenByAgents } from "./told.ts";
import { startTraffic, type TrafficCounts } from "./traffic.ts";
import {
  AT_FIRST,
  documentsOf,
  EXTERNAL_ADDRESSES,
  threeSides,
  type Version,
  type Wanted,
} from "./update-documents.ts";
import { UPDATE_ROWS, type UpdateRow } from "./update-rows.ts";
import { readUpdatesTable, writeUpdatesTable, type Measured } from "./updates-table.ts";

const PACKETS_A_SECOND = 200;
/** After an update nothing may happen to an SA for this long. */
const SETTLED_MS = 1_500;
const BY_DISTURBANCE = ["nothing", "child", "ike and child"] as const;
const WRITES_DOCS = process.env["SWANHERD_WRITE_DOCS"] === "1";

type Spis = { readonly ike: readonly string[]; readonly child: readonly string[] };

const stayed = (before: readonly string[], after: readonly string[]): boolean =>
  before.some((one) => after.includes(one));

export async function measureUpdatesAt(place: Place): Promise<void> {
  const isWhole = place === "transit" || WRITES_DOCS;
  const versions: readonly Version[] = isWhole ? ["v1", "v2"] : ["v2"];
  const third = randomUUID();
  let wanted: Wanted = { ...AT_FIRST, version: versions[0] ?? "v2" };
  /** Since the last change. */
  let hasSettled = false;
  const lab = await labAt(place, {
    sides: threeSides(third),
    external: EXTERNAL_ADDRESSES,
    documents: (routers) => documentsOf(wanted, routers, third),
    // A Quick Mode that met an old proposal holds up its IKEv1 SA until charon has asked often enough: 9 s instead of 165 s.
    agentConfig: { retransmit: { tries: 3, timeoutSeconds: 1, base: 1.8 } },
  });
  const { espBackEnd } = await lab.left.status();
  const measured = new Map<string, Measured>();

  /** Writes them, and waits until whoever was told of a change has looked. */
  async function want(change: Partial<Wanted>): Promise<void> {
    wanted = { ...wanted, ...change };
    hasSettled = false;
    await seenByAgents(lab, () => lab.write(documentsOf(wanted, lab.routers, third)));
  }

  /** Everything that is wanted is there on both sides, and stays. */
  async function isThere(): Promise<void> {
    const more = wanted.more === "none" ? [] : ["more"];
    const gateways = wanted.gateways === "none" ? [] : ["gateways"];
    const names = [wanted.name, "quiet", ...more, ...gateways];
    const isInForce = async (agent: Agent, name: string): Promise<void> => {
      await connectionIs(agent, name, "ACTIVE");
      await until(`${name} of ${agent.host} is in sync`, 20_000, async () => (await agent.connection(name))?.inSync);
    };
    await Promise.all(names.flatMap((name) => [isInForce(lab.left, name), isInForce(lab.right, `${name}-back`)]));
    await areSettled(lab, { settledMs: SETTLED_MS, ignoresHalfOpen: true });
    hasSettled = true;
  }

  /** Of the left router's SAs that carry a connection. */
  async function spisOf(name: string): Promise<Spis> {
    const connection = await lab.left.connection(name);
    const sas = await lab.left.ikeSas(lab.routers.left);
    const own = sas.flatMap((sa) =>
      sa.childSas
        .filter((child) => child.name.startsWith(String(connection?.id)) && child.state === "INSTALLED")
        .map((child) => ({
          ike: `${sa.initiatorSpi}:${sa.responderSpi}`,
          child: `${child.name} ${String(child.spiIn)}`,
        })),
    );
    return { ike: [...new Set(own.map((one) => one.ike))].sort(), child: own.map((one) => one.child).sort() };
  }

  async function measure(row: UpdateRow): Promise<Measured> {
    const isBetweenGateways = wanted.gateways !== "none";
    const [from, to] = isBetweenGateways
      ? [lab.charonNamespaces.left, lab.charonNamespaces.right]
      : [lab.world.hostNamespaces.get("left") ?? "", lab.world.hostNamespaces.get("right") ?? ""];
    const [fromAddress, toAddress] = isBetweenGateways ? [LEFT_ADDRESS, wanted.rightAddress] : ["10.1.0.9", "10.2.0.9"];
    const name = isBetweenGateways ? "gateways" : undefined;
    const before = { site: await spisOf(name ?? wanted.name), quiet: await spisOf("quiet") };
    const traffic = [
      startTraffic(lab.world, from, toAddress, PACKETS_A_SECOND),
      startTraffic(lab.world, to, fromAddress, PACKETS_A_SECOND),
      startTraffic(lab.world, "left", "10.4.0.9", PACKETS_A_SECOND),
    ];
    let counts: readonly TrafficCounts[];
    let flowing: readonly number[] = [];
    try {
      await until("traffic flows", 10_000, () => traffic.every((one) => one.answered() > PACKETS_A_SECOND / 10));
      flowing = traffic.map((one) => one.lastSeq());
      await want(row.change(wanted));
      if (row.then !== undefined) {
        await sleep(row.then.afterMs);
        await want(row.then.change(wanted));
      }
      await isThere();
      const so = traffic.map((one) => one.answered());
      await until("traffic flows again", 10_000, () => traffic.every((one, at) => one.answered() > (so[at] ?? 0) + 20));
    } finally {
      counts = await Promise.all(traffic.map((one, at) => one.stop(flowing[at])));
    }
    const after = { site: await spisOf(name ?? wanted.name), quiet: await spisOf("quiet") };
    const [there, back, quiet] = counts;
    if (there === undefined || back === undefined || quiet === undefined) throw new Error("there were three of them");
    return {
      sent: [there.sent, back.sent],
      lost: [there.lost.length, back.lost.length],
      longestGapMs: Math.max(there.longestGapMs, back.longestGapMs),
      made: stayed(before.site.child, after.site.child)
        ? "nothing"
        : stayed(before.site.ike, after.site.ike)
          ? "child"
          : "ike and child",
      neighbour: { keptSpis: isDeepStrictEqual(before.quiet, after.quiet), lost: quiet.lost.length },
    };
  }

  const possible = UPDATE_ROWS.filter((row) => row.backEnds?.includes(espBackEnd) !== false);
  const rows = possible.filter((row) => isWhole || row.isMeasuredEverywhere === true);
  const cases = versions.flatMap((version) => rows.map((row) => [version, row.what, row] as const));

  test("the connections come up and settle", async () => {
    await isThere();
    await areSettled(lab);
  });

  test.each(cases)("IKE%s: %s", async (version, _, row) => {
    const given: Partial<Wanted> = { version, ...row.given };
    if (Object.entries(given).some(([key, value]) => !isDeepStrictEqual(wanted[key as keyof Wanted], value))) {
      await want(given);
    }
    if (!hasSettled) await isThere();
    const found = await measure(row);
    measured.set(`${row.what} ${version}`, found);
    const { lost, gapMs, made } = row.cost[version];
    const said = JSON.stringify(found);
    expect(found.neighbour, said).toEqual({ keptSpis: true, lost: 0 });
    expect(BY_DISTURBANCE.slice(0, BY_DISTURBANCE.indexOf(made) + 1), said).toContain(found.made);
    expect(Math.max(...found.lost), said).toBeLessThanOrEqual(lost);
    expect(found.longestGapMs, said).toBeLessThanOrEqual(gapMs);
    expect(Math.min(...found.sent), said).toBeGreaterThan(PACKETS_A_SECOND);
  });

  test("docs/updates.md has a line for every kind of change with this back end", async () => {
    if (WRITES_DOCS) await writeUpdatesTable(place, espBackEnd, possible, measured);
    expect(readUpdatesTable(place, espBackEnd)).toEqual(possible.map(({ what }) => what));
  });
}
