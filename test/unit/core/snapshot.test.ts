// What is remembered over a restart comes back as it was, or not at all.
import fc from "fast-check";
import { expect, test } from "vitest";
import { routerId } from "../../../src/core/ids.ts";
import type { DesiredRouter } from "../../../src/core/model.ts";
import { Secret } from "../../../src/core/secret.ts";
import { decodeSnapshot, encodeSnapshot, routerText } from "../../../src/core/snapshot.ts";
import {
  aConnection,
  aDisabledConnection,
  anUnusableConnection,
  aRouterWith,
  aTunnel,
} from "../../support/builders.ts";
import { ROUTER } from "../../support/network-builders.ts";

const pskOf = (router: DesiredRouter | undefined): string | undefined =>
  router?.connections.flatMap((c) => (c.kind === "usable" ? [c.tunnel.psk.reveal()] : []))[0];
const mapOf = (...routers: readonly DesiredRouter[]) => new Map(routers.map((router) => [router.id, router]));

test("a snapshot comes back as it was, secrets and all", () => {
  const unknown = { kind: "unknown", why: "not asked yet" } as const;
  const routers = mapOf(
    aRouterWith([aTunnel(1), aDisabledConnection(aTunnel(2)), anUnusableConnection(aTunnel(3))]),
    aRouterWith([], { id: routerId("40000000-0000-4000-8000-000000000001"), plumbing: unknown }),
  );
  const decoded = decodeSnapshot(encodeSnapshot(routers));
  expect(decoded).toEqual(routers);
  expect(pskOf(decoded?.get(ROUTER))).toBe(aTunnel().psk.reveal());
});

test("any PSK and any name come back", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), (psk, name) => {
      const connection = { ...aConnection(aTunnel(1, { psk: new Secret(psk) })), name };
      const decoded = decodeSnapshot(encodeSnapshot(mapOf(aRouterWith([connection]))));
      expect(pskOf(decoded?.get(ROUTER))).toBe(psk);
      expect(decoded?.get(ROUTER)?.connections[0]?.name).toBe(name);
    }),
  );
});

test("a router's text tells two PSKs apart", () => {
  const text = (psk: string): string => routerText(aRouterWith([aTunnel(1, { psk: new Secret(psk) })]));
  expect(text("a")).not.toBe(text("b"));
  expect(text("a")).toBe(text("a"));
});

test("a snapshot of another version is not read", () => {
  const text = encodeSnapshot(mapOf(aRouterWith([]))).replace('"version":1', '"version":2');
  expect(decodeSnapshot(text)).toBeUndefined();
});
