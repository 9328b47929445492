// A lab of its own for one test file: random names, so that nothing else on the machine is met.
import { randomBytes, randomUUID } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { afterAll, afterEach } from "vitest";
import { sidesOf, type RouterIds } from "../../scripts/lab-documents.ts";
import { startLab, until, type Agent, type Lab, type LabDocument, type LabSide } from "../../scripts/lab.ts";
import type { WorldNat } from "../../scripts/world.ts";
import type { ConnectionState } from "../../src/core/status.ts";
import type { ChildSa, IkeSa } from "../../src/vici-client/sas.ts";

export type TestLab = Lab & {
  readonly routers: RouterIds;
  readonly left: Agent;
  readonly right: Agent;
  /** Namespaces that the agents make. */
  readonly namespaces: { readonly left: string; readonly right: string };
};

export type TestLabOptions = {
  /** Instead of the two usual ones. */
  readonly sides?: (routers: RouterIds) => readonly LabSide[];
  readonly documents?: (routers: RouterIds) => readonly LabDocument[];
  readonly agentConfig?: Readonly<Record<string, unknown>>;
  /** Merged over that for the agent on the left. */
  readonly leftAgentConfig?: Readonly<Record<string, unknown>>;
  readonly startsController?: boolean;
  readonly nat?: WorldNat;
};

/** Built now, taken away after the file's tests whatever became of them. */
export async function labForThisFile(options: TestLabOptions = {}): Promise<TestLab> {
  const prefix = `t${randomBytes(3).toString("hex")}`;
  const routers = { left: randomUUID(), right: randomUUID(), hostPrefix: prefix };
  const lab = await startLab({
    prefix,
    sides: (options.sides ?? sidesOf)(routers),
    documents: options.documents?.(routers) ?? [],
    startsController: options.startsController ?? true,
    ...(options.nat === undefined ? {} : { nat: options.nat }),
    agentConfig: {
      initiateRetry: { baseMs: 300, capMs: 1_000 },
      retry: { baseMs: 200, capMs: 2_000 },
      ...options.agentConfig,
    },
    agentConfigOf: (host) => (host === `${prefix}-left` ? (options.leftAgentConfig ?? {}) : {}),
  });
  afterAll(() => lab.destroy());
  // A test that failed with an agent stopped would take all that come after it along, its own second attempt too.
  afterEach(async ({ task }) => {
    if (task.result?.state !== "fail") return;
    const stopped = [...lab.agents.values()].filter((agent) => !agent.isRunning);
    await Promise.all(stopped.map((agent) => agent.start()));
  });
  return {
    ...lab,
    routers,
    left: lab.agent(`${prefix}-left`),
    right: lab.agent(`${prefix}-right`),
    namespaces: { left: `qvpn-${routers.left}`, right: `qvpn-${routers.right}` },
  };
}

/** The files that an agent wrote for a namespace's connections, without those that it is about to put in their places. */
export function connectionFiles(agent: Agent, namespace: string): readonly string[] {
  const directory = path.join(agent.runDirectory, namespace, "swanctl", "conf.d");
  if (!existsSync(directory)) return [];
  return readdirSync(directory)
    .filter((name) => name.endsWith(".conf"))
    .map((name) => path.join(directory, name));
}

/** The connection, once it is as asked; when it never is, the error says what it was last. */
export async function connectionIs(
  agent: Agent,
  name: string,
  status: ConnectionState["status"],
  more: { readonly reason?: string; readonly timeoutMs?: number } = {},
): Promise<ConnectionState> {
  let last = "nothing";
  try {
    return await until(`${name} of ${agent.host} is ${status}`, more.timeoutMs ?? 20_000, async () => {
      const connection = await agent.connection(name);
      last = JSON.stringify(connection);
      const isIt =
        connection?.status === status && (more.reason === undefined || connection.reason?.code === more.reason);
      return isIt ? connection : undefined;
    });
  } catch (error) {
    throw new Error(`${String(error)}; last seen: ${last}\n${worthReading(agent)}`, { cause: error });
  }
}

export const areActive = (lab: TestLab, ...names: readonly string[]): Promise<readonly ConnectionState[]> =>
  Promise.all(
    names.flatMap((name) => [
      connectionIs(lab.left, name, "ACTIVE"),
      connectionIs(lab.right, `${name}-back`, "ACTIVE"),
    ]),
  );

/** Longer than charon's first retransmission (4 s), by which an attempt that seemed lost comes back. */
const SETTLED_MS = 6_000;

/**
 * Waits until each side has one SA of each kind with a peer, and has had the same ones for a while. Both gateways may have
 * initiated at once, and then charon ends one of two after 10 s, or the agent after 12 s: no packets are counted, and no
 * SPIs compared, across that. An attempt of IKEv1 that met another key stays half open for 30 s.
 */
export async function areSettled(
  lab: TestLab,
  { settledMs = SETTLED_MS, ignoresHalfOpen = false } = {},
): Promise<void> {
  let last = { text: "", sinceMs: 0 };
  await until("one SA of each kind is left, and stays", 60_000, async () => {
    const found = await Promise.all([lab.left.ikeSas(lab.routers.left), lab.right.ikeSas(lab.routers.right)]);
    const sides = found.map((sas) => sas.filter((sa) => !ignoresHalfOpen || sa.state !== "CONNECTING"));
    const text = JSON.stringify(sides.flat().map((sa) => [sa.initiatorSpi, inUse(sa).map((child) => child.spiIn)]));
    if (text !== last.text) last = { text, sinceMs: performance.now() };
    const areSingle = sides.every((ikeSas) => {
      const names = ikeSas.flatMap((sa) => [sa.name, ...inUse(sa).map((child) => `${sa.name}/${child.name}`)]);
      return new Set(names).size === names.length;
    });
    return areSingle && performance.now() - last.sinceMs >= settledMs;
  });
}

/** charon keeps what IKEv1 has rekeyed until it expires (delete_rekeyed). */
const inUse = (sa: IkeSa): readonly ChildSa[] => sa.childSas.filter((child) => child.state !== "REKEYED");

/** Longer than any repair takes from one event to the next. */
const RESTS_MS = 700;

/**
 * Whatever the agent was told of before is mended, and it looks at once for what it is told of next. What is met beside a
 * repair that is under way is not told as drift.
 */
export const rests = (agent: Agent): Promise<unknown> =>
  until(`${agent.host} rests`, 20_000, async () => {
    const { routers } = await agent.status();
    return routers.every(({ lastPassAtMs = 0 }) => Date.now() - lastPassAtMs > RESTS_MS);
  });

/** Another process than `pid` is the router's charon. */
export const anotherCharonRuns = (agent: Agent, router: string, pid: number): Promise<unknown> =>
  until("another charon runs", 10_000, () => ![undefined, pid].includes(agent.charon(router)?.pid));

/** The agent's log without its debug lines. */
export function worthReading(agent: Agent, lines = 25): string {
  const all = readFileSync(agent.logFile, "utf8").split("\n");
  return all
    .filter((line) => !line.includes('"level":20') && !line.includes('"level":"debug"'))
    .slice(-lines)
    .join("\n");
}
