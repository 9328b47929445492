// What a user does with a connection over Neutron's REST interface, and what becomes of it in charon: the same tests for
// routers of L3 agents and of OVN.
import { expect, test } from "vitest";
import { patiently } from "../../scripts/patience.ts";
import { makeVpn, PSK, removeVpn, SIDE_NAMES, SiteView, type Site } from "./neutron-site.ts";

/** Of the agents: attempts soon after one another, and a broker that is silent for 6 s is given up. */
export const AGENT_CONFIG = {
  initiateRetry: { baseMs: 300, capMs: 1_000 },
  retry: { baseMs: 200, capMs: 2_000 },
  amqp: { heartbeatSeconds: 6 },
};

/** What is in force in a router's namespace, as nft lists it. */
type Ruleset = (router: string) => Promise<string>;

/** Whether segments of IPv4 are clamped to that MTU. */
const clampsTo = async (ruleset: Promise<string>, mtuBytes: number): Promise<boolean> =>
  (await ruleset).includes(`maxseg size set ${String(mtuBytes - 40)}\n`);

/** Defines the tests, which build on one another. */
export function testVpn(site: Site, ruleset: Ruleset): () => SiteView {
  let made: SiteView | undefined;
  const view = (): SiteView => {
    if (made === undefined) throw new Error("the connections were not made");
    return made;
  };
  const { api } = site.neutron;

  test("connections that are made by REST become ACTIVE on the server, with SAs in both charons and packets both ways", async () => {
    made = new SiteView(site, await makeVpn(api, site.networks));
    await made.works(60_000);
    for (const side of SIDE_NAMES) {
      await made.serviceIs(side, "ACTIVE");
      expect((await made.loaded(side))?.version).toBe("IKEv2");
    }
  });

  test("a new name and description reach the agent, and the SAs stay", async () => {
    const before = await view().settled();
    await view().update("left", { name: "renamed", description: "another one" });
    await view().until(
      "the agent has the name",
      async () => (await site.agents.left.connection("renamed")) !== undefined,
    );
    expect(await view().allSpis()).toEqual(before);
    await view().works();
  });

  test(
    "a PSK that is changed on one side ends the tunnel, and the same one on the other side brings it back",
    { timeout: patiently(180_000) },
    async () => {
      const before = await view().spis("left");
      await view().update("left", { psk: "another secret" });
      await view().statusIs("left", "DOWN");
      // Told by the other's DELETE, or found out by DPD where that got lost.
      await view().statusIs("right", "DOWN", 60_000);
      await view().update("right", { psk: "another secret" });
      await view().works(60_000);
      for (const spi of await view().spis("left")) expect(before).not.toContain(spi);
      await view().updateBoth({ psk: PSK });
      await view().works(60_000);
    },
  );

  test("a peer address is where charon sends to, and the old one brings the tunnel back", async () => {
    const { address } = view().vpn.right;
    await view().update("left", { peer_address: "203.0.113.99" });
    await view().loadedIs("the new address", "left", (conn) => conn.remoteAddrs[0] === "203.0.113.99");
    await view().statusIs("left", "DOWN");
    await view().update("left", { peer_address: address });
    await view().loadedIs("the old address", "left", (conn) => conn.remoteAddrs[0] === address);
    await view().works(60_000);
  });

  test("another endpoint group is what charon's selectors are made of", async () => {
    const more = await api.create("vpn/endpoint-groups", {
      name: "more",
      type: "cidr",
      endpoints: [site.networks.right.cidr, "10.99.0.0/24"],
    });
    const selectors = (count: number) =>
      view().loadedIs(`${String(count)} subnets of the peer`, "left", (conn) => {
        const all = new Set(conn.children.flatMap((child) => child.remoteTs));
        return all.size === count && (count === 1 || [...all].some((one) => one.startsWith("10.99.0.0/24")));
      });
    await view().update("left", { peer_ep_group_id: more.id });
    await selectors(2);
    await view().works();
    await view().update("left", { peer_ep_group_id: view().vpn.left.peerGroup });
    await selectors(1);
    await api.remove("vpn/endpoint-groups", more.id);
    await view().works();
  });

  test("DPD's interval and time limit are charon's", async () => {
    await view().update("left", { dpd: { action: "restart", interval: 7, timeout: 33 } });
    await view().loadedIs("the interval", "left", (conn) => conn.dpdDelaySeconds === 7);
    await view().works();
    await view().update("left", { dpd: { action: "clear", interval: 5, timeout: 20 } });
    await view().loadedIs(
      "both",
      "left",
      (conn) => conn.dpdDelaySeconds === 5 && conn.children[0]?.dpdAction === "none",
    );
    await view().works();
    await view().update("left", { dpd: { action: "restart", interval: 5, timeout: 20 } });
    await view().works();
  });

  test("an MTU is what segments are clamped to", async () => {
    const { router } = site.networks.left;
    await view().update("left", { mtu: 1300 });
    await view().until("the guard has it", () => clampsTo(ruleset(router), 1_300));
    await view().update("left", { mtu: 1500 });
    await view().until("the guard has the old one", async () => !(await clampsTo(ruleset(router), 1_300)));
    await view().works();
  });

  test("a connection that is switched off is DOWN without SAs, and comes back when it is switched on", async () => {
    await view().update("left", { admin_state_up: false });
    await view().statusIs("left", "DOWN");
    await view().until("no SA is left", async () => (await view().spis("left")).length === 0);
    expect(await site.reaches("left")).toBe(false);
    await view().update("left", { admin_state_up: true });
    await view().works(60_000);
  });

  test("a service that is switched off is DOWN with its connection, and comes back when it is switched on", async () => {
    const { service } = view().vpn.left;
    await api.update("vpn/vpnservices", service, { admin_state_up: false });
    await view().serviceIs("left", "DOWN");
    await view().statusIs("left", "DOWN");
    expect(await site.reaches("left")).toBe(false);
    await api.update("vpn/vpnservices", service, { admin_state_up: true });
    await view().works(60_000);
    await view().serviceIs("left", "ACTIVE");
  });

  return view;
}

/** What becomes of updates while the broker is away. */
export function testBroker(view: () => SiteView, ruleset: Ruleset): void {
  const leftHas = (mtuBytes: number) => clampsTo(ruleset(view().site.networks.left.router), mtuBytes);

  test("an update that is made while the broker restarts reaches the agent, and the SAs stay", async () => {
    const { rabbitmq } = view().site;
    const before = await view().settled();
    await rabbitmq.stopBroker();
    // The server answers when it has told the agent.
    const updated = view().update("left", { mtu: 1300 });
    const outcome = updated.then(
      () => undefined,
      (error: unknown) => error,
    );
    for (const side of SIDE_NAMES) expect(await view().site.reaches(side), `from the ${side}`).toBe(true);
    await rabbitmq.startBroker();
    expect(await outcome).toBeUndefined();
    await view().until("the guard has the MTU", () => leftHas(1_300), { timeoutMs: 60_000 });
    expect(await view().allSpis()).toEqual(before);
    await view().updateBoth({ mtu: 1500 });
    await view().until("the guard has the old MTU", async () => !(await leftHas(1_300)));
    await view().works();
  });

  test("updates that are made while packets to the broker are lost reach the agent when they are not any more", async () => {
    const { way, agents } = view().site;
    const before = await view().settled();
    way.close();
    try {
      await view().update("left", { mtu: 1300 });
      await view().until("the agent gives the broker up", async () => !(await agents.left.status()).brokerConnected);
      await view().update("left", { name: "meanwhile" });
      for (const side of SIDE_NAMES) expect(await view().site.reaches(side), `from the ${side}`).toBe(true);
      expect(await leftHas(1_300)).toBe(false);
    } finally {
      way.open();
    }
    await view().until("the guard has the MTU", () => leftHas(1_300), { timeoutMs: 60_000 });
    await view().until("it has the name", async () => (await agents.left.connection("meanwhile")) !== undefined);
    expect(await view().allSpis()).toEqual(before);
    await view().update("left", { mtu: 1500 });
    await view().works();
  });
}

/** The last test of a file. */
export function testRemoval(view: () => SiteView, isClean: () => Promise<readonly string[]>): void {
  test("what is deleted by REST leaves no charon, file or namespace of ours", async () => {
    await removeVpn(view().api);
    await view()
      .until("nothing is left", async () => {
        return view().leftovers().length === 0 && (await isClean()).length === 0;
      })
      .catch(async (cause: unknown) => {
        throw new Error(`left: ${[...view().leftovers(), ...(await isClean())].join(", ")}`, { cause });
      });
    expect(await view().api.list("vpn/vpnservices")).toEqual([]);
  });
}
