// When an absence from the control plane's list is believed. A wrong or half answer must not cost a tunnel, and a
// removal that was asked for must not wait.
import type { ConnectionId, RouterId } from "./ids.ts";

export type RemovalOptions = {
  /** A second look counts only this long after the first. */
  readonly confirmMs: number;
  /** A list that lost more routers than both of these is looked at a third time. */
  readonly massCount: number;
  readonly massPercent: number;
};

/** One thing that was known and is no longer listed: a connection, or a router of which only the namespace is known. */
export type AbsentKey = ConnectionId | RouterId;

/** Why a list is looked at a third time. */
export type Doubt = "first fetch after the start" | "the list is empty" | "the list lost many routers at once";

/** `doubt` is that of the first look that had one: what was among many stays so when the others are back. */
export type Absence = {
  readonly lastSeenMissingMs: number;
  readonly count: number;
  readonly doubt: Doubt | undefined;
};

/** How many looks are still to say the same. */
export const looksLeft = ({ count, doubt }: Absence): number => (doubt === undefined ? 2 : 3) - count;

export type Absences = ReadonlyMap<AbsentKey, Absence>;

export type RemovalInput = {
  /** Everything that we hold, by router. A router without connections is one that only its namespace tells of. */
  readonly known: ReadonlyMap<RouterId, ReadonlySet<ConnectionId>>;
  readonly listed: ReadonlyMap<RouterId, ReadonlySet<ConnectionId>>;
  /** Routers that casts named before this fetch began. */
  readonly named: ReadonlySet<RouterId>;
  readonly absences: Absences;
  readonly isFirstFetch: boolean;
  readonly nowMs: number;
};

export type RemovalDecision = {
  readonly removed: ReadonlySet<AbsentKey>;
  /** Not listed, and not believed yet. */
  readonly kept: ReadonlySet<AbsentKey>;
  readonly absences: Absences;
  readonly confirmAtMs: number | undefined;
  /** Undefined: what is missing and unexplained is not many. */
  readonly doubt: Doubt | undefined;
};

/** Believes an absence at once when a cast explains it, else after a second fetch, after a third when it is many. */
export function decideRemovals(input: RemovalInput, options: RemovalOptions): RemovalDecision {
  const missing = missingKeys(input);
  const unexplained = [...missing].filter(([, router]) => !input.named.has(router));
  const lostRouters = new Set(unexplained.map(([, router]) => router).filter((router) => !input.listed.has(router)));
  const doubt = doubtAbout(lostRouters.size, input, options);

  const removed = new Set<AbsentKey>();
  const kept = new Set<AbsentKey>();
  const absences = new Map<AbsentKey, Absence>();
  let confirmAtMs: number | undefined;
  for (const [key, router] of missing) {
    if (input.named.has(router)) {
      removed.add(key);
      continue;
    }
    const before = input.absences.get(key);
    // A look that comes too early is no new evidence.
    const isNewLook = before === undefined || input.nowMs - before.lastSeenMissingMs >= options.confirmMs;
    const count = (before?.count ?? 0) + (isNewLook ? 1 : 0);
    const absence: Absence = {
      lastSeenMissingMs: isNewLook ? input.nowMs : before.lastSeenMissingMs,
      count,
      doubt: before?.doubt ?? (lostRouters.has(router) ? doubt : undefined),
    };
    if (looksLeft(absence) <= 0) {
      removed.add(key);
      continue;
    }
    kept.add(key);
    absences.set(key, absence);
    confirmAtMs = Math.min(confirmAtMs ?? Infinity, absence.lastSeenMissingMs + options.confirmMs);
  }
  return { removed, kept, absences, confirmAtMs, doubt };
}

function doubtAbout(lostCount: number, input: RemovalInput, options: RemovalOptions): Doubt | undefined {
  if (lostCount === 0) return undefined;
  if (input.listed.size === 0) return "the list is empty";
  if (input.isFirstFetch) return "first fetch after the start";
  const threshold = Math.max(options.massCount, (input.known.size * options.massPercent) / 100);
  return lostCount > threshold ? "the list lost many routers at once" : undefined;
}

function missingKeys({ known, listed }: RemovalInput): ReadonlyMap<AbsentKey, RouterId> {
  const missing = new Map<AbsentKey, RouterId>();
  for (const [router, connections] of known) {
    if (connections.size === 0 && !listed.has(router)) missing.set(router, router);
    for (const id of connections) if (listed.get(router)?.has(id) !== true) missing.set(id, router);
  }
  return missing;
}
