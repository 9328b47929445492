// What is told of a connection and its service, for each thing that may be so.
import { describe, expect, test } from "vitest";
import { connectionStates, serviceStates, type StatusInput } from "../../../src/core/connection-status.ts";
import type { DesiredConnection, Tunnel } from "../../../src/core/model.ts";
import {
  emptyNotes,
  type ChildSa,
  type Notes,
  type ObservedCharon,
  type RunningCharon,
} from "../../../src/core/observed.ts";
import { childrenOf, groupPeers, peerNameOf } from "../../../src/core/peers.ts";
import type { ReasonCode } from "../../../src/core/reason.ts";
import { Secret } from "../../../src/core/secret.ts";
import type { ConnectionState } from "../../../src/core/status.ts";
import {
  aChildSa,
  aConnection,
  aConnectionId,
  aDisabledConnection,
  anIkePolicy,
  anIkeSa,
  anUnusableConnection,
  aRouterWith,
  aRunningCharon,
  aService,
  aTunnel,
  SERVICE,
} from "../../support/builders.ts";

const NOW_MS = 1_000_000;
const V1_PAIRS = {
  ike: anIkePolicy({ version: 1 }),
  peerSubnets: ["10.2.1.0/24", "10.3.1.0/24", "10.4.1.0/24"],
};

const charonWith = (...children: readonly ChildSa[]): RunningCharon =>
  aRunningCharon(anIkeSa(peerNameOf(aTunnel()), { children }));
const EMPTY: RunningCharon = { ...charonWith(), ikeSas: [] };

function notesWith(change: (notes: Notes) => void): Notes {
  const notes = emptyNotes("1");
  change(notes);
  return notes;
}

function statesOf(connections: readonly (Tunnel | DesiredConnection)[], more: Partial<StatusInput> = {}) {
  const router = aRouterWith(connections);
  const tunnels = router.connections.flatMap((c) => (c.kind === "usable" ? [c.tunnel] : []));
  return connectionStates({
    router,
    charon: EMPTY,
    grouping: groupPeers(tunnels, { committed: new Set(), leaders: new Set() }, false),
    notes: emptyNotes("1"),
    inSync: new Set(),
    fault: undefined,
    isTornDown: false,
    previous: new Map(),
    nowMs: NOW_MS,
    splitChildren: false,
    ...more,
  });
}

function stateOf(connection: Tunnel | DesiredConnection, more: Partial<StatusInput> = {}): ConnectionState {
  const [state] = statesOf([connection], more);
  if (state === undefined) throw new Error("no state");
  return state;
}

const told = ({ status, reason }: ConnectionState) => [status, reason?.code, reason?.text];
const failure = (code: ReasonCode, text: string) => ({ code, text, atMs: 0 });
const failing = (code: ReasonCode, text: string): Notes =>
  notesWith((notes) => notes.failures.set(peerNameOf(aTunnel()), failure(code, text)));

describe("what is told of a connection", () => {
  test.each(["installed", "rekeying"] as const)("all children %s: ACTIVE, without a reason", (state) => {
    const active = stateOf(aTunnel(), { charon: charonWith(aChildSa({ state })), inSync: new Set([aConnectionId(1)]) });
    expect(active).toMatchObject({ status: "ACTIVE", inSync: true, localAddress: "203.0.113.10", ikeVersion: 2 });
    expect(active.reason).toBeUndefined();
    expect(active.ikeSpis).toBe("0000000000000001:0000000000000002");
  });

  test.each(["ending", "other"] as const)("a child that is %s is not installed", (state) => {
    expect(stateOf(aTunnel(), { charon: charonWith(aChildSa({ state })) })).toMatchObject({
      status: "DOWN",
      children: [{ installed: false }],
    });
  });

  test("some children: DOWN, with how many and which", () => {
    const tunnel = aTunnel(1, V1_PAIRS);
    const [first, second] = childrenOf(tunnel, false);
    const charon = charonWith(
      ...[first, second].map((child, index) => aChildSa({ ...child, uniqueId: String(index + 1) })),
    );
    expect(told(stateOf(tunnel, { charon }))).toEqual([
      "DOWN",
      "partly-installed",
      "partly installed (2 of 3), missing 10.1.1.0/24 === 10.4.1.0/24",
    ]);
    const because = stateOf(tunnel, {
      charon,
      notes: notesWith((n) => n.failures.set(peerNameOf(tunnel), failure("selectors-refused", "the subnets differ"))),
    });
    expect(because.reason?.text).toBe(
      "partly installed (2 of 3), missing 10.1.1.0/24 === 10.4.1.0/24; the subnets differ",
    );
  });

  test("B-35: an address that the gateway has no more: ERROR that names both, unless an SA stands all the same", () => {
    const tunnel = aTunnel(1, { localAddress: "203.0.113.77" });
    const text =
      "external_ip 203.0.113.77 is no address of the router's external port (203.0.113.10, 2001:db8:ff::10): create the service again";
    expect(told(stateOf(tunnel))).toEqual(["ERROR", "no-external-address", text]);
    const charon = { ...charonWith(), ikeSas: [anIkeSa(peerNameOf(tunnel), { children: [aChildSa()] })] };
    expect(told(stateOf(tunnel, { charon }))[0]).toBe("ACTIVE");
  });

  test.each<ReasonCode>(["peer-unreachable", "authentication-failed", "no-proposal-chosen", "selectors-refused"])(
    "nothing installed after %s: DOWN for that",
    (code) => {
      expect(told(stateOf(aTunnel(), { notes: failing(code, "words") }))).toEqual(["DOWN", code, "words"]);
    },
  );

  test("nothing installed and nothing failed: negotiating", () => {
    expect(told(stateOf(aTunnel()))).toEqual(["DOWN", "negotiating", "negotiating with 203.0.113.20"]);
  });

  test.each<Partial<Tunnel>>([{ initiator: "response-only" }, { peerAddress: "%any" }])(
    "one that may not initiate waits for its peer: %o",
    (change) => {
      expect(told(stateOf(aTunnel(1, change)))).toEqual([
        "DOWN",
        "initiator-is-peer",
        "waiting for the peer to initiate",
      ]);
    },
  );

  test.each(["connection", "service"] as const)("admin down (%s): DOWN, and in sync", (why) => {
    const state = stateOf(aDisabledConnection(aTunnel(), why));
    expect(told(state)).toEqual(["DOWN", "admin-down", `the ${why} has admin_state_up = false`]);
    expect(state.inSync).toBe(true);
  });

  test("cannot be configured here: ERROR with its reason, also while charon is down", () => {
    const state = stateOf(anUnusableConnection(aTunnel(), "ah-esp"), { charon: { kind: "absent" } });
    expect(told(state)).toEqual(["ERROR", "unsupported", "ah-esp"]);
  });

  test("taken down by an operator: DOWN until the operator's sync", () => {
    expect(stateOf(aTunnel(), { isTornDown: true, charon: { kind: "absent" } })).toMatchObject({
      status: "DOWN",
      reason: { code: "admin-down" },
    });
  });

  test("a conflict with another connection: ERROR, while its child still stands too", () => {
    const second = aTunnel(2, { psk: new Secret("other") });
    const [, state] = statesOf([aTunnel(1), second], {
      charon: charonWith(aChildSa(), aChildSa({ name: aConnectionId(2), uniqueId: "2" })),
    });
    expect(state).toMatchObject({ status: "ERROR", reason: { code: "differs-from-leader" } });
  });

  test("what charon refused to load: ERROR", () => {
    const notes = notesWith((n) => {
      n.refusals.set(aConnectionId(1), { tunnel: "0" as never, failure: failure("unsupported", "no such algorithm") });
    });
    expect(told(stateOf(aTunnel(), { notes }))).toEqual(["ERROR", "unsupported", "no such algorithm"]);
  });

  test.each([
    [29_999, false, "DOWN"],
    [30_000, false, "ERROR"],
    [0, true, "ERROR"],
  ])("a fault of the router for %i ms (final: %s): %s", (ageMs, isFinal, status) => {
    const cause = { code: "plumbing-failed" as const, text: "no bridge" };
    const fault = { cause, sinceMs: NOW_MS - ageMs, isFinal };
    // Also while the old tunnel carries traffic.
    const state = stateOf(aTunnel(), { fault, charon: charonWith(aChildSa()) });
    expect(told(state)).toEqual([status, "plumbing-failed", "no bridge"]);
  });

  test.each<ObservedCharon>([{ kind: "absent" }, { kind: "failing", why: "no answer" }])(
    "charon that is $kind: DOWN",
    (charon) => {
      expect(told(stateOf(aTunnel(), { charon }))).toEqual(["DOWN", "charon-down", "charon is being started"]);
    },
  );

  test.each([
    [29_999, "ACTIVE"],
    [30_000, "ERROR"],
  ])("an update not applied for %i ms: %s, though the old tunnel carries traffic", (ageMs, status) => {
    const notes = notesWith((n) => n.pendingSinceMs.set(aConnectionId(1), NOW_MS - ageMs));
    const state = stateOf(aTunnel(), { notes, charon: charonWith(aChildSa()) });
    expect(state.status).toBe(status);
    if (status === "ERROR") expect(state.reason?.code).toBe("update-not-applied");
  });

  test("selectors that the peer narrowed: DOWN, with both", () => {
    const tunnel = aTunnel(1, { peerSubnets: ["10.2.1.0/24", "10.3.1.0/24"] });
    expect(told(stateOf(tunnel, { charon: charonWith(aChildSa()) }))).toEqual([
      "DOWN",
      "selectors-narrowed",
      "traffic selectors narrowed: asked 10.1.1.0/24 === 10.2.1.0/24 10.3.1.0/24, got 10.1.1.0/24 === 10.2.1.0/24",
    ]);
  });

  test("an outdated child whose successor is on the way is not narrowed", () => {
    const tunnel = aTunnel(1, { peerSubnets: ["10.2.1.0/24", "10.3.1.0/24"] });
    const notes = notesWith((n) => n.staleChildSas.set("1", { deadlineMs: NOW_MS + 1 }));
    expect(stateOf(tunnel, { charon: charonWith(aChildSa()), notes }).status).toBe("ACTIVE");
  });

  test("the counters of a rekeyed child are added up, its SPIs are the newest", () => {
    const old = aChildSa({ state: "rekeying", bytesIn: 5, packetsOut: 1 });
    const charon = charonWith(old, aChildSa({ uniqueId: "2", spiIn: "c3", spiOut: "c4", bytesIn: 7, packetsOut: 2 }));
    expect(stateOf(aTunnel(), { charon }).children).toMatchObject([
      { bytesIn: 12, packetsOut: 3, spiIn: "c3", spiOut: "c4" },
    ]);
  });

  test("the SAs of another peer's config of the same name do not count", () => {
    const moved = aTunnel(1, { peerAddress: "203.0.113.30" });
    expect(stateOf(moved, { charon: charonWith(aChildSa()) }).status).toBe("DOWN");
  });
});

describe("since when", () => {
  const before = stateOf(aTunnel());
  const later = { nowMs: NOW_MS + 5_000, previous: new Map([[before.id, before]]) };

  test("is kept while code and text are the same", () => {
    expect(stateOf(aTunnel(), later).reason?.sinceMs).toBe(NOW_MS);
  });

  test("is new with another reason, and after ACTIVE", () => {
    expect(stateOf(aTunnel(), { ...later, notes: failing("peer-unreachable", "x") }).reason?.sinceMs).toBe(
      NOW_MS + 5_000,
    );
    const active = stateOf(aTunnel(), { charon: charonWith(aChildSa()) });
    const previous = new Map([[active.id, active]]);
    expect(stateOf(aTunnel(), { ...later, previous }).reason?.sinceMs).toBe(NOW_MS + 5_000);
  });
});

describe("a service", () => {
  const fault = (ageMs: number, isFinal = false) => ({
    cause: { code: "charon-down" as const, text: "x" },
    sinceMs: NOW_MS - ageMs,
    isFinal,
  });
  const up = charonWith();
  const absent: ObservedCharon = { kind: "absent" };
  const usable = [aConnection()];
  test.each<[string, readonly DesiredConnection[], ObservedCharon, ReturnType<typeof fault> | undefined, string]>([
    ["with charon and an admin-up connection", usable, up, undefined, "ACTIVE"],
    ["with one that is admin down beside it", [...usable, aDisabledConnection(aTunnel(2))], up, undefined, "ACTIVE"],
    ["with admin-down connections only", [aDisabledConnection()], up, undefined, "DOWN"],
    ["without connections", [], up, undefined, "DOWN"],
    ["before charon runs", usable, absent, undefined, "DOWN"],
    ["with a young fault", usable, up, fault(29_999), "DOWN"],
    ["with an old fault", usable, absent, fault(30_000), "ERROR"],
    ["with a final fault", usable, absent, fault(0, true), "ERROR"],
    ["without connections, whatever is broken", [], absent, fault(30_000), "DOWN"],
  ])("%s", (_, connections, charon, broken, expected) => {
    expect(serviceStates(aRouterWith(connections), charon, broken, NOW_MS)).toEqual([
      { id: SERVICE, name: "left", status: expected },
    ]);
  });

  test("that is admin down is DOWN", () => {
    const router = aRouterWith(usable, { services: [aService({ enabled: false })] });
    expect(serviceStates(router, up, undefined, NOW_MS)).toMatchObject([{ status: "DOWN" }]);
  });
});

describe("in sync", () => {
  const inSync = new Set([aConnectionId(1)]);
  const up = charonWith(aChildSa());

  test("is a connection that is loaded as it is wanted", () => {
    expect(stateOf(aTunnel(), { charon: up, inSync }).inSync).toBe(true);
  });

  test("is none while the plumbing or charon cannot be had", () => {
    const cause = { code: "plumbing-failed", text: "there is no bridge br-ex" } as const;
    const fault = { cause, sinceMs: NOW_MS, isFinal: false };
    const failed: ObservedCharon = { kind: "failing", why: "it does not answer" };
    expect(stateOf(aTunnel(), { charon: up, inSync, fault }).inSync).toBe(false);
    expect(stateOf(aTunnel(), { charon: failed, inSync }).inSync).toBe(false);
  });

  test("is one that is admin down when charon holds nothing of it any more", () => {
    expect(stateOf(aDisabledConnection(aTunnel(1)), { charon: up }).inSync).toBe(false);
    expect(stateOf(aDisabledConnection(aTunnel(1)), { charon: EMPTY }).inSync).toBe(true);
    expect(stateOf(aDisabledConnection(aTunnel(1)), { charon: { kind: "absent" } }).inSync).toBe(true);
  });
});
