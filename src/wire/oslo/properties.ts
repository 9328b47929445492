// AMQP basic properties of every message on the bus, as kombu sets them, and those of a connection.

export type MessageProperties = {
  readonly contentType: string;
  readonly contentEncoding: string;
  readonly deliveryMode: 2;
  readonly priority: number;
  readonly headers: Readonly<Record<string, never>>;
  readonly expiration?: string;
};

/** kombu JSON-decodes nothing without this content type: the message would be rejected. */
const CONTENT_TYPE = "application/json";

const COMMON: MessageProperties = {
  contentType: CONTENT_TYPE,
  contentEncoding: "utf-8",
  deliveryMode: 2, // kombu's default, also into queues that are not durable
  priority: 0,
  headers: {},
};

/** Casts, fanouts and replies never expire. */
export const plainProperties: MessageProperties = COMMON;

/** A call is worth nothing after its timeout; oslo.messaging lets it expire in the queue then. */
export function callProperties(timeoutMs: number): MessageProperties {
  return { ...COMMON, expiration: String(Math.trunc(timeoutMs)) };
}

/** What `rabbitmqctl list_connections` shows; oslo.messaging names its connections too. */
export const clientProperties = (connectionName: string) => ({ connection_name: connectionName });
