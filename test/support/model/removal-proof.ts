// When an absence is proved, told once more and by itself: what the model allows an agent to remove, and nothing else.
import type { ConnectionId, RouterId } from "../../../src/core/ids.ts";
import type { DesiredRouter } from "../../../src/core/model.ts";

const LOOKS_APART_MS = 10_000;
/** A cast that shows no change is in force until the second look 5 s later. */
const CAST_MS = 5_500;

type Absence = { looks: number; lastMs: number; needed: number };

export class RemovalProof {
  /** All that an agent has been told of and that is not proved to be gone. */
  readonly #standing = new Map<RouterId, Set<ConnectionId>>();
  readonly #absences = new Map<string, Absence>();
  readonly #castsMs = new Map<RouterId, number>();
  readonly #answered = new WeakSet();
  #hasMemory = true;

  isStanding(router: RouterId): boolean {
    return this.#standing.has(router);
  }

  standing(router: RouterId): ReadonlySet<ConnectionId> {
    return this.#standing.get(router) ?? new Set();
  }

  /** A cast named the router. */
  named(router: RouterId, nowMs: number): void {
    this.#castsMs.set(router, nowMs);
  }

  /** It was taken from this agent, by name. */
  taken(router: RouterId): void {
    this.#standing.delete(router);
  }

  /** Another agent counts anew; without a snapshot it does not know which connections a router had. */
  forgetLooks(hasMemory: boolean): void {
    this.#absences.clear();
    this.#castsMs.clear();
    this.#hasMemory = hasMemory;
  }

  /** From now on the agent works for it; what it has not taken up is not its to lose. */
  takenUp(router: DesiredRouter, listed: DesiredRouter | undefined): void {
    if (listed === undefined) return;
    const ids = new Set(listed.connections.map(({ id }) => id));
    const connections = this.#standing.get(router.id) ?? new Set();
    for (const { id } of router.connections) if (ids.has(id)) connections.add(id);
    this.#standing.set(router.id, connections);
  }

  /** The control plane has answered with this list. */
  answered(listed: ReadonlyMap<RouterId, DesiredRouter>, agent: object, nowMs: number): void {
    const isFirst = !this.#answered.has(agent);
    this.#answered.add(agent);
    for (const [router, connections] of this.#standing) {
      const ids = new Set<string>(listed.get(router)?.connections.map(({ id }) => id));
      const isNamed = nowMs - (this.#castsMs.get(router) ?? -Infinity) <= CAST_MS;
      const isLost = !listed.has(router);
      const needed = isLost && (isFirst || listed.size === 0) ? 3 : 2;
      for (const id of connections) {
        if (ids.has(id)) this.#absences.delete(id);
        else if (isNamed || this.#isProved(id, needed, nowMs) || (!this.#hasMemory && !isLost)) connections.delete(id);
      }
      if (!isLost) this.#absences.delete(router);
      else if (isNamed || this.#isProved(router, needed, nowMs)) this.#standing.delete(router);
    }
    this.#hasMemory = true;
  }

  #isProved(key: string, needed: number, nowMs: number): boolean {
    const absence = this.#absences.get(key) ?? { looks: 0, lastMs: -Infinity, needed };
    absence.needed = Math.max(absence.needed, needed);
    if (nowMs - absence.lastMs >= LOOKS_APART_MS) {
      absence.looks += 1;
      absence.lastMs = nowMs;
    }
    this.#absences.set(key, absence);
    return absence.looks >= absence.needed;
  }
}
