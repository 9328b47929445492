// What a user does with a connection over Neutron's REST interface, and what becomes of it in charon: the same tests for
// routers of L3 agents and of OVN.
import { expect, test } from "vitest";
import { makeVpn, PSK, removeVpn, SIDE_NAMES, SiteView, type Site } from "./neutron-site.ts";

/** Defines the tests; `hasMtu` tells whether a router's guard clamps to that MTU. */
export function testVpn(site: Site, hasMtu: (router: string, mtuBytes: number) => Promise<boolean>): () => SiteView {
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
    const before = await view().spis("left");
    await view().update("left", { name: "renamed", description: "another one" });
    await view().until(
      "the agent has the name",
      async () => (await site.agents.left.connection("renamed")) !== undefined,
    );
    expect(await view().spis("left")).toEqual(before);
    await view().works();
  });

  test("a PSK that is changed on one side ends the tunnel, and the same one on the other side brings it back", async () => {
    const before = await view().spis("left");
    await view().update("left", { psk: "another secret" });
    await view().statusIs("left", "DOWN");
    await view().statusIs("right", "DOWN");
    await view().update("right", { psk: "another secret" });
    await view().works(60_000);
    for (const spi of await view().spis("left")) expect(before).not.toContain(spi);
    await view().updateBoth({ psk: PSK });
    await view().works(60_000);
  });

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
    await view().until("the guard has it", () => hasMtu(router, 1_300));
    await view().update("left", { mtu: 1500 });
    await view().until("the guard has the old one", async () => !(await hasMtu(router, 1_300)));
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
