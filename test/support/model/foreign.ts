// What is not ours on the machine: a router of the stock agent's, one of another swanherd's, and what others put beside
// ours. None of it may ever change.
import { routerId } from "../../../src/core/ids.ts";
import { namespaceName } from "../../../src/core/names.ts";
import { AGENT_NAMESPACE, ROUTE_PROTOCOL } from "../../../src/core/network.ts";
import type { FakeCharon } from "../fake-ike.ts";
import type { FakeNamespace } from "../fake-network.ts";
import { ROUTER } from "../network-builders.ts";
import { FOREIGN_CONN, FOREIGN_LINK, FOREIGN_SECRET } from "./final-law.ts";
import type { ModelWorld } from "./world.ts";

const STOCK = routerId("50000000-0000-4000-8000-000000000003");
const OTHERS = routerId("60000000-0000-4000-8000-000000000004");
const LAN_ROUTE = {
  table: 254,
  destination: "10.22.1.0/24",
  kind: "unicast",
  via: "10.1.0.7",
  link: "lan",
  onlink: false,
  metric: 7,
  protocol: 3,
} as const;

export function addForeign({ network, ike }: ModelWorld): void {
  network.addLink(AGENT_NAMESPACE, "hg99999999-999", {
    isVeth: true,
    up: true,
    bridge: "br-ex",
    alias: "swanherd:other",
  });
  network.addLink(`qrouter-${ROUTER}`, "lan", { up: true });
  network.namespaces.get(`qrouter-${ROUTER}`)?.routes.push({ namespace: `qrouter-${ROUTER}`, ...LAN_ROUTE });
  for (const [router, alias] of [
    [STOCK, undefined],
    [OTHERS, "swanherd:other"],
  ] as const) {
    const own = network.addNamespace(namespaceName(router));
    network.addLink(namespaceName(router), "vr99999999-999", {
      isVeth: true,
      up: true,
      ...(alias === undefined ? {} : { alias }),
    });
    own.routes.push({
      namespace: namespaceName(router),
      ...LAN_ROUTE,
      link: "vr99999999-999",
      protocol: ROUTE_PROTOCOL,
    });
    void ike.start(router, new AbortController().signal);
    ike.charon(router).conns.set("peer-0123456789ab", "foreign");
  }
}

/** Of what no disturbance touches either; the router's own namespace may be made anew by others, without it. */
export const foreignText = ({ network, ike }: ModelWorld): string =>
  JSON.stringify([
    network.namespaces.get(AGENT_NAMESPACE)?.links.get("hg99999999-999"),
    ...[STOCK, OTHERS].flatMap((router) => {
      const { links, routes, rules, addresses } = network.namespaces.get(namespaceName(router)) ?? {};
      return [[...(links ?? [])], routes, rules, addresses, ike.isRunning(router) && [...ike.charon(router).conns]];
    }),
  ]);

const MARKED_SPACES = new WeakSet<FakeNamespace>();
const MARKED_CHARONS = new WeakSet<FakeCharon>();

/** What was put beside ours in the round before is still there, if the place is; then it is put beside what is new. */
export function lookAtForeign(world: ModelWorld): void {
  const { network, ike } = world;
  const space = network.namespaces.get(namespaceName(ROUTER));
  if (space !== undefined && MARKED_SPACES.has(space)) {
    if (!space.links.has(FOREIGN_LINK)) world.violate("a foreign link is gone");
  } else if (space !== undefined) {
    MARKED_SPACES.add(space);
    network.addLink(namespaceName(ROUTER), FOREIGN_LINK, { up: true });
  }
  const charon = ike.isRunning(ROUTER) ? ike.charon(ROUTER) : undefined;
  if (charon !== undefined && MARKED_CHARONS.has(charon)) {
    if (!charon.conns.has(FOREIGN_CONN) || !charon.secrets.has(FOREIGN_SECRET))
      world.violate("a foreign part of charon is gone");
  } else if (charon !== undefined) {
    MARKED_CHARONS.add(charon);
    charon.conns.set(FOREIGN_CONN, "foreign");
    charon.secrets.set(FOREIGN_SECRET, "x");
  }
  const lan = network.namespaces.get(`qrouter-${ROUTER}`);
  if (lan?.links.has("lan") === true && !lan.routes.some(({ link }) => link === "lan"))
    world.violate("a foreign route is gone");
}
