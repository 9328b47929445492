// The desired state as text, to be remembered over a restart of the agent, and back. The text holds secrets: whoever
// stores it keeps it private, and proves on reading that it is what was stored.
import { connectionId, routerId, type RouterId } from "./ids.ts";
import type { DesiredRouter } from "./model.ts";
import { Secret } from "./secret.ts";

/** Raised when a field changes its meaning: a snapshot of another version is not read. */
const VERSION = 1;
const SECRET_KEY = "$secret";

/** Canonical text of a router; equal texts mean that nothing changed. */
export const routerText = (router: DesiredRouter): string => JSON.stringify(router, revealing);

function revealing(this: unknown, key: string, value: unknown): unknown {
  // JSON.stringify has called toJSON on `value` already; the holder still has the secret itself.
  const raw: unknown = (this as Record<string, unknown>)[key];
  return raw instanceof Secret ? { [SECRET_KEY]: raw.reveal() } : value;
}

export const encodeSnapshot = (routers: ReadonlyMap<RouterId, DesiredRouter>): string =>
  JSON.stringify({ version: VERSION, routers: [...routers.values()] }, revealing);

/**
 * The routers of a snapshot that `encodeSnapshot` made; undefined when it is of another version. The caller has proved
 * that the text is our own, so its shape is not checked again beyond the ids.
 */
export function decodeSnapshot(text: string): ReadonlyMap<RouterId, DesiredRouter> | undefined {
  const parsed = JSON.parse(text, (_key, value: unknown) =>
    typeof value === "object" && value !== null && SECRET_KEY in value ? new Secret(String(value[SECRET_KEY])) : value,
  ) as { readonly version: number; readonly routers: readonly DesiredRouter[] };
  if (parsed.version !== VERSION) return undefined;
  return new Map(
    parsed.routers.map((router) => {
      for (const connection of router.connections) connectionId(connection.id);
      return [routerId(router.id), router];
    }),
  );
}
