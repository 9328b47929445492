// When an absence is believed: fetches in a row, some as stories, some at random.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { routerId, type ConnectionId, type RouterId } from "../../../src/core/ids.ts";
import { decideRemovals, type AbsentKey, type Absences, type RemovalDecision } from "../../../src/core/removal.ts";
import { aConnectionId } from "../../support/builders.ts";

const OPTIONS = { confirmMs: 10_000, massCount: 3, massPercent: 25 };
const router = (number: number): RouterId => routerId(`40000000-0000-4000-8000-${String(number).padStart(12, "0")}`);

type Held = Readonly<Record<number, readonly number[]>>;
const asMap = (held: Held): Map<RouterId, Set<ConnectionId>> =>
  new Map(
    Object.entries(held).map(([id, connections]) => [router(Number(id)), new Set(connections.map(aConnectionId))]),
  );

/** Fetches in a row: what is removed leaves what is known. */
class Fetches {
  readonly #known: Map<RouterId, Set<ConnectionId>>;
  #absences: Absences = new Map();
  #isFirst: boolean;

  constructor(known: Held, { isFirst = false } = {}) {
    this.#known = asMap(known);
    this.#isFirst = isFirst;
  }

  at(nowMs: number, listed: Held, named: readonly number[] = []): RemovalDecision {
    const decision = decideRemovals(
      {
        known: this.#known,
        listed: asMap(listed),
        named: new Set(named.map(router)),
        absences: this.#absences,
        isFirstFetch: this.#isFirst,
        nowMs,
      },
      OPTIONS,
    );
    this.#isFirst = false;
    this.#absences = decision.absences;
    for (const [id, connections] of this.#known) {
      const isLess = [...decision.removed].filter((key) => connections.delete(key as ConnectionId)).length > 0;
      if (decision.removed.has(id) || (isLess && connections.size === 0)) this.#known.delete(id);
    }
    return decision;
  }
}

/** Five routers, so that one of them is not many. */
const FIVE: Held = { 1: [1], 2: [2], 3: [3], 4: [4], 5: [5] };
const FOUR: Held = { 2: [2], 3: [3], 4: [4], 5: [5] };

describe("when an absence is believed", () => {
  test("a cast for the router explains it at once", () => {
    const decision = new Fetches(FIVE).at(0, FOUR, [1]);
    expect([...decision.removed]).toEqual([aConnectionId(1)]);
    expect(decision.confirmAtMs).toBeUndefined();
  });

  test("without a word it takes a second fetch, 10 s later", () => {
    const fetches = new Fetches(FIVE);
    const first = fetches.at(0, FOUR);
    expect([...first.kept]).toEqual([aConnectionId(1)]);
    expect(first.confirmAtMs).toBe(10_000);
    const early = fetches.at(9_999, FOUR);
    expect(early.removed.size).toBe(0);
    expect(early.confirmAtMs).toBe(10_000);
    expect([...fetches.at(10_000, FOUR).removed]).toEqual([aConnectionId(1)]);
  });

  test("what is listed again in between is counted anew", () => {
    const fetches = new Fetches(FIVE);
    fetches.at(0, FOUR);
    expect(fetches.at(10_000, FIVE).absences.size).toBe(0);
    expect(fetches.at(20_000, FOUR).removed.size).toBe(0);
  });

  test("a connection that left a listed router is looked at twice too", () => {
    const fetches = new Fetches({ 1: [1, 2] });
    expect([...fetches.at(0, { 1: [1] }).kept]).toEqual([aConnectionId(2)]);
    expect([...fetches.at(10_000, { 1: [1] }).removed]).toEqual([aConnectionId(2)]);
  });

  test("an empty list takes a third fetch", () => {
    const fetches = new Fetches({ 1: [1] });
    expect(fetches.at(0, {}).doubt).toBe("the list is empty");
    expect(fetches.at(10_000, {}).removed.size).toBe(0);
    expect([...fetches.at(20_000, {}).removed]).toEqual([aConnectionId(1)]);
  });

  test("more than three routers at once take a third fetch", () => {
    const known = { ...FIVE, 6: [6], 7: [7], 8: [8] };
    const fetches = new Fetches(known);
    fetches.at(0, FOUR);
    expect(fetches.at(0, { 5: [5], 6: [6], 7: [7], 8: [8] }).doubt).toBe("the list lost many routers at once");
    expect(fetches.at(10_000, { 5: [5], 6: [6], 7: [7], 8: [8] }).removed.size).toBe(0);
  });

  test("three of many are not many", () => {
    const fetches = new Fetches(FIVE);
    expect(fetches.at(0, { 1: [1], 2: [2] }).doubt).toBeUndefined();
    expect(fetches.at(10_000, { 1: [1], 2: [2] }).removed.size).toBe(3);
  });

  test("a quarter of many routers is not many, one more is", () => {
    const all = Object.fromEntries(Array.from({ length: 20 }, (_, index) => [index, [index]]));
    const without = (count: number): Held =>
      Object.fromEntries(Object.entries(all).filter(([id]) => Number(id) >= count));
    expect(new Fetches(all).at(0, without(5)).doubt).toBeUndefined();
    expect(new Fetches(all).at(0, without(6)).doubt).toBe("the list lost many routers at once");
  });

  test("those that casts explain do not make the others many", () => {
    const decision = new Fetches(FIVE).at(0, { 5: [5] }, [1, 2]);
    expect(decision.doubt).toBeUndefined();
    expect(decision.removed.size).toBe(2);
    expect(decision.kept.size).toBe(2);
  });

  test("what the first fetch after the start does not list takes three", () => {
    const fetches = new Fetches(FIVE, { isFirst: true });
    expect(fetches.at(0, FOUR).doubt).toBe("first fetch after the start");
    expect(fetches.at(10_000, FOUR).removed.size).toBe(0);
    expect([...fetches.at(20_000, FOUR).removed]).toEqual([aConnectionId(1)]);
  });

  test("what was among many stays so when the others are listed again", () => {
    const fetches = new Fetches(FIVE);
    fetches.at(0, {});
    expect(fetches.at(10_000, FOUR).removed.size).toBe(0);
    expect(fetches.at(20_000, FOUR).removed.size).toBe(1);
  });

  test("a namespace that nobody lists is one too", () => {
    const fetches = new Fetches({ ...FIVE, 6: [] });
    expect([...fetches.at(0, FIVE).kept]).toEqual([router(6)]);
    expect([...fetches.at(10_000, FIVE).removed]).toEqual([router(6)]);
    expect(new Fetches({ 6: [] }).at(0, { 6: [] }).kept.size).toBe(0);
  });
});

test("nothing is removed that was not missing from each of its looks, 10 s apart, or named by a cast", () => {
  const list = fc.subarray([1, 2, 3, 4, 5, 6]).map((ids): Held => Object.fromEntries(ids.map((id) => [id, [id]])));
  const fetch = fc.record({
    listed: list,
    named: fc.subarray([1, 2, 3]),
    afterMs: fc.integer({ min: 0, max: 15_000 }),
  });
  fc.assert(
    fc.property(fc.array(fetch, { maxLength: 12 }), fc.boolean(), (rounds, isFirst) => {
      const fetches = new Fetches({ 1: [1], 2: [2], 3: [3], 4: [4], 5: [5], 6: [6] }, { isFirst });
      const missingSince = new Map<AbsentKey, number>();
      let nowMs = 0;
      for (const { listed, named, afterMs } of rounds) {
        nowMs += afterMs;
        for (const id of [1, 2, 3, 4, 5, 6]) {
          const key = aConnectionId(id);
          if (id in listed) missingSince.delete(key);
          else if (!missingSince.has(key)) missingSince.set(key, nowMs);
        }
        const { removed, kept } = fetches.at(nowMs, listed, named);
        for (const key of removed) {
          const isNamed = named.some((id) => aConnectionId(id) === key);
          expect(isNamed || nowMs - (missingSince.get(key) ?? nowMs) >= OPTIONS.confirmMs).toBe(true);
          expect(kept.has(key)).toBe(false);
        }
      }
    }),
  );
});
