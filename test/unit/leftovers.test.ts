// Which names are a test's, and so may be removed.
import { expect, test } from "vitest";
import { isTestName } from "../../scripts/leftovers.ts";

test.each(["t-0123abcd", "tcfdd2a-host", "tcfdd2a-inet"])("%s is a name that only tests give", (name) => {
  expect(isTestName(name)).toBe(true);
});

test.each(["tap0", "t-shirt", "tenant-a", "qvpn-7d3c2a52-4a55-4c1c-9a3b-0d1f6f1a2b01", "tcfdd2ax-host", "br-ex", ""])(
  "%s is somebody else's",
  (name) => {
    expect(isTestName(name)).toBe(false);
  },
);
