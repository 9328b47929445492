// A control plane played by the test itself, message by message: it answers what it is given to answer, whether or not
// that is anything a server would say.
import { randomUUID } from "node:crypto";
import type { Channel } from "amqplib";
import { decodeStatusReport } from "../../src/wire/neutron/status.ts";
import type { Failure } from "../../src/wire/oslo/failure.ts";
import { decodeReply, encodeReply } from "../../src/wire/oslo/reply.ts";
import { decodeRequest, encodeRequest } from "../../src/wire/oslo/request.ts";
import { type Cleanup, openChannel } from "./broker.ts";
import { eventually } from "./eventually.ts";

const EXCHANGE = "neutron";
const TOPIC = "ipsec_driver";

/** An exception instead of an answer, as a Python server's. */
export class Raised {
  readonly failure: Failure;

  constructor(className: string, message: string) {
    this.failure = { class: className, module: "builtins", message, traceback: [] };
  }
}

/** Bytes instead of an answer. */
export class Raw {
  readonly body: Buffer;

  constructor(body: string) {
    this.body = Buffer.from(body);
  }
}

type Answered = Readonly<Record<string, unknown>>;
export type Reply = { readonly result: unknown; readonly failure: Failure | null };

export class PlayedControlPlane {
  /** By method; what is not here is answered with null. */
  readonly answers = new Map<string, (args: Answered) => unknown>();
  readonly #channel: Channel;
  readonly #replyQueue: string;
  /** What was reported last, by id of a service or connection. */
  readonly #statuses = new Map<string, string>();

  private constructor(channel: Channel, replyQueue: string) {
    this.#channel = channel;
    this.#replyQueue = replyQueue;
  }

  static async start(cleanup: Cleanup, url: string): Promise<PlayedControlPlane> {
    const { channel } = await openChannel(cleanup, url);
    await channel.assertExchange(EXCHANGE, "topic", { durable: false });
    await channel.assertQueue(TOPIC, { durable: false });
    await channel.bindQueue(TOPIC, EXCHANGE, TOPIC);
    const { queue } = await channel.assertQueue("", { exclusive: true });
    const played = new PlayedControlPlane(channel, queue);
    await channel.consume(TOPIC, (message) => message && played.#serve(message.content), { noAck: true });
    return played;
  }

  /** What the agent has told of a service or connection. */
  reported(id: string): string | undefined {
    return this.#statuses.get(id);
  }

  #serve(body: Buffer): void {
    const { method, args, replyTo } = decodeRequest(body);
    if (method === "update_status") {
      const { services, connections } = decodeStatusReport(args["status"]);
      for (const { id, status } of [...services, ...connections]) this.#statuses.set(id, status);
    }
    if (replyTo === null) return;
    const answer = this.answers.get(method)?.(args) ?? null;
    const part = { messageId: replyTo.messageId, uniqueId: randomUUID(), ending: true };
    const reply =
      answer instanceof Raw
        ? answer.body
        : answer instanceof Raised
          ? encodeReply({ ...part, result: null, failure: answer.failure })
          : encodeReply({ ...part, result: answer, failure: null });
    this.#channel.sendToQueue(replyTo.queue, reply);
  }

  /** To the agent's queue, as it is. */
  publish(host: string, body: string | Buffer): void {
    this.#channel.publish(EXCHANGE, `ipsec_agent.${host}`, Buffer.from(body));
  }

  cast(host: string, method: string, args: Answered): void {
    this.publish(host, encodeRequest({ ...requestOf(method, args), replyTo: null }));
  }

  call(host: string, method: string, args: Answered): Promise<Reply> {
    const address = this.address();
    const replyTo = { messageId: address._msg_id, queue: address._reply_q, monitorTimeoutSeconds: null };
    this.publish(host, encodeRequest({ ...requestOf(method, args), replyTo }));
    return this.answerTo(address);
  }

  /** What makes a message a call: where its answer is waited for. */
  address(): { readonly _msg_id: string; readonly _reply_q: string } {
    return { _msg_id: randomUUID(), _reply_q: this.#replyQueue };
  }

  answerTo({ _msg_id: messageId }: { readonly _msg_id: string }): Promise<Reply> {
    return eventually(
      async () => {
        const message = await this.#channel.get(this.#replyQueue, { noAck: true });
        const part = message === false ? undefined : decodeReply(message.content);
        return part?.messageId === messageId ? { result: part.result, failure: part.failure } : undefined;
      },
      { what: "an answer" },
    );
  }
}

const requestOf = (method: string, args: Answered) => ({
  method,
  args,
  namespace: null,
  version: "1.0",
  uniqueId: randomUUID().replaceAll("-", ""),
  context: {},
});
