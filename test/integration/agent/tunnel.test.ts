// The main job on real parts: documents in, tunnels up, packets through them, nothing in clear, and everything gone again.
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { execa } from "execa";
import { expect, test } from "vitest";
import { baseDocuments, connectionPair, type RouterIds } from "../../../scripts/lab-documents.ts";
import { until, type LabDocument } from "../../../scripts/lab.ts";
import { startCapture } from "../../../scripts/world.ts";
import { areActive, areSettled, connectionIs, labForThisFile, worthReading } from "../../support/lab.ts";
import { ESP_OUTSIDE, seenOutside } from "../../support/outside.ts";

const PSK = "do not print me: 5ecret";
const site = connectionPair({ name: "site", left: ["10.1.0.0/24"], right: ["10.2.0.0/24"], psk: PSK });
const second = connectionPair({ name: "second", left: ["10.1.0.0/24"], right: ["10.3.0.0/24"], psk: PSK });
const v6 = connectionPair({ name: "v6", left: ["fd00:1::/64"], right: ["fd00:2::/64"], psk: PSK });
const documents =
  (...pairs: readonly (readonly LabDocument[])[]) =>
  (routers: RouterIds): readonly LabDocument[] => [...baseDocuments(routers), ...pairs.flat()];

const lab = await labForThisFile({ documents: documents(site) });

test("a connection on both gateways comes up, hosts reach each other, and the internet sees only ESP", async () => {
  await areActive(lab, "site");
  const { espBackEnd } = await lab.left.status();
  const seen = await seenOutside(lab.world, async () => {
    expect((await lab.world.ping("left", "10.2.0.9", { count: 5 })).received).toBe(5);
    expect((await lab.world.ping("right", "10.1.0.9", { count: 5 })).received).toBe(5);
  });
  expect(seen).toMatchObject({ kinds: [ESP_OUTSIDE[espBackEnd]], clear: [] });
  expect(seen.count).toBeGreaterThanOrEqual(20);
});

test("B-14: large packets pass, TCP's segment size being clamped and IP fragmented where it may be", async () => {
  await areActive(lab, "site");
  const ping = await lab.world.ping("left", "10.2.0.9", { count: 3, sizeBytes: 3000 });
  expect(ping.received).toBe(3);
  const sizes = async (): Promise<string> =>
    [await segmentSize("left", "10.2.0.9", "right"), await segmentSize("right", "10.1.0.9", "left")].join();
  expect(await sizes()).toBe("1460,1460");
  const narrow = { name: "site", left: ["10.1.0.0/24"], right: ["10.2.0.0/24"], psk: PSK, more: { mtu: 1300 } };
  lab.write(documents(connectionPair(narrow))(lab.routers));
  await until("segments fit into the connection's mtu, both ways", 10_000, async () => (await sizes()) === "1260,1260");
  await areActive(lab, "site");
});

/** That a host is asked for by another one which wants to speak TCP with it. */
async function segmentSize(from: string, to: string, host: string): Promise<string | undefined> {
  const netns = lab.world.hostNamespaces.get(host) ?? "";
  const capture = await startCapture({ interface: "eth0", netns, filter: "tcp" });
  const knock = `require("net").connect(9,"${to}").on("error",()=>process.exit()).setTimeout(1000,process.exit)`;
  await execa("ip", ["netns", "exec", lab.world.hostNamespaces.get(from) ?? "", process.execPath, "-e", knock]);
  const syn = (await capture.stop()).find((line) => line.includes("Flags [S]"));
  return /mss (\d+)/.exec(syn ?? "")?.[1];
}

test("what a connection's file says is private, and swanctl's own syntax", () => {
  const directory = `${lab.left.runDirectory}/${lab.namespaces.left}/swanctl/conf.d`;
  const [file, ...more] = readdirSync(directory);
  expect(more).toEqual([]);
  const path = `${directory}/${String(file)}`;
  expect(statSync(path).mode & 0o777).toBe(0o600);
  const text = readFileSync(path, "utf8");
  expect(text).toMatch(/^connections \{\n {2}peer-[0-9a-f]{12} \{/);
  expect(text).toContain(`0s${Buffer.from(PSK).toString("base64")}`);
});

test("B-06: two connections to one peer are both ACTIVE over one IKE SA, and deleting one leaves the SPIs of the other", async () => {
  lab.write(documents(site)(lab.routers));
  await areActive(lab, "site");
  lab.write(documents(site, second)(lab.routers));
  await areActive(lab, "site", "second");
  await areSettled(lab);
  const before = await until("both are over one IKE SA", 10_000, async () => {
    const [one, other] = await Promise.all(["site", "second"].map((name) => connectionIs(lab.left, name, "ACTIVE")));
    const ikeSas = await lab.left.ikeSas(lab.routers.left);
    return ikeSas.length === 1 && one?.ikeSpis === other?.ikeSpis ? one : undefined;
  });
  expect((await lab.world.ping("left", "10.3.0.9", { count: 2 })).received).toBe(2);

  lab.write(documents(site)(lab.routers));
  await until("second is gone", 10_000, async () => (await lab.left.connection("second")) === undefined);
  await until(
    "its subnet is not reached",
    10_000,
    async () => (await lab.world.ping("left", "10.3.0.9")).received === 0,
  );
  const after = await connectionIs(lab.left, "site", "ACTIVE");
  expect(after.ikeSpis).toBe(before.ikeSpis);
  expect(after.children.map((child) => child.spiIn)).toEqual(before.children.map((child) => child.spiIn));
  expect((await lab.world.ping("left", "10.2.0.9", { count: 2 })).received).toBe(2);
});

test("B-33: IPv6 subnets cross the transit network and the tunnel, over IPv4 outside", async () => {
  lab.write(documents(site, v6)(lab.routers));
  await areActive(lab, "site", "v6");
  expect((await lab.world.ping("left", "fd00:2::9", { count: 3 })).received).toBe(3);
  expect((await lab.world.ping("right", "fd00:1::9", { count: 3 })).received).toBe(3);
});

test.each([
  { inner: "IPv4", left: ["10.1.0.0/24"], right: ["10.3.0.0/24"], from: "left", to: "10.3.0.9" },
  { inner: "IPv6", left: ["fd00:1::/64"], right: ["fd00:2::/64"], from: "left", to: "fd00:2::9" },
])("inner $inner crosses a tunnel whose gateways speak IPv6 outside", async ({ left, right, from, to }) => {
  const outside6 = connectionPair({ name: "outside6", left, right, psk: PSK, isOuterIpv6: true });
  lab.write(documents(site, outside6)(lab.routers));
  await areActive(lab, "site", "outside6");
  await until(`${to} answers`, 10_000, async () => (await lab.world.ping(from, to)).received > 0);
  expect((await lab.world.ping(from, to, { count: 3 })).received).toBe(3);
});

test("B-07: a connection that is admin down is DOWN for that reason, loses its SA at once, and is still guarded", async () => {
  const down = connectionPair({
    name: "site",
    left: ["10.1.0.0/24"],
    right: ["10.2.0.0/24"],
    psk: PSK,
    more: { admin_state_up: false },
  });
  lab.write(documents(site, second)(lab.routers));
  await areActive(lab, "site", "second");
  lab.write(documents(down, second)(lab.routers));
  const { id } = await connectionIs(lab.left, "site", "DOWN", { reason: "admin-down" });
  await until("its SA is gone", 5_000, async () => {
    const sas = await lab.left.ikeSas(lab.routers.left);
    return sas.every((sa) => sa.childSas.every((child) => !child.name.startsWith(id)));
  });
  await areActive(lab, "second");
  const capture = await startCapture({ interface: lab.world.bridge, filter: "net 10.1.0.0/24 or net 10.2.0.0/24" });
  const ping = await lab.world.ping("left", "10.2.0.9", { count: 3 });
  expect(ping.received).toBe(0);
  expect(await capture.stop()).toEqual([]);
});

test("what cannot be configured is ERROR with its reason and leaves its neighbour alone", async () => {
  lab.write(documents(site)(lab.routers));
  await areActive(lab, "site");
  await areSettled(lab);
  const before = await connectionIs(lab.left, "site", "ACTIVE");
  const { espBackEnd } = await lab.left.status();
  const policy = {
    userland: { kind: "IpsecPolicy", project: "acme", name: "odd", transform_protocol: "ah" },
    kernel: { kind: "IpsecPolicy", project: "acme", name: "odd", encapsulation_mode: "transport" },
  }[espBackEnd];
  const text = { userland: /"ah" needs kernel ESP/, kernel: /"transport" carries only what the two gateways/ };
  const odd = connectionPair({
    name: "odd",
    left: ["10.1.0.0/24"],
    right: ["10.3.0.0/24"],
    psk: PSK,
    more: { ipsecpolicy: "odd" },
  });
  lab.write([...documents(site)(lab.routers), policy, ...odd]);
  const refused = await connectionIs(lab.left, "odd", "ERROR", { reason: "unsupported" });
  expect(refused.reason?.text).toMatch(text[espBackEnd]);
  expect((await connectionIs(lab.left, "site", "ACTIVE")).ikeSpis).toBe(before.ikeSpis);
});

test("the older form, a subnet of the service and peer CIDRs of the connection, comes up as well", async () => {
  const subnets = [
    { kind: "Subnet", project: "acme", name: "left-net", cidr: "10.1.0.0/24" },
    { kind: "Subnet", project: "acme", name: "right-net", cidr: "10.2.0.0/24" },
  ];
  const older = documents(site)(lab.routers)
    .filter((one) => one["kind"] !== "EndpointGroup")
    .map((one) => {
      if (one["kind"] === "VpnService") return { ...one, subnet: `${String(one["name"])}-net` };
      if (one["kind"] !== "IpsecSiteConnection") return one;
      const { local_ep_group, peer_ep_group, ...rest } = one;
      expect([local_ep_group, peer_ep_group]).not.toContain(undefined);
      return { ...rest, peer_cidrs: [one["name"] === "site" ? "10.2.0.0/24" : "10.1.0.0/24"] };
    });
  lab.write([...older, ...subnets]);
  await areActive(lab, "site");
  await until("10.2.0.9 answers", 10_000, async () => (await lab.world.ping("left", "10.2.0.9")).received > 0);
});

test("deleting everything leaves nothing of the agent's behind", async () => {
  lab.write(documents()(lab.routers));
  await until("the namespaces are gone", 15_000, () => {
    return !existsSync(`/run/netns/${lab.namespaces.left}`) && !existsSync(`/run/netns/${lab.namespaces.right}`);
  });
  expect(lab.left.charon(lab.routers.left)).toBeUndefined();
  expect(existsSync(`/run/charon.${lab.namespaces.left}.vici`)).toBe(false);
  expect(existsSync(`${lab.left.runDirectory}/${lab.namespaces.left}`)).toBe(false);
});

test("no secret is in any log, status or metric", async () => {
  const texts = [
    lab.left.log(),
    lab.right.log(),
    lab.controller.log(),
    JSON.stringify(await lab.left.status()),
    await lab.left.metric(""),
  ];
  for (const text of texts) {
    expect(text).not.toContain(PSK);
    expect(text).not.toContain(Buffer.from(PSK).toString("base64"));
    expect(text).not.toContain("guest:guest");
  }
  expect(worthReading(lab.left)).not.toContain("internal error");
});
