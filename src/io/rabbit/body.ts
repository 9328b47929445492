// The body of a delivery as its sender wrote it: kombu may have compressed it.
import { inflateSync } from "node:zlib";
import type { Message } from "amqplib";
import { PayloadError } from "../../core/errors.ts";

// RabbitMQ's own limit for one message by default; what inflates to more is not meant for us.
const MAX_INFLATED_BYTES = 128 * 1024 * 1024;
/** kombu.compression: what it calls gzip is a zlib stream. */
const KOMBU_GZIP = "application/x-gzip";

export function readBody(message: Message): Buffer {
  const compression: unknown = message.properties.headers?.["compression"];
  if (compression === undefined) return message.content;
  if (compression !== KOMBU_GZIP) throw new PayloadError("body is compressed in a way we do not read");
  try {
    return inflateSync(message.content, { maxOutputLength: MAX_INFLATED_BYTES });
  } catch (error) {
    throw new PayloadError("body does not inflate", { cause: error });
  }
}
