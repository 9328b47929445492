// A cluster of three nodes with quorum queues: its nodes go one after the other, and nobody who waits is forgotten.
import { randomUUID } from "node:crypto";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { Broker } from "../../../src/io/rabbit/broker.ts";
import { systemTiming } from "../../../src/io/rabbit/timing.ts";
import { defaultTopology } from "../../../src/io/rabbit/topology.ts";
import { createCleanup, startBroker } from "../../support/broker.ts";
import { eventually } from "../../support/eventually.ts";
import { patiently } from "../../../scripts/patience.ts";
import { type PrivateCluster, type PrivateRabbitmq, startPrivateCluster } from "../../../scripts/private-rabbitmq.ts";

let cluster: PrivateCluster;
beforeAll(async () => void (cluster = await startPrivateCluster(3)), patiently(180_000));
afterAll(() => cluster.stop());
const cleanup = createCleanup();
afterEach(() => cleanup.run());

const topology = { ...defaultTopology, quorumQueue: true, transientQuorumQueue: true, streamFanout: true };
/** Begins at the first node, and goes on in their order. */
const inOrder = { timing: { ...systemTiming, random: () => 0 } };

function nodeOf(broker: string): PrivateRabbitmq {
  const found = cluster.nodes.find(({ port }) => broker === `127.0.0.1:${String(port)}`);
  if (found === undefined) throw new Error(`no node at ${broker}`);
  return found;
}

// Three brokers on the one processor of the kernel lab's guest take minutes, and no ESP.
test.skipIf(process.env["KERNEL_LAB"] !== undefined)(
  "calls and casts go on while one node after the other is stopped",
  async () => {
    const host = `gw-${randomUUID()}`;
    const topic = `agent.${host}`;
    const heard = new Set<unknown>();
    const serve = (bus: Broker): void =>
      bus.serve(topic, { m: () => Promise.resolve("pong"), note: ({ n }) => Promise.resolve(void heard.add(n)) });
    const server = await startBroker(cleanup, cluster.url, serve, { topology, ...inOrder });
    const client = await startBroker(cleanup, cluster.url, undefined, { topology, ...inOrder });
    const answered = () =>
      eventually(() => client.broker.call(topic, "m", {}, { timeoutMs: 3000 }).catch(() => undefined), {
        timeoutMs: 60_000,
        what: "a call that is answered",
      });
    let casts = 0;
    /** Handed over again until a broker has confirmed it; from then on it may not be lost. */
    async function cast(): Promise<void> {
      const n = (casts += 1);
      const handOver = () => client.broker.cast({ topic: "agent", server: host }, "note", { n });
      const isTaken = () =>
        handOver().then(
          () => true,
          () => false,
        );
      await eventually(isTaken, { timeoutMs: 60_000, what: `note ${String(n)} is taken` });
    }
    expect(await answered()).toBe("pong");
    const columns = ["name", "type"];
    // Of the node that leads them, the one they were declared at. Others would want to call rabbitmqctl back, which hears
    // nobody, and be waited for until a minute is over.
    const shown = await cluster.nodes[0]?.ctl("-q", "list_queues", "--local", ...columns);
    expect(shown).toContain(`${topic}\tquorum`);
    expect(shown).toContain(`${topic}_fanout\tstream`);

    const used = new Set<string>();
    for (let turn = 0; turn < 3; turn++) {
      await eventually(() => server.broker.isConnected, { timeoutMs: 60_000, what: "the server is connected" });
      const broker = String(server.lines.filter(({ msg }) => msg.startsWith("connected")).at(-1)?.["broker"]);
      used.add(broker);
      await cast();
      await nodeOf(broker).stopBroker();
      await cast();
      expect(await answered()).toBe("pong");
      await nodeOf(broker).startBroker();
      await cast();
    }
    expect(used.size).toBe(3);
    await eventually(() => heard.size === casts, { what: "every note is heard" });
    expect([...heard].sort((a, b) => Number(a) - Number(b))).toEqual(
      Array.from({ length: casts }, (_, index) => index + 1),
    );
  },
  patiently(300_000),
);
