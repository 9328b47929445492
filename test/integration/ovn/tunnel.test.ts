// A site behind a real OVN router, as Neutron's OVN VPN service makes it, and a peer behind a Linux bridge: the agent plugs its
// ports in, OVN binds them, and packets go from a port of a logical switch through the tunnel and back.
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { randomBytes, randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { baseDocuments, connectionPair, sidesOf } from "../../../scripts/lab-documents.ts";
import { LabBuilder, PROGRAM, until } from "../../../scripts/lab.ts";
import { linkLocalOf } from "../../../src/core/address.ts";
import { createCleanup } from "../../support/broker.ts";
import { connectionIs, rests, worthReading } from "../../support/lab.ts";
import { hasOvn } from "../../support/ovn.ts";
import { startOvnSite, type OvnSite, type Plugged } from "../../support/ovn-site.ts";

const cleanup = createCleanup();
const prefix = `t${randomBytes(3).toString("hex")}`;
const routers = { left: randomUUID(), right: randomUUID(), hostPrefix: prefix };
const namespace = `qvpn-${routers.left}`;
const host = `${prefix}-left`;
const ip = (...args: readonly string[]): string => execFileSync("ip", args, { encoding: "utf8" });

let site: OvnSite;
let lab: LabBuilder;

const pluggedNow = (begins: "hg" | "hr"): Promise<Plugged> =>
  until(`${begins}… is plugged`, 20_000, () => site.plugged(begins));

const leftAgent = () => {
  const agent = lab.agents.get(`${prefix}-left`);
  if (agent === undefined) throw new Error("no agent");
  return agent;
};

async function ping(from: string, to: string): Promise<string> {
  return until(`${from} reaches ${to}`, 20_000, () => {
    try {
      return execFileSync("ip", ["netns", "exec", from, "ping", "-c1", "-W1", to], { encoding: "utf8" });
    } catch {
      return false;
    }
  });
}

beforeAll(async () => {
  if (!hasOvn()) return;
  site = await startOvnSite(cleanup);
  const { ovs } = site;
  const [left, right] = sidesOf(routers);
  if (left === undefined || right === undefined) throw new Error("there are two sides");
  lab = new LabBuilder({
    prefix,
    sides: [{ ...left, isSwitched: true }, right],
    documents: [
      ...baseDocuments(routers),
      ...connectionPair({ name: "site", left: ["10.1.0.0/24"], right: ["10.2.0.0/24"] }),
      ...connectionPair({ name: "six", left: ["fd00:1::/64"], right: ["fd00:2::/64"] }),
    ],
    agentConfig: { initiateRetry: { baseMs: 300, capMs: 1_000 }, retry: { baseMs: 200, capMs: 2_000 } },
    agentConfigOf: (name) =>
      name === `${prefix}-left`
        ? {
            attachment: { kind: "ovs", integrationBridge: ovs.bridge },
            ovn: { localDatabase: ovs.database.endpoint },
          }
        : {},
  });
  cleanup.add(() => lab.destroy());
  await lab.startBroker();
  const world = await lab.buildWorld();
  site.make(world, "left");
  await lab.startController();
  await lab.startAgents();
}, 120_000);
afterAll(() => cleanup.run(), 60_000);

describe.skipIf(!hasOvn())("a site behind OVN", () => {
  test("ports that OVN does not know are said to wait, and IPv6 to have no way; all else is made", async () => {
    const transit = await pluggedNow("hr");
    await until("the ports wait", 20_000, async () => {
      const [router] = (await leftAgent().status()).routers;
      const whys = router?.ports?.map(({ why }) => why ?? "bound") ?? [];
      return whys.length === 2 && whys[1] === `waiting for OVN to bind port ${transit.port}`;
    });
    const six = await connectionIs(leftAgent(), "six", "DOWN", { reason: "plumbing-failed" });
    expect(six.reason?.text).toMatch(/^the transit network does not carry IPv6: nothing answers for 169\.254\.0\.1/);
    const told = execFileSync(process.execPath, [PROGRAM, "status", "--socket", leftAgent().socket], {
      encoding: "utf8",
    });
    expect(told).toContain(`ports of ${routers.left}: waiting for OVN to bind port ${transit.port}`);
    expect((await leftAgent().connection("site"))?.reason?.code).not.toBe("plumbing-failed");
  });

  test("packets of IPv4 and IPv6 go from a logical port through the tunnel to the peer's host, and back", async () => {
    await site.bindVpn(["10.2.0.0/24", "fd00:2::/64"]);
    await connectionIs(leftAgent(), "site", "ACTIVE", { timeoutMs: 30_000 });
    await connectionIs(leftAgent(), "six", "ACTIVE", { timeoutMs: 30_000 });
    const [router] = (await leftAgent().status()).routers;
    await until("both ports are bound", 20_000, async () => {
      const [one] = (await leftAgent().status()).routers;
      return one?.ports?.every(({ state }) => state === "bound") === true;
    });
    expect(router?.id).toBe(routers.left);
    await ping(host, "10.2.0.9");
    await ping(`${prefix}-right`, "10.1.0.9");
    await ping(host, "fd00:2::9");
    await ping(`${prefix}-right`, "fd00:1::9");
    expect(ip("-n", namespace, "-6", "route", "show", "fd00:1::/64")).toContain(`via ${linkLocalOf(site.transitMac)} `);
    expect((await leftAgent().ikeSas(routers.left)).flatMap((sa) => sa.childSas).length).toBeGreaterThan(0);
  });

  test("a port that somebody deletes is back, and bound, within moments; it is counted and told", async () => {
    const { name } = await pluggedNow("hr");
    await rests(leftAgent());
    site.ovs.vsctl("del-port", site.ovs.bridge, name);
    await until("it is counted", 10_000, async () =>
      (await leftAgent().metric('swanherd_drift_total{kind="port"}')).endsWith(" 1"),
    );
    await ping(host, "10.2.0.9");
    expect(worthReading(leftAgent(), 500)).toContain(`port ${name} of ${site.ovs.bridge} is missing or changed`);
  });

  test("an agent that is killed leaves packets going, and takes its ports over when it is back", async () => {
    const before = [site.plugged("hg"), site.plugged("hr")];
    await leftAgent().kill();
    await ping(host, "10.2.0.9");
    await leftAgent().start();
    await connectionIs(leftAgent(), "site", "ACTIVE", { timeoutMs: 30_000 });
    expect([site.plugged("hg"), site.plugged("hr")]).toEqual(before);
    expect(await leftAgent().metric('swanherd_drift_total{kind="port"}')).toMatch(/ 0$/);
  });

  test("teardown leaves nothing in Open vSwitch or in the kernel", async () => {
    const names = [site.plugged("hg")?.name ?? "?", site.plugged("hr")?.name ?? "?"];
    const { exitCode, stderr } = await leftAgent().run("teardown", "--router", routers.left, "--yes");
    expect(stderr).toBe("");
    expect(exitCode).toBe(0);
    expect(site.ovs.vsctl("--bare", "--columns=name", "list", "Interface").split("\n")).not.toEqual(
      expect.arrayContaining(names),
    );
    expect(site.ovs.vsctl("--bare", "--columns=external_ids", "list", "Interface")).not.toContain("swanherd");
    expect(existsSync(`/run/netns/${namespace}`)).toBe(false);
    for (const name of names) expect(existsSync(`/sys/class/net/${name}`)).toBe(false);
  });
});
