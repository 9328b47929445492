// A world as the checker is told of it: where things are.
import path from "node:path";
import type { Subject, SubjectRouter } from "./check/subject.ts";
import { SIDES, type SiteRouter } from "./model.ts";
import { OWN_QUEUES } from "./faults/casts.ts";
import type { ChaosWorld } from "./world.ts";

export function subjectOf(world: ChaosWorld): Subject {
  const { lab, prefix, controller, model } = world;
  return {
    espBackEnd: world.espBackEnd,
    directory: lab.directory,
    documentsFile: path.join(lab.documentsDirectory, "documents.yaml"),
    controllerSocket: controller.socket,
    agents: SIDES.map((side) => {
      const { host, runDirectory, stateDirectory, socket } = world.agents[side];
      return { host, runDirectory, stateDirectory, controlSocket: socket };
    }),
    routers: model.routers.map((router) => ({
      id: router.id,
      host: model.hosts[router.side],
      lanPrefix: `10.${router.number}.`,
      ...groundFor(world, router),
    })),
    bridge: lab.builtWorld().bridge,
    isOwnPort: (link) => link.startsWith(`${prefix}-`),
    chainsOf: (routerId) => world.site.l3Agent?.chainsOf(routerId),
    openVswitch: world.site.openVswitch,
    isOwnQueue: (queue) => queue.startsWith(OWN_QUEUES),
    listQueues: async () =>
      lab.rabbitmq?.ctl("list_queues", "--silent", "name", "consumers", "messages").catch(() => undefined),
  };
}

function groundFor(
  { site }: ChaosWorld,
  router: SiteRouter,
): Pick<SubjectRouter, "place" | "egressAddresses" | "isOwnLink"> {
  const { kind, egressAddresses, isOwnLink } = site.groundOf(router);
  return { place: kind, egressAddresses, isOwnLink };
}
