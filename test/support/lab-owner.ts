// A program that owns a lab with an ACTIVE tunnel and waits to be killed. It tells on standard output what it made.
import { randomBytes, randomUUID } from "node:crypto";
import { demoDocuments, sidesOf } from "../../scripts/lab-documents.ts";
import { startLab, until } from "../../scripts/lab.ts";

export type OwnedLab = {
  readonly prefix: string;
  readonly routers: readonly string[];
  readonly directory: string;
  readonly brokerDirectory: string;
  readonly bridge: string;
  readonly pids: readonly number[];
};

const prefix = `t${randomBytes(3).toString("hex")}`;
const routers = { left: randomUUID(), right: randomUUID(), hostPrefix: prefix };
const lab = await startLab({ prefix, sides: sidesOf(routers), documents: demoDocuments(routers) });
await until("the tunnel is up", 30_000, async () => {
  const connections = await Promise.all([
    lab.agent(`${prefix}-left`).connection("to-right"),
    lab.agent(`${prefix}-right`).connection("to-left"),
  ]);
  return connections.every((connection) => connection?.status === "ACTIVE");
});
const programs = [lab.controller, ...lab.agents.values()].map((program) => program.pid);
const charons = [
  lab.agent(`${prefix}-left`).runningCharon(routers.left).pid,
  lab.agent(`${prefix}-right`).runningCharon(routers.right).pid,
];
const owned: OwnedLab = {
  prefix,
  routers: [routers.left, routers.right],
  directory: lab.directory,
  brokerDirectory: lab.rabbitmq.directory,
  bridge: lab.world.bridge,
  pids: [...programs, ...charons],
};
process.stdout.write(`${JSON.stringify(owned)}\n`);
// Kept alive by it; whoever closes it instead of killing us gets a clean end.
process.stdin.resume();
process.stdin.once("end", () => void lab.destroy().then(() => process.exit(0)));
