// What others do to a router behind the agent's back, all of it that the fakes can express. Each answers whether there was
// anything to do it to.
import { isMarkerId, peerOfSecretId, type Fingerprint } from "../../../src/core/fingerprint.ts";
import type { RouterId } from "../../../src/core/ids.ts";
import { isPeerName, namespaceName } from "../../../src/core/names.ts";
import { AGENT_NAMESPACE, isOurProtocol, type ObservedLink } from "../../../src/core/network.ts";
import type { FakeCharon } from "../fake-ike.ts";
import type { FakeNamespace } from "../fake-network.ts";
import type { ModelWorld } from "./world.ts";

export type Place = {
  readonly world: ModelWorld;
  readonly router: RouterId;
  readonly own: FakeNamespace;
  readonly outside: FakeNamespace;
  readonly pick: number;
};

const chosen = <T>(all: readonly T[], pick: number): T | undefined => all[pick % Math.max(1, all.length)];

/** Takes one of a list out. */
function without<T>(list: T[], pick: number, isIt: (one: T) => boolean = () => true): boolean {
  const found = chosen(list.filter(isIt), pick);
  if (found === undefined) return false;
  list.splice(list.indexOf(found), 1);
  return true;
}

const veths = (space: FakeNamespace): readonly ObservedLink[] =>
  [...space.links.values()].filter((link) => link.isVeth);

function changeLink({ own, pick }: Place, more: (link: ObservedLink) => Partial<ObservedLink>): boolean {
  const link = chosen(veths(own), pick);
  if (link === undefined) return false;
  own.links.set(link.name, { ...link, ...more(link) });
  return true;
}

function outerEnd({ own, world }: Place): ObservedLink | undefined {
  const peer = veths(own).find((link) => link.peer?.namespace === AGENT_NAMESPACE)?.peer;
  return peer === undefined ? undefined : world.network.namespaces.get(AGENT_NAMESPACE)?.links.get(peer.name);
}

const charonOf = ({ world, router }: Place): FakeCharon | undefined =>
  world.ike.isRunning(router) ? world.ike.charon(router) : undefined;

function forget(place: Place, isIt: (id: string) => boolean): boolean {
  const charon = charonOf(place);
  const id = chosen([...(charon?.secrets.keys() ?? [])].filter(isIt), place.pick);
  return id !== undefined && charon?.secrets.delete(id) === true;
}

/** Of what charon does of its own accord its events tell at once. */
function withSas(place: Place, act: (charon: FakeCharon) => boolean): boolean {
  const charon = charonOf(place);
  if (charon === undefined || !act(charon)) return false;
  place.world.ike.tell(place.router, { kind: "sasChanged" });
  return true;
}

function endChild(charon: FakeCharon, pick: number): boolean {
  const sa = chosen(
    charon.ikeSas.filter(({ children }) => children.length > 0),
    pick,
  );
  if (sa === undefined) return false;
  sa.children = sa.children.filter((child) => child !== chosen(sa.children, pick));
  return true;
}

const isPeerSecret = (id: string): boolean => peerOfSecretId(id) !== undefined;
const isOurSecret = (id: string): boolean => isPeerSecret(id) || isMarkerId(id);

const DRIFT_OF = {
  addressGone: ({ own, pick }: Place) => without(own.addresses, pick),
  addressAdded: ({ own, pick }: Place) => {
    const link = chosen(veths(own), pick);
    if (link === undefined) return false;
    own.addresses.push({
      namespace: link.namespace,
      link: link.name,
      address: `198.51.100.${1 + (pick % 50)}`,
      prefixLength: 24,
    });
    return true;
  },
  routeGone: ({ own, pick }: Place) => without(own.routes, pick),
  outerRouteGone: ({ outside, pick }: Place) =>
    without(outside.routes, pick, ({ protocol }) => isOurProtocol(protocol)),
  routeAdded: ({ own, pick }: Place) => {
    const link = chosen(veths(own), pick);
    if (link?.up !== true) return false;
    const to = { namespace: link.namespace, table: 254, destination: `192.0.2.${pick % 200}/32`, metric: 0 };
    own.routes.push({ ...to, kind: "unicast", via: undefined, link: link.name, onlink: false, protocol: 4 });
    return true;
  },
  ruleGone: ({ own, pick }: Place) => without(own.rules, pick),
  outerRuleGone: ({ outside, pick }: Place) => without(outside.rules, pick, ({ preference }) => preference !== 0),
  ruleAdded: ({ own, world, router }: Place) => {
    const of = { namespace: namespaceName(router), family: 4, destination: undefined, skipsDefault: false } as const;
    own.rules.push({ ...of, preference: 60, table: 221, inputLink: "stray" });
    return world.network.namespaces.has(namespaceName(router));
  },
  policyGone: ({ own, pick }: Place) => without(own.policies, pick),
  policyAdded: ({ own, world, router }: Place) => {
    if (world.espBackEnd !== "kernel") return false;
    const to = { source: "192.0.2.0/24", destination: "198.51.100.0/24" };
    own.policies.push({ kind: "block", namespace: namespaceName(router), ...to });
    return true;
  },
  sysctlChanged: ({ own, pick }: Place) => {
    const name = chosen([...own.sysctls.keys()], pick);
    if (name === undefined) return false;
    own.sysctls.set(name, own.sysctls.get(name) === "0" ? "1" : "0");
    return true;
  },
  linkGone: ({ own, world, pick }: Place) => {
    const link = chosen(veths(own), pick);
    if (link === undefined) return false;
    world.network.deleteLink(link.namespace, link.name);
    return true;
  },
  // The kernel takes the routes of a link that goes down, and its IPv6 addresses.
  linkDown: (place: Place) =>
    changeLink(place, ({ name }) => {
      place.own.routes = place.own.routes.filter(({ link }) => link !== name);
      place.own.addresses = place.own.addresses.filter(({ link, address }) => link !== name || !address.includes(":"));
      return { up: false };
    }),
  linkMoved: ({ own, world, pick }: Place) => {
    const link = chosen(veths(own), pick);
    const agents = world.network.namespaces.get(AGENT_NAMESPACE);
    if (link?.peer === undefined || agents === undefined || agents.links.has(link.name)) return false;
    own.links.delete(link.name);
    own.addresses = own.addresses.filter((address) => address.link !== link.name);
    own.routes = own.routes.filter((route) => route.link !== link.name);
    agents.links.set(link.name, { ...link, namespace: AGENT_NAMESPACE, up: false });
    const other = world.network.namespaces.get(link.peer.namespace);
    const end = other?.links.get(link.peer.name);
    if (end !== undefined)
      other?.links.set(end.name, { ...end, peer: { namespace: AGENT_NAMESPACE, name: link.name } });
    return true;
  },
  linkChanged: (place: Place) => changeLink(place, () => ({ mtuBytes: 1300, macAddress: "02:00:00:00:00:99" })),
  aliasGone: (place: Place) => changeLink(place, () => ({ alias: undefined })),
  bridgePortGone: (place: Place) => {
    const end = outerEnd(place);
    if (end?.bridge === undefined) return false;
    place.world.network.namespaces.get(AGENT_NAMESPACE)?.links.set(end.name, { ...end, bridge: undefined });
    return true;
  },
  guardGone: ({ own }: Place) => {
    const wasThere = own.guard !== undefined;
    own.guard = undefined;
    own.guardKnown = false;
    return wasThere;
  },
  guardChanged: ({ own, pick }: Place) => {
    if (own.guard === undefined) return false;
    const gone = chosen(own.guard.pairs, pick);
    own.guard = { ...own.guard, pairs: own.guard.pairs.filter((pair) => pair !== gone) };
    own.guardKnown = false;
    return true;
  },
  // A charon that runs on is in no namespace of this name, and not taken for the router's.
  namespaceGone: ({ world, router }: Place) => {
    deleteNamespace(world, namespaceName(router));
    world.ike.crash(router);
    return true;
  },
  routerNamespaceReplaced: ({ world, router }: Place) => {
    deleteNamespace(world, `qrouter-${router}`);
    world.network.addNamespace(`qrouter-${router}`);
    return true;
  },
  charonDied: ({ world, router }: Place) => {
    const ran = world.ike.isRunning(router);
    world.ike.crash(router);
    return ran;
  },
  // systemd is quicker than the agent.
  charonRestarted: ({ world, router }: Place) => {
    if (!world.ike.isRunning(router)) return false;
    world.ike.crash(router);
    void world.ike.start(router, new AbortController().signal);
    world.ike.tell(router, { kind: "connected" });
    return true;
  },
  charonHangs: (place: Place) => {
    const charon = charonOf(place);
    if (charon === undefined) return false;
    charon.hangs = true;
    place.world.later(20_000, () => {
      charon.hangs = false;
      place.world.ike.tell(place.router, { kind: "connected" });
    });
    return true;
  },
  connectionUnloaded: (place: Place) => {
    const charon = charonOf(place);
    const name = chosen([...(charon?.conns.keys() ?? [])].filter(isPeerName), place.pick);
    return name !== undefined && charon?.conns.delete(name) === true;
  },
  // Its IKE SA stays with the config that it was made with, and the peer asks that for what is taken away later.
  connectionUnloadedUnderInsistingPeer: (place: Place) => {
    const charon = charonOf(place);
    const name = chosen([...(charon?.conns.keys() ?? [])].filter(isPeerName), place.pick);
    if (name === undefined || charon?.conns.delete(name) !== true) return false;
    place.world.ike.remote(name).insists = true;
    return true;
  },
  // What cannot be read back: charon's log tells of it.
  connectionChangedByHand: (place: Place) => {
    const charon = charonOf(place);
    const [name, conn] =
      chosen(
        [...(charon?.conns ?? [])].filter(([key]) => isPeerName(key)),
        place.pick,
      ) ?? [];
    if (charon === undefined || name === undefined || conn === undefined || conn === "foreign") return false;
    charon.conns.set(name, { ...conn, fingerprint: "by hand" as Fingerprint });
    place.world.ike.tell(place.router, { kind: "changedByOthers", finding: { kind: "config", what: "by hand" } });
    return true;
  },
  // What can be read back.
  configShownOtherwise: (place: Place) => {
    const charon = charonOf(place);
    const name = chosen([...(charon?.conns.keys() ?? [])].filter(isPeerName), place.pick);
    if (charon === undefined || name === undefined) return false;
    charon.shown.set(name, new Map([["by hand", place.world.nextValue()]]));
    return true;
  },
  // It came from a config of somebody else's.
  ikeSaOtherwise: (place: Place) =>
    withSas(place, (charon) => {
      const sa = chosen(charon.ikeSas, place.pick);
      const values = new Map([["by hand", place.world.nextValue()]]);
      charon.ikeSas = charon.ikeSas.map((one) => (one === sa ? { ...one, values, terms: "others'" } : one));
      return sa !== undefined;
    }),
  childSaOtherwise: (place: Place) =>
    withSas(place, (charon) => {
      const child = chosen(
        charon.ikeSas.flatMap(({ children }) => children),
        place.pick,
      );
      if (child !== undefined) child.values = new Map([["by hand", place.world.nextValue()]]);
      return child !== undefined;
    }),
  secretUnloaded: (place: Place) => forget(place, isPeerSecret),
  markerUnloaded: (place: Place) => forget(place, isMarkerId),
  everythingUnloaded: (place: Place) => {
    const charon = charonOf(place);
    const held = [...(charon?.conns.keys() ?? []), ...(charon?.secrets.keys() ?? [])];
    const hadSome = held.some((name) => isPeerName(name) || isOurSecret(name));
    for (const name of [...(charon?.conns.keys() ?? [])].filter(isPeerName)) charon?.conns.delete(name);
    for (const id of [...(charon?.secrets.keys() ?? [])].filter(isOurSecret)) charon?.secrets.delete(id);
    return hadSome;
  },
  ikeSaTerminated: ({ pick, ...place }: Place) => withSas({ pick, ...place }, (charon) => without(charon.ikeSas, pick)),
  childSaTerminated: (place: Place) => withSas(place, (charon) => endChild(charon, place.pick)),
  // Two were made at once, and the peer ended the one that was to stay.
  childSaLeftBehind: (place: Place) =>
    withSas(place, (charon) => {
      const child = chosen(chosen(charon.ikeSas, place.pick)?.children ?? [], place.pick);
      if (child === undefined) return false;
      child.state = "rekeyed";
      return true;
    }),
  // Routes to ESP in userland, or states and policies of the kernel's. A new agent gives one that is young time to get them.
  dataPlaneFlushed: (place: Place) => {
    const children = charonOf(place)?.ikeSas.flatMap((sa) => sa.children) ?? [];
    for (const child of children) child.isStranded = true;
    if (place.world.espBackEnd === "kernel") place.world.later(15_000, () => undefined);
    return children.length > 0;
  },
  // It carries traffic until its lifetime ends, 3 s from now.
  rekeyFails: (place: Place) =>
    withSas(place, (charon) => {
      const sa = chosen(charon.ikeSas, place.pick);
      const child = chosen(sa?.children ?? [], place.pick);
      if (sa === undefined || child === undefined) return false;
      child.state = "rekeying";
      place.world.later(3_000, () => {
        sa.children = sa.children.filter((one) => one !== child);
        place.world.ike.tell(place.router, { kind: "sasChanged" });
      });
      return true;
    }),
  peerInitiates: (place: Place) => {
    const names = [...(charonOf(place)?.conns.keys() ?? [])].filter(isPeerName);
    for (const name of names) place.world.ike.peerInitiates(place.router, name);
    return names.length > 0;
  },
  fileRemoved: ({ world, router, pick }: Place) => {
    const files = world.ike.files.get(router);
    const id = chosen([...(files?.keys() ?? [])], pick);
    return id !== undefined && files?.delete(id) === true;
  },
  fileChanged: ({ world, router, pick }: Place) => {
    const files = world.ike.files.get(router);
    const id = chosen([...(files?.keys() ?? [])], pick);
    if (id !== undefined) files?.set(id, "by hand" as Fingerprint);
    return id !== undefined;
  },
} satisfies Readonly<Record<string, (place: Place) => boolean>>;

export type Drift = keyof typeof DRIFT_OF;
export const DRIFTS = Object.keys(DRIFT_OF) as readonly Drift[];

/** Kinds that charon's SAs do not feel, and that tell nobody that they may be others than they were. */
const HARMLESS: ReadonlySet<Drift> = new Set<Drift>([
  "addressGone",
  "addressAdded",
  "routeGone",
  "outerRouteGone",
  "routeAdded",
  "ruleGone",
  "outerRuleGone",
  "ruleAdded",
  "policyGone",
  "policyAdded",
  "sysctlChanged",
  "linkGone",
  "linkDown",
  "linkMoved",
  "linkChanged",
  "aliasGone",
  "bridgePortGone",
  "guardGone",
  "guardChanged",
  "routerNamespaceReplaced",
  "connectionChangedByHand",
  "configShownOtherwise",
  "fileRemoved",
  "fileChanged",
]);
export const leavesSasAlone = (drift: Drift): boolean => HARMLESS.has(drift);

function deleteNamespace(world: ModelWorld, name: string): boolean {
  const space = world.network.namespaces.get(name);
  for (const link of space?.links.values() ?? []) world.network.deleteLink(name, link.name);
  return world.network.namespaces.delete(name);
}

/** False when there was nothing to do it to. The kernel's events are heard of or, like a lost one, are not. */
export function disturb(world: ModelWorld, router: RouterId, drift: Drift, pick: number, isHeard: boolean): boolean {
  const own = world.network.namespaces.get(namespaceName(router));
  const outside = world.network.namespaces.get(`qrouter-${router}`);
  if (own === undefined || outside === undefined) return false;
  const isDone = DRIFT_OF[drift]({ world, router, own, outside, pick });
  if (isDone && isHeard) world.network.wake(namespaceName(router));
  world.tolerateOpenings();
  return isDone;
}
