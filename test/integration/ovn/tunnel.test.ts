// A site behind a real OVN router, as Neutron's OVN VPN service makes it, and a peer behind a Linux bridge: the agent plugs its
// ports in, OVN binds them, and packets go from a port of a logical switch through the tunnel and back.
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { randomBytes, randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { baseDocuments, connectionPair, sidesOf } from "../../../scripts/lab-documents.ts";
import { LabBuilder, PROGRAM, until } from "../../../scripts/lab.ts";
import { linkLocalOf } from "../../../src/core/address.ts";
import { AGENT_NAMESPACE } from "../../../src/core/network.ts";
import { computeChecksums } from "../../../src/io/kernel/offload.ts";
import { createCleanup } from "../../support/broker.ts";
import { connectionIs, worthReading } from "../../support/lab.ts";
import { hasOpenVswitch, startOpenVswitch, type OpenVswitchLab } from "../../support/open-vswitch.ts";
import { hasOvn, startOvn, type OvnLab } from "../../support/ovn.ts";

const ROUTER_MAC = "fa:16:3e:01:01:01";
const LAN_MAC = "fa:16:3e:01:01:02";
const HOST_MAC = "fa:16:3e:01:01:09";

const cleanup = createCleanup();
const prefix = `t${randomBytes(3).toString("hex")}`;
const routers = { left: randomUUID(), right: randomUUID(), hostPrefix: prefix };
const namespace = `qvpn-${routers.left}`;
const host = `${prefix}-ovnhost`;
const ip = (...args: readonly string[]): string => execFileSync("ip", args, { encoding: "utf8" });

let ovs: OpenVswitchLab;
let ovn: OvnLab;
let lab: LabBuilder;

type Plugged = { readonly name: string; readonly port: string; readonly mac: string };

/** Of the agent, by the beginning of its name. */
function plugged(begins: "hg" | "hr"): Plugged | undefined {
  const name = ovs
    .vsctl("list-ports", ovs.bridge)
    .split("\n")
    .find((one) => one.startsWith(begins));
  if (name === undefined) return undefined;
  const id = (key: string): string => ovs.vsctl("get", "Interface", name, `external_ids:${key}`).replaceAll('"', "");
  return { name, port: id("iface-id"), mac: id("attached-mac") };
}

const pluggedNow = (begins: "hg" | "hr"): Promise<Plugged> =>
  until(`${begins}… is plugged`, 20_000, () => plugged(begins));

const leftAgent = () => {
  const agent = lab.agents.get(`${prefix}-left`);
  if (agent === undefined) throw new Error("no agent");
  return agent;
};

/** The internet's Linux bridge as a physical network of OVN's. */
function joinInternet(bridge: string, external: string): void {
  const near = `${prefix}-o0`;
  const far = `${prefix}-o1`;
  ip("link", "add", near, "type", "veth", "peer", "name", far);
  cleanup.add(() => ip("link", "del", near));
  // What gateways in the kernel send would reach a switch in userland without checksums.
  computeChecksums(AGENT_NAMESPACE, near);
  ip("link", "set", near, "master", bridge, "up");
  ip("link", "set", far, "up");
  ovs.vsctl("add-port", external, far);
}

/** As Neutron makes it before any VPN: a router with a network behind it, and a machine in that. */
function makeSite(): void {
  const { nbctl } = ovn;
  nbctl("lr-add", "router");
  nbctl("lrp-add", "router", "lrp-lan", LAN_MAC, "10.1.0.1/24", "fd00:1::1/64");
  nbctl("ls-add", "lan");
  nbctl("lsp-add", "lan", "lan-router", "--", "lsp-set-type", "lan-router", "router");
  nbctl("lsp-set-addresses", "lan-router", "router", "--", "lsp-set-options", "lan-router", "router-port=lrp-lan");
  nbctl("lsp-add", "lan", "site-host", "--", "lsp-set-addresses", "site-host", `${HOST_MAC} 10.1.0.9 fd00:1::9`);
  ip("netns", "add", host);
  cleanup.add(() => ip("netns", "del", host));
  const port = `${prefix}-h0`;
  ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "address", HOST_MAC, "netns", host);
  ip("link", "set", port, "up");
  const inside = (...args: readonly string[]): string => ip("-n", host, ...args);
  inside("link", "set", "lo", "up");
  inside("addr", "add", "10.1.0.9/24", "dev", "eth0");
  inside("addr", "add", "fd00:1::9/64", "dev", "eth0", "nodad");
  inside("link", "set", "eth0", "up");
  inside("route", "add", "default", "via", "10.1.0.1");
  inside("-6", "route", "add", "default", "via", "fd00:1::1");
  ovs.vsctl("add-port", ovs.bridge, port, "--", "set", "Interface", port, "external_ids:iface-id=site-host");
}

/** As Neutron's service driver makes it for a VPN (services/vpn/service_drivers/ovn_ipsec.py). */
function bindVpn(external: Plugged, transit: Plugged): void {
  const { nbctl } = ovn;
  nbctl("ls-add", "external", "--", "lsp-add", "external", "provnet", "--", "lsp-set-addresses", "provnet", "unknown");
  nbctl("lsp-set-type", "provnet", "localnet", "--", "lsp-set-options", "provnet", "network_name=physnet");
  nbctl("lsp-add", "external", external.port);
  nbctl("lsp-set-addresses", external.port, `${external.mac} 203.0.113.10 2001:db8:ff::10`);
  nbctl("lrp-add", "router", "lrp-transit", ROUTER_MAC, "169.254.0.1/28");
  nbctl("ls-add", "transit", "--", "lsp-add", "transit", "transit-router");
  nbctl("lsp-set-type", "transit-router", "router", "--", "lsp-set-addresses", "transit-router", "router");
  nbctl("lsp-set-options", "transit-router", "router-port=lrp-transit");
  nbctl("lsp-add", "transit", transit.port);
  nbctl("lsp-set-addresses", transit.port, `${transit.mac} 169.254.0.2`);
  nbctl("lr-route-add", "router", "10.2.0.0/24", "169.254.0.2");
  // Neutron's next hop is 169.254.0.2 here, too, which OVN takes since 25.03; those before it want one of IPv6.
  nbctl("lr-route-add", "router", "fd00:2::/64", linkLocalOf(transit.mac), "lrp-transit");
}

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
  ovs = await startOpenVswitch(cleanup);
  const external = `${prefix}-ex`;
  ovs.vsctl("add-br", external, "--", "set", "Bridge", external, "datapath_type=netdev");
  ovn = await startOvn(cleanup, ovs, `physnet:${external}`);
  const sites = sidesOf(routers);
  lab = new LabBuilder({
    prefix,
    sides: sites,
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
  joinInternet(world.bridge, external);
  makeSite();
  await lab.startController();
  await lab.startAgents();
}, 120_000);
afterAll(() => cleanup.run(), 60_000);

describe.skipIf(!hasOpenVswitch() || !hasOvn())("a site behind OVN", () => {
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
    bindVpn(await pluggedNow("hg"), await pluggedNow("hr"));
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
    expect(ip("-n", namespace, "-6", "route", "show", "fd00:1::/64")).toContain(`via ${linkLocalOf(ROUTER_MAC)} `);
    expect((await leftAgent().ikeSas(routers.left)).flatMap((sa) => sa.childSas).length).toBeGreaterThan(0);
  });

  test("a port that somebody deletes is back, and bound, within moments; it is counted and told", async () => {
    const { name } = await pluggedNow("hr");
    ovs.vsctl("del-port", ovs.bridge, name);
    await until("it is counted", 10_000, async () =>
      (await leftAgent().metric('swanherd_drift_total{kind="port"}')).endsWith(" 1"),
    );
    await ping(host, "10.2.0.9");
    expect(worthReading(leftAgent(), 500)).toContain(`port ${name} of ${ovs.bridge} is missing or changed`);
  });

  test("an agent that is killed leaves packets going, and takes its ports over when it is back", async () => {
    const before = [plugged("hg"), plugged("hr")];
    await leftAgent().kill();
    await ping(host, "10.2.0.9");
    await leftAgent().start();
    await connectionIs(leftAgent(), "site", "ACTIVE", { timeoutMs: 30_000 });
    expect([plugged("hg"), plugged("hr")]).toEqual(before);
    expect(await leftAgent().metric('swanherd_drift_total{kind="port"}')).toMatch(/ 0$/);
  });

  test("teardown leaves nothing in Open vSwitch or in the kernel", async () => {
    const names = [plugged("hg")?.name ?? "?", plugged("hr")?.name ?? "?"];
    const { exitCode, stderr } = await leftAgent().run("teardown", "--router", routers.left, "--yes");
    expect(stderr).toBe("");
    expect(exitCode).toBe(0);
    expect(ovs.vsctl("--bare", "--columns=name", "list", "Interface").split("\n")).not.toEqual(
      expect.arrayContaining(names),
    );
    expect(ovs.vsctl("--bare", "--columns=external_ids", "list", "Interface")).not.toContain("swanherd");
    expect(existsSync(`/run/netns/${namespace}`)).toBe(false);
    for (const name of names) expect(existsSync(`/sys/class/net/${name}`)).toBe(false);
  });
});
