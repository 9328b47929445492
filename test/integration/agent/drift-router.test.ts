// Likewise in topology `router`, where only the packet filter and charon's own are ours: the rest is Neutron's L3 agent's.
import { expect, test } from "vitest";
import { baseDocuments, connectionPair } from "../../../scripts/lab-documents.ts";
import { until } from "../../../scripts/lab.ts";
import { driftSceneAt, ip } from "../../support/drift-scene.ts";
import { writeNeutronChains } from "../../support/l3-agent.ts";
import { anotherCharonRuns, areActive, connectionIs } from "../../support/lab.ts";

const scene = await driftSceneAt("router", {
  documents: (routers) => [
    ...baseDocuments(routers),
    ...connectionPair({ name: "site", left: ["10.1.0.0/24"], right: ["10.2.0.0/24"] }),
  ],
});
const { lab, namespace, inNamespace, driftOf, isRepaired } = scene;
const neutron = { namespace, external: "203.0.113.10" };

scene.areRepaired(
  [
    ...scene.byEvents,
    ["all rules of all packet filters deleted", "guard", () => inNamespace("nft", "flush", "ruleset")],
  ],
  scene.byTheNextPass,
);

test("what is Neutron's, and changes, is no drift", async () => {
  await writeNeutronChains(neutron);
  const before = await lab.left.metric("swanherd_drift_total");
  await writeNeutronChains({ ...neutron, floating: { fixed: "10.1.0.9", external: "203.0.113.77" } });
  ip("-n", namespace, "address", "add", "203.0.113.77/32", "dev", "qg-33333333-44");
  await lab.left.order("sync", lab.routers.left);
  await lab.left.order("sync", lab.routers.left);
  ip("-n", namespace, "address", "delete", "203.0.113.77/32", "dev", "qg-33333333-44");
  await writeNeutronChains(neutron);
  await areActive(lab, "site");
  expect(await lab.left.metric("swanherd_drift_total")).toBe(before);
});

test("a namespace that Neutron's L3 agent deletes, and makes anew a while later, is told of, waited for and filled again", async () => {
  const before = await driftOf("namespace");
  ip("netns", "delete", namespace);
  await connectionIs(lab.left, "site", "DOWN", { reason: "namespace-missing" });
  await until("its charon has ended", 5_000, () => lab.left.charon(lab.routers.left) === undefined);
  await lab.world.remakeRouter(lab.routers.left);
  await writeNeutronChains(neutron);
  await isRepaired("namespace", before);
  expect(await driftOf("namespace")).toBe(before + 1);
});

test("likewise one that is there again at once", async () => {
  const [before, { pid }] = [await driftOf("charon"), lab.left.runningCharon(lab.routers.left)];
  ip("netns", "delete", namespace);
  await lab.world.remakeRouter(lab.routers.left);
  await writeNeutronChains(neutron);
  await areActive(lab, "site");
  await anotherCharonRuns(lab.left, lab.routers.left, pid);
  await areActive(lab, "site");
  await until("the host answers", 10_000, async () => (await lab.world.ping("left", "10.2.0.9")).received > 0);
  expect(inNamespace("nft", "list", "table", "inet", "swanherd")).toContain("10.2.0.0/24");
  expect((await driftOf("namespace")) + (await driftOf("charon"))).toBeGreaterThan(before);
});
