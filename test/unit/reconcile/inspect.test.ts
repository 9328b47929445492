// All four views of a router, as a person is shown them; the files are made up, the rest is what the fakes hold.
import { describe, expect, test } from "vitest";
import { decodeMarker, secretFingerprint, shortFingerprint } from "../../../src/core/fingerprint.ts";
import { hasDifference } from "../../../src/core/views.ts";
import type { DesiredRouter } from "../../../src/core/model.ts";
import type { Inspection, WrittenFile } from "../../../src/core/ports.ts";
import { peerNameOf } from "../../../src/core/peers.ts";
import { Secret } from "../../../src/core/secret.ts";
import { wantedValues } from "../../../src/io/charon/texts.ts";
import { equalVerdict, loadedVerdict, negotiatedVerdict } from "../../../src/wire/swanctl/views.ts";
import { aConnectionId, aDisabledConnection, aRouterWith, aTunnel } from "../../support/builders.ts";
import { NODE_KEY } from "../../support/charon-options.ts";
import { ROUTER } from "../../support/network-builders.ts";
import { ReconcileWorld } from "../../support/reconcile-world.ts";

const inspectionWith = (files: ReadonlyMap<string, WrittenFile | undefined> = new Map()): Inspection => ({
  desired: (peer, member) => wantedValues({ ...peer, members: [member] }, "kernel"),
  judges: { written: equalVerdict, loaded: loadedVerdict, negotiated: negotiatedVerdict },
  readFiles: () => files as ReturnType<Inspection["readFiles"]>,
});

async function inspected(world: ReconcileWorld, desired: DesiredRouter, inspection = inspectionWith()) {
  return world.reconciler.inspect(desired, world.memory, inspection, new AbortController().signal);
}

const rowOf = (views: Awaited<ReturnType<typeof inspected>>, key: string) =>
  views.connections[0]?.rows.find((row) => row.key === key);

/** What charon tells of the only peer: what was loaded. */
function tellLoaded(world: ReconcileWorld): void {
  const charon = world.ike.charon(ROUTER);
  for (const [name, conn] of charon.conns) {
    if (conn !== "foreign") charon.shown.set(name, wantedValues(conn.peer, "kernel"));
  }
}

describe("a router that is as it should be", () => {
  test("differs in nothing, and shows its secret only as a short fingerprint", async () => {
    const desired = aRouterWith([aTunnel()]);
    const world = new ReconcileWorld();
    await world.converge(desired);
    tellLoaded(world);
    const [marker] = [...world.ike.charon(ROUTER).secrets.keys()].flatMap((id) => decodeMarker(id) ?? []);
    const file = { values: new Map<string, string>(), secrets: [secretFingerprint(NODE_KEY, aTunnel())], marker };
    const views = await inspected(world, desired, inspectionWith(new Map([[aConnectionId(1), file]])));
    const short = shortFingerprint(secretFingerprint(NODE_KEY, aTunnel()));
    expect(views.network).toEqual([]);
    expect(views.connections.map(hasDifference)).toEqual([false]);
    expect(rowOf(views, "secret")).toMatchObject({
      desired: short,
      written: { value: short, verdict: "same" },
      loaded: { value: short, verdict: "same" },
    });
    expect(rowOf(views, "commit record")).toMatchObject({
      written: { value: "complete" },
      loaded: { value: "complete" },
    });
    expect(JSON.stringify(views)).not.toContain(aTunnel().psk.reveal());
  });

  test("has nothing to show of a connection that is switched off", async () => {
    const desired = aRouterWith([aDisabledConnection()]);
    const world = new ReconcileWorld();
    await world.converge(desired);
    const views = await inspected(world, desired);
    expect(views.connections).toMatchObject([
      { unwanted: expect.stringContaining("admin_state_up") as string, rows: [] },
    ]);
    expect(views.connections.map(hasDifference)).toEqual([false]);
  });
});

describe("a difference", () => {
  test("of an update that has not been taken up shows in all that hold the old", async () => {
    const world = new ReconcileWorld();
    await world.converge(aRouterWith([aTunnel()]));
    tellLoaded(world);
    const next = aRouterWith([
      aTunnel(1, { psk: new Secret("another"), dpd: { action: "restart", intervalSeconds: 77, timeoutSeconds: 120 } }),
    ]);
    const views = await inspected(world, next);
    expect(views.connections.map(hasDifference)).toEqual([true]);
    expect(rowOf(views, "dpd_delay")).toMatchObject({ desired: "77s", loaded: { verdict: "differs" } });
    expect(rowOf(views, "secret")).toMatchObject({ loaded: { verdict: "differs" } });
    expect(rowOf(views, "commit record")).toMatchObject({
      loaded: { value: "of another secret, terms", verdict: "differs" },
    });
  });

  test("is a whole view that is missing, but for an SA", async () => {
    const desired = aRouterWith([aTunnel()]);
    const world = new ReconcileWorld();
    world.ike.remote(peerNameOf(aTunnel())).answers = "never";
    await world.pass(desired);
    const views = await inspected(world, desired);
    expect(views.connections).toMatchObject([{ missing: ["written", "loaded", "negotiated"] }]);
    expect(views.connections.map(hasDifference)).toEqual([true]);
  });

  test("is told of the network in words, and changes nothing", async () => {
    const desired = aRouterWith([aTunnel()]);
    const world = new ReconcileWorld();
    await world.converge(desired);
    const applied = world.network.applied.length;
    await world.network.apply({ kind: "deleteNamespace", namespace: `qvpn-${ROUTER}` }, new AbortController().signal);
    const views = await inspected(world, desired);
    expect(views.network).toEqual([{ kind: "namespace", what: `namespace qvpn-${ROUTER} is missing` }]);
    expect(world.network.applied.length).toBe(applied + 1);
  });

  test("is what is left of a connection that is to be gone", async () => {
    const world = new ReconcileWorld();
    await world.converge(aRouterWith([aTunnel()]));
    const views = await inspected(world, aRouterWith([aDisabledConnection()]));
    expect(views.connections[0]?.rows).toMatchObject([
      { loaded: { value: "still there" }, negotiated: { value: "still there" } },
    ]);
    expect(views.connections.map(hasDifference)).toEqual([true]);
  });
});
