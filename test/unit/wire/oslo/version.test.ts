// Which version of an RPC can answer which.
import { expect, test } from "vitest";
import { isCompatibleVersion } from "../../../../src/wire/oslo/version.ts";

test.each([
  ["1.0", "1.0", true],
  ["1.2", "1.1", true],
  ["1.1", "1.2", false],
  ["2.0", "1.0", false],
  ["1.0", "2.0", false],
  ["1.1.1", "1.1", true],
  ["1.1", "1.1.1", false],
  ["1.2", "1.1.9", true],
  ["1.0", "1", false],
  ["1.0", "", false],
  ["1.0", "1.x", false],
])("a server of version %s answers a request of version %s: %s", (implemented, requested, expected) => {
  expect(isCompatibleVersion(implemented, requested)).toBe(expected);
});
