// Everything that one router needs, in real namespaces: made, kept, repaired and removed.
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { expect, onTestFinished, test, vi } from "vitest";
import { patiently } from "../../../scripts/patience.ts";
import { AUTH_ALGORITHMS, ENCRYPTION_ALGORITHMS } from "../../../src/core/algorithms.ts";
import { createNamespace, deleteNamespace, inNamespace, namespaceInode } from "../../../src/io/kernel/netns.ts";
import { KernelNetwork } from "../../../src/io/kernel/network.ts";
import { applyGuardByNft } from "../../../src/io/nft/nft.ts";
import { networkScope } from "../../../src/core/network.ts";
import { planNetwork, planNetworkRemoval } from "../../../src/core/network-plan.ts";
import { whyNoKernelEsp } from "../../support/kernel-esp.ts";
import { DUAL_STACK, type BridgeConfig } from "../../support/network-builders.ts";
import { makeLab, never, sh, type Lab } from "./lab.ts";

const innerNames = (lab: Lab): { vg: string; vr: string; hg: string; hr: string } => {
  const [external, transit] = lab.config.veths;
  return {
    vg: external?.inner.name ?? "",
    vr: transit?.inner.name ?? "",
    hg: external?.outer.name ?? "",
    hr: transit?.outer.name ?? "",
  };
};

test("one pass makes everything, and the next finds nothing to do", async () => {
  const lab = await makeLab({ pairs: [DUAL_STACK] });
  expect(await lab.converge()).not.toEqual([]);
  expect(await lab.plan()).toEqual([]);
  expect(await lab.network.listOwned(lab.config.alias, never)).toEqual([lab.config.router]);
  expect(await lab.network.listOwned("swanherd:someone-else", never)).toEqual([]);
});

// proc(5): page faults of children that ended (cminflt, field 11), and the children that live.
const childrenSoFar = (): string => {
  const [, ...fields] = readFileSync("/proc/self/stat", "latin1").split(/\) /);
  const living = readdirSync("/proc/self/task").map((task) =>
    readFileSync(`/proc/self/task/${task}/children`, "latin1"),
  );
  return `${fields.join().split(" ")[8] ?? ""} ${living.join("")}`;
};

test("a pass with nothing to do starts no process", async () => {
  const lab = await makeLab({ pairs: [DUAL_STACK] });
  await lab.converge();
  const before = childrenSoFar();
  for (let pass = 0; pass < 20; pass += 1) expect(await lab.plan()).toEqual([]);
  expect(childrenSoFar()).toBe(before);
  await sh(lab.config.namespace, "true");
  expect(childrenSoFar()).not.toBe(before);
});

/** A bridge takes up to a second to see that a port is up (linkwatch gathers such news). */
const reaches = (lab: Lab, address: string, after: string): Promise<void> =>
  vi.waitFor(async () => {
    const pinged = await lab.world.ping(lab.world.internetNamespace, address);
    expect(pinged.received, `${address} after: ${after}`).toBe(1);
  }, 5_000);

const drifts: readonly (readonly [what: string, where: "own" | "router" | "agent", command: (lab: Lab) => string])[] = [
  ["an address is deleted", "own", (lab) => `ip addr del 203.0.113.10/24 dev ${innerNames(lab).vg}`],
  ["an IPv6 address is deleted", "own", (lab) => `ip addr del 2001:db8:ff::10/64 dev ${innerNames(lab).vg}`],
  [
    "an address has another prefix length",
    "own",
    (lab) =>
      `ip addr del 2001:db8:ff::10/64 dev ${innerNames(lab).vg}; ip addr add 2001:db8:ff::10/60 dev ${innerNames(lab).vg}`,
  ],
  ["a strange address is on our link", "own", (lab) => `ip addr add 198.51.100.7/24 dev ${innerNames(lab).vr}`],
  ["the transit gateway's address is deleted", "router", (lab) => `ip addr flush dev ${innerNames(lab).hr}`],
  ["a borrowed address is deleted", "own", () => "ip addr del 10.1.0.0/32 dev lo"],
  ["the default route is deleted", "own", () => "ip route del default"],
  [
    "the route to a local subnet has another next hop",
    "own",
    (lab) => `ip route replace 10.1.0.0/24 via 169.254.0.9 dev ${innerNames(lab).vr}`,
  ],
  ["the route to a peer's subnet is deleted", "router", () => "ip route del 10.2.0.0/24"],
  ["the unreachable route is deleted", "router", () => "ip route del unreachable 10.2.0.0/24"],
  ["the IPv6 route to a peer's subnet is deleted", "router", () => "ip -6 route del fd00:2::/64 metric 1"],
  ["a route of ours is left over", "router", () => "ip route add unreachable 10.77.0.0/24 proto 215"],
  ["a link is down", "own", (lab) => `ip link set ${innerNames(lab).vg} down`],
  ["the router's end is down", "router", (lab) => `ip link set ${innerNames(lab).hr} down`],
  ["lo is down", "own", () => "ip link set lo down"],
  ["the MTU differs", "own", (lab) => `ip link set ${innerNames(lab).vg} mtu 1400`],
  ["the MAC address differs", "own", (lab) => `ip link set ${innerNames(lab).vg} address 02:00:00:00:00:07`],
  ["the alias is gone", "own", (lab) => `ip link set ${innerNames(lab).vg} alias ""`],
  ["a pair of links is gone", "own", (lab) => `ip link del ${innerNames(lab).vg}`],
  ["the internal pair is gone", "router", (lab) => `ip link del ${innerNames(lab).hr}`],
  ["the outer end left the bridge", "agent", (lab) => `ip link set ${innerNames(lab).hg} nomaster`],
  ["the outer end is down", "agent", (lab) => `ip link set ${innerNames(lab).hg} down`],
  [
    "a link has the name of ours and is another",
    "own",
    (lab) => `ip link del ${innerNames(lab).vg}; ip link add ${innerNames(lab).vg} type bridge`,
  ],
  ["a rule is gone", "own", () => "ip rule del pref 50"],
  ["the rule that holds back is gone", "own", () => "ip rule del pref 222"],
  [
    "the rule that holds back is another",
    "own",
    () => "ip rule del pref 222; ip rule add from 10.1.0.0/24 lookup 222 pref 222",
  ],
  ["the route that holds back is gone", "own", () => "ip route del blackhole 10.2.0.0/24 table 222"],
  ["the IPv6 route that holds back is gone", "own", () => "ip -6 route del blackhole fd00:2::/64 table 222"],
  [
    "what is held back has a way out",
    "own",
    (lab) => `ip route add 10.2.0.0/24 via 203.0.113.1 dev ${innerNames(lab).vg} table 222`,
  ],
  ["the kernel's first rule is back", "own", () => "ip -6 rule add pref 0 lookup local"],
  ["forwarding is off", "own", () => "sysctl -qw net.ipv4.ip_forward=0"],
  ["IPv6 forwarding is off", "own", () => "sysctl -qw net.ipv6.conf.all.forwarding=0"],
  ["the reverse path filter is on", "own", () => "sysctl -qw net.ipv4.conf.all.rp_filter=1"],
  ["our link does not forward", "own", (lab) => `sysctl -qw net/ipv4/conf/${innerNames(lab).vg}/forwarding=0`],
  ["our link does not forward IPv6", "own", (lab) => `sysctl -qw net/ipv6/conf/${innerNames(lab).vr}/forwarding=0`],
  ["our link filters", "own", (lab) => `sysctl -qw net/ipv4/conf/${innerNames(lab).vr}/rp_filter=2`],
  ["our link redirects", "own", (lab) => `sysctl -qw net/ipv4/conf/${innerNames(lab).vr}/send_redirects=1`],
  ["our link refuses own addresses", "own", (lab) => `sysctl -qw net/ipv4/conf/${innerNames(lab).vr}/accept_local=0`],
  ["our link takes routers' word", "own", (lab) => `sysctl -qw net/ipv6/conf/${innerNames(lab).vg}/accept_ra=2`],
  ["our link waits for duplicates", "own", (lab) => `sysctl -qw net/ipv6/conf/${innerNames(lab).vg}/accept_dad=1`],
  ["our link makes addresses", "router", (lab) => `sysctl -qw net/ipv6/conf/${innerNames(lab).hr}/addr_gen_mode=0`],
  ["the bridge's port has IPv6", "agent", (lab) => `sysctl -qw net/ipv6/conf/${innerNames(lab).hg}/disable_ipv6=0`],
  ["the guard is gone", "own", () => "nft delete table inet swanherd"],
  ["the guard's spare is gone", "own", () => "nft delete table inet swanherd_spare"],
  ["somebody flushed all rules", "own", () => "nft flush ruleset"],
];

test("whatever is changed by hand is put right in one pass", async () => {
  const lab = await makeLab({ pairs: [DUAL_STACK] });
  await lab.converge();
  const places = { own: lab.config.namespace, router: lab.config.routerNamespace };
  for (const [what, where, command] of drifts) {
    if (where === "agent") await execa("sh", ["-c", command(lab)]);
    else await sh(places[where], command(lab));
    expect(await lab.plan(), what).not.toEqual([]);
    await lab.converge();
    expect(await lab.plan(), `after: ${what}`).toEqual([]);
    await reaches(lab, "203.0.113.10", what);
  }
});

test("B-37: what is left in our table goes with the next pass, and removal leaves nothing of ours and all of others", async () => {
  const lab = await makeLab({ pairs: [DUAL_STACK] });
  const router = lab.config.routerNamespace;
  await sh(router, "ip route add 10.66.0.0/24 via 10.1.0.9; ip link add foreign type bridge; ip link set foreign up");
  const links = async (): Promise<string> =>
    (
      await execa("sh", [
        "-c",
        `ip -o link show master ${lab.world.bridge} | cut -d@ -f1; ip -n ${router} -o link | cut -d: -f2; ip -n ${router} route; ip -n ${router} -6 route`,
      ])
    ).stdout;
  const before = await links();
  await lab.converge();
  expect(await links()).not.toBe(before);
  const forward = (): Promise<string> => sh(lab.config.namespace, "nft list chain inet swanherd forward");
  const wanted = await forward();
  await sh(lab.config.namespace, "nft insert rule inet swanherd forward ip daddr 10.2.0.0/24 accept");
  await lab.converge();
  expect(await forward()).toBe(wanted);
  await lab.remove();
  expect(await links()).toBe(before);
  expect(namespaceInode(lab.config.namespace)).toBeUndefined();
  expect(await lab.network.listOwned(lab.config.alias, never)).toEqual([]);
});

test("a router whose plumbing nobody remembers is removed by its id", async () => {
  const lab = await makeLab({ pairs: [DUAL_STACK] });
  await lab.converge();
  const scope = networkScope(
    lab.config.router,
    { attachedBy: "bridge", bridge: lab.world.bridge, routerNamespace: lab.config.routerNamespace },
    lab.config.alias.replace("swanherd:", ""),
  );
  const observed = await lab.network.observe(scope, never);
  expect(observed.links.map((link) => link.name).sort()).toEqual(["lo", ...Object.values(innerNames(lab))].sort());
  for (const step of planNetworkRemoval(scope, observed)) await lab.network.apply(step, never);
  const after = await lab.network.observe(lab.config, never);
  expect([after.namespaceExists, after.links, after.routes]).toEqual([false, [], []]);
});

test("objects of others in our namespace stay", async () => {
  const lab = await makeLab({ pairs: [DUAL_STACK] });
  await lab.converge();
  await sh(
    lab.config.namespace,
    "ip link add foreign type bridge; ip addr add 198.51.100.1/24 dev foreign; ip link set foreign up; ip route add 10.55.0.0/24 via 198.51.100.2 table 220; ip rule add pref 300 lookup 220; ip route add 10.56.0.0/24 via 198.51.100.2",
  );
  expect(await lab.plan()).toEqual([]);
});

test("a namespace that was deleted and made again by others is filled again", async () => {
  const lab = await makeLab({ pairs: [DUAL_STACK] });
  await lab.converge();
  await execa("ip", ["netns", "del", lab.config.namespace]);
  await execa("ip", ["netns", "add", lab.config.namespace]);
  await lab.converge();
  expect(await lab.plan()).toEqual([]);
  await reaches(lab, "2001:db8:ff::10", "the namespace was made again");
});

test("what is missing around us is told by name", async () => {
  const lab = await makeLab({ pairs: [DUAL_STACK] });
  await execa("ip", ["netns", "del", lab.config.routerNamespace]);
  await expect(lab.converge()).rejects.toMatchObject({ code: "NAMESPACE_MISSING" });
  await execa("ip", ["netns", "add", lab.config.routerNamespace]);
  await execa("ip", ["link", "del", lab.world.bridge]);
  await expect(lab.converge()).rejects.toMatchObject({ code: "BRIDGE_MISSING" });
});

test("a changed guard, new subnets and fewer subnets need one pass each", async () => {
  const lab = await makeLab({ pairs: [DUAL_STACK] });
  await lab.converge();
  const more = lab.configOf([DUAL_STACK, { local: ["10.1.0.0/24"], peer: ["10.3.0.0/16", "0.0.0.0/0"] }]);
  await lab.converge(more);
  expect(await lab.plan(more)).toEqual([]);
  await lab.converge();
  expect(await lab.plan()).toEqual([]);
  expect(await sh(lab.config.routerNamespace, "ip route")).not.toContain("10.3.0.0");
});

const CHARONS_OWN = "src 10.1.0.0/24 dst 10.2.0.0/24 dir out";
/** iproute2 (6.1) leaves out a mark of 0 when it deletes, and finds none of ours. */
const takeOurs = (lab: Lab): Promise<void> => {
  const subnets = { source: "10.1.0.0/24", destination: "10.2.0.0/24" };
  const policy = { kind: "block", namespace: lab.config.namespace, ...subnets } as const;
  return lab.network.apply({ kind: "removePolicy", policy }, never);
};

test("IPsec policies of ours stand beside those of charon's with the same subnets, and are kept and taken away alone", async () => {
  const lab = await makeLab({ pairs: [DUAL_STACK], espBackEnd: "kernel" });
  const { namespace } = lab.config;
  const kinds = async (config = lab.config): Promise<readonly string[]> => [
    ...new Set((await lab.converge(config)).map((step) => step.kind)),
  ];
  const policies = (): Promise<string> => sh(namespace, "ip xfrm policy");
  await lab.converge();
  expect(await policies()).toMatch(
    /^src 10\.1\.0\.0\/24 dst 10\.2\.0\.0\/24 \n\tdir out action block priority 2147483647/m,
  );
  await sh(namespace, `ip xfrm policy add ${CHARONS_OWN} priority 375423`);
  expect(await kinds()).toEqual([]);
  await sh(namespace, `ip xfrm policy delete ${CHARONS_OWN}`);
  expect(await kinds()).toEqual([]);
  await takeOurs(lab);
  expect(await policies()).not.toContain("dst 10.2.0.0/24");
  expect(await kinds()).toEqual(["addPolicy"]);
  await sh(namespace, "ip xfrm policy flush");
  expect(await kinds()).toEqual(["addPolicy"]);

  await sh(namespace, `ip xfrm policy add ${CHARONS_OWN} priority 375423`);
  const other = lab.configOf([{ local: ["10.1.0.0/24"], peer: ["10.3.0.0/24"] }]);
  expect(await kinds(other)).toEqual(expect.arrayContaining(["addPolicy", "removePolicy"]));
  expect(await kinds(other)).toEqual([]);
  expect((await policies()).match(/^src .*/gm)?.map((line) => line.trim())).toEqual(
    expect.arrayContaining(["src 10.1.0.0/24 dst 10.2.0.0/24", "src 10.1.0.0/24 dst 10.3.0.0/24"]),
  );
  expect((await policies()).match(/action block/g)).toHaveLength(1);
});

test("what ESP in the kernel needed goes when ESP is in userland, also with an agent that has just begun", async () => {
  const { converge, config, network } = await makeLab({ pairs: [DUAL_STACK], espBackEnd: "kernel" });
  const { namespace } = config;
  await converge();
  const policies = async (): Promise<number> => (await sh(namespace, "ip xfrm policy")).match(/^src/gm)?.length ?? 0;
  expect(await policies()).toBe(6);
  await network.apply({ kind: "flushIpsec", namespace, keepsBlocks: true }, never);
  expect(await policies()).toBe(6);

  const userland: BridgeConfig = { ...config, policies: [] };
  const later = new KernelNetwork(applyGuardByNft);
  onTestFinished(() => {
    later.close();
  });
  for (let pass = 0; pass < 2; pass += 1) {
    const unwanted = planNetwork(userland, await later.observe(userland, never)).filter(
      ({ kind }) => kind === "removePolicy",
    );
    expect(unwanted).toHaveLength(pass === 0 ? 6 : 0);
    for (const step of unwanted) await later.apply(step, never);
  }
  expect(await policies()).toBe(0);
});

test("one of ours that somebody takes away is told, and what charon does with its own concerns its SAs only", async () => {
  const lab = await makeLab({ pairs: [DUAL_STACK], espBackEnd: "kernel" });
  await lab.converge();
  const told: (string | undefined)[] = [];
  onTestFinished(lab.network.watch(lab.config, "kernel", (what) => told.push(what)));
  const tells = async (what: string | undefined, command: () => Promise<unknown>): Promise<void> => {
    // News of the links may come a second late (linkwatch).
    do {
      told.length = 0;
      await sleep(patiently(1_200));
    } while (told.length > 0);
    await command();
    await vi.waitFor(() => {
      expect(told).toEqual([what]);
    }, 2_000);
  };
  await sh(lab.config.namespace, `ip xfrm policy add ${CHARONS_OWN} priority 375423`);
  await tells("sas", () => sh(lab.config.namespace, `ip xfrm policy delete ${CHARONS_OWN}`));
  await tells(undefined, () => takeOurs(lab));
});

test("changes wake the watcher, also those of a namespace that comes later", async () => {
  const lab = await makeLab({ pairs: [DUAL_STACK] });
  let changes = 0;
  const stop = lab.network.watch(lab.config, "userland", () => (changes += 1));
  onTestFinished(stop);
  const wakes = async (command: () => Promise<unknown>): Promise<void> => {
    changes = 0;
    await command();
    await vi.waitFor(() => {
      expect(changes).toBeGreaterThan(0);
    }, 2_000);
  };
  await wakes(() => lab.converge());
  const { namespace } = lab.config;
  const { vg, hg } = innerNames(lab);
  await wakes(() => sh(namespace, `ip addr del 203.0.113.10/24 dev ${vg}`));
  await wakes(() => sh(namespace, "nft flush ruleset"));
  await wakes(() => execa("ip", ["link", "set", hg, "down"]));
  await wakes(() => sh(lab.config.routerNamespace, "ip route del unreachable 10.2.0.0/24"));
  await wakes(() => execa("ip", ["netns", "del", namespace]));
  await execa("ip", ["netns", "add", namespace]);
  await vi.waitFor(async () => wakes(() => sh(namespace, "ip link set lo up; ip link set lo down")), 5_000);
});

test("a namespace made here is one for iproute2, and work inside leaves the agent where it was", async () => {
  const name = `t-${crypto.randomUUID()}`;
  createNamespace(name);
  onTestFinished(() => {
    deleteNamespace(name);
  });
  createNamespace(name);
  await sh(name, "ip link add here type bridge");
  const home = readlinkSync("/proc/thread-self/ns/net");
  expect(inNamespace(name, () => readFileSync("/proc/thread-self/net/dev", "utf8"))).toContain("here");
  expect(() =>
    inNamespace(name, () => {
      throw new Error("inside");
    }),
  ).toThrow("inside");
  expect(readlinkSync("/proc/thread-self/ns/net")).toBe(home);
});

test("this kernel's ESP is found out by trying", async () => {
  const network = new KernelNetwork(() => Promise.resolve());
  const found = await network.probeKernelEsp();
  network.close();
  // The kernel lab's has all of them; one without ESP has none.
  if ((await whyNoKernelEsp()) !== undefined) expect(found).toBeUndefined();
  else expect(found).toEqual({ encryption: ENCRYPTION_ALGORITHMS, authentication: AUTH_ALGORITHMS, hasAh: true });
});
