// Never in clear in topology `router`: what loses its way into the tunnel would leave by the router's own gateway port,
// translated as all else is. Unrelated traffic goes that way all the time, and is not disturbed.
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { until } from "../../../scripts/lab.ts";
import { patiently } from "../../../scripts/patience.ts";
import { LEFT_ADDRESS } from "../../../scripts/lab-documents.ts";
import { clearTextSceneAt, EXPOSED_MS, lastsMs, testsWhileDown, type Fault } from "../../support/clear-text-scene.ts";
import { BOTH_TABLES_DELETED, STAND_INS_GONE } from "../../support/guard-tables.ts";
import { writeNeutronChains } from "../../support/l3-agent.ts";
import { areActive } from "../../support/lab.ts";

const scene = await clearTextSceneAt("router");
const { lab, inside, comesThrough, watching, endures } = scene;
const { espBackEnd } = await lab.left.status();
const router = lab.charonNamespaces.left;
const neutron = { namespace: router, external: LEFT_ADDRESS };
const FLOATING = { fixed: "10.1.0.9", external: "203.0.113.77" };

/** All that leads into the tunnel, and the packet filter, which keeps the rest in. */
const LEADS_AND_GUARD = `${BOTH_TABLES_DELETED}; for family in -4 -6; do ip $family rule del pref 220 2>/dev/null || true; done`;

const leaksOnPurpose = async (): Promise<void> => {
  await scene.seesLeak((isSeen) =>
    lab.left.whileSuspended(async () => {
      inside(router, `${LEADS_AND_GUARD}; ${STAND_INS_GONE}`);
      await isSeen();
    }),
  );
  await comesThrough();
};

test("traffic of all kinds flows, and the filter sees a leak that is made on purpose", async () => {
  await scene.starts();
  await leaksOnPurpose();
});

const OF_USERLAND: Readonly<Record<string, Fault>> = {
  "charon's rules are deleted": () => void inside(router, "ip rule del pref 220; ip -6 rule del pref 220"),
  "charon's link is set down": () => void inside(router, "ip link set ipsec0 down"),
  "charon's link is deleted": () => void inside(router, "ip link del ipsec0"),
  "the packet filter and the rules that lead into the tunnel are deleted at once": () =>
    void inside(router, LEADS_AND_GUARD),
};

const ALL_AT_ONCE = "both tables of the packet filter are deleted at once";
const FAULTS: Readonly<Record<string, Fault>> = {
  ...scene.fewFaults,
  ...(espBackEnd === "userland"
    ? { ...OF_USERLAND, [ALL_AT_ONCE]: () => void inside(router, BOTH_TABLES_DELETED) }
    : {}),
  "Neutron writes its chains anew, with a floating IP of the host, and without": async () => {
    inside(router, `ip addr add ${FLOATING.external}/32 dev qg-33333333-44`);
    await writeNeutronChains({ ...neutron, floating: FLOATING });
    await sleep(EXPOSED_MS);
    await writeNeutronChains(neutron);
    inside(router, `ip addr del ${FLOATING.external}/32 dev qg-33333333-44`);
  },
  "another machine becomes primary, and this one again": async () => {
    const file = path.join(lab.haDirectory ?? "", lab.routers.left, "state");
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, "backup");
    await until("charon has ended", 10_000, () => lab.left.charon(lab.routers.left) === undefined);
    await sleep(EXPOSED_MS);
    rmSync(path.dirname(file), { recursive: true });
  },
};

test.each(Object.entries(FAULTS))("%s: nothing leaves in clear, and unrelated traffic goes on", async (what, fault) => {
  expect(await endures(what, fault)).toBe(0);
});

// What Neutron's NAT translates matches no policy of the kernel's any more. With ESP in userland it is routed into the tunnel
// before.
test.runIf(espBackEnd === "kernel")(
  `${ALL_AT_ONCE}, with ESP in the kernel: what leaves is over within a second, and unrelated traffic goes on`,
  async () => {
    await areActive(lab, "site", "v6");
    await comesThrough();
    const { clear, lost } = await watching(async () => {
      inside(router, BOTH_TABLES_DELETED);
      await sleep(EXPOSED_MS);
      await comesThrough();
    });
    expect(lastsMs(clear)).toBeLessThan(patiently(1_000));
    expect(lost).toBe(0);
  },
);

/** As it does with a router that has to be built anew. */
async function isMadeAnew(inBetween: () => unknown): Promise<void> {
  execFileSync("ip", ["netns", "delete", router]);
  await inBetween();
  await lab.world.remakeRouter(lab.routers.left);
  await writeNeutronChains(neutron);
}

test("Neutron's L3 agent deletes the namespace, and makes it anew a while later: nothing leaves in clear", async () => {
  const hasNoCharon = (): boolean => lab.left.charon(lab.routers.left) === undefined;
  await endures("the namespace", () => isMadeAnew(() => until("charon has ended", 10_000, hasNoCharon)));
});

test("likewise at once, while charon is still being ended: what leaves is over within a second", async () => {
  await areActive(lab, "site", "v6");
  await comesThrough();
  const { clear } = await watching(async () => {
    await isMadeAnew(() => undefined);
    await comesThrough();
  });
  expect(lastsMs(clear)).toBeLessThan(patiently(1_000));
});

testsWhileDown(scene);

test("at the end the filter still sees a leak", async () => {
  await leaksOnPurpose();
});
