// Never in clear, whatever breaks: faults of every part under constant traffic of protected hosts, with a capture on the
// internet's bridge for the whole of each. Both routers have a way of their own to the internet, which masquerades: what
// loses its way into the tunnel would leave by it. Unrelated traffic goes that way all the time, and is not disturbed.
import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { sidesOf } from "../../../scripts/lab-documents.ts";
import { until } from "../../../scripts/lab.ts";
import { patiently } from "../../../scripts/patience.ts";
import { EGRESS_LINK } from "../../../scripts/world.ts";
import {
  clearTextDocuments,
  clearTextSceneAt,
  EXPOSED_MS,
  INTERNET,
  lastsMs,
  SENT_BY_RIGHT,
  testsWhileDown,
  type Fault,
} from "../../support/clear-text-scene.ts";
import { areActive } from "../../support/lab.ts";

const EGRESSES = ["110", "120"].map((last) => ({
  addresses: [`203.0.113.${last}/24`, `2001:db8:ff::${last}/64`],
  gateways: [INTERNET, "2001:db8:ff::1"],
}));

const scene = await clearTextSceneAt("transit", {
  sides: (routers) =>
    sidesOf(routers).map((side, at) => {
      const egress = EGRESSES[at];
      return egress === undefined ? side : { ...side, egress };
    }),
});
const { lab, inside, linkOf, scratch, comesThrough, watching, endures } = scene;
const { left } = lab.namespaces;
const router = `qrouter-${lab.routers.left}`;

/** A route around everything, which nobody but this test makes. */
const leaksOnPurpose = async (): Promise<void> => {
  await scene.seesLeak(async (isSeen) => {
    inside(router, `ip route add 10.2.0.9/32 via ${INTERNET} dev ${EGRESS_LINK}`);
    await isSeen();
    inside(router, `ip route del 10.2.0.9/32 via ${INTERNET} dev ${EGRESS_LINK}`);
  });
  await comesThrough();
};

test("traffic of all kinds flows, and the filter sees a leak that is made on purpose", async () => {
  await scene.starts();
  await leaksOnPurpose();
});

const moved = (link: string): void => {
  inside(scratch, `ip link del ${link} 2>/dev/null || true`);
};

const FAULTS: Readonly<Record<string, Fault>> = {
  ...scene.faults,
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
  "the routes in the router are deleted, but for the unreachable ones": () => {
    const link = linkOf(router, "hr");
    inside(router, `ip route flush dev ${link} proto 215; ip -6 route flush dev ${link} proto 215`);
  },
  "the routes in the router are deleted, with the unreachable ones": () =>
    void inside(router, "ip route flush proto 215; ip -6 route flush proto 215"),
  "the routes and rules of one protocol are deleted in the router": () => {
    for (const family of ["-4", "-6"]) {
      inside(router, `ip ${family} route flush table all proto 215; ip ${family} rule flush protocol 215`);
    }
  },
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
};

test.each(Object.entries(FAULTS))(
  "B-36: %s: nothing leaves in clear, and unrelated traffic goes on",
  async (what, fault) => {
    expect(await endures(what, fault)).toBe(0);
  },
);

test("the routes of all the router's tables are deleted one after the other: what leaves by its default route is over within a second", async () => {
  await areActive(lab, "site", "v6");
  await comesThrough();
  const { clear, lost } = await watching(async () => {
    inside(
      router,
      "for family in -4 -6; do for one in 216 215; do ip $family route flush table all proto $one; done; done",
    );
    await comesThrough();
  });
  expect(lastsMs(clear)).toBeLessThan(patiently(1_000));
  expect(lost).toBe(0);
});

test("an agent that was killed while it took a connection away knows nothing of it afterwards, and lets nothing of it out", async () => {
  await areActive(lab, "site", "v6");
  await comesThrough();
  const { clear, lost } = await watching(async () => {
    await lab.left.kill();
    rmSync(lab.left.stateDirectory, { recursive: true });
    inside(left, "ip route del 10.1.0.0/24");
    lab.write(clearTextDocuments(lab.routers, { isSiteThere: false }));
    await lab.left.start();
    await until("the SA is gone", 20_000, async () => {
      const sas = await lab.left.ikeSas(lab.routers.left);
      return sas.every((sa) => sa.childSas.every((child) => !child.remoteTs.includes("10.2.0.0/24")));
    });
    await sleep(EXPOSED_MS);
  }, SENT_BY_RIGHT);
  expect(clear).toEqual([]);
  expect(lost).toBe(0);
  lab.write(clearTextDocuments(lab.routers));
  await areActive(lab, "site", "v6");
  await comesThrough();
});

testsWhileDown(scene);

test("at the end the filter still sees a leak", async () => {
  await leaksOnPurpose();
});
