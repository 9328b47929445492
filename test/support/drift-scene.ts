// Somebody changes what the agent has made, in one of the places where a router's charon runs: what all of them share.
// Passes by time are switched off, so that what is repaired without being asked was told by an event.
import { execFileSync } from "node:child_process";
import { chmodSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { until, type Agent } from "../../scripts/lab.ts";
import type { EspBackEnd } from "../../src/core/guard.ts";
import { hasDifference, type RouterViews } from "../../src/core/views.ts";
import type { DriftKind } from "../../src/core/finding.ts";
import { apiClient } from "../../src/io/api/client.ts";
import { loadConn, unloadConn, unloadShared } from "../../src/vici-client/commands.ts";
import { openViciSession, type ViciSession } from "../../src/vici-client/session.ts";
import { parseSection, sectionsOf, type Section, type SectionValue } from "../../src/wire/swanctl/section.ts";
import { areActive, areSettled, connectionFiles, rests, worthReading } from "./lab.ts";
import { labAt, type Place, type PlacedLab } from "./places.ts";
import type { RouterLabOptions } from "./router-lab.ts";

const NEVER_SECONDS = 3600;

export type Act = () => unknown;
export type DriftCase = readonly [what: string, kind: DriftKind, act: Act];

export const ip = (...args: readonly string[]): string => execFileSync("ip", args, { encoding: "utf8" });

/** Of the link whose name begins like that. */
export function linkOf(namespace: string, prefix: string): string {
  const all = JSON.parse(ip("-j", "-n", namespace, "link")) as readonly { readonly ifname: string }[];
  const found = all.find(({ ifname }) => ifname.startsWith(prefix));
  if (found === undefined) throw new Error(`no link ${prefix}… in ${namespace}`);
  return found.ifname;
}

export type DriftScene = {
  readonly lab: PlacedLab;
  readonly espBackEnd: EspBackEnd;
  /** Of the left router's charon. */
  readonly namespace: string;
  readonly inNamespace: (...command: readonly string[]) => string;
  /** On the left, unless said otherwise; `of` is what the agent calls the router. */
  readonly withCharon: <T>(run: (vici: ViciSession) => Promise<T>, of?: string) => Promise<T>;
  /** What a side's only file says: the connection's name and section. */
  readonly writtenPeer: (agent?: Agent, of?: string) => readonly [string, Section];
  readonly driftOf: (kind: DriftKind, agents?: readonly Agent[]) => Promise<number>;
  readonly isRepaired: (kind: DriftKind, before: number, agents?: readonly Agent[]) => Promise<void>;
  /** What is the same everywhere, and found by an event. */
  readonly byEvents: readonly DriftCase[];
  /** Likewise, by the next pass. */
  readonly byTheNextPass: readonly DriftCase[];
  /** Registers a test for each case. */
  readonly areRepaired: (byEvents: readonly DriftCase[], byTheNextPass: readonly DriftCase[]) => void;
};

/** `documents`: of one connection, `site`, which carries traffic of the hosts. */
export async function driftSceneAt(place: Place, options: RouterLabOptions): Promise<DriftScene> {
  const lab = await labAt(place, {
    ...options,
    agentConfig: { passIntervalSeconds: NEVER_SECONDS, fetchIntervalSeconds: NEVER_SECONDS, listSasIntervalSeconds: 0 },
  });
  const namespace = lab.charonNamespaces.left;
  const inNamespace = (...command: readonly string[]): string => ip("netns", "exec", namespace, ...command);

  async function withCharon<T>(run: (vici: ViciSession) => Promise<T>, of = lab.namespaces.left): Promise<T> {
    const vici = await openViciSession({ path: `/run/charon.${of}.vici` });
    try {
      return await run(vici);
    } finally {
      await vici.close();
    }
  }

  const filesOf = (agent = lab.left, of = lab.namespaces.left): readonly string[] => connectionFiles(agent, of);

  /** What a side's only file says: the connection's name and section. */
  function writtenPeer(agent = lab.left, of = lab.namespaces.left): readonly [string, Section] {
    const [peer] = sectionsOf(parseSection(readFileSync(filesOf(agent, of)[0] ?? "", "utf8"))?.["connections"]);
    if (peer === undefined) throw new Error("no connection is written");
    return [peer[0], withLists(peer[1])];
  }

  const views = async (agent = lab.left): Promise<readonly RouterViews[]> =>
    ((await apiClient(agent.socket).diff()) as { readonly routers: readonly RouterViews[] }).routers;

  const isWhole = (router: RouterViews): boolean =>
    router.problem === undefined &&
    router.network.length === 0 &&
    router.connections.every((one) => !hasDifference(one) && one.missing.length === 0);

  async function driftOf(kind: DriftKind, agents: readonly Agent[] = [lab.left]): Promise<number> {
    const lines = await Promise.all(agents.map((agent) => agent.metric(`swanherd_drift_total{kind="${kind}"}`)));
    return lines.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
  }

  /** What ESP in userland needs, which charon makes once and does not miss. */
  const ofCharonInUserland: readonly DriftCase[] = [
    ["charon's rule deleted", "rule", () => ip("-n", namespace, "rule", "delete", "preference", "220")],
    ["charon's route deleted", "route", () => ip("-n", namespace, "route", "flush", "table", "220")],
    ["charon's link set down", "link", () => ip("-n", namespace, "link", "set", "ipsec0", "down")],
    ["charon's link deleted", "link", () => ip("-n", namespace, "link", "delete", "ipsec0")],
  ];

  /** What charon gives the kernel once, and does not miss. */
  const ofCharonInKernel: readonly DriftCase[] = [
    ["the kernel's IPsec states flushed", "sa", () => ip("-n", namespace, "xfrm", "state", "flush")],
    ["the kernel's IPsec states deleted one by one", "sa", () => ip("-n", namespace, "xfrm", "state", "deleteall")],
    ["the kernel's IPsec policies flushed", "policy", () => ip("-n", namespace, "xfrm", "policy", "flush")],
  ];

  const { espBackEnd } = await lab.left.status();
  const byEvents: readonly DriftCase[] = [
    ["the guard's table deleted", "guard", () => inNamespace("nft", "delete", "table", "inet", "swanherd")],
    ["the guard's rules flushed", "guard", () => inNamespace("nft", "flush", "table", "inet", "swanherd")],
    ["its spare table deleted", "guard", () => inNamespace("nft", "delete", "table", "inet", "swanherd_spare")],
    ...(espBackEnd === "userland" ? ofCharonInUserland : ofCharonInKernel),
    ["charon killed", "charon", () => process.kill(lab.left.runningCharon(lab.routers.left).pid, "SIGKILL")],
    ["a config replaced", "config", () => replaceConfig()],
    ["the secrets unloaded", "secret", () => unloadSecrets()],
  ];

  async function replaceConfig(): Promise<void> {
    const [name, section] = writtenPeer();
    await withCharon((vici) => loadConn(vici, name, { ...section, dpd_delay: "77s" }));
  }

  async function unloadSecrets(): Promise<void> {
    const ids = sectionsOf(parseSection(readFileSync(filesOf()[0] ?? "", "utf8"))?.["secrets"]).map(([id]) => id);
    await withCharon(async (vici) => {
      for (const id of ids) await unloadShared(vici, id);
    });
  }

  const byTheNextPass: readonly DriftCase[] = [
    ["a file changed", "file", () => writeFileSync(filesOf()[0] ?? "", "connections {\n}\n")],
    ["a file made readable for all", "file", () => chmodSync(filesOf()[0] ?? "", 0o644)],
    ["the run directory removed", "file", () => rmSync(lab.left.runDirectory, { recursive: true })],
    ["a config unloaded", "config", () => withCharon((vici) => unloadConn(vici, writtenPeer()[0]))],
  ];

  async function isRepaired(kind: DriftKind, before: number, agents: readonly Agent[] = [lab.left]): Promise<void> {
    await until(`${kind} is counted and repaired`, 10_000, async () => {
      const routers = await views();
      return (await driftOf(kind, agents)) > before && routers.length === 1 && routers.every(isWhole);
    }).catch(async (error: unknown) => {
      const broken = (await views()).filter((router) => !isWhole(router));
      throw new Error(`${String(error)}: ${JSON.stringify(broken)}\n${worthReading(lab.left)}`, { cause: error });
    });
    await until("the host answers", 10_000, async () => (await lab.world.ping("left", "10.2.0.9")).received > 0);
  }

  /** Lines of the log that tell of drift. */
  const told = (): number => lab.left.log().split('"changed by somebody else, repairing"').length - 1;

  const areRepaired = (unasked: readonly DriftCase[], found: readonly DriftCase[]): void => {
    beforeAll(async () => {
      await areActive(lab, "site");
      await areSettled(lab);
    }, 120_000);

    afterEach(() => areActive(lab, "site"));

    describe("told by an event and repaired unasked:", () => {
      test.each(unasked)("%s", async (_what, kind, act) => {
        await rests(lab.left);
        const [before, lines] = [await driftOf(kind), told()];
        await act();
        await isRepaired(kind, before);
        expect(told()).toBeGreaterThan(lines);
      });
    });

    describe("found by the next pass:", () => {
      test.each(found)("%s", async (_what, kind, act) => {
        await rests(lab.left);
        const [before, lines] = [await driftOf(kind), told()];
        await act();
        await lab.left.order("sync", lab.routers.left);
        await isRepaired(kind, before);
        expect(told()).toBe(lines + 1);
      });
    });
  };
  return {
    lab,
    espBackEnd,
    namespace,
    inNamespace,
    withCharon,
    writtenPeer,
    driftOf,
    isRepaired,
    byEvents,
    byTheNextPass,
    areRepaired,
  };
}

/** swanctl knows which values of a file are lists; VICI has to be told. */
const withLists = (section: Section): Section =>
  Object.fromEntries(
    Object.entries(section).map(([key, value]): readonly [string, SectionValue] => {
      if (typeof value === "string") return [key, /_addrs$|proposals$|_ts$/.test(key) ? value.split(", ") : value];
      return [key, isList(value) ? value : withLists(value)];
    }),
  );
const isList = (value: SectionValue): value is readonly string[] => Array.isArray(value);
