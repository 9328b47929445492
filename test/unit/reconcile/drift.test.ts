// What somebody else changes is found, told as such once, and repaired; what we or the control plane change is not told.
import { describe, expect, test } from "vitest";
import { namespaceName } from "../../../src/core/names.ts";
import { peerNameOf } from "../../../src/core/peers.ts";
import { Secret } from "../../../src/core/secret.ts";
import type { DesiredRouter } from "../../../src/core/model.ts";
import type { Values } from "../../../src/core/views.ts";
import { aConnectionId, anIkePolicy, aRouterWith, aTunnel } from "../../support/builders.ts";
import { charonOptions } from "../../support/charon-options.ts";
import { ROUTER } from "../../support/network-builders.ts";
import { ReconcileWorld } from "../../support/reconcile-world.ts";

const PEER = peerNameOf(aTunnel());
const CHILD = aConnectionId(1);
const NAMESPACE = namespaceName(ROUTER);

async function whole(desired: DesiredRouter): Promise<ReconcileWorld> {
  const world = new ReconcileWorld();
  await world.converge(desired);
  return world;
}

const kinds = (world: ReconcileWorld): readonly string[] => [...new Set(world.drift.map(({ kind }) => kind))];

type Change = (world: ReconcileWorld) => unknown;
const innerLink = (world: ReconcileWorld): string => world.memory.scope?.veths[0]?.inner.name ?? "";

const CHANGES: readonly (readonly [what: string, kind: string, change: Change])[] = [
  ["a link deleted", "link", (world) => world.network.deleteLink(NAMESPACE, innerLink(world))],
  ["a config unloaded", "config", (world) => world.ike.charon(ROUTER).conns.delete(PEER)],
  ["a config shown otherwise", "config", (world) => show(world, ["dpd_delay", "77s"])],
  [
    "a secret unloaded",
    "secret",
    ({ ike }) =>
      ike
        .charon(ROUTER)
        .secrets.delete([...ike.charon(ROUTER).secrets.keys()].find((id) => id.startsWith("ike-")) ?? ""),
  ],
  [
    "a marker unloaded",
    "marker",
    ({ ike }) =>
      ike
        .charon(ROUTER)
        .secrets.delete([...ike.charon(ROUTER).secrets.keys()].find((id) => id.startsWith("ntlm-")) ?? ""),
  ],
  ["a file removed", "file", ({ ike }) => ike.files.get(ROUTER)?.clear()],
  ["charon killed", "charon", ({ ike }) => ike.crash(ROUTER)],
  ["an IKE SA of another suite", "sa", (world) => negotiate(world, "ike", ["proposals", "3des-sha1-prfsha1-modp1024"])],
  ["a CHILD SA of another suite", "sa", (world) => negotiate(world, "child", ["esp_proposals", "3des-sha1"])],
];

function show(world: ReconcileWorld, ...values: readonly (readonly [string, string])[]): void {
  const children: readonly [string, string][] = [[`children.${CHILD}.local_ts`, "10.1.1.0/24"]];
  world.ike.charon(ROUTER).shown.set(PEER, new Map([...children, ...values]));
}

function negotiate(
  world: ReconcileWorld,
  part: "ike" | "child",
  ...values: readonly (readonly [string, string])[]
): void {
  const told: Values = new Map(values);
  const charon = world.ike.charon(ROUTER);
  if (part === "child") for (const child of charon.ikeSas.flatMap((sa) => sa.children)) child.values = told;
  // It came from a config of somebody else's.
  else charon.ikeSas = charon.ikeSas.map((sa) => ({ ...sa, values: told, terms: "others'" }));
}

describe("drift", () => {
  test.each(CHANGES)("%s is told as %s, and repaired", async (_, kind, change) => {
    const desired = aRouterWith([aTunnel()]);
    const world = await whole(desired);
    expect(world.drift).toEqual([]);
    change(world);
    await world.converge(desired);
    expect(kinds(world)).toEqual([kind]);
    expect(world.linesFrom(40)).toMatchObject([{ msg: "changed by somebody else, repairing" }]);
    const told = world.drift.length;
    await world.converge(desired);
    expect([world.drift.length, world.memory.inSync.size, world.childSas().length]).toEqual([told, 1, 1]);
  });

  test("of a namespace is told without all that was in it", async () => {
    const desired = aRouterWith([aTunnel()]);
    const world = await whole(desired);
    await world.network.apply({ kind: "deleteNamespace", namespace: NAMESPACE }, new AbortController().signal);
    world.ike.crash(ROUTER);
    await world.converge(desired);
    expect(world.drift).toEqual([
      { kind: "namespace", what: `namespace ${NAMESPACE} is missing` },
      { kind: "charon", what: "charon has ended" },
    ]);
  });

  test("is not what the control plane asks for", async () => {
    const world = await whole(aRouterWith([aTunnel()]));
    await world.converge(aRouterWith([aTunnel(1, { psk: new Secret("another") }), aTunnel(2)]));
    await world.converge(aRouterWith([aTunnel(1, { ike: anIkePolicy({ encryption: "aes-128" }) })]));
    await world.converge(aRouterWith([]));
    expect(world.drift).toEqual([]);
  });

  test("is not what other options ask for", async () => {
    const desired = aRouterWith([aTunnel(1, { localSubnets: ["10.1.1.0/24", "10.1.2.0/24"] })]);
    const world = await whole(desired);
    const charonPlan = charonOptions({ splitChildren: true });
    world.ike.use(charonPlan);
    world.reconciler.configure({ ...world.options, charonPlan });
    await world.converge(desired);
    expect(world.drift).toEqual([]);
  });
});

describe("charon that tells it otherwise, whatever is loaded,", () => {
  test("is not loaded for ever, and is not in sync", async () => {
    const desired = aRouterWith([aTunnel()]);
    const world = await whole(desired);
    world.ike.showsOtherwise = true;
    show(world, ["dpd_delay", "77s"]);
    await world.converge(desired);
    world.ike.applied.length = 0;
    await world.pass(desired);
    expect([world.ike.applied, world.memory.inSync.size]).toEqual([[], 0]);
  });
});

test("an SA is told of also when the config that it came from has to be loaded again first", async () => {
  const desired = aRouterWith([aTunnel()]);
  const world = await whole(desired);
  world.ike.charon(ROUTER).conns.delete(PEER);
  negotiate(world, "ike", ["proposals", "3des-sha1-prfsha1-modp1024"]);
  await world.converge(desired);
  expect(new Set(kinds(world))).toEqual(new Set(["config", "sa"]));
});

test("an SA that comes out the same again is left alone", async () => {
  const desired = aRouterWith([aTunnel()]);
  const world = await whole(desired);
  for (let times = 0; times < 3; times += 1) {
    negotiate(world, "child", ["mode", "transport"]);
    await world.converge(desired);
  }
  const ended = world.ike.applied.filter((step) => step.kind === "terminateChild");
  expect(ended).toHaveLength(1);
});
