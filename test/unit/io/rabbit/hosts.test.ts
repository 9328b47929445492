// Which host of a transport URL is tried after which.
import { expect, test } from "vitest";
import { createHostOrder, type FailoverStrategy } from "../../../../src/io/rabbit/hosts.ts";

const HOSTS = ["a", "b", "c"] as const;

/** Dice that give these values, over and over. */
function dice(...values: readonly number[]): () => number {
  let at = 0;
  return () => values[at++ % values.length] ?? 0;
}

/** The hosts tried by one whom every host fails; a round's end is a bar. */
function tried(strategy: FailoverStrategy, count: number, random: () => number): string {
  const order = createHostOrder<string>(HOSTS, strategy, random);
  let told = "";
  for (let at = 0; at < count; at++) {
    told += order.current;
    if (order.next()) told += "|";
  }
  return told;
}

test("round-robin keeps one order, which was shuffled once", () => {
  expect(tried("round-robin", 9, dice(0))).toBe("abc|abc|abc|");
  expect(tried("round-robin", 9, dice(0.99, 0.5, 0.1))).toBe("cba|cba|cba|");
});

test("shuffle makes an order for every round, in which each host has its turn", () => {
  const told = tried("shuffle", 9, dice(0.9, 0.1, 0.4, 0.6, 0.3, 0.8, 0.2));
  for (const round of told.split("|").slice(0, -1)) expect(round).toMatch(/^(?=.*a)(?=.*b)(?=.*c)...$/);
  expect(new Set(told.split("|").slice(0, -1)).size).toBeGreaterThan(1);
});

test("a round of shuffle does not begin with the host that ended the one before", () => {
  for (const value of [0, 0.2, 0.4, 0.6, 0.8, 0.99]) {
    expect(tried("shuffle", 12, dice(value, 0.7, 0.1, 0.5))).not.toMatch(/(.)\|\1/);
  }
});

test("one host alone is tried again and again, a round each time", () => {
  const order = createHostOrder<string>(["only"], "shuffle", () => 0);
  expect([order.next(), order.current, order.next(), order.current]).toEqual([true, "only", true, "only"]);
});

test("after a loss the host that was good is tried first, and then every other one before it again", () => {
  const order = createHostOrder<string>(HOSTS, "round-robin", dice(0));
  order.next(); // a is of no use, b is
  order.settle();
  const told = [order.current];
  for (let at = 0; at < 3; at++) {
    const isRoundDone = order.next();
    told.push(isRoundDone ? `|${order.current}` : order.current);
  }
  expect(told).toEqual(["b", "c", "a", "|b"]);
});
