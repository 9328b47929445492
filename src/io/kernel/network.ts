// Implements the core's Network over netlink. What is there already or gone already is no error and never leaves here.
import { closeSync } from "node:fs";
import { KernelError, UnavailableError } from "../../core/errors.ts";
import type { KernelEsp } from "../../core/algorithms.ts";
import type { DataPlane } from "../../core/data-plane.ts";
import type { EspBackEnd, Guard } from "../../core/guard.ts";
import type { RouterId } from "../../core/ids.ts";
import {
  AGENT_NAMESPACE,
  CHARON_PREFERENCE,
  protocolOf,
  protocolOfRule,
  type LinkAddress,
  type NetworkScope,
  type ObservedGuard,
  type ObservedNetwork,
  type OwnPolicy,
  type Route,
  type Veth,
} from "../../core/network.ts";
import type { LinkChange, NetworkStep } from "../../core/network-plan.ts";
import { routerOfNamespace } from "../../core/names.ts";
import type { Network, NetworkChange } from "../../core/ports.ts";
import { NLM_F_CREATE, NLM_F_EXCL, type Netlink } from "./netlink.ts";
import {
  agentNamespaceFd,
  createNamespace,
  deleteNamespace,
  listNamespaces,
  NAMESPACE_DIRECTORY,
  namespaceInode,
  openNamespace,
} from "./netns.ts";
import { computeChecksums } from "./offload.ts";
import { addPolicy, readOwnPolicies, removePolicy } from "./policy.ts";
import { probeKernelEsp } from "./probe.ts";
import { readLink, readLinks, readNetwork, readUserlandPlane } from "./read-network.ts";
import { flushIpsec, removeIpsec } from "./remove-ipsec.ts";
import {
  encodeAddress,
  encodeRoute,
  encodeRule,
  encodeVeth,
  keptNeighbour,
  linkAlias,
  linkMac,
  linkMaster,
  linkMtu,
  linkNamed,
  linkUp,
  RTM_DELADDR,
  RTM_DELLINK,
  RTM_DELROUTE,
  RTM_DELRULE,
  RTM_NEWADDR,
  RTM_NEWLINK,
  RTM_NEWNEIGH,
  RTM_NEWROUTE,
  RTM_NEWRULE,
  RTM_SETLINK,
} from "./rtnetlink.ts";
import { Sockets } from "./sockets.ts";
import { readKernelPlane } from "./xfrm.ts";
import { hasChain, readTables } from "./guard-table.ts";
import { writeSysctl } from "./sysctl.ts";
import { Watches } from "./watch.ts";

/** `guard` undefined: there is to be none. */
export type ApplyGuard = (namespacePath: string, guard: Guard | undefined, signal: AbortSignal) => Promise<void>;

const ALREADY_THERE = ["EEXIST"];
/** What the kernel says of a link, an address, a route and a rule that is not there. */
const ALREADY_GONE = ["ENODEV", "EADDRNOTAVAIL", "ESRCH", "ENOENT"];

/** Neutron's L3 agent writes a router's chains in bursts. */
const GUARD_ATTEMPTS = 5;

type AppliedGuard = {
  readonly inode: number;
  readonly generation: number;
  /** What the kernel tells of the tables. */
  readonly table: string | undefined;
  readonly guard: Guard;
};

/** Namespaces of routers, which are not ours (topology `router`). */
export type RouterNamespaces = {
  /** The router of a namespace's name; undefined: it is none of a router. */
  readonly routerOf: (name: string) => RouterId | undefined;
  /** A chain that only a table of this agent has. */
  readonly ownerChain: string;
};

export class KernelNetwork implements Network {
  readonly #sockets = new Sockets();
  readonly #watches = new Watches((name) => {
    this.#forgetVanished(name);
  });
  readonly #guards = new Map<string, AppliedGuard>();
  /** By their inodes: those in which nothing is left of a time with ESP in the kernel. */
  readonly #withoutPolicies = new Map<string, number>();
  readonly #applyGuard: ApplyGuard;
  readonly #leftFiles: () => readonly RouterId[];
  readonly #routers: RouterNamespaces | undefined;

  /** `leftFiles`: routers whose files are ours, which proves it too: an agent may be killed before it marks a namespace. */
  constructor(applyGuard: ApplyGuard, leftFiles: () => readonly RouterId[] = () => [], routers?: RouterNamespaces) {
    this.#routers = routers;
    this.#leftFiles = leftFiles;
    this.#applyGuard = applyGuard;
  }

  async observe(scope: NetworkScope, signal: AbortSignal): Promise<ObservedNetwork> {
    signal.throwIfAborted();
    const network = await readNetwork(this.#sockets, scope, signal);
    if (!network.namespaceExists) {
      this.#guards.delete(scope.namespace);
      this.#withoutPolicies.delete(scope.namespace);
      return { ...network, guard: { kind: "absent" }, policies: [] };
    }
    return { ...network, guard: await this.#readGuard(scope.namespace), policies: await this.#readPolicies(scope) };
  }

  async observeDataPlane(
    namespace: string,
    espBackEnd: EspBackEnd,
    signal: AbortSignal,
  ): Promise<DataPlane | undefined> {
    signal.throwIfAborted();
    if (namespaceInode(namespace) === undefined) return undefined;
    return espBackEnd === "userland"
      ? readUserlandPlane(this.#sockets, namespace)
      : readKernelPlane(this.#sockets.xfrm(namespace), namespace);
  }

  async apply(step: NetworkStep, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    switch (step.kind) {
      case "createNamespace":
        createNamespace(step.namespace);
        return;
      case "deleteNamespace":
        this.#sockets.forget(step.namespace);
        this.#watches.forget(step.namespace);
        this.#guards.delete(step.namespace);
        this.#withoutPolicies.delete(step.namespace);
        deleteNamespace(step.namespace);
        return;
      case "applyGuard":
        return this.#guard(step.namespace, step.guard, signal);
      case "removeGuard":
        this.#guards.delete(step.namespace);
        return this.#applyGuard(`${NAMESPACE_DIRECTORY}/${step.namespace}`, undefined, signal);
      case "removeIpsec":
        return removeIpsec(this.#sockets.xfrm(step.namespace), step.namespace, step.entries);
      case "flushIpsec":
        return flushIpsec(this.#sockets.xfrm(step.namespace), step.namespace, step.keepsBlocks);
      case "setSysctl":
        writeSysctl(step.sysctl);
        return;
      case "createVeth":
        return this.#createVeth(step.veth);
      case "setLink":
        return this.#setLink(step.namespace, step.link, step.change);
      case "attachToBridge":
        return this.#attachToBridge(step.namespace, step.link, step.bridge);
      case "plugPort":
      case "unplugPort":
        throw new TypeError(`${step.kind} is for a switch, which the kernel knows nothing of`);
      case "keepNeighbour": {
        const { namespace, link, address } = step;
        const what = `keep neighbour ${address} on ${link} of ${namespace}`;
        const data = keptNeighbour(address, await this.#indexOf(namespace, link, what));
        return this.#tell(namespace, what, RTM_NEWNEIGH, data, NLM_F_CREATE);
      }
      case "deleteLink": {
        const what = `delete link ${step.link} of ${step.namespace}`;
        return this.#tell(step.namespace, what, RTM_DELLINK, linkNamed(step.link), 0, ALREADY_GONE);
      }
      case "addAddress":
        return this.#address(step.address, "add");
      case "removeAddress":
        return this.#address(step.address, "remove");
      case "addRoute":
        return this.#route(step.route, protocolOf(step.route), "add");
      case "removeRoute":
        return this.#route(step.route, step.route.protocol, "remove");
      case "addPolicy":
        this.#withoutPolicies.delete(step.policy.namespace);
        return addPolicy(this.#sockets.xfrm(step.policy.namespace), step.policy);
      case "removePolicy":
        return removePolicy(this.#sockets.xfrm(step.policy.namespace), step.policy);
      case "addRule":
      case "removeRule": {
        const { rule } = step;
        // charon makes the same one, and the kernel takes one of another protocol for another.
        const mark = rule.preference === CHARON_PREFERENCE ? undefined : protocolOfRule(rule);
        const adds = step.kind === "addRule";
        const what = `${adds ? "add" : "remove"} rule ${rule.preference} to table ${rule.table} in ${rule.namespace}`;
        return adds
          ? this.#tell(
              rule.namespace,
              what,
              RTM_NEWRULE,
              encodeRule(rule, mark),
              NLM_F_CREATE | NLM_F_EXCL,
              ALREADY_THERE,
            )
          : this.#tell(rule.namespace, what, RTM_DELRULE, encodeRule(rule, undefined), 0, ALREADY_GONE);
      }
      default:
        return step satisfies never;
    }
  }

  async listOwned(alias: string, signal: AbortSignal): Promise<readonly RouterId[]> {
    const owned = new Set(this.#leftFiles());
    if (this.#routers !== undefined) return this.#listGuarded(this.#routers, owned, signal);
    for (const name of listNamespaces()) {
      signal.throwIfAborted();
      const router = routerOfNamespace(name);
      if (router === undefined || namespaceInode(name) === undefined) continue;
      const links = await readLinks(this.#sockets.route(name), name);
      if (links.some((link) => link.alias === alias)) owned.add(router);
      else this.#sockets.forget(name);
    }
    return [...owned];
  }

  async #listGuarded(
    { routerOf, ownerChain }: RouterNamespaces,
    owned: Set<RouterId>,
    signal: AbortSignal,
  ): Promise<readonly RouterId[]> {
    for (const name of listNamespaces()) {
      signal.throwIfAborted();
      const router = routerOf(name);
      if (router === undefined || owned.has(router) || namespaceInode(name) === undefined) continue;
      if (await hasChain(this.#sockets.netfilter(name), name, ownerChain)) owned.add(router);
      else this.#sockets.forget(name);
    }
    return [...owned];
  }

  watch(scope: NetworkScope, espBackEnd: EspBackEnd, onChange: (what?: NetworkChange) => void): () => void {
    return this.#watches.add(scope, espBackEnd, onChange);
  }

  probeKernelEsp(): Promise<KernelEsp | undefined> {
    return probeKernelEsp();
  }

  close(): void {
    this.#watches.close();
    this.#sockets.close();
  }

  /** Where none is wanted only those count that another back end left, and nobody but this program would have. */
  async #readPolicies({ namespace, policies }: NetworkScope): Promise<readonly OwnPolicy[]> {
    const inode = namespaceInode(namespace);
    if (policies === undefined || inode === undefined) return [];
    if (policies.length === 0 && this.#withoutPolicies.get(namespace) === inode) return [];
    let netlink: Netlink;
    try {
      netlink = this.#sockets.xfrm(namespace);
    } catch (error) {
      // A kernel without IPsec has none; ESP in userland needs none of it.
      if (policies.length === 0) return [];
      throw error;
    }
    const found = await readOwnPolicies(netlink, namespace, policies);
    if (policies.length === 0 && found.length === 0) {
      this.#withoutPolicies.set(namespace, inode);
      this.#sockets.closeXfrm(namespace);
    }
    return found;
  }

  /**
   * The kernel gives a new namespace the number of one that is gone, and in a router's own others may have come to the same
   * generation in it. Before the last of our sockets in it is closed the number is not given.
   */
  #forgetVanished(name: string | undefined): void {
    for (const namespace of name === undefined ? [...this.#guards.keys()] : [name]) {
      const guard = this.#guards.get(namespace);
      if (guard !== undefined && namespaceInode(namespace) !== guard.inode) this.#guards.delete(namespace);
    }
    this.#sockets.forgetVanished(name);
  }

  async #tell(
    namespace: string,
    what: string,
    type: number,
    data: readonly Buffer[],
    flags: number,
    absorbed: readonly string[] = [],
  ): Promise<void> {
    try {
      await this.#sockets.route(namespace).request(what, type, data, flags);
    } catch (error) {
      if (!(error instanceof KernelError && absorbed.includes(error.code))) throw error;
    }
  }

  async #indexOf(namespace: string, link: string, what: string): Promise<number> {
    const found = await readLink(this.#sockets.route(namespace), namespace, link);
    if (found === undefined) throw new KernelError(what, "ENODEV");
    return found.index;
  }

  async #createVeth({ inner, outer }: Veth): Promise<void> {
    const what = `create veth ${inner.name} of ${inner.namespace} with ${outer.name} in ${outer.namespace}`;
    const isAgents = outer.namespace === AGENT_NAMESPACE;
    const fd = isAgents ? agentNamespaceFd() : openNamespace(outer.namespace);
    try {
      const data = encodeVeth(inner, outer, fd);
      await this.#tell(inner.namespace, what, RTM_NEWLINK, data, NLM_F_CREATE | NLM_F_EXCL, ALREADY_THERE);
    } finally {
      if (!isAgents) closeSync(fd);
    }
  }

  #setLink(namespace: string, link: string, change: LinkChange): Promise<void> {
    const set = (what: string, data: readonly Buffer[]): Promise<void> =>
      this.#tell(namespace, `set ${what} of link ${link} of ${namespace}`, RTM_SETLINK, data, 0);
    if ("macAddress" in change) return set(`address ${change.macAddress}`, linkMac(link, change.macAddress));
    if ("mtuBytes" in change) return set(`mtu ${change.mtuBytes}`, linkMtu(link, change.mtuBytes));
    if ("offloadsChecksums" in change) {
      computeChecksums(namespace, link);
      return Promise.resolve();
    }
    if ("alias" in change) return set(`alias ${change.alias}`, linkAlias(link, change.alias));
    return set("up", linkUp(link));
  }

  async #attachToBridge(namespace: string, link: string, bridge: string): Promise<void> {
    const found = await readLink(this.#sockets.route(namespace), namespace, bridge);
    if (found === undefined) throw new UnavailableError("BRIDGE_MISSING", `there is no bridge ${bridge}`);
    const what = `attach ${link} to bridge ${bridge}`;
    await this.#tell(namespace, what, RTM_SETLINK, linkMaster(link, found.index), 0);
  }

  async #address(address: LinkAddress, how: "add" | "remove"): Promise<void> {
    const { namespace, link } = address;
    const what = `${how} address ${address.address}/${address.prefixLength} of link ${link} of ${namespace}`;
    if (how === "add") {
      const data = encodeAddress(address, await this.#indexOf(namespace, link, what));
      return this.#tell(namespace, what, RTM_NEWADDR, data, NLM_F_CREATE | NLM_F_EXCL, ALREADY_THERE);
    }
    const found = await readLink(this.#sockets.route(namespace), namespace, link);
    if (found === undefined) return;
    await this.#tell(namespace, what, RTM_DELADDR, encodeAddress(address, found.index), 0, ALREADY_GONE);
  }

  /**
   * Neither EXCL nor REPLACE: a route beside one with another next hop is there before the other goes. IPv4 puts it
   * before routes of the same metric, so that a stranger's does not win; IPv6 would join the two until the other is gone.
   */
  async #route(route: Route, protocol: number, how: "add" | "remove"): Promise<void> {
    const { namespace, link } = route;
    const via = route.via === undefined ? route.kind : `via ${route.via}`;
    const what = `${how} route to ${route.destination} ${via} in ${namespace}`;
    const index = link === undefined ? undefined : await this.#indexOf(namespace, link, what);
    const data = encodeRoute(route, index, protocol);
    return how === "add"
      ? this.#tell(namespace, what, RTM_NEWROUTE, data, NLM_F_CREATE, ALREADY_THERE)
      : this.#tell(namespace, what, RTM_DELROUTE, data, 0, ALREADY_GONE);
  }

  async #guard(namespace: string, guard: Guard, signal: AbortSignal): Promise<void> {
    const inode = namespaceInode(namespace);
    if (inode === undefined) throw new UnavailableError("NAMESPACE_MISSING", `there is no namespace ${namespace}`);
    this.#guards.delete(namespace);
    for (let attempt = 1; attempt <= GUARD_ATTEMPTS; attempt += 1) {
      const before = await this.#sockets.nftGeneration(namespace);
      await this.#applyGuard(`${NAMESPACE_DIRECTORY}/${namespace}`, guard, signal);
      const generation = await this.#sockets.nftGeneration(namespace);
      const table = await readTables(this.#sockets.netfilter(namespace), namespace);
      // One transaction is one generation (nf_tables_commit). More: somebody else was there too, and what they did is not known.
      if (generation !== before + 1 || (await this.#sockets.nftGeneration(namespace)) !== generation) continue;
      this.#guards.set(namespace, { inode, generation, table, guard });
      return;
    }
  }

  async #readGuard(namespace: string): Promise<ObservedGuard> {
    const applied = this.#guards.get(namespace);
    const isKnown = applied !== undefined && applied.inode === namespaceInode(namespace);
    const generation = await this.#sockets.nftGeneration(namespace);
    if (isKnown && generation === applied.generation) return { kind: "applied", guard: applied.guard };
    const table = await readTables(this.#sockets.netfilter(namespace), namespace);
    if (table === undefined) return { kind: "absent" };
    if (!isKnown || table !== applied.table) return { kind: "unknown" };
    // Other tables have changed, as they do all the time in a router's own namespace.
    this.#guards.set(namespace, { ...applied, generation });
    return { kind: "applied", guard: applied.guard };
  }
}
