// What only ESP in the kernel can do (AH, transport mode), and the guard there, whose rules ask the kernel what it is about
// to encrypt and what it has decrypted.
import { execFileSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import {
  baseDocuments,
  connectionPair,
  LEFT_ADDRESS,
  LEFT_ADDRESS_V6,
  RIGHT_ADDRESS,
  RIGHT_ADDRESS_V6,
  type RouterIds,
} from "../../../scripts/lab-documents.ts";
import { until, type LabDocument } from "../../../scripts/lab.ts";
import { startCapture } from "../../../scripts/world.ts";
import { BOTH_TABLES_DELETED } from "../../support/guard-tables.ts";
import { whyNoKernelEsp } from "../../support/kernel-esp.ts";
import { areActive, areSettled, connectionIs, labForThisFile } from "../../support/lab.ts";
import { seenOutside } from "../../support/outside.ts";
import { expectNothingLost, startTraffic } from "../../support/traffic.ts";

const SUITE = { encryption_algorithm: "aes-128", auth_algorithm: "sha256", pfs: "group14" };
const POLICIES: readonly LabDocument[] = [
  { kind: "IkePolicy", project: "acme", name: "v1", ike_version: "v1", ...SUITE },
  { kind: "IkePolicy", project: "acme", name: "v2", ike_version: "v2", ...SUITE },
  { kind: "IpsecPolicy", project: "acme", name: "esp", ...SUITE },
  { kind: "IpsecPolicy", project: "acme", name: "ah", transform_protocol: "ah", ...SUITE },
  { kind: "IpsecPolicy", project: "acme", name: "transport", encapsulation_mode: "transport", ...SUITE },
];
const SITE = { name: "site", left: ["10.1.0.0/24"], right: ["10.2.0.0/24"] };
const SITE_V6 = { name: "v6", left: ["fd00:1::/64"], right: ["fd00:2::/64"] };
const HOSTS = {
  IPv4: { left: LEFT_ADDRESS, right: RIGHT_ADDRESS, bits: "/32" },
  IPv6: { left: LEFT_ADDRESS_V6, right: RIGHT_ADDRESS_V6, bits: "/128" },
};

const documents = (routers: RouterIds, ...pairs: readonly (readonly LabDocument[])[]): readonly LabDocument[] => [
  ...baseDocuments(routers),
  ...POLICIES,
  ...pairs.flat(),
];

const whyNot = await whyNoKernelEsp();
if (whyNot === undefined) await theseTests();
else test.skip(`AH, transport mode and the guard with ESP in the kernel: ${whyNot}`);

async function theseTests(): Promise<void> {
  const lab = await labForThisFile({ documents: (routers) => documents(routers) });
  const { left, right } = lab.namespaces;
  const run = (namespace: string, command: string): string =>
    execFileSync("ip", ["netns", "exec", namespace, "sh", "-c", command], { encoding: "utf8" });
  const dropped = (namespace: string, hook: "forward" | "input" | "output"): number =>
    Number(/packets (\d+)/.exec(run(namespace, `nft list counter inet swanherd clear_${hook}`))?.[1]);
  /** By the packet filter, or before it by a policy. */
  const heldBack = (namespace: string): number =>
    dropped(namespace, "forward") +
    Number(/^XfrmOutPolBlock\s+(\d+)/m.exec(run(namespace, "cat /proc/net/xfrm_stat"))?.[1]);
  const reaches = (from: string, to: string): Promise<boolean> =>
    until(`${from} reaches ${to}`, 15_000, async () => (await lab.world.ping(from, to)).received > 0);

  /** What list-sas says of the only child; it stands on both sides. */
  const negotiated = (version: 1 | 2): Promise<readonly (string | number | undefined)[]> =>
    until(`one child over IKEv${String(version)}`, 30_000, async () => {
      const found = await Promise.all(
        [lab.left.ikeSas(lab.routers.left), lab.right.ikeSas(lab.routers.right)].map((sas) => sas.catch(() => [])),
      );
      const [child, other] = found.map((sas) =>
        sas
          .filter((sa) => sa.ikeVersion === version)
          .flatMap((sa) => sa.childSas)
          .find((one) => one.state === "INSTALLED"),
      );
      if (child === undefined || other === undefined) return undefined;
      return [child.protocol, child.mode, child.algorithms.encryption, child.algorithms.integrity];
    });

  test.each(["v2", "v1"] as const)(
    "AH with IKE%s: both ways, and outside there are only authenticated packets, which AH leaves readable",
    async (version) => {
      const of = { ...SITE, name: `ah-${version}`, more: { ikepolicy: version, ipsecpolicy: "ah" } };
      lab.write(documents(lab.routers, connectionPair(of)));
      await areActive(lab, of.name);
      expect(await negotiated(version === "v1" ? 1 : 2)).toEqual(["AH", "TUNNEL", undefined, "HMAC_SHA2_256_128"]);
      await reaches("left", "10.2.0.9");
      const seen = await seenOutside(lab.world, async () => {
        expect((await lab.world.ping("left", "10.2.0.9", { count: 3 })).received).toBe(3);
        expect((await lab.world.ping("right", "10.1.0.9", { count: 3 })).received).toBe(3);
      });
      expect(seen).toMatchObject({ kinds: ["ah"], clear: [] });
      expect(seen.count).toBeGreaterThanOrEqual(12);
    },
  );

  test.each([
    ["v2", "IPv4"],
    ["v2", "IPv6"],
    ["v1", "IPv4"],
    ["v1", "IPv6"],
  ] as const)(
    "transport mode from gateway to gateway with IKE%s over %s: both ways, as ESP only, and nothing once the SAs are gone",
    async (version, family) => {
      const hosts = HOSTS[family];
      const of = {
        name: `hosts-${version}-${family}`,
        left: [`${hosts.left}${hosts.bits}`],
        right: [`${hosts.right}${hosts.bits}`],
        isOuterIpv6: family === "IPv6",
      };
      lab.write(
        documents(lab.routers, connectionPair({ ...of, more: { ikepolicy: version, ipsecpolicy: "transport" } })),
      );
      await areActive(lab, of.name);
      expect(await negotiated(version === "v1" ? 1 : 2)).toEqual(["ESP", "TRANSPORT", "AES_CBC", "HMAC_SHA2_256_128"]);
      await reaches(left, hosts.right);
      const seen = await seenOutside(lab.world, async () => {
        expect((await lab.world.ping(left, hosts.right, { count: 3 })).received).toBe(3);
        expect((await lab.world.ping(right, hosts.left, { count: 3 })).received).toBe(3);
      });
      expect(seen).toMatchObject({ kinds: ["esp"], clear: [] });
      expect(seen.count).toBeGreaterThanOrEqual(12);

      // Neither encrypts any more; and what comes in clear all the same is not taken in. An attempt of IKE that comes back
      // late would bring SAs once more.
      await areSettled(lab);
      const before = { out: dropped(left, "output"), in: dropped(left, "input") };
      await Promise.all([lab.left.stop(), lab.right.stop()]);
      for (const namespace of [left, right]) run(namespace, "ip xfrm policy flush; ip xfrm state flush");
      const after = await seenOutside(lab.world, () => lab.world.ping(left, hosts.right, { count: 3 }));
      expect(after).toEqual({ kinds: [], clear: [], count: 0 });
      expect(dropped(left, "output") - before.out).toBe(3);
      run(right, BOTH_TABLES_DELETED);
      expect((await lab.world.ping(right, hosts.left, { count: 3 })).received).toBe(0);
      expect(dropped(left, "input") - before.in).toBe(3);
      await Promise.all([lab.left.start(), lab.right.start()]);
    },
  );

  test.each(["v2", "v1"])("transport mode for sites is ERROR with the reason, with IKE%s", async (version) => {
    const more = { ikepolicy: version, ipsecpolicy: "transport" };
    const of = { ...SITE, name: `sites-${version}`, more };
    lab.write(documents(lab.routers, connectionPair(of)));
    const refused = await connectionIs(lab.left, of.name, "ERROR", { reason: "unsupported" });
    expect(refused.reason?.text).toBe(
      'encapsulation_mode "transport" carries only what the two gateways themselves say to each other ' +
        "(203.0.113.10 === 203.0.113.20), and not 10.1.0.0/24 === 10.2.0.0/24; use tunnel",
    );
    const before = heldBack(left);
    const seen = await seenOutside(lab.world, () => lab.world.ping("left", "10.2.0.9", { count: 2 }));
    expect(seen).toMatchObject({ kinds: [], count: 0 });
    expect(heldBack(left) - before).toBe(2);
  });

  describe("the guard", () => {
    const both = connectionPair(SITE).concat(connectionPair(SITE_V6));
    const PEERS = ["10.2.0.9", "fd00:2::9"];
    const pingPeers = async (): Promise<number> => {
      const pings = await Promise.all(PEERS.map((to) => lab.world.ping("left", to, { count: 2 })));
      return pings.reduce((sum, { received }) => sum + received, 0);
    };
    /** Unrelated traffic through the same gateway: to the internet's machine, and back. */
    const plugInternet = (): void => {
      run(`qrouter-${lab.routers.left}`, "ip route replace 203.0.113.1/32 via 169.254.0.2");
      run(lab.world.internetNamespace, "ip route replace 10.1.0.0/24 via 203.0.113.10");
    };
    /** Ends charon in peace, its agent being stopped: it takes its policies along. */
    const stopCharon = async (signal: NodeJS.Signals): Promise<void> => {
      process.kill(lab.left.runningCharon(lab.routers.left).pid, signal);
      await until("charon has ended", 10_000, () => lab.left.charon(lab.routers.left) === undefined);
    };
    const comesBack = async (): Promise<void> => {
      await areActive(lab, "site", "v6");
      // Both may have initiated at once. When charon gives an SA up it writes the policies of the other one anew.
      let last = "";
      await until("one SA each is left", 30_000, async () => {
        const sas = await lab.left.ikeSas(lab.routers.left).catch(() => []);
        last = JSON.stringify(sas.map(({ state, childSas }) => [state, childSas.map((one) => [one.name, one.state])]));
        return sas.length === 1 && sas[0]?.childSas.length === 2;
      }).catch((error: unknown) => {
        throw new Error(`${String(error)}; last seen: ${last}`, { cause: error });
      });
      for (const to of PEERS) await reaches("left", to);
    };

    test("before any SA nothing leaves in clear, and the internet is reached through the same gateway", async () => {
      const passive = both.map((one) =>
        one["kind"] === "IpsecSiteConnection" ? { ...one, initiator: "response-only" } : one,
      );
      lab.write(documents(lab.routers, passive));
      await connectionIs(lab.left, "site", "DOWN", { reason: "initiator-is-peer" });
      await connectionIs(lab.left, "v6", "DOWN", { reason: "initiator-is-peer" });
      plugInternet();
      const before = heldBack(left);
      const seen = await seenOutside(lab.world, async () => {
        expect(await pingPeers()).toBe(0);
        expect((await lab.world.ping("left", "203.0.113.1", { count: 2 })).received).toBe(2);
      });
      expect(seen).toMatchObject({ kinds: [], count: 0 });
      expect(heldBack(left) - before).toBe(4);
    });

    test("while charon is stopped nothing leaves in clear; killed, what it left in the kernel goes on encrypting", async () => {
      lab.write(documents(lab.routers, both));
      await comesBack();
      plugInternet();
      const internet = startTraffic(lab.world, "left", "203.0.113.1");
      await lab.left.stop();
      await stopCharon("SIGKILL");
      const killed = await seenOutside(lab.world, async () => {
        expect(await pingPeers()).toBe(4);
      });
      expect(killed).toMatchObject({ kinds: ["esp"], clear: [] });
      await lab.left.start();
      await comesBack();

      await lab.left.stop();
      await stopCharon("SIGTERM");
      const before = heldBack(left);
      const stopped = await seenOutside(lab.world, async () => {
        expect(await pingPeers()).toBe(0);
      });
      expect(stopped).toMatchObject({ kinds: [], count: 0 });
      expect(heldBack(left) - before).toBe(4);
      await lab.left.start();
      await comesBack();
      await expectNothingLost(internet);
    });

    test("what pretends to come from the peer in clear is not taken in, whether SAs are there or not", async () => {
      await comesBack();
      await areSettled(lab);
      const internet = lab.world.internetNamespace;
      run(internet, "ip addr replace 10.2.0.9/32 dev lo; ip addr replace fd00:2::9/128 dev lo");
      run(internet, "ip route replace 10.1.0.9/32 via 203.0.113.10 src 10.2.0.9");
      run(internet, "ip -6 route replace fd00:1::9/128 via 2001:db8:ff::10 src fd00:2::9");
      const seenInside = async (): Promise<readonly string[]> => {
        const netns = lab.world.hostNamespaces.get("left") ?? "";
        const capture = await startCapture({ interface: "eth0", netns, filter: "icmp or icmp6 and not ip6[40]>=133" });
        await Promise.all(["10.1.0.9", "fd00:1::9"].map((to) => lab.world.ping(internet, to, { count: 2 })));
        return capture.stop();
      };
      try {
        expect(await seenInside()).toEqual([]);
        await lab.left.stop();
        run(left, "ip xfrm policy flush; ip xfrm state flush");
        const before = dropped(left, "forward");
        expect(await seenInside()).toEqual([]);
        expect(dropped(left, "forward") - before).toBe(4);
      } finally {
        run(internet, "ip route del 10.1.0.9/32; ip -6 route del fd00:1::9/128");
        run(internet, "ip addr del 10.2.0.9/32 dev lo; ip addr del fd00:2::9/128 dev lo");
        await stopCharon("SIGTERM");
        await lab.left.start();
      }
      await comesBack();
    });

    test("with policies and states flushed nothing leaves in clear, and it would without the guard", async () => {
      await comesBack();
      // An SA that is given up later would have charon write the policies of the other one anew.
      await areSettled(lab);
      plugInternet();
      const internet = startTraffic(lab.world, "left", "203.0.113.1");
      await lab.left.stop();
      run(left, "ip xfrm policy flush; ip xfrm state flush");
      const before = dropped(left, "forward");
      const guarded = await seenOutside(lab.world, async () => {
        expect(await pingPeers()).toBe(0);
      });
      expect(guarded).toMatchObject({ kinds: [], count: 0 });
      expect(dropped(left, "forward") - before).toBe(4);

      try {
        run(left, BOTH_TABLES_DELETED);
        const leaked = await seenOutside(lab.world, pingPeers);
        expect(leaked.kinds).toEqual(["clear"]);
        expect(leaked.count).toBeGreaterThanOrEqual(4);
      } finally {
        await stopCharon("SIGTERM");
        await lab.left.start();
      }
      await comesBack();
      await expectNothingLost(internet);
    });
  });

  describe("what a charon that was killed has left", () => {
    const both = connectionPair(SITE).concat(connectionPair(SITE_V6));
    const onLeft = (name: string, more: LabDocument): readonly LabDocument[] =>
      both.map((one) => (one["kind"] === "IpsecSiteConnection" && one["name"] === name ? { ...one, ...more } : one));
    const off = { admin_state_up: false };
    const spis = (): readonly string[] =>
      [...run(left, "ip xfrm state list nokeys").matchAll(/spi (0x[0-9a-f]+) .*\n.*\n\s+(?:auth|enc|aead)/g)].map(
        ([, spi = ""]) => spi,
      );
    const policiesOfCharon = (): readonly string[] =>
      run(left, "ip xfrm policy list nosock")
        .split(/\n(?=\S)/)
        .filter((one) => one.includes("tmpl"))
        .map((one) => one.split("\n")[0]?.trim() ?? "");
    const killed = async (): Promise<readonly string[]> => {
      lab.write(documents(lab.routers, both));
      await areActive(lab, "site", "v6");
      await areSettled(lab);
      const had = spis();
      expect(had.length).toBeGreaterThanOrEqual(4);
      return had;
    };
    const areGone = (had: readonly string[]): Promise<unknown> =>
      until("its states are gone", 15_000, () => spis().every((spi) => !had.includes(spi)));

    test("goes when its successor is up, and nothing else does", async () => {
      const had = await killed();
      process.kill(lab.left.runningCharon(lab.routers.left).pid, "SIGKILL");
      await areGone(had);
      await areActive(lab, "site", "v6");
      await areSettled(lab);
      for (const to of ["10.2.0.9", "fd00:2::9"]) await reaches("left", to);
    });

    test("of a connection that was switched off meanwhile goes at once, beside one to the same peer", async () => {
      const had = await killed();
      await lab.left.stop();
      process.kill(lab.left.runningCharon(lab.routers.left).pid, "SIGKILL");
      lab.write(documents(lab.routers, onLeft("site", off)));
      await lab.left.start();
      await connectionIs(lab.left, "site", "DOWN");
      await connectionIs(lab.left, "v6", "ACTIVE");
      await areGone(had);
      expect(policiesOfCharon().filter((one) => one.includes("10.2.0.0/24"))).toEqual([]);
      expect((await lab.world.ping("right", "10.1.0.9", { count: 2 })).received).toBe(0);
    });

    test("goes where no charon is wanted any more", async () => {
      const had = await killed();
      await lab.left.stop();
      process.kill(lab.left.runningCharon(lab.routers.left).pid, "SIGKILL");
      lab.write(
        documents(
          lab.routers,
          both.map((one) =>
            one["kind"] === "IpsecSiteConnection" && !String(one["name"]).endsWith("-back") ? { ...one, ...off } : one,
          ),
        ),
      );
      await lab.left.start();
      await connectionIs(lab.left, "site", "DOWN");
      await areGone(had);
      await until("no policy of charon's is left", 5_000, () => policiesOfCharon().length === 0);
    });
  });
}
