// The request context that travels in a message as `_context_*` keys.
import type { JsonObject } from "./envelope.ts";

const PREFIX = "_context_";

/** The keys of `message` that belong to its context, without their prefix. */
export function decodeContext(message: JsonObject): JsonObject {
  return Object.fromEntries(
    Object.entries(message)
      .filter(([key]) => key.startsWith(PREFIX))
      .map(([key, value]) => [key.slice(PREFIX.length), value]),
  );
}

export function encodeContext(context: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(context).map(([key, value]) => [PREFIX + key, value]));
}

/** `YYYY-MM-DD HH:MM:SS.ffffff`, UTC: Python's str(datetime.utcnow()). */
const timestamp = (now: Date): string => `${now.toISOString().slice(0, -1).replace("T", " ")}000`;

/**
 * neutron-lib's get_admin_context_without_session().elevated(). Without is_admin the server scopes every query to a
 * project and update_status silently skips every service. `trace_info` is left out: it would start osprofiler.
 */
export function adminContext(requestId: string, now: Date): JsonObject {
  return {
    user: null,
    project_id: null,
    system_scope: null,
    project: null,
    domain: null,
    user_domain: null,
    project_domain: null,
    is_admin: true,
    read_only: false,
    show_deleted: false,
    auth_token: null,
    request_id: requestId,
    global_request_id: null,
    resource_uuid: null,
    roles: ["admin", "member", "reader"],
    user_identity: "- - - - -",
    is_admin_project: true,
    user_id: null,
    timestamp: timestamp(now),
    project_name: null,
    user_name: null,
    has_global_access: true,
    can_set_project_id: true,
  };
}
