// All four combinations of family inside and outside, with both versions of IKE.
import { expect, test } from "vitest";
import { baseDocuments, connectionPair, type RouterIds, type Settings } from "../../../scripts/lab-documents.ts";
import { until, type LabDocument } from "../../../scripts/lab.ts";
import { areActive, connectionIs, labForThisFile } from "../../support/lab.ts";
import { ESP_OUTSIDE, seenOutside } from "../../support/outside.ts";

const INNER = {
  IPv4: { left: ["10.1.0.0/24"], right: ["10.2.0.0/24"], leftHost: "10.1.0.9", rightHost: "10.2.0.9" },
  IPv6: { left: ["fd00:1::/64"], right: ["fd00:2::/64"], leftHost: "fd00:1::9", rightHost: "fd00:2::9" },
};

function documents(routers: RouterIds, version: "v1" | "v2", outer: "IPv4" | "IPv6"): readonly LabDocument[] {
  const suite = { encryption_algorithm: "aes-128", auth_algorithm: "sha256", pfs: "group14" };
  const settings: Partial<Settings> = { ike: { ike_version: version, ...suite }, ipsec: suite };
  // Both at once, as two children of one IKE SA: what is in one must not be in the other.
  const pairs = Object.entries(INNER).map(([name, { left, right }]) =>
    connectionPair({ name: `${name}-${outer}`, left, right, isOuterIpv6: outer === "IPv6" }),
  );
  return [...baseDocuments(routers, settings), ...pairs.flat()];
}

const lab = await labForThisFile({ documents: (routers) => documents(routers, "v2", "IPv4") });

test.each([
  ["v2", "IPv4"],
  ["v2", "IPv6"],
  ["v1", "IPv4"],
  ["v1", "IPv6"],
] as const)("IKE%s over %s: IPv4 and IPv6 cross both ways, and outside there is only ESP", async (version, outer) => {
  lab.write(documents(lab.routers, version, outer));
  await areActive(lab, `IPv4-${outer}`, `IPv6-${outer}`);
  const { espBackEnd } = await lab.left.status();
  expect((await connectionIs(lab.left, `IPv4-${outer}`, "ACTIVE")).ikeVersion).toBe(version === "v1" ? 1 : 2);
  for (const { leftHost, rightHost } of Object.values(INNER)) {
    await until(`${rightHost} answers`, 10_000, async () => (await lab.world.ping("left", rightHost)).received > 0);
    const seen = await seenOutside(lab.world, async () => {
      expect((await lab.world.ping("left", rightHost, { count: 3 })).received).toBe(3);
      expect((await lab.world.ping("right", leftHost, { count: 3 })).received).toBe(3);
    });
    expect(seen).toMatchObject({ kinds: [ESP_OUTSIDE[espBackEnd]], clear: [] });
    expect(seen.count).toBeGreaterThanOrEqual(12);
  }
});
