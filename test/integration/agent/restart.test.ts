// An agent that is started again, with its state as it was, damaged or gone: it says what it did not find, tunnels stay, and
// a lost node key costs a re-authentication.
import { createHmac } from "node:crypto";
import { readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { baseDocuments, connectionPair, type RouterIds } from "../../../scripts/lab-documents.ts";
import { until, type LabDocument } from "../../../scripts/lab.ts";
import { areActive, areSettled, connectionIs, labForThisFile } from "../../support/lab.ts";
import { MOST_IN_FLIGHT, startTraffic } from "../../support/traffic.ts";

const PACKETS_A_SECOND = 200;
const SUITE = { encryption_algorithm: "aes-128", auth_algorithm: "sha256", pfs: "group19" };
const VERSIONS = ["v2", "v1"] as const;
type Version = (typeof VERSIONS)[number];

const documents = (routers: RouterIds, version: Version): readonly LabDocument[] => [
  ...baseDocuments(routers, { ike: { ...SUITE, ike_version: version }, ipsec: SUITE }),
  ...connectionPair({ name: "site", left: ["10.1.0.0/24"], right: ["10.2.0.0/24"] }),
];

const lab = await labForThisFile({ documents: (routers) => documents(routers, "v2") });
const state = lab.left.stateDirectory;
const keyFile = path.join(state, "node.key");
const snapshotFile = path.join(state, "snapshot");

type Damage = {
  readonly what: string;
  readonly damage: () => void;
  /** What the log says of it, each once. */
  readonly says: readonly string[];
  readonly isKeyLost: boolean;
  /** Also with IKEv1, which differs where SAs are made anew. */
  readonly isForAll?: boolean;
};

const DAMAGED = "snapshot is damaged or of another node key, waiting for the control plane instead";
const NO_KEY = "there is no node key, making one";
const NO_SNAPSHOT = "there is no snapshot, waiting for the control plane";

const DAMAGES: readonly Damage[] = [
  { what: "its state is as it was", damage: () => undefined, says: [], isKeyLost: false, isForAll: true },
  { what: "its snapshot is missing", damage: () => rmSync(snapshotFile), says: [NO_SNAPSHOT], isKeyLost: false },
  {
    what: "its snapshot is cut short",
    damage: () => truncateSync(snapshotFile, readFileSync(snapshotFile).length - 100),
    says: [DAMAGED],
    isKeyLost: false,
  },
  {
    what: "its snapshot is empty",
    damage: () => truncateSync(snapshotFile, 0),
    says: [DAMAGED],
    isKeyLost: false,
  },
  {
    what: "its snapshot is something else",
    damage: () => writeFileSync(snapshotFile, Buffer.from([0xff, 0x00, 0xfe, 0x0a, 0x80])),
    says: [DAMAGED],
    isKeyLost: false,
  },
  {
    what: "its snapshot is of a later version",
    damage: () => {
      const text = readFileSync(snapshotFile, "utf8").slice(65).replace('{"version":1,', '{"version":2,');
      const mac = createHmac("sha256", readFileSync(keyFile)).update("snapshot\0").update(text).digest("hex");
      writeFileSync(snapshotFile, `${mac}\n${text}`);
    },
    says: ["snapshot is of another version, waiting for the control plane instead"],
    isKeyLost: false,
  },
  {
    what: "its node key is missing",
    damage: () => rmSync(keyFile),
    says: [NO_KEY, DAMAGED],
    isKeyLost: true,
    isForAll: true,
  },
  {
    what: "its node key is cut short",
    damage: () => truncateSync(keyFile, 31),
    says: ["node key is damaged, making a new one", DAMAGED],
    isKeyLost: true,
  },
  {
    what: "its state directory is missing",
    damage: () => rmSync(state, { recursive: true }),
    says: [NO_KEY, NO_SNAPSHOT],
    isKeyLost: true,
    isForAll: true,
  },
];
const ALL_SAYINGS = [...new Set(DAMAGES.flatMap(({ says }) => says))];

/** What the new key costs: the same as a changed pre-shared key, but that the peer has it already. */
const COST = { v2: { lost: MOST_IN_FLIGHT, gapMs: 500 }, v1: { lost: Infinity, gapMs: 5_000 } };
const FREE = { lost: 0, gapMs: 0 };

const counted = (): Promise<number> =>
  lab.left
    .ikeSas(lab.routers.left)
    .then((sas) => sas.flatMap((sa) => sa.childSas).reduce((sum, child) => sum + child.packetsIn, 0));

describe.each(VERSIONS)("IKE%s", (version) => {
  test.each(DAMAGES.filter(({ isForAll }) => version === "v2" || isForAll === true))(
    "an agent is started again, and $what",
    async ({ damage, says, isKeyLost }) => {
      lab.write(documents(lab.routers, version));
      await areActive(lab, "site");
      await until("the version is the wanted one", 30_000, async () =>
        (await lab.left.ikeSas(lab.routers.left)).some((sa) => sa.ikeVersion === Number(version.slice(1))),
      );
      await areActive(lab, "site");
      await areSettled(lab, { settledMs: 1_500, ignoresHalfOpen: true });
      const before = await connectionIs(lab.left, "site", "ACTIVE");
      const traffic = [
        startTraffic(lab.world, "left", "10.2.0.9", PACKETS_A_SECOND),
        startTraffic(lab.world, "right", "10.1.0.9", PACKETS_A_SECOND),
      ];
      await until("traffic flows", 10_000, () => traffic.every((one) => one.answered() > 20));
      const packets = await counted();

      await lab.left.stop();
      damage();
      const from = lab.left.log().length;
      await lab.left.start();

      await until("the list is fetched", 20_000, async () => (await lab.left.status()).desired === "fetched");
      await until("the connection is in sync, by another IKE SA where the key was lost", 30_000, async () => {
        const [one, peer] = await Promise.all([lab.left.connection("site"), lab.right.connection("site-back")]);
        const isUp = one?.status === "ACTIVE" && one.inSync && peer?.status === "ACTIVE";
        return isUp && (one.ikeSpis !== before.ikeSpis || !isKeyLost);
      });
      await areSettled(lab, { settledMs: 1_500, ignoresHalfOpen: true });
      const after = await connectionIs(lab.left, "site", "ACTIVE");
      const packetsAfter = await counted();
      const counts = await Promise.all(traffic.map((one) => one.stop()));

      const log = lab.left.log().slice(from).split("\n");
      const said = ALL_SAYINGS.filter((text) => log.some((line) => line.includes(`"msg":"${text}"`)));
      expect([...said].sort()).toEqual([...says].sort());
      for (const text of says) expect(log.filter((line) => line.includes(`"msg":"${text}"`))).toHaveLength(1);
      const { lost, gapMs } = isKeyLost ? COST[version] : FREE;
      expect(Math.max(...counts.map((one) => one.lost.length))).toBeLessThanOrEqual(lost);
      expect(Math.max(...counts.map((one) => one.longestGapMs))).toBeLessThanOrEqual(gapMs);
      if (!isKeyLost) {
        expect([after.ikeSpis, after.children.map((one) => one.spiIn)]).toEqual([
          before.ikeSpis,
          before.children.map((one) => one.spiIn),
        ]);
        expect(packetsAfter).toBeGreaterThan(packets);
      }
    },
  );
});
