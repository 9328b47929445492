// Old credentials die: with a changed PSK, a deletion or an administrative end, whatever the peer does or no longer does.
import { execFileSync } from "node:child_process";
import { execa } from "execa";
import { describe, expect, test } from "vitest";
import { baseDocuments, connectionPair, RIGHT_ADDRESS, type RouterIds } from "../../../scripts/lab-documents.ts";
import { until, type Agent, type LabDocument } from "../../../scripts/lab.ts";
import { patiently } from "../../../scripts/patience.ts";
import type { IkeSa } from "../../../src/vici-client/sas.ts";
import { areActive, areSettled, connectionIs, labForThisFile } from "../../support/lab.ts";
import { toldSince } from "../../support/told.ts";

const OLD = "the first shared secret";
const NEW = "the second shared secret";
const SUITE = { encryption_algorithm: "aes-128", auth_algorithm: "sha256", pfs: "group19" };
const VERSIONS = ["v2", "v1"] as const;

type Wanted = {
  readonly version: (typeof VERSIONS)[number];
  readonly left?: string;
  readonly right?: string;
  readonly without?: "deleted on the left" | "down on the left";
};

/** `quiet` goes over IPv6 outside, so that the router has another peer. */
function documents(routers: RouterIds, { version, left = OLD, right = OLD, without }: Wanted): readonly LabDocument[] {
  const site = (psk: string): readonly LabDocument[] =>
    connectionPair({ name: "site", left: ["10.1.0.0/24"], right: ["10.2.0.0/24"], psk });
  const isRight = (one: LabDocument): boolean => String(one["name"]).startsWith("site-back");
  const isLeft = (one: LabDocument): boolean => one["name"] === "site";
  const mine = site(left).filter((one) => !isRight(one));
  return [
    ...baseDocuments(routers, { ike: { ...SUITE, ike_version: version }, ipsec: SUITE }),
    ...(without === "deleted on the left"
      ? mine.filter((one) => !isLeft(one))
      : mine.map((one) => (isLeft(one) ? { ...one, admin_state_up: without === undefined } : one))),
    ...site(right).filter(isRight),
    ...connectionPair({ name: "quiet", left: ["fd00:1::/64"], right: ["fd00:2::/64"], isOuterIpv6: true }),
  ];
}

const lab = await labForThisFile({ documents: (routers) => documents(routers, { version: "v2" }) });
const { espBackEnd } = await lab.left.status();

const isOfSite = (sa: IkeSa): boolean => sa.localHost.startsWith("203.");
const sasOf = async (agent: Agent, router: string): Promise<readonly IkeSa[]> =>
  (await agent.ikeSas(router)).filter(isOfSite);
const spiOf = (sa: IkeSa): string => `${sa.initiatorSpi}:${sa.responderSpi}`;
const standing = (sas: readonly IkeSa[]): readonly string[] =>
  sas.filter((sa) => sa.childSas.length > 0 || sa.state === "ESTABLISHED").map(spiOf);
/** States of the kernel between the two IPv4 addresses. */
const kernelStates = (): string =>
  execFileSync("ip", ["-n", lab.namespaces.left, "xfrm", "state"], { encoding: "utf8" })
    .split("\n")
    .filter((line) => line.startsWith("src ") && line.includes(RIGHT_ADDRESS))
    .join("\n");

const GONE_AFTER_PSK_MS = 10_000;

describe.each(VERSIONS)("IKE%s", (version) => {
  test("B-04: a PSK changed on one side: its SAs are gone there within 10 s, and the old key brings none up", async () => {
    lab.write(documents(lab.routers, { version }));
    await isUp(version);
    const old = standing(await sasOf(lab.left, lab.routers.left));
    expect(old).not.toEqual([]);
    const [theirs] = await sasOf(lab.right, lab.routers.right);

    const goneMs = await afterBeingTold(
      () => lab.write(documents(lab.routers, { version, left: NEW })),
      async () => standing(await sasOf(lab.left, lab.routers.left)).length === 0,
    );
    expect(goneMs).toBeLessThan(patiently(GONE_AFTER_PSK_MS));

    await connectionIs(lab.left, "site", "DOWN", { reason: "authentication-failed" });
    await connectionIs(lab.right, "site-back", "DOWN", { reason: "authentication-failed" });
    // By hand too, there where the old key still is; the agents go on trying meanwhile.
    const socket = `unix:///run/charon.${lab.namespaces.right}.vici`;
    for (let attempt = 0; attempt < 3; attempt++) {
      const what = ["--child", String(theirs?.childSas[0]?.name), "--ike", String(theirs?.name)];
      const args = ["--initiate", ...what, "--timeout", "3", "--uri", socket];
      const { exitCode, stdout, stderr } = await execa("swanctl", args, { reject: false });
      expect(exitCode, `${stdout}${stderr}`).not.toBe(0);
      expect(stdout + stderr).not.toMatch(/Permission denied|not found/);
      expect(standing(await sasOf(lab.left, lab.routers.left))).toEqual([]);
    }
    expect((await lab.world.ping("left", "10.2.0.9")).received).toBe(0);
    expect((await lab.world.ping("right", "10.1.0.9")).received).toBe(0);
    await connectionIs(lab.left, "quiet", "ACTIVE");
  });

  const deaths = {
    "its charon hangs": {
      begin: () => signalCharon("SIGSTOP"),
      end: () => signalCharon("SIGCONT"),
    },
    "its link is down": {
      begin: () => setLink("down"),
      end: () => setLink("up"),
    },
  };
  test.each([
    ["its charon hangs", "deleted on the left"],
    ["its charon hangs", "down on the left"],
    ["its link is down", "deleted on the left"],
    ["its link is down", "down on the left"],
  ] as const)("the peer is dead (%s), the connection is %s: its SAs are gone within 2 s", async (death, without) => {
    lab.write(documents(lab.routers, { version }));
    await isUp(version);
    deaths[death].begin();
    try {
      const isGone = async (): Promise<boolean> =>
        (await sasOf(lab.left, lab.routers.left)).length === 0 && (espBackEnd === "userland" || kernelStates() === "");
      expect(espBackEnd === "userland" ? "" : kernelStates()).toMatch(espBackEnd === "userland" ? /^$/ : /src/);
      const goneMs = await afterBeingTold(() => lab.write(documents(lab.routers, { version, without })), isGone);
      expect(goneMs).toBeLessThan(patiently(2_000));
    } finally {
      deaths[death].end();
    }
  });
});

async function isUp(version: Wanted["version"]): Promise<void> {
  await areActive(lab, "site", "quiet");
  await until("the version is the wanted one", 30_000, async () => {
    const sas = await sasOf(lab.left, lab.routers.left);
    return sas.length > 0 && sas.every((sa) => sa.ikeVersion === Number(version.slice(1)) && sa.childSas.length > 0);
  });
  await areSettled(lab, { settledMs: 1_500 });
  await areActive(lab, "site", "quiet");
}

/** How long after the agent was told of a change something is so. */
async function afterBeingTold(change: () => void, isSo: () => Promise<boolean>): Promise<number> {
  const from = lab.controller.log().length;
  change();
  const told = await until("the left agent is told", 20_000, () =>
    toldSince(lab, from).find((one) => one.host === lab.left.host),
  );
  await until("it is so", 30_000, isSo);
  return Date.now() - told.atMs;
}

function signalCharon(signal: NodeJS.Signals): void {
  process.kill(lab.right.runningCharon(lab.routers.right).pid, signal);
}

/** Of the right gateway, to the internet. */
function setLink(state: "up" | "down"): void {
  const links = execFileSync("ip", ["-n", lab.namespaces.right, "-o", "link"], { encoding: "utf8" });
  const link = /: (vg[^@:]+)/.exec(links)?.[1];
  if (link === undefined) throw new Error(`the right gateway has no link to the internet: ${links}`);
  execFileSync("ip", ["-n", lab.namespaces.right, "link", "set", link, state]);
}
