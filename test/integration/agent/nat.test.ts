// The left gateway is behind a router that masquerades: ESP goes in UDP, and only the left side can begin.
import { expect, test } from "vitest";
import { baseDocuments, connectionDocuments, RIGHT_ADDRESS, type RouterIds } from "../../../scripts/lab-documents.ts";
import { PRIVATE_NETWORK, until, type LabDocument } from "../../../scripts/lab.ts";
import { areActive, areSettled, connectionIs, labForThisFile, type TestLab } from "../../support/lab.ts";
import { seenOutside } from "../../support/outside.ts";

const INSIDE = "192.168.77.10";
const NAT = "203.0.113.30";
const PSK = "behind NAT";

/** `peerAddress` is what the right gateway is told of the left one: the address of NAT, or none at all. */
const documents =
  (version: "v1" | "v2", peerAddress: string) =>
  (routers: RouterIds): readonly LabDocument[] => {
    const suite = { encryption_algorithm: "aes-128", auth_algorithm: "sha256", pfs: "group14" };
    const settings = { ike: { ike_version: version, ...suite }, ipsec: suite };
    const external = { network: PRIVATE_NETWORK, fixed_ips: [INSIDE] };
    return [
      {
        kind: "Network",
        name: PRIVATE_NETWORK,
        mtu: 1500,
        subnets: [{ cidr: "192.168.77.0/24", gateway_ip: "192.168.77.1" }],
      },
      ...baseDocuments(routers, settings).map((one) =>
        one["kind"] === "VpnService" && one["name"] === "left" ? { ...one, external } : one,
      ),
      ...connectionDocuments({
        name: "site",
        service: "left",
        local: ["10.1.0.0/24"],
        peer: ["10.2.0.0/24"],
        peerAddress: RIGHT_ADDRESS,
        psk: PSK,
      }),
      ...connectionDocuments({
        name: "site-back",
        service: "right",
        local: ["10.2.0.0/24"],
        peer: ["10.1.0.0/24"],
        peerAddress,
        psk: PSK,
        more: { peer_id: INSIDE, initiator: "response-only" },
      }),
    ];
  };

const lab = await labForThisFile({
  documents: documents("v2", NAT),
  nat: { inside: ["192.168.77.1/24"], outside: [`${NAT}/24`] },
  // A peer that forgot us is noticed by silence only, since it cannot come to us.
  agentConfig: { retransmit: { timeoutSeconds: 1, base: 1.2, tries: 3 } },
});

const answers = (): Promise<boolean> =>
  until("the host answers", 30_000, async () => (await lab.world.ping("left", "10.2.0.9")).received > 0);

async function carriesOnlyEspInUdp(of: TestLab): Promise<void> {
  const seen = await seenOutside(of.world, async () => {
    expect((await of.world.ping("left", "10.2.0.9", { count: 3 })).received).toBe(3);
    expect((await of.world.ping("right", "10.1.0.9", { count: 3 })).received).toBe(3);
  });
  expect(seen).toMatchObject({ kinds: ["esp-in-udp"], clear: [] });
  expect(seen.count).toBeGreaterThanOrEqual(12);
}

test.each([
  ["v2", "the address of NAT", NAT, NAT],
  ["v2", "no address", "0.0.0.0", "%any"],
  ["v1", "the address of NAT", NAT, NAT],
  ["v1", "no address", "0.0.0.0", "%any"],
] as const)(
  "IKE%s through NAT, the outer gateway being told %s: both ways, as ESP in UDP 4500 only",
  async (version, _told, peerAddress, known) => {
    lab.write(documents(version, peerAddress)(lab.routers));
    await until("the right gateway's connection is as written, and up", 30_000, async () => {
      const right = await lab.right.connection("site-back");
      const isAsWritten = right?.peerAddress === known && right.ikeVersion === (version === "v1" ? 1 : 2);
      return isAsWritten && right.status === "ACTIVE";
    });
    await areActive(lab, "site");
    await answers();
    await carriesOnlyEspInUdp(lab);
    const [sa] = await lab.left.ikeSas(lab.routers.left);
    expect(sa).toMatchObject({ isNatLocal: true, localHost: INSIDE, localPort: 4500, remotePort: 4500 });
  },
);

test.each(["left", "right"] as const)("a killed charon of the %s gateway is back through NAT", async (side) => {
  lab.write(documents("v2", NAT)(lab.routers));
  await areActive(lab, "site");
  await answers();
  const before = await connectionIs(lab.left, "site", "ACTIVE");
  const charon = lab[side].runningCharon(lab.routers[side]);
  const seen = await seenOutside(lab.world, async () => {
    process.kill(charon.pid, "SIGKILL");
    await until("another IKE SA stands", 40_000, async () => {
      const now = await lab.left.connection("site");
      return now?.status === "ACTIVE" && now.ikeSpis !== undefined && now.ikeSpis !== before.ikeSpis;
    });
    await answers();
  });
  expect(seen.clear).toEqual([]);
  // The other side may still have what went with the killed one.
  await areSettled(lab, { settledMs: 1_500 });
  await areActive(lab, "site");
  await carriesOnlyEspInUdp(lab);
});
