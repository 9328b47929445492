// Packets: what crosses the gateway, and what never does in clear.
import { spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { until } from "../../../scripts/lab.ts";
import { patiently } from "../../../scripts/patience.ts";
import { startCapture } from "../../../scripts/world.ts";
import type { EspBackEnd } from "../../../src/core/guard.ts";
import { applyGuardByNft } from "../../../src/io/nft/nft.ts";
import { BOTH_TABLES_DELETED, PARTS_OF_GUARD_GONE, REPLACEMENTS, STAND_INS_GONE } from "../../support/guard-tables.ts";
import { whyNoKernelEsp } from "../../support/kernel-esp.ts";
import { DUAL_STACK } from "../../support/network-builders.ts";
import { makeLab, never, plugTunnel, sh, type Lab } from "./lab.ts";

const counted = async (lab: Lab, hook: string): Promise<number> => {
  const text = await sh(lab.config.namespace, `nft list counter inet swanherd clear_${hook}`);
  return Number(/packets (\d+)/.exec(text)?.[1]);
};

/** Packets of the inner networks on the bridge, while `during` runs. */
async function seenOnBridge(
  lab: Lab,
  during: () => Promise<void>,
  filter = "icmp or icmp6 or tcp",
): Promise<readonly string[]> {
  const capture = await startCapture({ interface: lab.world.bridge, filter });
  try {
    await during();
  } finally {
    // A packet of our own marks the end: what was sent before it has been seen when it is.
    await lab.world.ping(lab.world.internetNamespace, "203.0.113.10");
  }
  return (await capture.stop()).filter((line) => /10\.[123]\.0\.|fd00:/.test(line));
}

const whyNot = await whyNoKernelEsp();
const backEnds: readonly EspBackEnd[] = whyNot === undefined ? ["userland", "kernel"] : ["userland"];
if (whyNot !== undefined) test.skip(`the guard with kernel ESP: ${whyNot}`);

test.each(backEnds)(
  "without a tunnel nothing of the guarded networks leaves, nor without one of the two tables, or without both, and it would without what stands in for them (%s)",
  async (espBackEnd) => {
    const lab = await makeLab({ pairs: [DUAL_STACK], espBackEnd });
    const { namespace } = lab.config;
    await lab.converge();
    const seenOfPings = (): Promise<readonly string[]> =>
      seenOnBridge(lab, async () => {
        expect((await lab.world.ping("host", "10.2.0.9")).received).toBe(0);
        expect((await lab.world.ping("host", "fd00:2::9")).received).toBe(0);
      });
    const repaired = async (): Promise<ReadonlySet<string>> => new Set((await lab.converge()).map((step) => step.kind));
    const isRepaired = async (...kinds: readonly string[]): Promise<void> =>
      expect(await repaired()).toEqual(new Set(kinds));
    expect(await seenOfPings()).toEqual([]);
    await sh(namespace, BOTH_TABLES_DELETED);
    expect(await seenOfPings()).toEqual([]);
    await isRepaired("applyGuard");

    const standIn = espBackEnd === "userland" ? "addRule" : "addPolicy";
    for (const [what, command] of Object.entries({ nothing: "true", ...PARTS_OF_GUARD_GONE })) {
      await sh(namespace, STAND_INS_GONE);
      await sh(namespace, command);
      expect(await seenOfPings(), what).toEqual([]);
      if (what === "nothing") expect(await counted(lab, "forward")).toBe(2);
      await isRepaired(standIn, ...(what === "nothing" ? [] : ["applyGuard"]));
    }
    await sh(namespace, `${STAND_INS_GONE}; ${BOTH_TABLES_DELETED}`);
    expect((await seenOfPings()).length).toBeGreaterThanOrEqual(2);
    await isRepaired(standIn, "applyGuard");
  },
);

/** UDP as fast as one process can, until the test ends. */
function flood(namespace: string, ...targets: readonly string[]): void {
  const send = `
    const dgram = require("dgram");
    const sockets = { 4: dgram.createSocket("udp4"), 6: dgram.createSocket("udp6") };
    const burst = () => {
      for (const to of ${JSON.stringify(targets)}) {
        for (let count = 0; count < 10; count += 1) sockets[to.includes(":") ? 6 : 4].send("x", 9, to, () => {});
      }
      setImmediate(burst);
    };
    process.stdin.resume().on("end", () => process.exit());
    burst();`;
  // Its stdin ends with us, however we end.
  const sender = spawn("ip", ["netns", "exec", namespace, process.execPath, "-e", send], {
    stdio: ["pipe", "ignore", "ignore"],
  });
  onTestFinished(() => {
    sender.kill("SIGKILL");
  });
}

const SEVERAL_PEERS = {
  local: ["10.1.0.0/24", "fd00:1::/64"],
  peer: ["10.2.0.0/24", "10.3.0.0/24", "10.2.128.0/25", "fd00:2::/64", "fd00:3::/64"],
};

test.each(backEnds)(
  "nothing of a flood leaves while the guard is replaced again and again, and much of it would without (%s)",
  async (espBackEnd) => {
    const lab = await makeLab({ pairs: [SEVERAL_PEERS], espBackEnd });
    await lab.converge();
    const { namespace, guard } = lab.config;
    await sh(namespace, STAND_INS_GONE);
    const leaving = async (during: () => Promise<void>): Promise<number> =>
      (await seenOnBridge(lab, during, "udp and dst port 9")).length;
    flood(lab.world.hostNamespaces.get("host") ?? "", "10.2.0.9", "10.3.0.9", "10.2.128.9", "fd00:2::9", "fd00:3::9");
    await until("it is dropped", 10_000, async () => (await counted(lab, "forward")) > 1_000);
    const replaced = leaving(async () => {
      for (let times = 0; times < REPLACEMENTS; times += 1) {
        const pairs = guard.pairs.map((pair) => ({ ...pair, mtuBytes: 1300 + (times % 2) }));
        await applyGuardByNft(`/run/netns/${namespace}`, { ...guard, pairs }, never);
      }
    });
    expect(await replaced).toBe(0);
    await until("it is dropped still", 10_000, async () => (await counted(lab, "forward")) > 1_000);
    const withoutGuard = leaving(async () => {
      await sh(namespace, BOTH_TABLES_DELETED);
      await sleep(500);
    });
    expect(await withoutGuard).toBeGreaterThan(100);
  },
  patiently(120_000),
);

test.each(backEnds)(
  "what pretends to come from the peer's network in clear is not taken in (%s)",
  async (espBackEnd) => {
    const lab = await makeLab({ pairs: [DUAL_STACK], espBackEnd });
    await lab.converge();
    const { internetNamespace } = lab.world;
    await sh(internetNamespace, "ip addr add 10.2.0.9/32 dev lo; ip addr add fd00:2::9/128 dev lo");
    await sh(internetNamespace, "ip route add 10.1.0.0/24 via 203.0.113.10 src 10.2.0.9");
    await sh(internetNamespace, "ip -6 route add fd00:1::/64 via 2001:db8:ff::10 src fd00:2::9");
    const capture = await startCapture({
      interface: "eth0",
      netns: lab.world.hostNamespaces.get("host") ?? "",
      filter: "icmp or icmp6 and not ip6[40]>=133",
    });
    await lab.world.ping(internetNamespace, "10.1.0.9");
    await lab.world.ping(internetNamespace, "fd00:1::9");
    expect(await capture.stop()).toEqual([]);
    expect(await counted(lab, "forward")).toBe(2);
  },
);

test.each(backEnds)("with a tunnel both families cross it both ways (%s)", async (espBackEnd) => {
  const lab = await makeLab({ pairs: [DUAL_STACK], espBackEnd });
  await lab.converge();
  const peer = await plugTunnel(lab, ["10.2.0.9/32", "fd00:2::9/128"], ["10.2.0.0/24", "fd00:2::/64"]);
  expect(await lab.plan()).toEqual([]);
  for (const [from, to] of [
    ["host", "10.2.0.9"],
    ["host", "fd00:2::9"],
    [peer, "10.1.0.9"],
    [peer, "fd00:1::9"],
  ] as const) {
    const pinged = await lab.world.ping(from, to, { count: 2 });
    expect(pinged.received, `${from} to ${to}: ${pinged.output}`).toBe(2);
  }
  expect(await counted(lab, "forward")).toBe(0);
});

test("traffic that is nobody's tunnel passes beside the guard", async () => {
  const lab = await makeLab({ pairs: [DUAL_STACK] });
  await lab.converge();
  await sh(lab.config.routerNamespace, "ip route add 203.0.113.0/24 via 169.254.0.2");
  await sh(lab.world.internetNamespace, "ip route add 10.1.0.0/24 via 203.0.113.10");
  expect((await lab.world.ping("host", "203.0.113.1")).received).toBe(1);
});

test("a borrowed address that is a host's is still the host's", async () => {
  const lab = await makeLab({
    pairs: [{ local: ["10.9.0.0/31", "fd00:9::/127", "10.8.0.5/32"], peer: ["10.2.0.0/24", "fd00:2::/64"] }],
    lan: ["10.9.0.1/31", "fd00:9::/127", "10.8.0.1/24"],
    hosts: [
      { name: "host", addresses: ["10.9.0.0/31", "fd00:9::1/127"], gateways: ["10.9.0.1", "fd00:9::"] },
      { name: "single", addresses: ["10.8.0.5/24"], gateways: ["10.8.0.1"] },
    ],
  });
  await lab.converge();
  expect(lab.config.guard.loopbackAddresses).toEqual(["10.8.0.5", "10.9.0.0", "fd00:9::1"]);
  const peer = await plugTunnel(lab, ["10.2.0.9/32", "fd00:2::9/128"], ["10.2.0.0/24", "fd00:2::/64"]);
  for (const to of ["10.9.0.0", "10.8.0.5", "fd00:9::1"]) {
    const pinged = await lab.world.ping(peer, to, { count: 2 });
    expect(pinged.received, pinged.output).toBe(2);
    // Two routers on the way: answered by the host, not by the gateway.
    expect(pinged.output).toMatch(/ttl=62/);
  }
  for (const [from, to] of [
    ["host", "10.2.0.9"],
    ["single", "10.2.0.9"],
    ["host", "fd00:2::9"],
  ] as const) {
    const pinged = await lab.world.ping(from, to, { count: 2 });
    expect(pinged.received, `${from} to ${to}: ${pinged.output}`).toBe(2);
  }
  // The hint that charon gives its routes.
  await sh(lab.config.namespace, "ip route replace 10.2.0.0/24 via 192.0.2.2 table 220 src 10.9.0.0");
  expect((await lab.world.ping("host", "10.2.0.9")).received).toBe(1);
});

const EVERYTHING = ["0.0.0.0/0", "::/0"];

const OPEN_PAIRS = [
  ["local", { local: EVERYTHING, peer: ["10.2.0.0/24", "fd00:2::/64"] }],
  ["peer", { local: ["10.1.0.0/24", "fd00:1::/64"], peer: EVERYTHING }],
  ["both", { local: EVERYTHING, peer: EVERYTHING }],
] as const;

test.each(backEnds.flatMap((espBackEnd) => OPEN_PAIRS.map(([which, pair]) => [which, espBackEnd, pair] as const)))(
  "when everything is %s, IKE and the neighbours get through and nothing else in clear (%s)",
  async (_which, espBackEnd, pair) => {
    const lab = await makeLab({ pairs: [pair], espBackEnd });
    await lab.converge();
    expect(await lab.plan()).toEqual([]);
    const { internetNamespace } = lab.world;
    const answers = async (to: string, port: number): Promise<boolean> => {
      const listen = `const s=require("dgram").createSocket({type:"${to.includes(":") ? "udp6" : "udp4"}"});s.on("message",(m,r)=>s.send("yes",r.port,r.address,()=>s.close()));s.bind(${port},()=>console.log("ready"))`;
      const server = spawn("ip", ["netns", "exec", lab.config.namespace, process.execPath, "-e", listen]);
      onTestFinished(() => {
        server.kill("SIGKILL");
      });
      await new Promise<void>((resolve) => server.stdout.once("data", () => resolve()));
      const ask = `const s=require("dgram").createSocket({type:"${to.includes(":") ? "udp6" : "udp4"}"});s.on("message",()=>{console.log("heard");process.exit()});s.bind(${port},()=>s.send("x",${port},"${to}"));setTimeout(()=>process.exit(),1000)`;
      const heard = await sh(internetNamespace, `${process.execPath} -e '${ask}'`);
      server.kill("SIGKILL");
      return heard.includes("heard");
    };
    for (const port of [500, 4500]) {
      expect(await answers("203.0.113.10", port), `IPv4 port ${port}`).toBe(true);
      expect(await answers("2001:db8:ff::10", port), `IPv6 port ${port}`).toBe(true);
    }
    if (pair.local === EVERYTHING && pair.peer === EVERYTHING) expect(await answers("203.0.113.10", 5353)).toBe(false);
    const seen = await seenOnBridge(lab, async () => {
      await lab.world.ping("host", "10.2.0.9");
      await lab.world.ping("host", "fd00:2::9");
    });
    expect(seen).toEqual([]);

    // The same on both sides is not loaded there: core/support.ts.
    if (espBackEnd === "kernel" && pair.local === EVERYTHING && pair.peer === EVERYTHING) return;
    const nets = pair.peer === EVERYTHING ? EVERYTHING : ["10.2.0.0/24", "fd00:2::/64"];
    const peer = await plugTunnel(lab, ["10.2.0.9/32", "fd00:2::9/128"], nets);
    for (const [from, to] of [
      ["host", "10.2.0.9"],
      ["host", "fd00:2::9"],
      [peer, "10.1.0.9"],
      [peer, "fd00:1::9"],
    ] as const) {
      // The way back from the gateway to the hosts when the list does not name their subnet is the router's.
      const pinged = await lab.world.ping(from, to);
      expect(pinged.received, `${from} to ${to}: ${pinged.output}`).toBe(1);
    }
  },
);

test.each(backEnds)("TCP's segments are made to fit, only downwards (%s)", async (espBackEnd) => {
  const lab = await makeLab({ pairs: [DUAL_STACK], espBackEnd });
  const [pair] = lab.config.guard.pairs;
  if (pair === undefined) throw new Error("no pair");
  const config = { ...lab.config, guard: { ...lab.config.guard, pairs: [{ ...pair, mtuBytes: 1300 }] } };
  await lab.converge(config);
  const peer = await plugTunnel(lab, ["10.2.0.9/32", "fd00:2::9/128"], ["10.2.0.0/24", "fd00:2::/64"]);
  const capture = await startCapture({ interface: "tun", netns: peer, filter: "tcp" });
  const knock = (to: string): string => `require("net").connect(9,"${to}").on("error",()=>process.exit())`;
  for (const to of ["10.2.0.9", "fd00:2::9"])
    await sh(lab.world.hostNamespaces.get("host") ?? "", `${process.execPath} -e '${knock(to)}'`);
  const syns = (await capture.stop()).filter((line) => line.includes("[S]")).join("\n");
  expect(syns).toContain("mss 1260");
  expect(syns).toContain("mss 1240");
});
