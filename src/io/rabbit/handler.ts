// What serves a method, and the answer of a set of them to one request. It refuses to know how messages travel.
import { failureOf, noSuchMethod, unsupportedVersion, type Failure } from "../../wire/oslo/failure.ts";
import type { Request } from "../../wire/oslo/request.ts";
import { isCompatibleVersion } from "../../wire/oslo/version.ts";

export type IncomingRequest = {
  /** `req-<uuid>` of the sender, for correlation in the log only. */
  readonly requestId: string | undefined;
  readonly isCall: boolean;
  /** Aborts when we stop serving. */
  readonly signal: AbortSignal;
};

export type Handler = (args: Readonly<Record<string, unknown>>, request: IncomingRequest) => Promise<unknown>;
export type Handlers = Readonly<Record<string, Handler>>;

export type MessageResult = "ok" | "failed" | "refused" | "duplicate" | "undecodable";

export type Outcome =
  | { readonly kind: "ok"; readonly value: unknown }
  | { readonly kind: "refused"; readonly failure: Failure }
  | { readonly kind: "failed"; readonly failure: Failure; readonly error: unknown };

/** oslo.messaging's rpc_ping_enabled: answered before any version is looked at. */
const PING = "oslo_rpc_server_ping";
const ping: Handler = () => Promise.resolve("pong");

export function createDispatcher(handlers: Handlers, version: string) {
  // A Map, because a method called `constructor` must not find anything.
  const byName = new Map(Object.entries(handlers).filter(([name]) => !name.startsWith("_")));

  function choose(request: Request): Handler | Failure {
    if (request.method === PING) return ping;
    if (request.namespace !== null || !isCompatibleVersion(version, request.version)) {
      return unsupportedVersion(request.version, request.method);
    }
    return byName.get(request.method) ?? noSuchMethod(request.method);
  }

  return {
    knows: (method: string): boolean => method === PING || byName.has(method),

    /** The handler is entered before this returns, so handlers begin in the order of their messages. */
    async dispatch(request: Request, signal: AbortSignal): Promise<Outcome> {
      const handler = choose(request);
      if (typeof handler !== "function") return { kind: "refused", failure: handler };
      const requestId = request.context["request_id"];
      try {
        const value = await handler(request.args, {
          requestId: typeof requestId === "string" ? requestId : undefined,
          isCall: request.replyTo !== null,
          signal,
        });
        return { kind: "ok", value };
      } catch (error) {
        return { kind: "failed", failure: failureOf(error), error };
      }
    },
  };
}
