// Topology `router` as the loop sees it: a namespace that others make, and routers that two machines share.
import { describe, expect, test } from "vitest";
import type { RouterId } from "../../../src/core/ids.ts";
import type { Role, RouterHost } from "../../../src/core/ports.ts";
import { AgentWorld, ONE } from "../../support/agent-world.ts";
import { aRouterWith, aTunnel } from "../../support/builders.ts";
import { ROUTER } from "../../support/network-builders.ts";

const OWN = `qrouter-${ROUTER}`;
const SNAT = `snat-${ROUTER}`;
const STANDBY: Role = { kind: "standby", why: "backup" };

class FakeRouterHost implements RouterHost {
  current: Role = { kind: "active" };
  readonly #exists: (namespace: string) => boolean;
  readonly #watchers = new Set<() => void>();

  constructor(exists: (namespace: string) => boolean) {
    this.#exists = exists;
  }

  place(router: RouterId) {
    const [own, snat] = [`qrouter-${router}`, `snat-${router}`];
    return { namespace: this.#exists(snat) ? snat : own, candidates: [own, snat] };
  }

  role(): Role {
    return this.current;
  }

  watchRole(_router: RouterId, onChange: () => void): () => void {
    this.#watchers.add(onChange);
    return () => this.#watchers.delete(onChange);
  }

  becomes(role: Role): void {
    this.current = role;
    for (const onChange of this.#watchers) onChange();
  }
}

async function aMachine(role: Role = { kind: "active" }, hasNamespace = true) {
  const world = new AgentWorld();
  const host = new FakeRouterHost((namespace) => world.network.namespaces.has(namespace));
  host.current = role;
  if (!hasNamespace) world.network.namespaces.delete(OWN);
  const { espBackEnd, kernelEsp, charonPlan, initiateRetry, restart } = world.options;
  const common = { host: "gw-left", espBackEnd, kernelEsp, charonPlan, initiateRetry, restart };
  world.loop.configure({ ...world.loopOptions, reconcile: { ...common, topology: "router", routerHost: host } });
  world.controlPlane.routers = [{ ...ONE, plumbing: { kind: "none" } }];
  world.loop.start();
  world.loop.connected();
  await world.clock.advance(1_500);
  const isUp = async (): Promise<boolean> =>
    (await world.ike.observe(ROUTER, new AbortController().signal)).kind === "up";
  return { world, host, isUp };
}

test("a router's namespace is waited for, used when it comes, and forgotten when it goes", async () => {
  const { world, isUp } = await aMachine({ kind: "active" }, false);
  expect(await isUp()).toBe(false);
  expect([...world.states.values()].flatMap(({ connections }) => connections)).toMatchObject([
    { status: "DOWN", reason: { code: "namespace-missing", text: expect.stringContaining(OWN) as string } },
  ]);
  expect(world.network.namespaces.has(OWN)).toBe(false);

  world.network.addNamespace(OWN);
  world.network.wake(OWN);
  await world.clock.advance(3_000);
  expect(await isUp()).toBe(true);
  expect(world.status()).toBe("ACTIVE");

  world.network.namespaces.delete(OWN);
  world.network.wake(OWN);
  await world.clock.advance(3_000);
  expect(await isUp()).toBe(false);
  expect(world.status()).toBe("DOWN");
  expect(world.drift).toEqual([{ kind: "namespace", what: `namespace ${OWN} is missing` }]);
  expect(world.errors).toEqual([]);
});

test("a namespace that is made anew, right after the pass that missed it, is guarded at once", async () => {
  const { world } = await aMachine();
  world.network.namespaces.delete(OWN);
  world.network.wake(OWN, "namespace");
  await world.settle();
  world.network.addNamespace(OWN);
  // Links come up in it one after the other.
  for (const what of ["namespace", undefined, undefined] as const) world.network.wake(OWN, what);
  await world.settle();
  expect(world.network.namespaces.get(OWN)?.guard).toBeDefined();
});

test("when the namespace of the centralized part comes, the guard moves there", async () => {
  const { world } = await aMachine();
  expect(world.network.namespaces.get(OWN)?.guard).toBeDefined();
  world.network.addNamespace(SNAT);
  world.network.wake(SNAT);
  await world.clock.advance(3_000);
  expect(world.network.namespaces.get(SNAT)?.guard).toBeDefined();
  expect(world.network.namespaces.get(OWN)?.guard).toBeUndefined();
  expect([...world.states.values()].map(({ namespace }) => namespace)).toEqual([SNAT]);
});

test("a router that leaves the list leaves its namespace behind, without anything of ours", async () => {
  const { world, isUp } = await aMachine();
  world.controlPlane.routers = [];
  world.loop.serviceUpdated(ROUTER);
  await world.clock.advance(60_000);
  expect(await isUp()).toBe(false);
  expect(world.network.namespaces.get(OWN)?.guard).toBeUndefined();
  expect(world.network.namespaces.has(OWN)).toBe(true);
});

describe("of a router with high availability", () => {
  test("two agents are never both up or both told of as ACTIVE, whoever is primary and however often that changes", async () => {
    const one = await aMachine();
    const other = await aMachine(STANDBY);
    const machines = [one, other];
    const look = async (primary: number | undefined): Promise<void> => {
      for (const [index, { world, isUp }] of machines.entries()) {
        expect(await isUp(), `machine ${index}`).toBe(index === primary);
        expect(world.status()).toBe(index === primary ? "ACTIVE" : "DOWN");
        const states = [...world.states.values()].map(({ role }) => role);
        expect(states).toEqual([index === primary ? undefined : "standby"]);
        // Guarded all the same: its turn may come before its agent knows.
        expect(world.network.namespaces.get(OWN)?.guard).toBeDefined();
      }
    };
    await look(0);
    for (const primary of [1, 0, undefined, 1, undefined, 0]) {
      const told = machines.map(({ world }) => world.reported().length);
      // keepalived never has two primaries that hear of each other: the old one steps down first.
      for (const [index, { host }] of machines.entries()) if (index !== primary) host.becomes(STANDBY);
      for (const { world } of machines) await world.clock.advance(0);
      for (const { isUp, host } of machines) if (host.current.kind === "standby") expect(await isUp()).toBe(false);
      if (primary !== undefined) machines[primary]?.host.becomes({ kind: "active" });
      for (const { world } of machines) await world.clock.advance(5_000);
      await look(primary);
      for (const [index, { world }] of machines.entries()) {
        if (index !== primary) expect(world.reported()).toHaveLength(told[index] ?? 0);
        else if ((told[index] ?? 0) > 0 || index === primary) expect(world.reported().at(-1)).toBe("ACTIVE");
      }
    }
  });
});

test("what was remembered from before the topology was changed asks for nothing that is not there", async () => {
  const world = await AgentWorld.up({ ...aRouterWith([aTunnel(1)]), plumbing: { kind: "none" } });
  expect(world.errors).toEqual([]);
  expect(world.status()).toBe("DOWN");
});
