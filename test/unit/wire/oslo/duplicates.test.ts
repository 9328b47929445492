// The memory of a listener, at its sixteen ids.
import { expect, test } from "vitest";
import { noneSeen, remember, type SeenIds } from "../../../../src/wire/oslo/duplicates.ts";

const after = (ids: readonly string[]): SeenIds => ids.reduce((seen, id) => remember(seen, id).seen, noneSeen);
const ids = (count: number) => Array.from({ length: count }, (_, index) => `id-${index}`);

test("an id is a duplicate the second time", () => {
  expect(remember(noneSeen, "a").isDuplicate).toBe(false);
  expect(remember(after(["a"]), "a").isDuplicate).toBe(true);
});

test("the last sixteen ids are remembered and no more", () => {
  expect(remember(after(ids(16)), "id-0").isDuplicate).toBe(true);
  expect(remember(after(ids(17)), "id-0").isDuplicate).toBe(false);
  expect(remember(after(ids(17)), "id-1").isDuplicate).toBe(true);
});
