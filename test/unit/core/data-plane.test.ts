// What a CHILD SA needs of the kernel, by its selectors and SPIs.
import { expect, test } from "vitest";
import { lackOf, type KernelPlane } from "../../../src/core/data-plane.ts";
import { aChildSa } from "../../support/builders.ts";
import { policiesBetween } from "../../support/data-plane.ts";

const SPIS = { spiIn: "c1000001", spiOut: "c2000002" };
const kernel = (policies: readonly string[], spis: readonly string[] = Object.values(SPIS)): KernelPlane => ({
  kind: "kernel",
  spis: new Set(spis),
  policies: new Set(policies),
  entries: [],
});
const sa = (localSubnets: readonly string[], peerSubnets: readonly string[], mode = "tunnel") =>
  aChildSa({ name: "site", ...SPIS, localSubnets, peerSubnets, values: new Map([["mode", mode]]) });

test("in the kernel each pair of one family has three policies, whatever is between", () => {
  const mixed = sa(["10.1.0.0/24", "fd00:1::/64"], ["0.0.0.0/0", "fd00:2::9/128"]);
  const all = [...policiesBetween("10.1.0.0/24", "0.0.0.0/0"), ...policiesBetween("fd00:1::/64", "fd00:2::9/128")];
  expect(lackOf(mixed, kernel(all))).toBeUndefined();
  for (const policy of all) {
    const what = `the kernel's policy ${policy} is missing`;
    expect(lackOf(mixed, kernel(all.filter((one) => one !== policy)))).toEqual({ kind: "policy", what });
  }
});

test.each(Object.values(SPIS))("in the kernel both states are there: %s", (spi) => {
  const rest = Object.values(SPIS).filter((one) => one !== spi);
  const what = `the kernel's state of site with SPI ${spi} is missing`;
  expect(lackOf(sa([], []), kernel([], rest))).toEqual({ kind: "sa", what });
});

test("while charon gives it another address it has no SPIs, and lacks none", () => {
  expect(lackOf({ ...sa([], []), spiIn: "", spiOut: "" }, kernel([], []))).toBeUndefined();
});

test.each([
  ["a range", sa(["10.1.0.0/24"], ["10.2.0.1..10.2.0.9"])],
  ["a protocol", sa(["10.1.0.0/24"], ["10.2.0.0/24[tcp/http]"])],
  ["what is of another family", sa(["10.1.0.0/24"], ["fd00:2::/64"])],
  ["transport mode", sa(["203.0.113.10/32"], ["203.0.113.20/32"], "transport")],
])("in the kernel no policy is looked for of %s", (_what, one) => {
  expect(lackOf(one, kernel([]))).toBeUndefined();
});

test("in userland each of the peer's subnets has a route", () => {
  const plane = { kind: "userland", hasLink: true, destinations: new Set(["10.2.0.0/24"]) } as const;
  expect(lackOf(sa(["10.1.0.0/24"], ["10.2.0.0/24", "10.2.9.1..10.2.9.4"]), plane)).toBeUndefined();
  const what = "a route to 10.3.0.0/24 is missing";
  expect(lackOf(sa(["10.1.0.0/24"], ["10.2.0.0/24", "10.3.0.0/24"]), plane)).toEqual({ kind: "route", what });
});
