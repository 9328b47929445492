// Messages on the broker: a copy of every cast to an agent, and a way to publish whatever one likes.
import { randomUUID } from "node:crypto";
import { connect, type ChannelModel } from "amqplib";

const EXCHANGE = "neutron";
const MOST_KEPT = 500;
/** How names of queues begin that copy casts. */
export const OWN_QUEUES = "chaos-";

export type Cast = { readonly host: string; readonly body: Buffer };

export type Casts = {
  /** The oldest first. */
  readonly kept: readonly Cast[];
  readonly publish: (exchange: string, routingKey: string, body: Buffer) => Promise<void>;
  readonly close: () => Promise<void>;
};

export const agentQueue = (host: string): string => `ipsec_agent.${host}`;

/** Listens as long as the broker is there, and again when it is back. */
export function listenToCasts(port: number, hosts: readonly string[]): Casts {
  const url = `amqp://guest:guest@127.0.0.1:${port}/`;
  const kept: Cast[] = [];
  let listening: ChannelModel | undefined;
  let isClosed = false;
  let again: NodeJS.Timeout | undefined;

  async function listen(): Promise<void> {
    const model = await connect(url);
    model.on("error", () => undefined);
    model.on("close", retry);
    listening = model;
    const channel = await model.createChannel();
    channel.on("error", () => undefined);
    const { queue } = await channel.assertQueue(`${OWN_QUEUES}${randomUUID()}`, { exclusive: true });
    for (const host of hosts) await channel.bindQueue(queue, EXCHANGE, agentQueue(host));
    await channel.consume(
      queue,
      (message) => {
        if (message === null) return;
        kept.push({ host: message.fields.routingKey.slice(agentQueue("").length), body: message.content });
        if (kept.length > MOST_KEPT) kept.shift();
      },
      { noAck: true },
    );
  }

  function retry(): void {
    if (isClosed) return;
    clearTimeout(again);
    again = setTimeout(() => void listen().catch(retry), 1_000);
  }

  void listen().catch(retry);
  return {
    kept,
    async publish(exchange, routingKey, body) {
      const model = await connect(url);
      model.on("error", () => undefined);
      try {
        const channel = await model.createConfirmChannel();
        channel.publish(exchange, routingKey, body);
        await channel.waitForConfirms();
      } finally {
        await model.close().catch(() => undefined);
      }
    },
    async close() {
      isClosed = true;
      clearTimeout(again);
      await listening?.close().catch(() => undefined);
    },
  };
}
