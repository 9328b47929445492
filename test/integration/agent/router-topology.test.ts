// Topology `router`: IPsec in the routers' own namespaces, beside the packet filter and NAT of Neutron's L3 agent.
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { execa } from "execa";
import { expect, onTestFinished, test } from "vitest";
import { until } from "../../../scripts/lab.ts";
import { startCapture } from "../../../scripts/world.ts";
import { isAlive } from "../../../src/io/charon/process.ts";
import { savedRules, writeNeutronChains } from "../../support/l3-agent.ts";
import { areActive, connectionIs, worthReading } from "../../support/lab.ts";
import { ESP_OUTSIDE, seenOutside } from "../../support/outside.ts";
import { routerDocuments, routerLabForThisFile } from "../../support/router-lab.ts";

const lab = await routerLabForThisFile();
const { espBackEnd } = await lab.left.status();
const inLeft = (...command: readonly string[]) =>
  execa("ip", ["netns", "exec", lab.left4.namespace, ...command], { reject: false });

const bothWays = async (): Promise<void> => {
  for (const [from, to] of [
    ["left", "10.2.0.9"],
    ["right", "10.1.0.9"],
    ["left", "fd00:2::9"],
    ["right", "fd00:1::9"],
  ] as const) {
    const pinged = await lab.world.ping(from, to, { count: 3 });
    expect(pinged.received, `${from} to ${to}: ${pinged.output}`).toBe(3);
  }
};

/** What a ping of a host to the internet's machine looks like out there. */
async function sourcesOutside(from: string): Promise<readonly string[]> {
  const capture = await startCapture({ interface: lab.world.bridge, filter: "icmp and dst host 203.0.113.1" });
  const { received, output } = await lab.world.ping(from, "203.0.113.1", { count: 2 });
  const lines = await capture.stop();
  expect(received, output).toBe(2);
  return [...new Set(lines.map((line) => / IP (\S+) > /.exec(line)?.[1] ?? line))];
}

/** Of ours there are two. */
const tables = async (): Promise<readonly string[]> =>
  [...(await inLeft("nft", "list", "tables", "inet")).stdout.matchAll(/swanherd\S*/g)].map(([name]) => name).sort();

test("both families cross the tunnel both ways, nothing of them is seen outside, and unrelated traffic is translated", async () => {
  await areActive(lab, "four", "six");
  const seen = await seenOutside(lab.world, bothWays);
  expect(seen).toMatchObject({ kinds: [ESP_OUTSIDE[espBackEnd]], clear: [] });
  expect(await sourcesOutside("left")).toEqual([lab.left4.external]);
  expect(await sourcesOutside("right")).toEqual([lab.right4.external]);
  // No namespace, link, address or route of ours.
  expect(existsSync(`/run/netns/${lab.namespaces.left}`)).toBe(false);
  const links = (await inLeft("ip", "-br", "link")).stdout.split("\n").map((line) => line.split(/[ @]/)[0]);
  const own = espBackEnd === "userland" ? ["ipsec0"] : [];
  expect(links.sort()).toEqual(["lo", "qg-33333333-44", "qr-11111111-22", ...own].sort());
  expect((await inLeft("ip", "route", "show", "proto", "215")).stdout).toBe("");
});

test("B-43: Neutron's chains hold nothing of ours, and go on translating when they are written anew; ours hold nothing else", async () => {
  await areActive(lab, "four", "six");
  const floating = { fixed: "10.1.0.9", external: "203.0.113.77" };
  const before = await savedRules(lab.left4);
  expect(before).not.toMatch(/swanherd|10\.2\.0\.0/);
  await writeNeutronChains({ ...lab.left4, floating });
  const seen = await seenOutside(lab.world, bothWays);
  expect(seen.clear).toEqual([]);
  await inLeft("ip", "addr", "add", "203.0.113.77/32", "dev", "qg-33333333-44");
  expect(await sourcesOutside("left")).toEqual([floating.external]);
  await writeNeutronChains(lab.left4);
  await inLeft("ip", "addr", "del", "203.0.113.77/32", "dev", "qg-33333333-44");
  expect(await sourcesOutside("left")).toEqual([lab.left4.external]);
  await bothWays();
  expect(worthReading(lab.left, 1_000)).not.toContain("packet filter in");
  const chain = ["inet", "swanherd", "nat_source"];
  const ours = async (): Promise<string> => (await inLeft("nft", "list", "chain", ...chain)).stdout;
  const wanted = await ours();
  expect(wanted).toContain("10.2.0.0/24");
  // As an older release may have had it.
  const older = ["ip", "daddr", "10.2.0.0/24", "snat", "ip", "to", lab.left4.external];
  expect((await inLeft("nft", "insert", "rule", ...chain, ...older)).stderr).toBe("");
  await until("no rule stands beside the wanted ones", 20_000, async () => (await ours()) === wanted);
  await bothWays();
});

test("a connection that was translated before the tunnel came is carried, too, and seen by nobody", async () => {
  const pinged = execa("ip", [
    ...["netns", "exec", lab.world.hostNamespaces.get("left") ?? "", "ping"],
    ...["-n", "-i", "0.2", "-c", "125", "10.2.0.9"],
  ]);
  lab.write(routerDocuments(lab.routers).filter((one) => !String(one["name"]).startsWith("four")));
  await until("the first tunnel has left both lists, and its guard with it", 30_000, async () => {
    const states = await Promise.all([lab.left.connection("four"), lab.right.connection("four-back")]);
    return states.every((state) => state === undefined);
  });
  const translated = await startCapture({ interface: lab.world.bridge, filter: "icmp and dst host 10.2.0.9" });
  await until("it goes out translated", 10_000, async () =>
    (await inLeft("nft", "list", "table", "inet", "swanherd")).stdout.includes("10.2.0.0/24") ? undefined : true,
  );
  await lab.world.ping("left", "10.2.0.9", { count: 3 });
  expect((await translated.stop()).join()).toContain(`IP ${lab.left4.external} > 10.2.0.9`);
  lab.write(routerDocuments(lab.routers));
  await areActive(lab, "four");
  await until("the very connection is carried", 15_000, async () => {
    const { received } = await lab.world.ping("left", "10.2.0.9");
    return received > 0;
  });
  expect((await pinged).stdout).toMatch(/icmp_seq=12\d ttl/);
});

test("while no charon runs nothing of the tunnels' networks leaves in clear, and the rest goes on", async () => {
  await areActive(lab, "four", "six");
  const charon = lab.left.runningCharon(lab.routers.left);
  await lab.left.kill();
  try {
    process.kill(charon.pid, "SIGKILL");
    await until("charon has ended", 5_000, () => lab.left.charon(lab.routers.left) === undefined);
    // The kernel would go on with the SAs that it has.
    if (espBackEnd === "kernel") await inLeft("sh", "-c", "ip xfrm policy flush; ip xfrm state flush");
    const seen = await seenOutside(lab.world, async () => {
      for (const peer of ["10.2.0.9", "fd00:2::9"]) expect((await lab.world.ping("left", peer)).received).toBe(0);
    });
    expect(seen.clear).toEqual([]);
    expect(await sourcesOutside("left")).toEqual([lab.left4.external]);
  } finally {
    await lab.left.start();
  }
  await areActive(lab, "four", "six");
  await bothWays();
});

test("a router's namespace that goes is waited for: charon ends, and both are back when it is", async () => {
  const id = lab.routers.left;
  const namespace = lab.left4.namespace;
  // The name goes, while the links stay: another name holds the namespace.
  const kept = `${namespace.slice(0, 20)}-kept`;
  await execa("ip", ["netns", "attach", kept, String(lab.left.runningCharon(id).pid)]);
  try {
    await execa("ip", ["netns", "del", namespace]);
    const waiting = await connectionIs(lab.left, "four", "DOWN", { reason: "namespace-missing" });
    expect(waiting.reason?.text).toContain(`waiting for the router's namespace ${namespace}`);
    await until("its charon has ended", 5_000, () => lab.left.charon(id) === undefined);
    await execa("touch", [`/run/netns/${namespace}`]);
    await execa("mount", ["--bind", `/run/netns/${kept}`, `/run/netns/${namespace}`]);
  } finally {
    await execa("ip", ["netns", "del", kept]);
  }
  await areActive(lab, "four", "six");
  await bothWays();
});

test("primary, backup, fault and what nobody knows: only a primary runs IPsec, and tells of it", async () => {
  const id = lab.routers.left;
  const file = path.join(lab.haDirectory, id, "state");
  mkdirSync(path.dirname(file));
  onTestFinished(() => rmSync(path.dirname(file), { recursive: true, force: true }));
  const becomes = async (word: string, isUp: boolean): Promise<number> => {
    const startedAt = performance.now();
    writeFileSync(file, word);
    await until(`charon ${isUp ? "runs" : "has ended"}`, 5_000, () => (lab.left.charon(id) !== undefined) === isUp);
    return performance.now() - startedAt;
  };
  await becomes("primary", true);
  await areActive(lab, "four", "six");
  for (const word of ["backup", "fault", "what\n"]) {
    expect(await becomes(word, false)).toBeLessThan(1_000);
    await until("it says so", 5_000, async () => (await lab.left.status()).routers[0]?.role === "standby");
    // What comes to be its turn is guarded already.
    expect(await tables()).toEqual(["swanherd", "swanherd_spare"]);
    await becomes("master", true);
    await connectionIs(lab.left, "four", "ACTIVE");
  }
  rmSync(path.dirname(file), { recursive: true });
  await areActive(lab, "four", "six");
});

test("what a crash left in a router's namespace is removed, and nothing of Neutron's", async () => {
  await areActive(lab, "four", "six");
  const before = await savedRules(lab.left4);
  const charon = lab.left.runningCharon(lab.routers.left);
  await lab.left.kill();
  lab.write(routerDocuments(lab.routers).filter((one) => one["service"] !== "left" && one["vpnservice"] !== "left"));
  rmSync(lab.left.stateDirectory, { recursive: true });
  rmSync(lab.left.runDirectory, { recursive: true });
  await lab.left.start();
  await until("the tables are gone", 60_000, async () => (await tables()).length === 0);
  expect(await savedRules(lab.left4)).toEqual(before);
  expect(isAlive(charon)).toBe(false);
  expect(await sourcesOutside("left")).toEqual([lab.left4.external]);
  lab.write(routerDocuments(lab.routers));
  await areActive(lab, "four", "six");
});

test("teardown without an agent takes away what is ours, and leaves the router as it was", async () => {
  await areActive(lab, "four", "six");
  await lab.left.stop();
  const { stdout } = await lab.left.run("teardown", "--yes");
  expect(stdout).toContain("torn down without an agent: 1 router");
  expect(await tables()).toEqual([]);
  expect((await inLeft("ip", "rule")).stdout).not.toContain("220");
  expect(await sourcesOutside("left")).toEqual([lab.left4.external]);
  await lab.left.start();
  await areActive(lab, "four", "six");
});
