// One thing that is not as it should be, and of which kind it is.

export const DRIFT_KINDS = [
  "namespace",
  "link",
  "port",
  "neighbour",
  "address",
  "route",
  "rule",
  "sysctl",
  "policy",
  "guard",
  "charon",
  "file",
  "config",
  "secret",
  "marker",
  "sa",
] as const;
export type DriftKind = (typeof DRIFT_KINDS)[number];

/** One thing that is not as it should be. */
export type Finding = { readonly kind: DriftKind; readonly what: string };
