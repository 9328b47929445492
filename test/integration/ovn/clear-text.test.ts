// Never in clear with attachment `ovs`: what loses its way into the tunnel would leave by the gateway port of OVN's router, or by
// the VPN's own port. Unrelated traffic goes by the former all the time, and is not disturbed.
import { execFileSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { patiently } from "../../../scripts/patience.ts";
import {
  clearTextSceneAt,
  EXPOSED_MS,
  INTERNET,
  lastsMs,
  testsWhileDown,
  type Fault,
} from "../../support/clear-text-scene.ts";
import { areActive } from "../../support/lab.ts";
import { hasOvn } from "../../support/ovn.ts";

async function registerTests(): Promise<void> {
  const scene = await clearTextSceneAt("ovs");
  const { lab, inside, linkOf, scratch, comesThrough, watching, endures } = scene;
  if (lab.site === undefined) throw new Error("this place has a switch");
  const { ovs, ovn, plugged } = lab.site;
  const left = lab.charonNamespaces.left;
  const port = (begins: "hg" | "hr"): string => plugged(begins)?.name ?? "?";

  /** A route around the VPN, which is the control plane's and not the agent's to keep away. */
  const leaksOnPurpose = async (): Promise<void> => {
    await scene.seesLeak(async (isSeen) => {
      ovn.nbctl("--wait=hv", "lr-route-add", "router", "10.2.0.9/32", INTERNET);
      await isSeen();
      ovn.nbctl("--wait=hv", "lr-route-del", "router", "10.2.0.9/32");
    });
    await comesThrough();
  };

  test("traffic of all kinds flows, and the filter sees a leak that is made on purpose", async () => {
    await scene.starts();
    await leaksOnPurpose();
  });

  const isMoved = (begins: "hg" | "hr"): void => {
    const name = port(begins);
    execFileSync("ip", ["link", "set", name, "netns", scratch]);
    inside(scratch, `ip link del ${name} 2>/dev/null || true`);
  };

  const FAULTS: Readonly<Record<string, Fault>> = {
    ...scene.fewFaults,
    "the external port is deleted": () => void ovs.vsctl("del-port", ovs.bridge, port("hg")),
    "the transit port is deleted": () => void ovs.vsctl("del-port", ovs.bridge, port("hr")),
    "the external port is moved into another namespace": () => isMoved("hg"),
    "the transit port is moved into another namespace": () => isMoved("hr"),
    "the namespace is deleted": () => void execFileSync("ip", ["netns", "delete", left]),
    "the link outside is deleted": () => void inside(left, `ip link del ${linkOf(left, "vg")}`),
    "the link to the router is set down": () => void inside(left, `ip link set ${linkOf(left, "vr")} down`),
    "the routes in the namespace are deleted": () =>
      void inside(left, "ip route flush proto 215; ip -6 route flush proto 215"),
    "the addresses outside are deleted": () => void inside(left, `ip addr flush dev ${linkOf(left, "vg")}`),
    "the rules are deleted": () => {
      for (const family of ["-4", "-6"]) {
        for (const [, pref] of inside(left, `ip ${family} rule`).matchAll(/^(\d+):/gm)) {
          if (!["0", "32766", "32767"].includes(String(pref)))
            inside(left, `ip ${family} rule del pref ${String(pref)}`);
        }
      }
    },
  };

  /** Unrelated traffic goes through the switch, too: Open vSwitch 3.5 may hold it up as long as its database is away. */
  const OF_THE_SWITCH: Readonly<Record<string, Fault>> = {
    "the switch is killed and started again": async () => {
      await ovs.stop("SIGKILL");
      await ovs.start();
    },
    "the switch's database is away": async () => {
      await ovs.database.stop();
      await sleep(EXPOSED_MS);
      await ovs.database.start();
    },
  };

  test.each(Object.entries(FAULTS))(
    "%s: nothing leaves in clear, and unrelated traffic goes on",
    async (what, fault) => {
      expect(await endures(what, fault)).toBe(0);
    },
  );

  test("the ports get each other's iface-id, and with it each other's network: what leaves is over within a second", async () => {
    await areActive(lab, "site", "v6");
    await comesThrough();
    const [outside, transit] = [plugged("hg"), plugged("hr")];
    const { clear, lost } = await watching(async () => {
      for (const [one, other] of [
        [outside, transit],
        [transit, outside],
      ]) {
        ovs.vsctl("set", "Interface", one?.name ?? "", `external_ids:iface-id="${other?.port ?? ""}"`);
      }
      await comesThrough();
    });
    expect(lastsMs(clear)).toBeLessThan(patiently(1_000));
    expect(lost).toBe(0);
  });

  test.each(Object.entries(OF_THE_SWITCH))("%s: nothing leaves in clear", async (what, fault) => {
    await endures(what, fault);
  });

  testsWhileDown(scene);

  test("at the end the filter still sees a leak", async () => {
    await leaksOnPurpose();
  });
}

if (hasOvn()) await registerTests();
else test.skip("there is no OVN here", () => undefined);
