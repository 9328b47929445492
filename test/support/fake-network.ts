// A Network that keeps state as the kernel does and refuses what the kernel would refuse.
import { familyOf, cidrContains } from "../../src/core/address.ts";
import { KernelError, UnavailableError } from "../../src/core/errors.ts";
import type { KernelEsp } from "../../src/core/algorithms.ts";
import type { DataPlane } from "../../src/core/data-plane.ts";
import type { EspBackEnd, Guard } from "../../src/core/guard.ts";
import { routerId, type RouterId } from "../../src/core/ids.ts";
import { routerOfNamespace } from "../../src/core/names.ts";
import {
  AGENT_NAMESPACE,
  isSwitched,
  LOCAL_TABLE,
  isOurProtocol,
  ownPolicyKey,
  protocolOf,
  ROUTE_PROTOCOL,
  type LinkAddress,
  type LinkEnd,
  type NetworkScope,
  type ObservedLink,
  type ObservedNetwork,
  type ObservedRoute,
  type OwnPolicy,
  type Rule,
  type TransitScope,
} from "../../src/core/network.ts";
import type { NetworkStep } from "../../src/core/network-plan.ts";
import type { Network, NetworkChange } from "../../src/core/ports.ts";
import type { ObservedSwitchPort, SwitchPort } from "../../src/core/switch.ts";

export type FakeNamespace = {
  readonly links: Map<string, ObservedLink>;
  addresses: LinkAddress[];
  routes: ObservedRoute[];
  rules: Rule[];
  policies: OwnPolicy[];
  /** Addresses that are kept, by their links. */
  neighbours: { readonly link: string; readonly address: string }[];
  readonly sysctls: Map<string, string>;
  guard: Guard | undefined;
  /** Somebody else touched the rules. */
  guardKnown: boolean;
};

/** A switch of Open vSwitch, and what answers behind it. */
export class FakeSwitch {
  isReachable = true;
  isUserland = false;
  readonly bridges = new Set(["br-int"]);
  readonly ports = new Map<string, ObservedSwitchPort>();
  /** Whom its router's MAC is asked by: undefined, it does not answer. */
  gatewayMac: string | undefined = "fa:16:3e:00:00:99";

  observe(scope: NetworkScope): Pick<ObservedNetwork, "switch"> {
    if (!isSwitched(scope)) return {};
    if (!this.isReachable) return { switch: { kind: "unreachable", why: "the fake switch does not answer" } };
    const wanted = scope.veths.flatMap(({ port }) => port ?? []);
    const { isUserland } = this;
    const ports = [...this.ports.values()].filter(
      (held) => held.router === scope.router || wanted.some((one) => one.name === held.name || one.port === held.port),
    );
    return { switch: { kind: "read", bridgeExists: this.bridges.has(scope.integrationBridge), isUserland, ports } };
  }

  plug(port: SwitchPort): void {
    if (!this.isReachable) throw new UnavailableError("OVSDB_DOWN", "the fake switch does not answer");
    if (!this.bridges.has(port.bridge)) throw new UnavailableError("BRIDGE_MISSING", `no bridge ${port.bridge}`);
    const held = this.ports.get(port.name);
    if (held !== undefined && held.bridge !== port.bridge) throw new KernelError(`plug ${port.name}`, "EEXIST");
    const rest = { type: "", isActive: true, isOpen: true, problem: undefined, isInstalled: true };
    this.ports.set(port.name, { ...rest, ...port });
  }

  unplug(name: string): void {
    if (!this.isReachable) throw new UnavailableError("OVSDB_DOWN", "the fake switch does not answer");
    this.ports.delete(name);
  }
}

const LINK_OF_SYSCTL = /^net\/ipv[46]\/conf\/(?!all\/|default\/)([^/]+)\//;

export class FakeNetwork implements Network {
  readonly namespaces = new Map<string, FakeNamespace>();
  readonly applied: NetworkStep[] = [];
  readonly switch = new FakeSwitch();
  readonly #watchers = new Map<string, Set<(what?: NetworkChange) => void>>();
  /** What carries the SAs of the charon there. */
  dataPlaneOf: (namespace: string) => DataPlane | undefined = () => undefined;
  /** Watches that fail before one succeeds. */
  unwatchable = 0;
  /** Steps that still succeed before one fails; undefined: none fails. */
  stepsUntilFailure: number | undefined;
  /** What was seen open: a namespace of ours that forwards or is plugged without a guard. */
  readonly openings: string[] = [];

  constructor() {
    this.addNamespace(AGENT_NAMESPACE);
  }

  addNamespace(name: string): FakeNamespace {
    const kernels = ([4, 6] as const).map((family): Rule => {
      return {
        namespace: name,
        family,
        preference: 0,
        table: LOCAL_TABLE,
        destination: undefined,
        inputLink: undefined,
        skipsDefault: false,
      };
    });
    const made: FakeNamespace = {
      links: new Map(),
      addresses: [],
      routes: [],
      rules: kernels,
      policies: [],
      neighbours: [],
      sysctls: new Map(),
      guard: undefined,
      guardKnown: false,
    };
    this.namespaces.set(name, made);
    this.addLink(name, "lo", {});
    return made;
  }

  addLink(namespace: string, name: string, more: Partial<ObservedLink>): void {
    const fresh = { macAddress: "00:00:00:00:00:00", mtuBytes: 1500, isVeth: false, up: false };
    const none = { alias: undefined, bridge: undefined, peer: undefined };
    this.#in(namespace, "add link").links.set(name, { namespace, name, ...fresh, ...none, ...more });
  }

  observeDataPlane(namespace: string): Promise<DataPlane | undefined> {
    return Promise.resolve(this.dataPlaneOf(namespace));
  }

  observe(scope: NetworkScope, signal: AbortSignal): Promise<ObservedNetwork> {
    signal.throwIfAborted();
    const own = this.namespaces.get(scope.namespace);
    const routerNamespace = scope.topology === "transit" ? scope.routerNamespace : undefined;
    const router = routerNamespace === undefined ? undefined : this.namespaces.get(routerNamespace);
    const agent = this.#in(AGENT_NAMESPACE, "observe");
    const ownLinks = [...(own?.links.values() ?? [])];
    const outer = new Set([
      ...scope.veths.map((veth) => veth.outer.name),
      ...ownLinks.filter((link) => link.isVeth).map((link) => `h${link.name.slice(1)}`),
    ]);
    const some = (space: FakeNamespace | undefined): ObservedLink[] =>
      [...(space?.links.values() ?? [])].filter((link) => outer.has(link.name));
    const links = [...ownLinks, ...some(agent), ...some(router)];
    return Promise.resolve({
      namespaceExists: own !== undefined,
      routerNamespaceExists: router !== undefined,
      bridgeExists: scope.topology === "transit" && scope.bridge !== undefined && agent.links.has(scope.bridge),
      links,
      addresses: [...(own?.addresses ?? []), ...(router?.addresses ?? []).filter((address) => outer.has(address.link))],
      routes: [...(own?.routes ?? []), ...(router?.routes ?? []).filter(({ protocol }) => isOurProtocol(protocol))],
      rules: [...(own?.rules ?? []), ...(router?.rules ?? []).filter(({ preference }) => preference !== 0)],
      policies: scope.policies === undefined ? [] : (own?.policies ?? []),
      sysctls: scope.sysctls.flatMap((sysctl) => {
        const space = this.namespaces.get(sysctl.namespace);
        const link = LINK_OF_SYSCTL.exec(sysctl.name)?.[1];
        if (space === undefined || (link !== undefined && !space.links.has(link))) return [];
        return [{ ...sysctl, value: space.sysctls.get(sysctl.name) ?? "as it was" }];
      }),
      guard:
        own?.guard === undefined
          ? { kind: own === undefined || scope.topology === "router" ? "absent" : "unknown" }
          : own.guardKnown
            ? { kind: "applied", guard: own.guard }
            : { kind: "unknown" },
      ...(isSwitched(scope)
        ? {
            neighbours: (own?.neighbours ?? []).map(({ link, address }) => ({
              namespace: scope.namespace,
              link,
              address,
              macAddress: this.switch.gatewayMac,
              isKept: true,
            })),
          }
        : {}),
      ...this.switch.observe(scope),
    });
  }

  apply(step: NetworkStep, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.stepsUntilFailure !== undefined) {
      this.stepsUntilFailure -= 1;
      if (this.stepsUntilFailure < 0) {
        this.stepsUntilFailure = undefined;
        return Promise.reject(new KernelError(`fake ${step.kind}`, "EIO"));
      }
    }
    try {
      this.#perform(step);
    } catch (error) {
      return Promise.reject(error instanceof Error ? error : new Error(String(error)));
    }
    this.applied.push(step);
    this.#lookForOpenings(step);
    return Promise.resolve();
  }

  listOwned(alias: string): Promise<readonly RouterId[]> {
    const plugged = [...this.switch.ports.values()].flatMap(({ owner, router }) =>
      owner === alias && router !== undefined ? [routerId(router)] : [],
    );
    const held = [...this.namespaces].flatMap(([name, space]) => {
      const router = routerOfNamespace(name);
      const ours = [...space.links.values()].some((link) => link.alias === alias);
      return router !== undefined && ours ? [router] : [];
    });
    return Promise.resolve([...new Set([...held, ...plugged])]);
  }

  watch(scope: NetworkScope, _espBackEnd: EspBackEnd, onChange: (what?: NetworkChange) => void): () => void {
    if (this.unwatchable > 0) {
      this.unwatchable -= 1;
      throw new UnavailableError("NAMESPACE_MISSING", `watch: no namespace ${scope.namespace}`);
    }
    const places = scope.topology === "transit" ? [scope.namespace] : scope.candidates;
    for (const place of places)
      this.#watchers.set(place, (this.#watchers.get(place) ?? new Set<(what?: NetworkChange) => void>()).add(onChange));
    return () => {
      for (const place of places) this.#watchers.get(place)?.delete(onChange);
    };
  }

  /** As the kernel's events do. */
  wake(namespace: string, what?: NetworkChange): void {
    for (const onChange of this.#watchers.get(namespace) ?? []) onChange(what);
  }

  probeKernelEsp(): Promise<KernelEsp | undefined> {
    return Promise.resolve(undefined);
  }

  close(): void {
    this.#watchers.clear();
  }

  #in(namespace: string, what: string): FakeNamespace {
    const found = this.namespaces.get(namespace);
    if (found === undefined) throw new UnavailableError("NAMESPACE_MISSING", `${what}: no namespace ${namespace}`);
    return found;
  }

  #link(namespace: string, name: string, what: string): ObservedLink {
    const found = this.#in(namespace, what).links.get(name);
    if (found === undefined) throw new KernelError(`${what} ${name}`, "ENODEV");
    return found;
  }

  #change(namespace: string, name: string, change: Partial<ObservedLink>): void {
    const link = this.#link(namespace, name, "set link");
    this.#in(namespace, "set link").links.set(name, { ...link, ...change });
  }

  #perform(step: NetworkStep): void {
    switch (step.kind) {
      case "createNamespace":
        if (!this.namespaces.has(step.namespace)) this.addNamespace(step.namespace);
        return;
      case "deleteNamespace": {
        const space = this.namespaces.get(step.namespace);
        for (const link of space?.links.values() ?? []) this.deleteLink(step.namespace, link.name);
        this.namespaces.delete(step.namespace);
        return;
      }
      case "applyGuard": {
        const space = this.#in(step.namespace, "apply guard");
        space.guard = step.guard;
        space.guardKnown = true;
        return;
      }
      case "removeGuard":
        this.#in(step.namespace, "remove guard").guard = undefined;
        return;
      case "removeIpsec":
        return;
      case "flushIpsec":
        if (!step.keepsBlocks) this.#in(step.namespace, "flush IPsec").policies = [];
        return;
      case "setSysctl": {
        const link = LINK_OF_SYSCTL.exec(step.sysctl.name)?.[1];
        if (link !== undefined) this.#link(step.sysctl.namespace, link, "set sysctl of");
        this.#in(step.sysctl.namespace, "set sysctl").sysctls.set(step.sysctl.name, step.sysctl.value);
        return;
      }
      case "createVeth":
        this.#createVeth(step.veth.inner, step.veth.outer);
        return;
      case "setLink":
        this.#change(step.namespace, step.link, step.change);
        return;
      case "attachToBridge":
        if (!this.#in(step.namespace, "attach").links.has(step.bridge)) {
          throw new UnavailableError("BRIDGE_MISSING", `no bridge ${step.bridge}`);
        }
        this.#change(step.namespace, step.link, { bridge: step.bridge });
        return;
      case "plugPort":
        this.#link(AGENT_NAMESPACE, step.port.name, "plug");
        this.switch.plug(step.port);
        return;
      case "unplugPort":
        this.switch.unplug(step.name);
        return;
      case "keepNeighbour": {
        const { namespace, link, address } = step;
        this.#link(namespace, link, "keep a neighbour on");
        const space = this.#in(namespace, "keep a neighbour");
        space.neighbours = [...space.neighbours.filter((one) => one.link !== link), { link, address }];
        return;
      }
      case "deleteLink":
        this.deleteLink(step.namespace, step.link);
        return;
      case "addAddress":
        this.#addAddress(step.address);
        return;
      case "removeAddress":
        this.#removeAddress(step.address);
        return;
      case "addRoute": {
        const { route } = step;
        const space = this.#in(route.namespace, "add route");
        if (route.link !== undefined && !this.#link(route.namespace, route.link, "add route").up) {
          throw new KernelError(`add route dev ${route.link}`, "ENETDOWN");
        }
        if (route.via !== undefined && !route.onlink && !isReachable(space, route.link, route.via)) {
          throw new KernelError(`add route via ${route.via}`, "ENETUNREACH");
        }
        space.routes.push({ ...route, protocol: protocolOf(route) });
        return;
      }
      case "removeRoute": {
        const space = this.#in(step.route.namespace, "remove route");
        space.routes = space.routes.filter((route) => JSON.stringify(route) !== JSON.stringify(step.route));
        return;
      }
      case "addRule":
        this.#in(step.rule.namespace, "add rule").rules.push(step.rule);
        return;
      case "addPolicy":
        this.#in(step.policy.namespace, "add policy").policies.push(step.policy);
        return;
      case "removePolicy": {
        const space = this.#in(step.policy.namespace, "remove policy");
        space.policies = space.policies.filter((policy) => ownPolicyKey(policy) !== ownPolicyKey(step.policy));
        return;
      }
      case "removeRule": {
        const space = this.#in(step.rule.namespace, "remove rule");
        space.rules = space.rules.filter((rule) => JSON.stringify(rule) !== JSON.stringify(step.rule));
        return;
      }
      default:
        return step satisfies never;
    }
  }

  #createVeth(inner: LinkEnd, outer: LinkEnd): void {
    for (const end of [inner, outer]) {
      if (this.#in(end.namespace, "create veth").links.has(end.name))
        throw new KernelError(`create ${end.name}`, "EEXIST");
    }
    const peerOf = ({ namespace, name }: LinkEnd) => ({ namespace, name });
    this.addLink(inner.namespace, inner.name, { ...inner, isVeth: true, peer: peerOf(outer) });
    this.addLink(outer.namespace, outer.name, { ...outer, isVeth: true, peer: peerOf(inner) });
  }

  deleteLink(namespace: string, name: string): void {
    const space = this.namespaces.get(namespace);
    const link = space?.links.get(name);
    if (space === undefined || link === undefined) return;
    space.links.delete(name);
    space.addresses = space.addresses.filter((address) => address.link !== name);
    space.routes = space.routes.filter((route) => route.link !== name);
    space.neighbours = space.neighbours.filter((neighbour) => neighbour.link !== name);
    for (const key of [...space.sysctls.keys()]) if (LINK_OF_SYSCTL.exec(key)?.[1] === name) space.sysctls.delete(key);
    if (link.peer !== undefined) this.deleteLink(link.peer.namespace, link.peer.name);
  }

  #addAddress(address: LinkAddress): void {
    this.#link(address.namespace, address.link, "add address to");
    const space = this.#in(address.namespace, "add address");
    const held = space.addresses.find((one) => one.link === address.link && one.address === address.address);
    if (held?.prefixLength === address.prefixLength) return;
    if (held !== undefined && familyOf(address.address) === 6) {
      throw new KernelError(`add address ${address.address} with another prefix length`, "EEXIST");
    }
    space.addresses.push(address);
  }

  #removeAddress(address: LinkAddress): void {
    const space = this.#in(address.namespace, "remove address");
    space.addresses = space.addresses.filter((one) => JSON.stringify(one) !== JSON.stringify(address));
    const isIpv4 = (text: string): boolean => familyOf(text) === 4;
    const left = space.addresses.some((one) => one.link === address.link && isIpv4(one.address));
    // fib_disable_ip: the last IPv4 address of a link takes the link's routes along.
    if (isIpv4(address.address) && !left) {
      space.routes = space.routes.filter((route) => route.link !== address.link || !isIpv4(route.destination));
    }
  }

  #lookForOpenings(step: NetworkStep): void {
    for (const [name, space] of this.namespaces) {
      if (routerOfNamespace(name) === undefined || space.guard !== undefined) continue;
      const forwards = space.sysctls.get("net/ipv4/ip_forward") === "1";
      const plugged = [...space.links.values()].some((link) => link.isVeth && link.up);
      if (forwards || plugged) this.openings.push(`${name} after ${step.kind}`);
    }
  }

  /** Are the routes of the router into the tunnel without a guard for them? */
  unguarded(scope: TransitScope): readonly string[] {
    const guard = this.namespaces.get(scope.namespace)?.guard;
    const router = this.namespaces.get(scope.routerNamespace ?? "");
    const routed = (router?.routes ?? []).filter(
      (route) => route.kind === "unicast" && route.protocol === ROUTE_PROTOCOL,
    );
    const peers = guard?.pairs.flatMap((pair) => pair.peerSubnets) ?? [];
    return routed.map((route) => route.destination).filter((cidr) => !peers.some((peer) => cidrContains(peer, cidr)));
  }
}

function isReachable(space: FakeNamespace, link: string | undefined, via: string): boolean {
  return space.addresses.some(
    (address) => address.link === link && cidrContains(`${address.address}/${address.prefixLength}`, via),
  );
}
