// What Neutron's NAT does to guarded packets in a router's own namespace: nothing, by whichever iptables it is written. ESP in
// the kernel leaves by the gateway port, where everything is translated; as this may run where there is no such ESP, the
// chains that would drop what is in clear are emptied, and the packets are looked at outside.
import { randomBytes, randomUUID } from "node:crypto";
import { execa } from "execa";
import { expect, onTestFinished, test } from "vitest";
import { until } from "../../../scripts/lab.ts";
import { createWorld, startCapture } from "../../../scripts/world.ts";
import { GUARD_TABLES, type EspBackEnd } from "../../../src/core/guard.ts";
import { routerId } from "../../../src/core/ids.ts";
import { planNetwork } from "../../../src/core/network-plan.ts";
import { routerConfig } from "../../../src/core/router-network.ts";
import { namespaceInode } from "../../../src/io/kernel/netns.ts";
import { KernelNetwork } from "../../../src/io/kernel/network.ts";
import { applyGuardByNft } from "../../../src/io/nft/nft.ts";
import {
  BOTH_TABLES_DELETED,
  inBothTables,
  PARTS_OF_GUARD_GONE,
  REPLACEMENTS,
  STAND_INS_GONE,
} from "../../support/guard-tables.ts";
import { writeNeutronChains, type Iptables } from "../../support/l3-agent.ts";
import { aRouter, DUAL_STACK } from "../../support/network-builders.ts";
import { expectNothingLost, startTraffic } from "../../support/traffic.ts";
import { plugTun } from "./lab.ts";

const never = new AbortController().signal;
const EXTERNAL = "203.0.113.10";
/** The kernel lab's guest has no tables of iptables-legacy. */
const IPTABLES: readonly Iptables[] = process.env["KERNEL_LAB"] === undefined ? ["nft", "legacy"] : ["nft"];
const FLOATING = { fixed: "10.1.0.9", external: "203.0.113.77" };

async function aRouterOfNeutrons(iptables: Iptables, espBackEnd: EspBackEnd = "kernel") {
  const id = routerId(randomUUID());
  const prefix = `t${randomBytes(3).toString("hex")}`;
  const world = await createWorld({
    prefix,
    sides: [
      {
        routerId: id,
        lan: ["10.1.0.1/24"],
        hosts: [{ name: "host", addresses: ["10.1.0.9/24"], gateways: ["10.1.0.1"] }],
        l3Agent: { addresses: [`${EXTERNAL}/24`, `${FLOATING.external}/32`], gateways: ["203.0.113.1"] },
      },
    ],
  });
  const network = new KernelNetwork(applyGuardByNft);
  onTestFinished(async () => {
    network.close();
    await world.destroy();
  });
  const namespace = `qrouter-${id}`;
  const sh = (where: string, command: string) => execa("ip", ["netns", "exec", where, "sh", "-ec", command]);
  await sh(world.internetNamespace, "ip addr add 10.2.0.9/32 dev lo; ip route add 10.1.0.0/24 via 203.0.113.10");
  await sh(namespace, "ip route add 10.2.0.0/24 via 203.0.113.1");
  const neutron = { namespace, external: EXTERNAL, iptables };
  await writeNeutronChains(neutron);
  const place = { namespace, candidates: [namespace] };
  const wanted = routerConfig({ router: aRouter([DUAL_STACK], id), place, host: prefix, espBackEnd });
  const config = { ...wanted, guard: { ...wanted.guard, ikeAddresses: [EXTERNAL] } };
  const converge = async (): Promise<number> => {
    const steps = planNetwork(config, await network.observe(config, never));
    for (const step of steps) await network.apply(step, never);
    return steps.length;
  };
  /** The sources that are seen outside of pings to an address, each once. */
  const sourcesOf = async (destination: string): Promise<readonly string[]> => {
    const capture = await startCapture({ interface: world.bridge, filter: `icmp and dst host ${destination}` });
    await world.ping("host", destination, { count: 2 });
    const lines = await capture.stop();
    return [...new Set(lines.map((line) => / IP (\S+) > /.exec(line)?.[1] ?? line))];
  };
  return { world, neutron, namespace, network, config, converge, sourcesOf, sh };
}

test.each(IPTABLES)(
  "with iptables-%s: what is guarded is not translated, also after Neutron wrote its chains anew; all else is",
  async (iptables) => {
    const { world, neutron, namespace, converge, sourcesOf, sh } = await aRouterOfNeutrons(iptables);
    expect(await sourcesOf("10.2.0.9")).toEqual([EXTERNAL]);
    await converge();
    // In clear it does not leave at all, whatever was tracked before.
    for (const command of ["true", STAND_INS_GONE]) {
      await sh(namespace, command);
      expect(await sourcesOf("10.2.0.9"), command).toEqual([]);
      expect(await sourcesOf("203.0.113.1"), command).toEqual([EXTERNAL]);
    }

    await sh(namespace, inBothTables("flush chain", "forward", "egress"));
    expect(await sourcesOf("10.2.0.9")).toEqual(["10.1.0.9"]);
    expect((await world.ping("host", "10.2.0.9")).received).toBe(1);
    await writeNeutronChains({ ...neutron, floating: FLOATING });
    expect(await sourcesOf("10.2.0.9")).toEqual(["10.1.0.9"]);
    expect(await sourcesOf("203.0.113.1")).toEqual([FLOATING.external]);
    expect((await world.ping(world.internetNamespace, FLOATING.external)).received).toBe(1);

    for (const table of GUARD_TABLES) {
      await sh(namespace, `nft delete table inet ${table}`);
      expect(await sourcesOf("10.2.0.9"), `without ${table}`).toEqual(["10.1.0.9"]);
      await converge();
      await sh(namespace, `${STAND_INS_GONE}; ${inBothTables("flush chain", "forward", "egress")}`);
    }
  },
);

test.each(IPTABLES)(
  "with iptables-%s: what stands in for both tables holds back what they let through",
  async (iptables) => {
    const { namespace, converge, sourcesOf, sh } = await aRouterOfNeutrons(iptables);
    await converge();
    await sh(namespace, BOTH_TABLES_DELETED);
    expect(await sourcesOf("10.2.0.9")).toEqual([]);
    expect(await sourcesOf("203.0.113.1")).toEqual([EXTERNAL]);
    await sh(namespace, STAND_INS_GONE);
    expect(await sourcesOf("10.2.0.9")).toEqual([EXTERNAL]);
  },
);

test.each(IPTABLES)("with iptables-%s: either of the two tables is enough", async (iptables) => {
  const { namespace, converge, sourcesOf, sh } = await aRouterOfNeutrons(iptables);
  for (const [what, command] of Object.entries(PARTS_OF_GUARD_GONE)) {
    await converge();
    await sh(namespace, `${STAND_INS_GONE}; ${command}`);
    expect(await sourcesOf("10.2.0.9"), what).toEqual([]);
    expect(await sourcesOf("203.0.113.1"), what).toEqual([EXTERNAL]);
  }
});

test.each(IPTABLES)(
  "with iptables-%s: a guarded packet that was translated all the same is dropped behind NAT",
  async (iptables) => {
    const { namespace, converge, sourcesOf, sh } = await aRouterOfNeutrons(iptables);
    await converge();
    await sh(namespace, `${STAND_INS_GONE}; ${inBothTables("flush chain", "forward", "nat_source")}`);
    expect(await sourcesOf("10.2.0.9")).toEqual([]);
    expect((await sh(namespace, "nft list counter inet swanherd clear_egress")).stdout).toContain("packets 2");
    expect(await sourcesOf("203.0.113.1")).toEqual([EXTERNAL]);
  },
);

test.each(IPTABLES)(
  "with iptables-%s: IKE of the router's own keeps its port, and what else there is does not",
  async (iptables) => {
    const { world, namespace, converge } = await aRouterOfNeutrons(iptables);
    /** From where three packets of UDP, sent from a port of a namespace's, come outside. */
    const sources = async (from: string, port: number): Promise<readonly string[]> => {
      const capture = await startCapture({
        interface: world.bridge,
        filter: "udp and dst host 203.0.113.1 and dst port 500",
      });
      const send = `import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(("", ${port})); [s.sendto(b"x", ("203.0.113.1", 500)) for _ in range(3)]`;
      await execa("ip", ["netns", "exec", from, "python3", "-c", send]);
      await world.ping("host", "203.0.113.1");
      const lines = await capture.stop();
      return [...new Set(lines.map((line) => / IP (\S+) > /.exec(line)?.[1] ?? line))];
    };
    const host = world.hostNamespaces.get("host") ?? "";
    const isChosenAnew = expect.not.stringMatching(/\.(500|4500|isakmp)$/) as unknown;
    // Neutron chooses ports at random; that such a flow is known already must not matter.
    for (const port of [500, 4500]) expect(await sources(namespace, port)).toEqual([isChosenAnew]);
    await converge();
    for (const port of [500, 4500]) expect(await sources(namespace, port)).toEqual([`${EXTERNAL}.${port}`]);
    expect(await sources(namespace, 5353)).toEqual([expect.not.stringMatching(/\.5353$/)]);
    expect(await sources(host, 500)).toEqual([isChosenAnew]);
  },
);

test("while the guard is replaced again and again nothing that comes out of a tunnel is lost", async () => {
  const { world, namespace, config } = await aRouterOfNeutrons("nft", "userland");
  // What comes out of charon's link gets by Neutron's chains only with the mark that the guard gives it.
  await plugTun({ bridge: world.bridge, namespace }, ["10.2.0.9/32"], ["10.2.0.0/24", "10.3.0.0/24"]);
  const replace = (mtuBytes: number): Promise<void> => {
    const pairs = config.guard.pairs.map((pair) => ({
      ...pair,
      peerSubnets: ["10.2.0.0/24", "10.3.0.0/24"],
      mtuBytes,
    }));
    return applyGuardByNft(`/run/netns/${namespace}`, { ...config.guard, pairs }, never);
  };
  await replace(1300);
  const traffic = startTraffic(world, "host", "10.2.0.9", 500);
  await until("traffic flows", 10_000, () => traffic.answered() > 100);
  for (let times = 0; times < REPLACEMENTS; times += 1) await replace(1301 - (times % 2));
  await until("enough was sent", 10_000, () => traffic.answered() > 300);
  await expectNothingLost(traffic, 300);
});

test("the tables are known as ours while Neutron writes, and as changed when somebody changes one", async () => {
  const { neutron, namespace, converge, network, config, sh } = await aRouterOfNeutrons("nft");
  expect(await converge()).toBeGreaterThanOrEqual(1);
  for (const floating of [FLOATING, undefined]) {
    await writeNeutronChains(floating === undefined ? neutron : { ...neutron, floating });
    expect(await converge()).toBe(0);
  }
  for (const command of [
    "nft flush chain inet swanherd input",
    "nft delete table inet swanherd",
    "nft flush chain inet swanherd_spare zone",
    "nft delete table inet swanherd_spare",
    "nft flush ruleset",
  ]) {
    await sh(namespace, command);
    expect(await converge(), command).toBe(1);
    expect(await converge(), command).toBe(0);
  }
  await network.apply({ kind: "removeGuard", namespace }, never);
  expect((await network.observe(config, never)).guard).toEqual({ kind: "absent" });
});

test("a namespace that is made anew is not taken for the one before it, which the kernel may have numbered alike", async () => {
  const { namespace, network, config, converge, sh } = await aRouterOfNeutrons("nft");
  onTestFinished(network.watch(config, "userland", () => undefined));
  await converge();
  const number = namespaceInode(namespace);
  await execa("ip", ["netns", "del", namespace]);
  // Its number is given again when all that was in it is gone.
  for (let attempt = 1; attempt <= 30 && namespaceInode(namespace) !== number; attempt += 1) {
    await execa("ip", ["netns", "del", namespace], { reject: false });
    await execa("ip", ["netns", "add", namespace]);
  }
  // Somewhere among these it has seen as many changes as the other one had.
  for (let changes = 0; changes < 30; changes += 1) {
    expect((await network.observe(config, never)).guard, `${changes} changes`).toEqual({ kind: "absent" });
    await sh(namespace, `nft add table inet other${changes}`);
  }
});
