// Updates reach the data plane: PSK on one side and then the other, subnets, policy; and the old credentials die.
import { expect, test } from "vitest";
import { baseDocuments, connectionPair, type RouterIds, type Settings } from "../../../scripts/lab-documents.ts";
import { until, type LabDocument } from "../../../scripts/lab.ts";
import { areActive, areSettled, connectionIs, labForThisFile } from "../../support/lab.ts";
import { expectLostAtMost, startTraffic } from "../../support/traffic.ts";

const OLD = "the first shared secret";
const NEW = "the second shared secret";

/** `site` goes over IPv4 outside and `quiet` over IPv6: two peers, two IKE SAs. */
function documents(
  routers: RouterIds,
  of: {
    readonly left?: string;
    readonly right?: string;
    readonly subnets?: readonly string[];
    readonly settings?: Partial<Settings>;
  } = {},
): readonly LabDocument[] {
  const subnets = of.subnets ?? ["10.2.0.0/24"];
  const pair = (psk: string): readonly LabDocument[] =>
    connectionPair({ name: "site", left: ["10.1.0.0/24"], right: subnets, psk });
  const isRight = (one: LabDocument): boolean => String(one["name"]).startsWith("site-back");
  return [
    ...baseDocuments(routers, of.settings ?? {}),
    ...pair(of.left ?? OLD).filter((one) => !isRight(one)),
    ...pair(of.right ?? OLD).filter(isRight),
    ...connectionPair({ name: "quiet", left: ["fd00:1::/64"], right: ["fd00:2::/64"], isOuterIpv6: true }),
  ];
}

const lab = await labForThisFile({ documents });

test("a PSK changed on one side takes the tunnel down with the reason, and up again once the other side has it", async () => {
  await areActive(lab, "site", "quiet");
  await areSettled(lab);
  const quiet = await connectionIs(lab.left, "quiet", "ACTIVE");
  lab.write(documents(lab.routers, { left: NEW }));
  const down = await connectionIs(lab.left, "site", "DOWN", { reason: "authentication-failed" });
  expect(down.inSync).toBe(true);
  await connectionIs(lab.right, "site-back", "DOWN", { reason: "authentication-failed" });
  expect((await lab.world.ping("left", "10.2.0.9")).received).toBe(0);

  lab.write(documents(lab.routers, { left: NEW, right: NEW }));
  await areActive(lab, "site");
  await until("the host answers", 5_000, async () => (await lab.world.ping("left", "10.2.0.9")).received > 0);
  expect((await connectionIs(lab.left, "quiet", "ACTIVE")).ikeSpis).toBe(quiet.ikeSpis);
});

// Why any: MOST_IN_FLIGHT of support/traffic.ts. At this rate none was lost, or one.
const LOST_IN_FLIGHT = 2;

test("a PSK changed on both sides within the window leaves the traffic flowing", async () => {
  await areActive(lab, "site");
  await areSettled(lab);
  const before = await connectionIs(lab.left, "site", "ACTIVE");
  const traffic = startTraffic(lab.world, "left", "10.2.0.9");
  await until("traffic flows", 5_000, async () => (await lab.world.ping("left", "10.2.0.9")).received > 0);
  lab.write(documents(lab.routers, { left: OLD, right: OLD }));
  await until("another IKE SA stands", 20_000, async () => {
    const [left, right] = await Promise.all([lab.left.connection("site"), lab.right.connection("site-back")]);
    const isNew = left?.ikeSpis !== undefined && left.ikeSpis !== before.ikeSpis;
    return isNew && left.inSync && right?.inSync === true && left.status === "ACTIVE" && right.status === "ACTIVE";
  });
  await lab.world.ping("left", "10.2.0.9", { count: 10 });
  await expectLostAtMost(traffic, LOST_IN_FLIGHT, 20);
});

test("B-05: a subnet that is added is reached, while the first one goes on; taken away it is silent again", async () => {
  await areActive(lab, "site");
  await areSettled(lab);
  const traffic = startTraffic(lab.world, "left", "10.2.0.9");
  await lab.world.ping("left", "10.2.0.9", { count: 10 });
  lab.write(documents(lab.routers, { subnets: ["10.2.0.0/24", "10.3.0.0/24"] }));
  await until("10.3.0.9 answers", 15_000, async () => (await lab.world.ping("left", "10.3.0.9")).received > 0);
  await areActive(lab, "site");
  await expectLostAtMost(traffic, LOST_IN_FLIGHT, 40);

  lab.write(documents(lab.routers));
  await until("10.3.0.9 is silent", 15_000, async () => (await lab.world.ping("left", "10.3.0.9")).received === 0);
  await areActive(lab, "site");
  expect((await lab.world.ping("left", "10.2.0.9", { count: 3 })).received).toBe(3);
});

test.each([
  {
    what: "the API's default, IKEv1 with AES-128, SHA-1 and group5",
    ike: { ike_version: "v1", encryption_algorithm: "aes-128", auth_algorithm: "sha1", pfs: "group5" },
    ipsec: { encryption_algorithm: "aes-128", auth_algorithm: "sha1", pfs: "group5" },
    negotiated: [1, "AES_CBC", 128, "HMAC_SHA1_96", "MODP_1536", "AES_CBC", 128, "HMAC_SHA1_96"],
  },
  {
    what: "IKEv2 with AES-256, SHA-256 and group14",
    ike: { ike_version: "v2", encryption_algorithm: "aes-256", auth_algorithm: "sha256", pfs: "group14" },
    ipsec: { encryption_algorithm: "aes-256", auth_algorithm: "sha256", pfs: "group14" },
    negotiated: [2, "AES_CBC", 256, "HMAC_SHA2_256_128", "MODP_2048", "AES_CBC", 256, "HMAC_SHA2_256_128"],
  },
  {
    what: "IKEv2 with AES-256-GCM-16, SHA-384 and group20",
    ike: { ike_version: "v2", encryption_algorithm: "aes-256-gcm-16", auth_algorithm: "sha384", pfs: "group20" },
    ipsec: { encryption_algorithm: "aes-256-gcm-16", auth_algorithm: "sha384", pfs: "group20" },
    negotiated: [2, "AES_GCM_16", 256, undefined, "ECP_384", "AES_GCM_16", 256, undefined],
  },
  {
    what: "IKEv2 with AES-192, SHA-512 and group21, and for ESP AES-128-GCM-12 without a change of the rest",
    ike: { ike_version: "v2", encryption_algorithm: "aes-192", auth_algorithm: "sha512", pfs: "group21" },
    ipsec: { encryption_algorithm: "aes-128-gcm-12", auth_algorithm: "sha512", pfs: "group21" },
    negotiated: [2, "AES_CBC", 192, "HMAC_SHA2_512_256", "ECP_521", "AES_GCM_12", 128, undefined],
  },
])("the policy is changed to $what: both sides negotiate exactly that", async ({ ike, ipsec, negotiated }) => {
  lab.write(documents(lab.routers, { settings: { ike, ipsec } }));
  for (const [agent, router] of [
    [lab.left, lab.routers.left],
    [lab.right, lab.routers.right],
  ] as const) {
    await until(`${agent.host} has it`, 30_000, async () => {
      const sas = await agent.ikeSas(router);
      const found = sas
        .filter((sa) => sa.localHost.startsWith("203."))
        .flatMap((sa) =>
          sa.childSas.map((child) => [
            sa.ikeVersion,
            sa.algorithms.encryption,
            sa.algorithms.encryptionKeyBits,
            sa.algorithms.integrity,
            sa.algorithms.dhGroup,
            child.algorithms.encryption,
            child.algorithms.encryptionKeyBits,
            child.algorithms.integrity,
          ]),
        );
      return found.some((one) => JSON.stringify(one) === JSON.stringify(negotiated));
    });
  }
  await areActive(lab, "site", "quiet");
  await until("the host answers", 10_000, async () => (await lab.world.ping("left", "10.2.0.9")).received > 0);
});

test.each([
  ["group2", "MODP_1024"],
  ["group15", "MODP_3072"],
  ["group16", "MODP_4096"],
  ["group17", "MODP_6144"],
  ["group18", "MODP_8192"],
  ["group19", "ECP_256"],
])("pfs %s is negotiated as %s", async (pfs, negotiated) => {
  const suite = { encryption_algorithm: "aes-128", auth_algorithm: "sha256", pfs };
  lab.write(documents(lab.routers, { settings: { ike: { ike_version: "v2", ...suite }, ipsec: suite } }));
  await until("both gateways have it", 30_000, async () => {
    const found = await Promise.all([lab.left.ikeSas(lab.routers.left), lab.right.ikeSas(lab.routers.right)]);
    return found.every((sas) => sas.some((sa) => sa.algorithms.dhGroup === negotiated && sa.childSas.length > 0));
  });
  await areActive(lab, "site", "quiet");
});

test("B-18: IKEv1 carries several subnets as one child a pair", async () => {
  const ike = { ike_version: "v1", encryption_algorithm: "aes-128", auth_algorithm: "sha1", pfs: "group5" };
  const settings = { ike, ipsec: { encryption_algorithm: "aes-128", auth_algorithm: "sha1", pfs: "group5" } };
  lab.write(documents(lab.routers, { settings, subnets: ["10.2.0.0/24", "10.3.0.0/24"] }));
  await until("both children are there", 30_000, async () => {
    const [left, right] = await Promise.all([lab.left.connection("site"), lab.right.connection("site-back")]);
    return [left, right].every((one) => one?.status === "ACTIVE" && one.children.length === 2);
  });
  for (const to of ["10.2.0.9", "10.3.0.9"]) {
    await until(`${to} answers`, 10_000, async () => (await lab.world.ping("left", to)).received > 0);
  }
});

test("B-26: different proposals, different subnets and a silent peer each have their reason", async () => {
  const one = documents(lab.routers);
  lab.write(one);
  await areActive(lab, "site");
  const other = {
    kind: "IkePolicy",
    project: "acme",
    name: "other",
    ike_version: "v2",
    encryption_algorithm: "aes-192",
    auth_algorithm: "sha512",
    pfs: "group15",
  };
  const leftUses = (more: LabDocument): readonly LabDocument[] => [
    ...one.map((document) =>
      document["name"] === "site" && document["kind"] === "IpsecSiteConnection" ? { ...document, ...more } : document,
    ),
    other,
  ];
  lab.write(leftUses({ ikepolicy: "other" }));
  await connectionIs(lab.left, "site", "DOWN", { reason: "no-proposal-chosen" });

  lab.write(
    one.map((document) => (document["name"] === "site-peer" ? { ...document, endpoints: ["10.77.0.0/24"] } : document)),
  );
  await connectionIs(lab.left, "site", "DOWN", { reason: "selectors-refused" });

  lab.write(leftUses({ peer_address: "203.0.113.99", peer_id: "203.0.113.99" }));
  const silent = await connectionIs(lab.left, "site", "DOWN", { reason: "peer-unreachable", timeoutMs: 30_000 });
  expect(silent.reason?.text).toMatch(/UDP 500/);
});
