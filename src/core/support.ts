// What an ESP back end cannot carry, known before anything is loaded: never a silent fallback.
import type { EspBackEnd } from "./guard.ts";
import type { DesiredConnection, DesiredRouter, Tunnel } from "./model.ts";

/** Why this back end cannot carry the tunnel; undefined when it can. */
function unsupported(tunnel: Tunnel, backEnd: EspBackEnd): string | undefined {
  if (backEnd === "kernel") return undefined;
  const without = "needs kernel ESP, and this gateway runs ESP in userland (kernel-libipsec)";
  if (tunnel.ipsec.protocol === "ah") return `transform_protocol "ah" ${without}; use esp`;
  if (tunnel.ipsec.mode === "transport") return `encapsulation_mode "transport" ${without}; use tunnel`;
  return undefined;
}

/** The router with every connection that the back end cannot carry marked as unusable; it stays guarded. */
export function judged(router: DesiredRouter, backEnd: EspBackEnd): DesiredRouter {
  return { ...router, connections: router.connections.map((connection) => judgedConnection(connection, backEnd)) };
}

function judgedConnection(connection: DesiredConnection, backEnd: EspBackEnd): DesiredConnection {
  if (connection.kind !== "usable") return connection;
  const text = unsupported(connection.tunnel, backEnd);
  if (text === undefined) return connection;
  const { id, service, name, guarded, reportedStatus } = connection;
  return { id, service, name, guarded, reportedStatus, kind: "unusable", reason: { code: "unsupported", text } };
}
