// Why a connection is not ACTIVE: the closed vocabulary that status, metrics, logs and docs share.

/** Codes are never renamed: operators' alert rules hold them. */
export const REASON_CODES = [
  "admin-down",
  "authentication-failed",
  "charon-crash-looping",
  "charon-down",
  "child-refused",
  "conflicts-with-connection",
  "differs-from-leader",
  "ha-standby",
  "ike-ports-taken",
  "initiator-is-peer",
  "internal-error",
  "invalid-value",
  "namespace-missing",
  "negotiating",
  "no-external-address",
  "no-proposal-chosen",
  "partly-installed",
  "peer-unreachable",
  "plumbing-failed",
  "selectors-narrowed",
  "selectors-refused",
  "unsupported",
  "update-not-applied",
] as const;

export type ReasonCode = (typeof REASON_CODES)[number];

/** `text` is for people: what, which value, what to do. `sinceMs` is Unix time in milliseconds. */
export type Reason = { readonly code: ReasonCode; readonly text: string; readonly sinceMs: number };
