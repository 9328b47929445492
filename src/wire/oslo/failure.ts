// An exception on the wire: a JSON string inside the reply, {class, module, message, tb, args, kwargs}.
import { AgentError, RemoteError } from "../../core/errors.ts";
import { isJsonObject } from "./envelope.ts";

export type Failure = {
  readonly class: string;
  readonly module: string;
  readonly message: string;
  readonly traceback: readonly string[];
};

/**
 * Never `builtins` or `exceptions`: oslo.messaging would re-create the Python builtin, and Neutron's VPN rescheduler
 * handles only RemoteError; a RuntimeError would abort its whole periodic pass.
 */
const NEUTRAL_MODULE = "swanherd.errors";
const DISPATCHER_MODULE = "oslo_messaging.rpc.dispatcher";

function failure(className: string, module: string, message: string): Failure {
  return { class: className, module, message, traceback: [`${module}.${className}: ${message}\n`] };
}

/** The text is oslo_messaging.rpc.dispatcher.NoSuchMethod's, to the letter. */
export const noSuchMethod = (method: string): Failure =>
  failure("NoSuchMethod", DISPATCHER_MODULE, `Endpoint does not support RPC method ${method}`);

/** The text is oslo_messaging.rpc.dispatcher.UnsupportedVersion's, to the letter. */
export const unsupportedVersion = (version: string, method: string): Failure =>
  failure(
    "UnsupportedVersion",
    DISPATCHER_MODULE,
    `Endpoint does not support RPC version ${version}. Attempted method: ${method}`,
  );

/** What the peer may know of an error. The text of one we did not foresee may hold anything, a secret too. */
export function failureOf(error: unknown): Failure {
  if (error instanceof AgentError) return failure(error.name, NEUTRAL_MODULE, error.message);
  return failure("InternalError", NEUTRAL_MODULE, "internal error");
}

export function encodeFailure(value: Failure): string {
  return JSON.stringify({
    class: value.class,
    module: value.module,
    message: value.message,
    tb: value.traceback,
    args: [value.message],
    kwargs: {},
  });
}

const text = (value: unknown, otherwise: string): string => (typeof value === "string" ? value : otherwise);

/** Lenient: that the peer failed is the news, and it stays true when its description cannot be read. */
export function decodeFailure(raw: unknown): Failure {
  let value: unknown = raw;
  if (typeof raw === "string") {
    try {
      value = JSON.parse(raw);
    } catch {
      value = undefined;
    }
  }
  const fields = isJsonObject(value) ? value : {};
  const traceback = Array.isArray(fields["tb"]) ? fields["tb"].filter((line) => typeof line === "string") : [];
  return {
    class: text(fields["class"], "Unknown"),
    module: text(fields["module"], ""),
    message: text(fields["message"], "the peer failed without a readable reason"),
    traceback,
  };
}

export function remoteErrorOf(value: Failure): RemoteError {
  return new RemoteError(value.class, value.module, value.message);
}
