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

/** `needed` is how many looks it takes: what was among many at its first look stays so when the others are back. */
export type Absence = { readonly lastSeenMissingMs: number; readonly count: number; readonly needed: number };
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
  readonly isMass: boolean;
};

/** Believes an absence at once when a cast explains it, else after a second fetch, after a third when it is many. */
export function decideRemovals(input: RemovalInput, options: RemovalOptions): RemovalDecision {
  const missing = missingKeys(input);
  const unexplained = [...missing].filter(([, router]) => !input.named.has(router));
  const lostRouters = new Set(unexplained.map(([, router]) => router).filter((router) => !input.listed.has(router)));
  const threshold = Math.max(options.massCount, (input.known.size * options.massPercent) / 100);
  const isMass =
    lostRouters.size > 0 && (input.isFirstFetch || input.listed.size === 0 || lostRouters.size > threshold);

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
    const needed = Math.max(before?.needed ?? 0, isMass && lostRouters.has(router) ? 3 : 2);
    if (count >= needed) {
      removed.add(key);
      continue;
    }
    const lastSeenMissingMs = isNewLook ? input.nowMs : before.lastSeenMissingMs;
    kept.add(key);
    absences.set(key, { lastSeenMissingMs, count, needed });
    confirmAtMs = Math.min(confirmAtMs ?? Infinity, lastSeenMissingMs + options.confirmMs);
  }
  return { removed, kept, absences, confirmAtMs, isMass };
}

function missingKeys({ known, listed }: RemovalInput): ReadonlyMap<AbsentKey, RouterId> {
  const missing = new Map<AbsentKey, RouterId>();
  for (const [router, connections] of known) {
    if (connections.size === 0 && !listed.has(router)) missing.set(router, router);
    for (const id of connections) if (listed.get(router)?.has(id) !== true) missing.set(id, router);
  }
  return missing;
}
