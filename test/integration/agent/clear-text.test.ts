// Never in clear, whatever breaks: faults of every part under constant traffic of protected hosts, with a capture on the
// internet's bridge for the whole of each. Both routers have a way of their own to the internet, which masquerades: what
// loses its way into the tunnel would leave by it. Unrelated traffic goes that way all the time, and is not disturbed.
import { execFileSync } from "node:child_process";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { afterAll, expect, test } from "vitest";
import { baseDocuments, connectionPair, sidesOf, type RouterIds } from "../../../scripts/lab-documents.ts";
import { until, type LabDocument } from "../../../scripts/lab.ts";
import { patiently } from "../../../scripts/patience.ts";
import { EGRESS_LINK, startCapture } from "../../../scripts/world.ts";
import { areActive, labForThisFile } from "../../support/lab.ts";
import { startTraffic, type Traffic } from "../../support/traffic.ts";

const PACKETS_A_SECOND = 200;
const PACKETS_A_SECOND_V6 = 50;
/** The unprotected machine that stands for the internet. */
const INTERNET = "203.0.113.1";
/** Also when it was masqueraded on its way: that changes the source only, and of its answer the destination only. */
const PROTECTED = "(ip or ip6) and (net 10.1.0.0/24 or net 10.2.0.0/24 or net fd00:1::/64 or net fd00:2::/64)";
/** What has left the list on a side is not protected there any more: then only this can be asked for. */
const PROTECTED_BY_LEFT = "(ip or ip6) and (src net 10.1.0.0/24 or src net fd00:1::/64)";
const PEER_DELETED = "the peer's connections are deleted";
const EGRESSES = ["110", "120"].map((last) => ({
  addresses: [`203.0.113.${last}/24`, `2001:db8:ff::${last}/64`],
  gateways: [INTERNET, "2001:db8:ff::1"],
}));

/** At least that long something stays as it was broken, unless it is mended sooner. */
const EXPOSED_MS = 500;

/** What the peer sends, which comes out of the tunnel here. */
const SENT_BY_RIGHT = "ip and src net 10.2.0.0/24";
type Wanted = {
  readonly isLeftUp?: boolean;
  readonly isSiteThere?: boolean;
  readonly isPeerThere?: boolean;
  readonly subnets?: readonly string[];
};

function documents(
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

const lab = await labForThisFile({
  documents,
  sides: (routers) =>
    sidesOf(routers).map((side, at) => {
      const egress = EGRESSES[at];
      return egress === undefined ? side : { ...side, egress };
    }),
});
const { left } = lab.namespaces;
const router = `qrouter-${lab.routers.left}`;
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
  await until("all traffic comes through", 60_000, () =>
    constant.every((one, at) => one.answered() > (before[at] ?? 0) + PACKETS_A_SECOND_V6 / 5),
  );
};

/** What is seen on the bridge while `during` runs, and how much of the unrelated traffic is lost. */
async function watching(
  during: () => Promise<unknown>,
  filter = PROTECTED,
): Promise<{ readonly clear: readonly string[]; readonly lost: number }> {
  const capture = await startCapture({ interface: lab.world.bridge, filter });
  const from = unrelated?.lost().length ?? 0;
  try {
    await during();
  } finally {
    // tcpdump has seen what was sent before it when this answer is there.
    await lab.world.ping(scratch, INTERNET);
  }
  const clear = await capture.stop();
  return { clear, lost: (unrelated?.lost().length ?? 0) - from };
}

/** A route around everything, which nobody but this test makes. */
async function leaksOnPurpose(): Promise<void> {
  const { clear } = await watching(async () => {
    inside(router, `ip route add 10.2.0.9/32 via ${INTERNET} dev ${EGRESS_LINK}`);
    await sleep(200);
    inside(router, `ip route del 10.2.0.9/32 via ${INTERNET} dev ${EGRESS_LINK}`);
  });
  expect(clear.filter((line) => line.includes("> 10.2.0.9: ICMP echo request")).length).toBeGreaterThan(5);
  await comesThrough();
}

test("traffic of all kinds flows, and the filter sees a leak that is made on purpose", async () => {
  await areActive(lab, "site", "v6");
  constant = flows.map(({ from, to, rate }) => startTraffic(lab.world, from, to, rate));
  unrelated = startTraffic(lab.world, "left", INTERNET, PACKETS_A_SECOND);
  await comesThrough();
  await leaksOnPurpose();
});

const kill = (signal: NodeJS.Signals): void => {
  const charon = lab.left.charon(lab.routers.left);
  if (charon === undefined) throw new Error("no charon runs for the left router");
  process.kill(charon.pid, signal);
};
const socket = `unix:///run/charon.${left}.vici`;
const swanctl = (...args: readonly string[]): string =>
  execFileSync("swanctl", [...args, "--uri", socket], { encoding: "utf8" });
const unloadAll = (): void => {
  const empty = path.join(lab.directory, "empty.conf");
  writeFileSync(empty, "");
  expect(swanctl("--load-conns", "--file", empty)).toMatch(/unloaded/);
};
/** Written, seen and in force; then as before. */
const wantForAWhile = async (wanted: Wanted): Promise<void> => {
  lab.write(documents(lab.routers, wanted));
  await sleep(1_500);
  lab.write(documents(lab.routers));
  await sleep(500);
};
const moved = (link: string): void => {
  inside(scratch, `ip link del ${link} 2>/dev/null || true`);
};

const FAULTS: Readonly<Record<string, () => Promise<void> | void>> = {
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
  "the namespace is deleted": () => void execFileSync("ip", ["netns", "delete", left]),
  "the link outside is deleted": () => void inside(left, `ip link del ${linkOf(left, "vg")}`),
  "the link outside is set down": () => void inside(left, `ip link set ${linkOf(left, "vg")} down`),
  "the link outside is moved into another namespace": () => {
    const link = linkOf(left, "vg");
    inside(left, `ip link set ${link} netns ${scratch}`);
    moved(link);
  },
  "the link to the router is deleted": () => void inside(left, `ip link del ${linkOf(left, "vr")}`),
  "the link to the router is set down": () => void inside(left, `ip link set ${linkOf(left, "vr")} down`),
  "the link to the router is moved into another namespace": () => {
    const link = linkOf(left, "vr");
    inside(left, `ip link set ${link} netns ${scratch}`);
    moved(link);
  },
  "the router's end of that link is set down": () => void inside(router, `ip link set ${linkOf(router, "hr")} down`),
  "the router's end of that link is moved into another namespace": () => {
    const link = linkOf(router, "hr");
    inside(router, `ip link set ${link} netns ${scratch}`);
    moved(link);
  },
  "the routes in the namespace are deleted": () =>
    void inside(left, "ip route flush proto 215; ip -6 route flush proto 215"),
  "charon's routes are deleted": () =>
    void inside(left, "ip route flush table 220 2>/dev/null; ip -6 route flush table 220 2>/dev/null; true"),
  "the routes in the router are deleted, but for the unreachable ones": () => {
    const link = linkOf(router, "hr");
    inside(router, `ip route flush dev ${link} proto 215; ip -6 route flush dev ${link} proto 215`);
  },
  "the routes in the router are deleted, with the unreachable ones": () =>
    void inside(router, "ip route flush proto 215; ip -6 route flush proto 215"),
  "the unreachable routes of the router's other table are deleted": () =>
    void inside(router, "ip route flush table 215; ip -6 route flush table 215"),
  "the router's rules are deleted": () => {
    for (const family of ["-4", "-6"]) {
      for (const pref of ["32764", "32765"]) inside(router, `ip ${family} rule del pref ${pref}`);
    }
  },
  "the addresses outside are deleted": () => void inside(left, `ip addr flush dev ${linkOf(left, "vg")}`),
  "the addresses towards the router are deleted": () => void inside(left, `ip addr flush dev ${linkOf(left, "vr")}`),
  "the router's addresses of that link are deleted": () =>
    void inside(router, `ip addr flush dev ${linkOf(router, "hr")}`),
  "the rules are deleted": () => {
    for (const family of ["-4", "-6"]) {
      for (const [, pref] of inside(left, `ip ${family} rule`).matchAll(/^(\d+):/gm)) {
        if (!["0", "32766", "32767"].includes(String(pref))) inside(left, `ip ${family} rule del pref ${String(pref)}`);
      }
    }
  },
  "the packet filter is deleted": () => void inside(left, "nft delete table inet swanherd"),
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

/** What only charon could put back, which does not look; a new one does. */
const NOT_MENDED = new Set(["the policies and states of the kernel are flushed"]);

test.each(Object.keys(FAULTS))("B-36: %s: nothing leaves in clear, and unrelated traffic goes on", async (what) => {
  await areActive(lab, "site", "v6");
  await comesThrough();
  const { clear, lost } = await watching(
    async () => {
      await FAULTS[what]?.();
      await sleep(EXPOSED_MS);
      if (NOT_MENDED.has(what)) kill("SIGTERM");
      await until("the namespace is there", 30_000, () => existsSync(`/run/netns/${left}`));
      await comesThrough();
      await areActive(lab, "site", "v6");
    },
    what === PEER_DELETED ? PROTECTED_BY_LEFT : PROTECTED,
  );
  expect(clear).toEqual([]);
  expect(lost).toBe(0);
});

test("the routes of all the router's tables are deleted at once: what leaves by its default route is over within a second", async () => {
  await areActive(lab, "site", "v6");
  await comesThrough();
  const { clear, lost } = await watching(async () => {
    inside(router, "ip route flush table all proto 215; ip -6 route flush table all proto 215");
    await comesThrough();
  });
  const atMs = clear.map((line) => {
    const [, hours, minutes, seconds] = /^(\d+):(\d+):(\d+\.\d+) /.exec(line) ?? [];
    return 1000 * (3600 * Number(hours) + 60 * Number(minutes) + Number(seconds));
  });
  expect(Math.max(0, (atMs.at(-1) ?? 0) - (atMs[0] ?? 0))).toBeLessThan(patiently(1_000));
  expect(lost).toBe(0);
});

test("an agent that was killed while it took a connection away knows nothing of it afterwards, and lets nothing of it out", async () => {
  await areActive(lab, "site", "v6");
  await comesThrough();
  const { clear, lost } = await watching(async () => {
    await lab.left.kill();
    rmSync(lab.left.stateDirectory, { recursive: true });
    inside(left, "ip route del 10.1.0.0/24");
    lab.write(documents(lab.routers, { isSiteThere: false }));
    await lab.left.start();
    await until("the SA is gone", 20_000, async () => {
      const sas = await lab.left.ikeSas(lab.routers.left);
      return sas.every((sa) => sa.childSas.every((child) => !child.remoteTs.includes("10.2.0.0/24")));
    });
    await sleep(EXPOSED_MS);
  }, SENT_BY_RIGHT);
  expect(clear).toEqual([]);
  expect(lost).toBe(0);
  lab.write(documents(lab.routers));
  await areActive(lab, "site", "v6");
  await comesThrough();
});

test("at the end the filter still sees a leak", async () => {
  await leaksOnPurpose();
});
