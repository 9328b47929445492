// The four views of a connection: what is desired, written, loaded and negotiated, as values under swanctl.conf's own
// keys, and where they differ. A view tells what it can; what it cannot is left out of it and proves nothing.

import type { Finding } from "./drift.ts";

/** Values by swanctl.conf's keys, those of sections below with dots: `children.<name>.local_ts`. */
export type Values = ReadonlyMap<string, string>;

export type Difference = { readonly key: string; readonly wanted: string; readonly found: string };

export const VIEWS = ["written", "loaded", "negotiated"] as const;
export type View = (typeof VIEWS)[number];

/**
 * `differs`: to be repaired. `pending`: in force with the next negotiation. `narrowed`: the peer agreed to less (RFC 7296
 * 2.9). `missing`: the whole view is not there, e.g. there is no SA.
 */
export type Verdict = "same" | "differs" | "pending" | "narrowed" | "missing";

/** One value in all four views; a view that does not tell it has no value. */
export type ViewRow = {
  readonly key: string;
  readonly desired?: string;
} & { readonly [V in View]?: { readonly value: string; readonly verdict: Verdict } };

export type ConnectionViews = {
  readonly id: string;
  readonly name: string;
  /** Why charon is to hold nothing of it. */
  readonly notLoaded?: string;
  readonly rows: readonly ViewRow[];
};

export type RouterViews = {
  readonly id: string;
  readonly namespace: string;
  /** Why it could not be looked at. */
  readonly problem?: string;
  /** Of links, addresses, routes, rules and the guard. */
  readonly network: readonly Finding[];
  readonly connections: readonly ConnectionViews[];
};

export const describeDifferences = (differences: readonly Difference[]): string =>
  differences.map(({ key, wanted, found }) => `${key} is ${found}, wanted ${wanted}`).join("; ");
