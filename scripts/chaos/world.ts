// The world of one run: two agents, their routers with a LAN, a host and an egress each, the controller, and wires to the
// broker. It makes things; what is done to them is the faults' and the changes' business.
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import path from "node:path";
import { LabBuilder, type Agent, type LabSide, type Program } from "../lab.ts";
import { EGRESS_LINK } from "../world.ts";
import { documentsOf } from "./documents.ts";
import {
  egressAddressOf,
  firstModel,
  hostAddressOf,
  LAN_OCTETS,
  lanAddressOf,
  SIDES,
  type Model,
  type Side,
  type SiteRouter,
} from "./model.ts";
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
  log: { level: "info", pretty: "off" },
} as const;

export type ChaosWorld = {
  readonly prefix: string;
  readonly lab: LabBuilder;
  readonly agents: Readonly<Record<Side, Agent>>;
  readonly controller: Program;
  readonly wires: Readonly<Record<Side | "controller", Wire>>;
  model: Model;
  readonly write: (model: Model) => void;
  readonly destroy: () => Promise<void>;
};

export const vpnNamespaceOf = (router: SiteRouter): string => `qvpn-${router.id}`;

export async function buildChaosWorld(of: {
  /** As tests name things: what a killed run leaves is found by it. */
  readonly prefix: string;
  readonly perSide: number;
  readonly program: string;
}): Promise<ChaosWorld> {
  const { prefix, perSide, program } = of;
  const model = firstModel(prefix, perSide);
  let brokerPort: number | undefined;
  const wire = (): Promise<Wire> => startWire(() => brokerPort);
  const [left, right, forController] = await Promise.all([wire(), wire(), wire()]);
  const wires = { left, right, controller: forController };
  const url = ({ port }: Wire): string => `rabbit://guest:guest@127.0.0.1:${port}/`;
  const lab = new LabBuilder({
    prefix,
    program,
    sides: model.routers.map((router) => sideOf(model, router)),
    documents: documentsOf(model),
    controllerConfig: { transportUrl: url(forController), log: AGENT_CONFIG.log, amqp: AGENT_CONFIG.amqp },
    agentConfigOf: (host) => ({ ...AGENT_CONFIG, transportUrl: url(host === model.hosts.left ? left : right) }),
  });
  const destroy = async (): Promise<void> => {
    // An agent takes its routers away by a word over its socket; the wires are for the broker only.
    await lab.destroy();
    await Promise.all(Object.values(wires).map((one) => one.close()));
  };
  try {
    const [broker] = await Promise.all([lab.startBroker(), lab.buildWorld()]);
    brokerPort = broker.port;
    for (const side of SIDES) mountDisks(path.join(lab.directory, model.hosts[side]));
    const [controller, agents] = await Promise.all([lab.startController(), lab.startAgents()]);
    const agent = (side: Side): Agent => {
      const found = agents.get(model.hosts[side]);
      if (found === undefined) throw new Error(`there is no agent on the ${side}`);
      return found;
    };
    const world: ChaosWorld = {
      prefix,
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

function sideOf(model: Model, router: SiteRouter): LabSide {
  return {
    host: model.hosts[router.side],
    routerId: router.id,
    lan: LAN_OCTETS.map((octet) => `${lanAddressOf(router, octet)}/24`),
    hosts: [
      {
        name: `h${router.number}`,
        addresses: LAN_OCTETS.map((octet) => `${hostAddressOf(router, octet)}/24`),
        gateways: [lanAddressOf(router, 0)],
      },
    ],
    egress: { addresses: [`${egressAddressOf(router)}/24`], gateways: ["203.0.113.1"] },
  };
}

export const EGRESS = EGRESS_LINK;
export const DISKS = ["state", "run"] as const;

/** The directories in which an agent writes, each as a small file system of its own. */
function mountDisks(directory: string): void {
  for (const name of DISKS) {
    const point = path.join(directory, name);
    mkdirSync(point, { recursive: true, mode: 0o700 });
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${DISK_BYTES},mode=0700`, "tmpfs", point]);
  }
}
