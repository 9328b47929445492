// Faults of processes: agents and the controller that end, charons that end or hang, and a kernel that says no to an agent.
import { spawn } from "node:child_process";
import { once } from "node:events";
import type { Agent, Program } from "../../lab.ts";
import { SIDES, type Side, type SiteRouter } from "../model.ts";
import type { ChaosWorld } from "../world.ts";
import type { Fault, Scene } from "./fault.ts";

const ended =
  (end: (program: Program) => Promise<void>, which: (scene: Scene) => Program, name: string): Fault =>
  async (scene) => {
    const program = which(scene);
    if (!program.isRunning || !scene.claim(`program ${program.directory}`)) return undefined;
    await end(program);
    const lift = (): Promise<void> => program.start();
    return { text: `${name} in ${program.directory}`, holdMs: scene.random.whole(0, 4_000), lift };
  };

const someAgent = ({ world, random }: Scene): Agent => world.agents[random.pick(SIDES)];

export const agentKill = ended((agent) => agent.kill(), someAgent, "SIGKILL to the agent");
export const agentRestart = ended((agent) => agent.stop(), someAgent, "SIGTERM to the agent");
export const controllerRestart: Fault = (scene) => {
  const isKill = scene.random.chance(0.5);
  const end = (program: Program): Promise<void> => (isKill ? program.kill() : program.stop());
  return ended(
    end,
    ({ world }) => world.controller,
    isKill ? "SIGKILL to the controller" : "SIGTERM to the controller",
  )(scene);
};

type Found = { readonly router: SiteRouter; readonly pid: number };

/** A charon that runs, of a router that nothing else was done to in this round. */
function someCharon({ world, random, claim }: Scene): Found | undefined {
  const router = random.pick(world.model.routers);
  const pid = charonOf(world, router);
  return pid !== undefined && claim(`charon ${router.number}`) ? { router, pid } : undefined;
}

const charonOf = (world: ChaosWorld, router: SiteRouter): number | undefined =>
  world.agents[router.side].charon(router.id)?.pid;

export const charonKill: Fault = (scene) => {
  const found = someCharon(scene);
  if (found === undefined) return Promise.resolve(undefined);
  process.kill(found.pid, "SIGKILL");
  return Promise.resolve({ text: `charon of router ${found.router.number}` });
};

export const viciSlow: Fault = (scene) => {
  const found = someCharon(scene);
  if (found === undefined) return Promise.resolve(undefined);
  const { pid, router } = found;
  process.kill(pid, "SIGSTOP");
  const lift = (): Promise<void> => {
    try {
      process.kill(pid, "SIGCONT");
    } catch {
      // It was killed meanwhile, as charon may be whose namespace is gone.
    }
    return Promise.resolve();
  };
  return Promise.resolve({
    text: `charon of router ${router.number} stopped`,
    holdMs: scene.random.whole(1_000, 8_000),
    lift,
  });
};

// The addon sends and receives on the main thread, and only netlink sockets see these calls there: libuv reads and writes.
const NETLINK_FAULTS = [
  "sendmsg:error=ENOBUFS:when=1+2",
  "sendmsg:error=EPERM:when=1+3",
  "recvmsg:error=ENOBUFS:when=1+4",
];

export const netlinkFails: Fault = async (scene) => {
  const side: Side = scene.random.pick(SIDES);
  const agent = scene.world.agents[side];
  if (!agent.isRunning || !scene.claim(`tracer ${side}`)) return undefined;
  const inject = scene.random.pick(NETLINK_FAULTS);
  const call = inject.slice(0, inject.indexOf(":"));
  const args = ["-qq", "-o", "/dev/null", "-e", `trace=${call}`, "-e", `inject=${inject}`, "-p", String(agent.pid)];
  const strace = spawn("strace", args, { stdio: "ignore" });
  await once(strace, "spawn");
  const lift = async (): Promise<void> => {
    if (strace.exitCode !== null || strace.signalCode !== null) return;
    strace.kill("SIGINT");
    await once(strace, "exit");
  };
  return { text: `${inject} in the agent of the ${side}`, holdMs: scene.random.whole(1_000, 5_000), lift };
};
