// The four views of a connection: what is desired, written, loaded and negotiated, as values under swanctl.conf's own
// keys, and where they differ. A view tells what it can; what it cannot is left out of it and proves nothing.
import type { Finding } from "./finding.ts";

/** Values by swanctl.conf's keys, those of sections below with dots: `children.<name>.local_ts`. */
export type Values = ReadonlyMap<string, string>;

export type Difference = { readonly key: string; readonly wanted: string; readonly found: string };

export const describeDifferences = (differences: readonly Difference[]): string =>
  differences.map(({ key, wanted, found }) => `${key} is ${found}, wanted ${wanted}`).join("; ");

/** What is compared with the desired view. */
export const VIEWS = ["written", "loaded", "negotiated"] as const;
export type View = (typeof VIEWS)[number];

/** `pending`: in force with the next negotiation. `narrowed`: the peer agreed to less (RFC 7296 2.9). */
export type Verdict = "same" | "differs" | "pending" | "narrowed";

export type Judged = { readonly value: string; readonly verdict: Verdict };

/** One value in all views; a view that does not tell it has none. */
export type ViewRow = { readonly key: string; readonly desired?: string } & { readonly [V in View]?: Judged };

export type ConnectionViews = {
  readonly id: string;
  readonly name: string;
  /** Why nothing of it is to be there. */
  readonly unwanted?: string;
  /** Views that there are none of: no file, nothing loaded, no SA. */
  readonly missing: readonly View[];
  readonly rows: readonly ViewRow[];
};

export type RouterViews = {
  readonly id: string;
  readonly namespace: string;
  /** Why a part of it could not be looked at. */
  readonly problem?: string;
  /** What differs in links, addresses, routes, rules and the packet filter. */
  readonly network: readonly Finding[];
  readonly connections: readonly ConnectionViews[];
};

type Judge = (key: string, wanted: string, found: string) => Verdict;

/** Puts views beside each other. A view that is undefined is missing as a whole. */
export function compareViews(
  desired: Values,
  found: { readonly [V in View]: Values | undefined },
  judges: { readonly [V in View]: Judge },
): Pick<ConnectionViews, "missing" | "rows"> {
  const there = VIEWS.filter((view) => found[view] !== undefined);
  const keys = new Set([...desired.keys(), ...there.flatMap((view) => [...(found[view]?.keys() ?? [])])]);
  const rows = [...keys].map((key): ViewRow => {
    const wanted = desired.get(key);
    const judged = there.flatMap((view) => {
      const value = found[view]?.get(key);
      if (value === undefined) return [];
      return [[view, { value, verdict: wanted === undefined ? "differs" : judges[view](key, wanted, value) }] as const];
    });
    return { key, ...(wanted === undefined ? {} : { desired: wanted }), ...Object.fromEntries(judged) };
  });
  return { missing: VIEWS.filter((view) => !there.includes(view)), rows };
}

/** Whether anything has to be repaired; a missing SA is the peer's matter too, and what is pending or narrowed is none. */
export const hasDifference = ({ unwanted, missing, rows }: ConnectionViews): boolean =>
  (unwanted === undefined && missing.some((view) => view !== "negotiated")) ||
  rows.some((row) => VIEWS.some((view) => row[view]?.verdict === "differs"));
