import { expect, test } from "vitest";
import { STALL_MS, Turns } from "../../../src/reconcile/turns.ts";
import { fakeTiming } from "../../support/fake-timing.ts";

/** A task that ends when it is told to. */
function task(): { readonly run: () => Promise<void>; readonly end: () => void } {
  let end = (): void => undefined;
  const done = new Promise<void>((resolve) => (end = resolve));
  return { run: () => done, end };
}

test("so many run at once, and the others in the order in which they came", async () => {
  const turns = new Turns(1, fakeTiming());
  const order: string[] = [];
  const [first, second] = [task(), task()];
  const all = [
    turns.take(first.run).then(() => order.push("first")),
    turns.take(second.run).then(() => order.push("second")),
    turns.take(() => Promise.resolve()).then(() => order.push("third")),
  ];
  second.end();
  first.end();
  await Promise.all(all);
  expect(order).toEqual(["first", "second", "third"]);
});

test("they are stalled when some wait and no turn ends for minutes, and no longer when one does", async () => {
  const clock = fakeTiming();
  const turns = new Turns(1, clock);
  const [stuck, next] = [task(), task()];
  const all = [turns.take(stuck.run), turns.take(next.run)];
  await clock.advance(STALL_MS - 1);
  expect(turns.isStalled).toBe(false);
  await clock.advance(1);
  expect(turns.isStalled).toBe(true);
  stuck.end();
  await clock.advance(0);
  expect(turns.isStalled).toBe(false);
  next.end();
  await Promise.all(all);
});

test("a long queue that moves is not stalled, and a slow turn for which nobody waits is not either", async () => {
  const clock = fakeTiming();
  const turns = new Turns(1, clock);
  const tasks = [task(), task(), task()];
  const all = tasks.map(({ run }) => turns.take(run));
  for (const { end } of tasks) {
    await clock.advance(STALL_MS - 1);
    expect(turns.isStalled).toBe(false);
    end();
    await clock.advance(0);
  }
  await Promise.all(all);
  const slow = task();
  const done = turns.take(slow.run);
  await clock.advance(10 * STALL_MS);
  expect(turns.isStalled).toBe(false);
  slow.end();
  await done;
});
