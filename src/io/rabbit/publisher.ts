// Publishing with confirms on one channel. A message is "routed" when the broker took it, "returned" when it was
// mandatory and no queue wanted it. It refuses to know what the messages say.
import type { ChannelModel, ConfirmChannel, Message } from "amqplib";
import { DeadlineError, PayloadError, UnavailableError } from "../../core/errors.ts";
import { decodeEnvelope } from "../../wire/oslo/envelope.ts";
import type { MessageProperties } from "../../wire/oslo/properties.ts";
import type { Declarer } from "./topology.ts";
import type { Timing } from "./timing.ts";

/** A broker that is short of memory confirms nothing until it has some again. */
const CONFIRM_TIMEOUT_MS = 30_000;

export type Publication = {
  readonly exchange: string;
  readonly routingKey: string;
  readonly body: Buffer;
  /** Of the message in `body`; the broker gives a returned message back without any other mark of ours. */
  readonly uniqueId: string;
  readonly mandatory: boolean;
  readonly properties: MessageProperties;
};

export type Delivery = "routed" | "returned";

export type Publisher = {
  publish(publication: Publication): Promise<Delivery>;
};

function uniqueIdOf(message: Message): unknown {
  try {
    return decodeEnvelope(message.content)["_unique_id"];
  } catch (error) {
    if (error instanceof PayloadError) return undefined;
    throw error;
  }
}

export function createPublisher(
  currentModel: () => ChannelModel | undefined,
  declarer: Declarer,
  timing: Timing,
): Publisher {
  let opened: { readonly model: ChannelModel; readonly channel: Promise<ConfirmChannel> } | undefined;
  const awaitingConfirm = new Map<string, { wasReturned: boolean }>();
  let declaredOn: { readonly model: ChannelModel; readonly exchanges: Map<string, Promise<void>> } | undefined;

  async function openChannel(model: ChannelModel): Promise<ConfirmChannel> {
    const channel = await model.createConfirmChannel();
    // `close` follows, and every unconfirmed publish is told by its callback.
    channel.on("error", () => undefined);
    channel.on("close", () => {
      if (opened?.model === model) opened = undefined;
      // The exchange may be why: publishing to one that is gone closes the channel with 404.
      if (declaredOn?.model === model) declaredOn = undefined;
    });
    channel.on("return", (message) => {
      const waiting = awaitingConfirm.get(String(uniqueIdOf(message)));
      if (waiting !== undefined) waiting.wasReturned = true;
    });
    return channel;
  }

  function channelOf(model: ChannelModel): Promise<ConfirmChannel> {
    if (opened?.model === model) return opened.channel;
    const channel = openChannel(model);
    opened = { model, channel };
    channel.catch(() => {
      if (opened?.channel === channel) opened = undefined;
    });
    return channel;
  }

  /**
   * The nameless exchange always stands; any other is declared once a connection, as oslo.messaging does. All wait for
   * the one declaration, so that messages leave in the order in which they were given.
   */
  function ensureExchange(model: ChannelModel, exchange: string): Promise<void> {
    if (exchange === "") return Promise.resolve();
    if (declaredOn?.model !== model) declaredOn = { model, exchanges: new Map() };
    const { exchanges } = declaredOn;
    const known = exchanges.get(exchange);
    if (known !== undefined) return known;
    const declared = declarer.ensureExchange(model, exchange);
    exchanges.set(exchange, declared);
    declared.catch(() => exchanges.delete(exchange));
    return declared;
  }

  function send(channel: ConfirmChannel, publication: Publication): Promise<Delivery> {
    const { exchange, routingKey, body, uniqueId, mandatory, properties } = publication;
    return new Promise((resolve, reject) => {
      const waiting = { wasReturned: false };
      const settle = (finish: () => void) => {
        cancel();
        awaitingConfirm.delete(uniqueId);
        finish();
      };
      const cancel = timing.after(CONFIRM_TIMEOUT_MS, () =>
        settle(() => reject(new DeadlineError(`broker did not confirm a message to ${routingKey}`))),
      );
      awaitingConfirm.set(uniqueId, waiting);
      try {
        // basic.return comes before the confirm of the same message.
        channel.publish(exchange, routingKey, body, { ...properties, mandatory }, (error: unknown) =>
          settle(() => {
            if (error === null || error === undefined) resolve(waiting.wasReturned ? "returned" : "routed");
            else reject(lost(routingKey, error));
          }),
        );
      } catch (error) {
        settle(() => reject(lost(routingKey, error)));
      }
    });
  }

  const lost = (routingKey: string, cause: unknown) =>
    new UnavailableError("BROKER_DOWN", `publishing to ${routingKey}`, { cause });

  return {
    async publish(publication) {
      const model = currentModel();
      if (model === undefined) throw lost(publication.routingKey, new Error("not connected"));
      let channel: ConfirmChannel;
      try {
        await ensureExchange(model, publication.exchange);
        channel = await channelOf(model);
      } catch (error) {
        throw lost(publication.routingKey, error);
      }
      return send(channel, publication);
    },
  };
}
