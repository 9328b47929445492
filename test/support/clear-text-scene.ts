// Faults under constant traffic of protected hosts, with a capture on the internet's bridge for the whole of each, in one of the
// places where a router's charon runs: what all of them share. Unrelated traffic goes on all the time.
import { execFileSync } from "node:child_process";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { baseDocuments, connectionPair, type RouterIds } from "../../scripts/lab-documents.ts";
import { until, type LabDocument } from "../../scripts/lab.ts";
import { startCapture } from "../../scripts/world.ts";
import { GUARD_TABLES } from "../../src/core/guard.ts";
import { patiently } from "../../scripts/patience.ts";
import { BOTH_TABLES_DELETED, PARTS_OF_GUARD_GONE, STAND_INS_GONE } from "./guard-tables.ts";
import { areActive, connectionIs, rests, type TestLabOptions } from "./lab.ts";
import { labAt, type Place, type PlacedLab } from "./places.ts";
import { startTraffic, type Traffic } from "./traffic.ts";

const PACKETS_A_SECOND = 200;
const PACKETS_A_SECOND_V6 = 50;
/** The unprotected machine that stands for the internet. */
export const INTERNET = "203.0.113.1";
/** Also when it was masqueraded on its way: that changes the source only, and of its answer the destination only. */
const PROTECTED = "(ip or ip6) and (net 10.1.0.0/24 or net 10.2.0.0/24 or net fd00:1::/64 or net fd00:2::/64)";
/** Also where nothing translates it, as in a router that is being made. */
const UNRELATED = `not host ${INTERNET}`;
/** What has left the list on a side is not protected there any more: then only this can be asked for. */
const PROTECTED_BY_LEFT = "(ip or ip6) and (src net 10.1.0.0/24 or src net fd00:1::/64)";
const PEER_DELETED = "the peer's connections are deleted";
/** At least that long something stays as it was broken, unless it is mended sooner. */
export const EXPOSED_MS = 500;

/** What the peer sends, which comes out of the tunnel here. */
export const SENT_BY_RIGHT = "ip and src net 10.2.0.0/24";
export type Wanted = {
  readonly isLeftUp?: boolean;
  readonly isSiteThere?: boolean;
  readonly isPeerThere?: boolean;
  readonly subnets?: readonly string[];
};

export function clearTextDocuments(
  routers: RouterIds,
  { isLeftUp = true, isPeerThere = true, isSiteThere = true, subnets }: Wanted = {},
) {
  const pairs: readonly LabDocument[] = [
    ...connectionPair({ name: "site", left: ["10.1.0.0/24"], right: subnets ?? ["10.2.0.0/24"] }),
    ...connectionPair({ name: "v6", left: ["fd00:1::/64"], right: ["fd00:2::/64"] }),
  ];
  const isConnection = (one: LabDocument): boolean => one["kind"] === "IpsecSiteConnection";
  const isOfPeer = (one: LabDocument): boolean => isConnection(one) && String(one["name"]).endsWith("-back");
  return [
    ...baseDocuments(routers),
    ...pairs
      .filter((one) => isPeerThere || !isOfPeer(one))
      .filter((one) => isSiteThere || one["name"] !== "site")
      .map((one) => (isConnection(one) && !isOfPeer(one) ? { ...one, admin_state_up: isLeftUp } : one)),
  ];
}

/** From the first of tcpdump's lines to the last. */
export function lastsMs(lines: readonly string[]): number {
  const atMs = lines.map((line) => {
    const [, hours, minutes, seconds] = /^(\d+):(\d+):(\d+\.\d+) /.exec(line) ?? [];
    return 1000 * (3600 * Number(hours) + 60 * Number(minutes) + Number(seconds));
  });
  return Math.max(0, (atMs.at(-1) ?? 0) - (atMs[0] ?? 0));
}

export type Fault = () => Promise<void> | void;

export type ClearTextScene = {
  readonly lab: PlacedLab;
  /** Runs a shell's command in a namespace. */
  readonly inside: (namespace: string, command: string) => string;
  /** The link whose name begins like that. */
  readonly linkOf: (namespace: string, start: string) => string;
  /** A namespace that is nobody's. */
  readonly scratch: string;
  readonly killCharon: (signal: NodeJS.Signals) => void;
  /** The traffic, once. */
  readonly starts: () => Promise<void>;
  readonly comesThrough: () => Promise<void>;
  /** What is seen on the bridge while `during` runs, which can look at it, and how much of the unrelated traffic is lost. */
  readonly watching: (
    during: (seen: () => readonly string[]) => Promise<unknown>,
    filter?: string,
  ) => Promise<{ readonly clear: readonly string[]; readonly lost: number }>;
  /** `leaks` is expected to be seen; what it is given waits until it is. */
  readonly seesLeak: (leaks: (isSeen: () => Promise<void>) => Promise<unknown>) => Promise<void>;
  /** Nothing leaves in clear, and traffic comes through again. Gives how much of the unrelated traffic was lost. */
  readonly endures: (what: string, fault: Fault) => Promise<number>;
  /** Those that are the same everywhere. */
  readonly faults: Readonly<Record<string, Fault>>;
  /** Of these, those of the packet filter, each of which leaves a part of it. */
  readonly guardFaults: Readonly<Record<string, Fault>>;
  /** Of these, one for each part that fails. */
  readonly fewFaults: Readonly<Record<string, Fault>>;
};

export async function clearTextSceneAt(place: Place, options: TestLabOptions = {}): Promise<ClearTextScene> {
  const lab = await labAt(place, { ...options, documents: clearTextDocuments });
  const left = lab.charonNamespaces.left;
  const scratch = lab.world.internetNamespace;

  const inside = (namespace: string, command: string): string =>
    execFileSync("ip", ["netns", "exec", namespace, "sh", "-c", command], { encoding: "utf8" });
  const linkOf = (namespace: string, start: string): string => {
    const found = new RegExp(`: (${start}[^@:]+)`).exec(inside(namespace, "ip -o link"))?.[1];
    if (found === undefined) throw new Error(`${namespace} has no link ${start}…`);
    return found;
  };

  const flows = [
    { from: "left", to: "10.2.0.9", rate: PACKETS_A_SECOND },
    { from: "right", to: "10.1.0.9", rate: PACKETS_A_SECOND },
    { from: "left", to: "fd00:2::9", rate: PACKETS_A_SECOND_V6 },
    { from: "right", to: "fd00:1::9", rate: PACKETS_A_SECOND_V6 },
  ];
  let constant: readonly Traffic[] = [];
  let unrelated: Traffic | undefined;
  afterAll(() => Promise.all([...constant, ...(unrelated === undefined ? [] : [unrelated])].map((one) => one.stop())));

  const comesThrough = async (): Promise<void> => {
    const before = constant.map((one) => one.answered());
    const silent = (): readonly string[] =>
      constant.flatMap((one, at) => {
        const { from, to } = flows[at] ?? { from: "?", to: "?" };
        const since = one.answered() - (before[at] ?? 0);
        return since > PACKETS_A_SECOND_V6 / 5 ? [] : [`from ${from} to ${to}: ${String(since)}`];
      });
    try {
      await until("all traffic comes through", 60_000, () => silent().length === 0);
    } catch (error) {
      const sas = await Promise.all([lab.left.ikeSas(lab.routers.left), lab.right.ikeSas(lab.routers.right)]);
      const what = [`answered: ${silent().join(", ")}`, ...sas.map((side) => JSON.stringify(side))];
      throw new Error([String(error), ...what].join("\n"), { cause: error });
    }
  };

  /** What is seen on the bridge while `during` runs, and how much of the unrelated traffic is lost. */
  async function watching(
    during: (seen: () => readonly string[]) => Promise<unknown>,
    filter = PROTECTED,
  ): Promise<{ readonly clear: readonly string[]; readonly lost: number }> {
    const capture = await startCapture({ interface: lab.world.bridge, filter: `${filter} and ${UNRELATED}` });
    const from = unrelated?.lost().length ?? 0;
    try {
      await during(capture.seen);
    } finally {
      // tcpdump has seen what was sent before it when this answer is there.
      await lab.world.ping(scratch, INTERNET);
    }
    const clear = await capture.stop();
    return { clear, lost: (unrelated?.lost().length ?? 0) - from };
  }

  const seesLeak: ClearTextScene["seesLeak"] = async (leaks) => {
    const ENOUGH = 6;
    const leaked = (lines: readonly string[]): number =>
      lines.filter((line) => line.includes("> 10.2.0.9: ICMP echo request")).length;
    const { clear } = await watching((seen) =>
      leaks(async () => {
        // That it is not seen at all is told below, when all is as before.
        await until("the leak is seen", 5_000, () => leaked(seen()) >= ENOUGH).catch(() => undefined);
      }),
    );
    expect(leaked(clear)).toBeGreaterThanOrEqual(ENOUGH);
  };

  let isStarted = false;
  const starts = async (): Promise<void> => {
    if (isStarted) return;
    isStarted = true;
    await areActive(lab, "site", "v6");
    constant = flows.map(({ from, to, rate }) => startTraffic(lab.world, from, to, rate));
    unrelated = startTraffic(lab.world, "left", INTERNET, PACKETS_A_SECOND);
    await comesThrough();
  };

  const kill = (signal: NodeJS.Signals): void => {
    process.kill(lab.left.runningCharon(lab.routers.left).pid, signal);
  };
  const socket = `unix:///run/charon.${lab.namespaces.left}.vici`;
  const swanctl = (...args: readonly string[]): string =>
    execFileSync("swanctl", [...args, "--uri", socket], { encoding: "utf8", timeout: patiently(20_000) });
  const unloadAll = (): void => {
    const empty = path.join(lab.directory, "empty.conf");
    writeFileSync(empty, "");
    expect(swanctl("--load-conns", "--file", empty)).toMatch(/unloaded/);
  };
  /** Written, seen and in force; then as before. */
  const wantForAWhile = async (wanted: Wanted): Promise<void> => {
    lab.write(clearTextDocuments(lab.routers, wanted));
    await sleep(1_500);
    lab.write(clearTextDocuments(lab.routers));
    await sleep(500);
  };
  /** Those that charon has made. */
  const deleteRoutes = (): void =>
    void inside(left, "ip route flush table 220 2>/dev/null; ip -6 route flush table 220 2>/dev/null; true");
  const guardFaults: Readonly<Record<string, Fault>> = Object.fromEntries(
    Object.entries(PARTS_OF_GUARD_GONE).map(([what, command]) => [
      what,
      () =>
        lab.left.whileSuspended(async () => {
          inside(left, command);
          await sleep(EXPOSED_MS);
        }),
    ]),
  );
  const faults: Readonly<Record<string, Fault>> = {
    "charon is killed": () => kill("SIGKILL"),
    "charon is ended in peace": () => kill("SIGTERM"),
    "the agent is killed, and started again": async () => {
      await lab.left.kill();
      await lab.left.start();
    },
    "the agent is stopped, and started again": async () => {
      await lab.left.stop();
      await lab.left.start();
    },
    "agent and charon are killed, and the agent is started again": async () => {
      await lab.left.kill();
      kill("SIGKILL");
      await sleep(500);
      await lab.left.start();
    },
    "charon's routes are deleted": deleteRoutes,
    "charon's routes are deleted, and again as soon as they are there": async () => {
      const isBack = (): boolean => inside(left, "ip route show table 220 2>/dev/null || true") !== "";
      for (let times = 0; times < 3; times += 1) {
        deleteRoutes();
        const deadline = performance.now() + 5_000;
        // With ESP in the kernel nothing needs them.
        while (!isBack() && performance.now() < deadline) await sleep(5);
      }
      deleteRoutes();
    },
    ...guardFaults,
    "the connections are unloaded": unloadAll,
    "the connections are unloaded and their SAs ended": async () => {
      const sas = await lab.left.ikeSas(lab.routers.left);
      unloadAll();
      for (const { uniqueId } of sas) {
        // The agent may have ended it meanwhile, since no connection stood behind it.
        await execa("swanctl", ["--terminate", "--ike-id", String(uniqueId), "--uri", socket], { reject: false });
      }
    },
    "the secrets are cleared": () => {
      const empty = path.join(lab.directory, "empty.conf");
      writeFileSync(empty, "");
      swanctl("--load-creds", "--clear", "--noprompt", "--file", empty);
    },
    "the policies and states of the kernel are flushed": () =>
      void inside(left, "ip xfrm policy flush 2>/dev/null; ip xfrm state flush 2>/dev/null; true"),
    "the connections are administratively down": () => wantForAWhile({ isLeftUp: false }),
    [PEER_DELETED]: () => wantForAWhile({ isPeerThere: false }),
    "the CIDRs change": () => wantForAWhile({ subnets: ["10.2.0.0/24", "10.3.0.0/24"] }),
    "the directories of state and run are deleted": async () => {
      rmSync(lab.left.stateDirectory, { recursive: true });
      rmSync(lab.left.runDirectory, { recursive: true });
      await sleep(300);
    },
    "they are deleted while the agent is stopped": async () => {
      await lab.left.stop();
      rmSync(lab.left.stateDirectory, { recursive: true, force: true });
      rmSync(lab.left.runDirectory, { recursive: true, force: true });
      await lab.left.start();
    },
  };

  const FEW = [
    "charon is killed",
    "the agent is killed, and started again",
    "agent and charon are killed, and the agent is started again",
    "charon's routes are deleted",
    ...Object.keys(guardFaults),
    "the connections are unloaded and their SAs ended",
    "the connections are administratively down",
    PEER_DELETED,
    "the directories of state and run are deleted",
  ];
  const fewFaults = Object.fromEntries(Object.entries(faults).filter(([what]) => FEW.includes(what)));

  /** What only charon could put back, which does not look; a new one does. */
  const NOT_MENDED = new Set(["the policies and states of the kernel are flushed"]);

  const endures = async (what: string, fault: Fault): Promise<number> => {
    // Without traffic nothing could leave.
    await starts();
    await areActive(lab, "site", "v6");
    await comesThrough();
    const { clear, lost } = await watching(
      async () => {
        await fault();
        await sleep(EXPOSED_MS);
        if (NOT_MENDED.has(what)) kill("SIGTERM");
        await until("the namespace is there", 30_000, () => existsSync(`/run/netns/${left}`));
        await comesThrough();
        await areActive(lab, "site", "v6");
      },
      what === PEER_DELETED ? PROTECTED_BY_LEFT : PROTECTED,
    );
    expect(clear).toEqual([]);
    return lost;
  };

  return {
    lab,
    inside,
    linkOf,
    scratch,
    killCharon: kill,
    starts,
    comesThrough,
    watching,
    seesLeak,
    endures,
    faults,
    guardFaults,
    fewFaults,
  };
}

/** Where nothing is loaded into charon nothing but the packet filter, and what stands in for it, holds back what is sent. */
export function testsWhileDown(scene: ClearTextScene): void {
  const { lab, inside, starts, comesThrough, watching, guardFaults } = scene;
  describe("while the connections are administratively down", () => {
    const { left } = lab.charonNamespaces;
    /** Also what nft says where there is none. */
    const guard = (): string =>
      GUARD_TABLES.map((table) => inside(left, `nft -s list table inet ${table} 2>&1 || true`)).join("");
    let whole = "";
    beforeAll(async () => {
      await starts();
      lab.write(clearTextDocuments(lab.routers, { isLeftUp: false }));
      for (const name of ["site", "v6"]) await connectionIs(lab.left, name, "DOWN");
      await until("nothing of theirs is clamped any more", 10_000, () => !guard().includes("maxseg"));
      whole = guard();
    });
    afterAll(async () => {
      lab.write(clearTextDocuments(lab.routers));
      await areActive(lab, "site", "v6");
      await comesThrough();
    });
    const isMended = async (): Promise<void> => {
      let is = "";
      await until("the packet filter is whole", 10_000, () => (is = guard()) === whole).catch((error: unknown) => {
        throw new Error(`${String(error)}: instead of\n${whole}\nit is\n${is}`, { cause: error });
      });
    };

    test.each(Object.entries(guardFaults))(
      "%s: nothing leaves in clear, and unrelated traffic goes on",
      async (_what, fault) => {
        const { clear, lost } = await watching(async () => {
          await fault();
          await isMended();
        });
        expect(clear).toEqual([]);
        expect(lost).toBe(0);
      },
    );

    test("both tables of the packet filter are deleted, and nobody puts them back: nothing leaves in clear", async () => {
      await rests(lab.left);
      const { clear, lost } = await watching(async () => {
        await lab.left.whileSuspended(async () => {
          inside(left, BOTH_TABLES_DELETED);
          await sleep(EXPOSED_MS);
        });
        await isMended();
      });
      expect(clear).toEqual([]);
      expect(lost).toBe(0);
    });

    test("they are, and what stands in for them, too: what is sent is seen", async () => {
      await scene.seesLeak((isSeen) =>
        lab.left.whileSuspended(async () => {
          inside(left, `${STAND_INS_GONE}; ${BOTH_TABLES_DELETED}`);
          await isSeen();
        }),
      );
      await isMended();
    });
  });
}
