// Faults of Neutron's L3 agent: routers that it makes anew, chains that it writes, and roles of high availability.
import type { L3Agent } from "../places/place.ts";
import type { SiteRouter } from "../model.ts";
import type { Applied, Fault, Scene } from "./fault.ts";
import { deleteNamespace, someRouter } from "./network.ts";

const byL3Agent =
  (act: (l3Agent: L3Agent, router: SiteRouter, scene: Scene) => Promise<Applied>): Fault =>
  async (scene) => {
    const { l3Agent } = scene.world.site;
    if (l3Agent === undefined) return undefined;
    const router = someRouter(scene);
    return router === undefined ? undefined : act(l3Agent, router, scene);
  };

/** Nothing of the router works until it is there again: its unrelated traffic is looked at from then on. */
export const namespaceDelete = byL3Agent(async (l3Agent, router, scene) => {
  scene.exempt(router.id);
  const resume = await scene.suspend([router.id]);
  await deleteNamespace(router, scene);
  const lift = async (): Promise<void> => {
    await l3Agent.remake(router);
    resume();
  };
  const text = `router ${router.number}: its namespace, which is made anew`;
  // Half of them at once.
  return { text, holdMs: Math.max(0, scene.random.whole(-4_000, 4_000)), lift };
});

export const chainsWritten = byL3Agent(async (l3Agent, router, { random }) => {
  const hasFloating = random.chance(0.5);
  await l3Agent.writeChains(router, hasFloating);
  return { text: `router ${router.number}: Neutron's chains, ${hasFloating ? "with" : "without"} a floating address` };
});

export const roleChanged = byL3Agent((l3Agent, router, { random }) => {
  const role = random.pick(["backup", "fault"]);
  l3Agent.setRole(router, role);
  const lift = (): Promise<void> => {
    l3Agent.setRole(router, "primary");
    return Promise.resolve();
  };
  const text = `router ${router.number}: ${role}, and primary again`;
  return Promise.resolve({ text, holdMs: random.whole(100, 6_000), lift });
});
