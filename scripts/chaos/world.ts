// The world of one run: two agents, their routers with a LAN and a host each, the controller, and wires to the broker. It
// makes things; what is done to them is the faults' and the changes' business, and what they are like is the place's.
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import path from "node:path";
import { LabBuilder, type Agent, type Program } from "../lab.ts";
import type { EspBackEnd } from "./check/subject.ts";
import { documentsOf } from "./documents.ts";
import { firstModel, SIDES, type Model, type Side } from "./model.ts";
import type { Place, Site } from "./places/place.ts";
import { startWire, type Wire } from "./wire.ts";

/** What a small file system of an agent holds; its list and files take a part of it. */
const DISK_BYTES = 2 * 1024 * 1024;

/** How long the reply queue of a program that was killed stays. */
export const QUEUE_TTL_SECONDS = 10;

// Shorter than the defaults, so that a repair which waits for one of them is seen within a run.
export const AGENT_CONFIG = {
  passIntervalSeconds: 10,
  fetchIntervalSeconds: 30,
  listSasIntervalSeconds: 5,
  rpcTimeoutSeconds: 5,
  retry: { baseMs: 200, capMs: 2_000 },
  initiateRetry: { baseMs: 300, capMs: 3_000 },
  retransmit: { tries: 3, timeoutSeconds: 1, base: 1.5 },
  removal: { absenceConfirmSeconds: 2 },
  amqp: { transientQueuesTtlSeconds: QUEUE_TTL_SECONDS },
  // With what charons say, so that a seed that failed can be explained.
  log: { level: "debug", pretty: "off" },
} as const;

export type ChaosWorld = {
  readonly prefix: string;
  readonly place: Place;
  readonly site: Site;
  readonly espBackEnd: EspBackEnd;
  readonly lab: LabBuilder;
  readonly agents: Readonly<Record<Side, Agent>>;
  readonly controller: Program;
  readonly wires: Readonly<Record<Side | "controller", Wire>>;
  model: Model;
  readonly write: (model: Model) => void;
  readonly destroy: () => Promise<void>;
};

export async function buildChaosWorld(of: {
  /** As tests name things: what a killed run leaves is found by it. */
  readonly prefix: string;
  readonly place: Place;
  readonly perSide: number;
  readonly espBackEnd: EspBackEnd;
  readonly program: string;
}): Promise<ChaosWorld> {
  const { prefix, place, perSide, espBackEnd, program } = of;
  const model = firstModel(prefix, perSide);
  const site = await place.open({ prefix, model });
  let brokerPort: number | undefined;
  const wire = (): Promise<Wire> => startWire(() => brokerPort);
  const [left, right, forController] = await Promise.all([wire(), wire(), wire()]);
  const wires = { left, right, controller: forController };
  const url = ({ port }: Wire): string => `rabbit://guest:guest@127.0.0.1:${port}/`;
  const lab = new LabBuilder({
    prefix,
    program,
    sides: model.routers.map((router) => site.sideOf(router)),
    documents: documentsOf(model),
    controllerConfig: { transportUrl: url(forController), log: AGENT_CONFIG.log, amqp: AGENT_CONFIG.amqp },
    agentConfigOf: (host) => {
      const side = host === model.hosts.left ? "left" : "right";
      return { ...AGENT_CONFIG, espBackEnd, transportUrl: url(wires[side]), ...site.agentConfigOf(side) };
    },
  });
  const destroy = async (): Promise<void> => {
    // An agent takes its routers away by a word over its socket; the wires are for the broker only.
    await lab.destroy().finally(() => site.close());
    await Promise.all(Object.values(wires).map((one) => one.close()));
  };
  try {
    const [broker, built] = await Promise.all([lab.startBroker(), lab.buildWorld()]);
    brokerPort = broker.port;
    await site.furnish(built);
    for (const side of SIDES) mountDisks(path.join(lab.directory, model.hosts[side]));
    const [controller, agents] = await Promise.all([lab.startController(), lab.startAgents()]);
    await site.attend();
    const agent = (side: Side): Agent => {
      const found = agents.get(model.hosts[side]);
      if (found === undefined) throw new Error(`there is no agent on the ${side}`);
      return found;
    };
    const world: ChaosWorld = {
      prefix,
      place,
      site,
      espBackEnd,
      lab,
      agents: { left: agent("left"), right: agent("right") },
      controller,
      wires,
      model,
      write(next) {
        world.model = next;
        lab.write(documentsOf(next));
      },
      destroy,
    };
    return world;
  } catch (error) {
    await destroy();
    throw error;
  }
}

export const DISKS = ["state", "run"] as const;

/** The directories in which an agent writes, each as a small file system of its own. */
function mountDisks(directory: string): void {
  for (const name of DISKS) {
    const point = path.join(directory, name);
    mkdirSync(point, { recursive: true, mode: 0o700 });
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${DISK_BYTES},mode=0700`, "tmpfs", point]);
  }
}
