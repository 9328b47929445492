// Tells that something may have changed in the network of a router. It does not tell what: that is read anew.
import { watch as watchDirectory, type FSWatcher } from "node:fs";
import type { NetlinkSocket } from "netlink";
import { USERLAND_ESP_LINK, type EspBackEnd } from "../../core/guard.ts";
import {
  AGENT_NAMESPACE,
  CHARON_TABLE,
  isSwitched,
  MAIN_TABLE,
  namespacesOf,
  type NetworkScope,
  isOurProtocol,
} from "../../core/network.ts";
import type { NetworkChange } from "../../core/ports.ts";
import { NETLINK_NETFILTER, NETLINK_ROUTE, NETLINK_XFRM, openNetlink, type Message } from "./netlink.ts";
import { listNamespaces, NAMESPACE_DIRECTORY, namespaceInode } from "./netns.ts";
import {
  decodeLink,
  decodeNeighbour,
  familyOfLinkMessage,
  linkIndexOfAddressMessage,
  protocolOfRouteMessage,
  RTM_DELADDR,
  RTM_DELLINK,
  RTM_DELNEIGH,
  RTM_DELROUTE,
  RTM_DELRULE,
  RTM_NEWADDR,
  RTM_NEWLINK,
  RTM_NEWNEIGH,
  RTM_NEWROUTE,
  RTM_NEWRULE,
  tableOf,
} from "./rtnetlink.ts";
import { takesFromSas, takesOwnPolicies, XFRM_GROUPS } from "./xfrm.ts";

// linux/rtnetlink.h: links, addresses, routes and rules of both families; linux/netfilter/nfnetlink.h
const LINK_GROUP = 1;
const ROUTE_GROUPS = [LINK_GROUP, 5, 7, 8, 9, 11, 19];
const NEIGHBOUR_GROUP = 3;
const NFTABLES_GROUP = 7;
const MOUNT_CHECK_MS = 20;
const MOUNT_CHECKS = 50;

type Watched = {
  readonly inode: number;
  readonly sockets: readonly NetlinkSocket[];
  /** Links of charon's, whose comings and goings are its own. */
  readonly ignoredIndexes: Set<number>;
};
type Watcher = {
  readonly scope: NetworkScope;
  readonly espBackEnd: EspBackEnd;
  readonly onChange: (what?: NetworkChange) => void;
};

export class Watches {
  readonly #watchers = new Set<Watcher>();
  readonly #watched = new Map<string, Watched>();
  readonly #onNamespaces: (name: string | undefined) => void;
  #directory: FSWatcher | undefined;

  /** `onNamespaces` is called when a name in /run/netns came or went; undefined: it is not known which. */
  constructor(onNamespaces: (name: string | undefined) => void) {
    this.#onNamespaces = onNamespaces;
  }

  add(scope: NetworkScope, espBackEnd: EspBackEnd, onChange: (what?: NetworkChange) => void): () => void {
    const watcher = { scope, espBackEnd, onChange };
    this.#watchers.add(watcher);
    const stop = (): void => {
      this.#watchers.delete(watcher);
      for (const namespace of namespacesOf(scope)) {
        if (this.#watchersOf(namespace).length === 0) this.forget(namespace);
      }
    };
    this.#watchDirectory();
    try {
      for (const namespace of [AGENT_NAMESPACE, ...namespacesOf(scope)]) this.#open(namespace);
    } catch (error) {
      stop();
      throw error;
    }
    return stop;
  }

  /** An open socket keeps a deleted namespace alive. */
  forget(namespace: string): void {
    const watched = this.#watched.get(namespace);
    this.#watched.delete(namespace);
    for (const socket of watched?.sockets ?? []) socket.close();
  }

  close(): void {
    this.#watchers.clear();
    this.#directory?.close();
    for (const namespace of [...this.#watched.keys()]) this.forget(namespace);
  }

  #watchersOf(namespace: string): readonly Watcher[] {
    return [...this.#watchers].filter(({ scope }) => namespacesOf(scope).includes(namespace));
  }

  #watchDirectory(): void {
    if (this.#directory !== undefined) return;
    try {
      this.#directory = watchDirectory(NAMESPACE_DIRECTORY, { persistent: false }, (_event, name) => {
        this.#onNamespaces(name ?? undefined);
        const namespaces = name === null ? [...this.#watched.keys()] : [name];
        for (const namespace of namespaces) this.#reopen(namespace, MOUNT_CHECKS);
      });
      this.#directory.on("error", () => {
        this.#directory = undefined;
      });
    } catch {
      // No /run/netns yet: the first namespace makes it, and the next watch finds it.
    }
  }

  /** The file comes before the mount on it, and inotify is silent about mounts. */
  #reopen(namespace: string, checksLeft: number): void {
    const watchers = this.#watchersOf(namespace);
    if (watchers.length === 0) return;
    let isToCome: boolean;
    let what: NetworkChange | undefined;
    try {
      isToCome = namespaceInode(namespace) === undefined && listNamespaces().includes(namespace);
      if (namespaceInode(namespace) !== this.#watched.get(namespace)?.inode) {
        what = "namespace";
        this.#open(namespace);
      }
    } catch {
      isToCome = true; // it went again this moment, or there is no file descriptor left
    }
    if (isToCome && checksLeft > 0) {
      setTimeout(() => {
        this.#reopen(namespace, checksLeft - 1);
      }, MOUNT_CHECK_MS).unref();
    }
    for (const { onChange } of watchers) onChange(what);
  }

  #open(namespace: string): void {
    const inode = namespaceInode(namespace);
    if (this.#watched.get(namespace)?.inode === inode && inode !== undefined) return;
    this.forget(namespace);
    if (inode === undefined) return;
    const ignoredIndexes = new Set<number>();
    const macs = new Map<string, string | undefined>();
    const isAgents = namespace === AGENT_NAMESPACE;
    const wake = (what?: NetworkChange): void => {
      for (const { onChange } of this.#watchersOf(namespace)) onChange(what);
    };
    const open = (protocol: number, groups: readonly number[], onMessages: (messages: Message[]) => void) => {
      const socket = openNetlink(protocol, namespace);
      for (const group of groups) socket.addMembership(group);
      socket.on("message", onMessages);
      // ENOBUFS: events were lost, so anything may have changed.
      socket.on("error", () => {
        if (isAgents) for (const { onChange } of this.#watchers) onChange();
        else wake();
      });
      return socket;
    };
    const sockets = isAgents
      ? [open(NETLINK_ROUTE, [LINK_GROUP], (messages) => this.#onAgentLinks(messages))]
      : [
          open(NETLINK_ROUTE, ROUTE_GROUPS, (messages) => {
            if (messages.some((message) => matters(message, ignoredIndexes))) wake();
          }),
          ...([...this.#watchers].some(({ scope }) => scope.namespace === namespace && isSwitched(scope))
            ? [
                open(NETLINK_ROUTE, [NEIGHBOUR_GROUP], (messages) => {
                  if (messages.filter((message) => isNews(message, macs)).length > 0) wake();
                }),
              ]
            : []),
          ...([...this.#watchers].some(({ scope }) => hasGuard(scope, namespace))
            ? [open(NETLINK_NETFILTER, [NFTABLES_GROUP], () => wake())]
            : []),
          ...([...this.#watchers].some((watcher) => hasKernelEsp(watcher, namespace))
            ? [
                open(NETLINK_XFRM, XFRM_GROUPS, (messages) => {
                  if (messages.some(takesOwnPolicies)) wake();
                  else if (messages.some(takesFromSas)) wake("sas");
                  // Those of new states hold their keys.
                  for (const { data } of messages) data.fill(0);
                }),
              ]
            : []),
        ];
    this.#watched.set(namespace, { inode, sockets, ignoredIndexes });
  }

  /** A thousand routers share the bridge: its own messages matter only when it comes or goes. */
  #onAgentLinks(messages: readonly Message[]): void {
    for (const message of messages) {
      if (![RTM_NEWLINK, RTM_DELLINK].includes(message.type) || familyOfLinkMessage(message) !== 0) continue;
      const { name, index } = decodeLink(message);
      const bridgeChanged = message.type === RTM_DELLINK || this.#bridges.get(name) !== index;
      for (const { scope, onChange } of this.#watchers) {
        const isBridge = bridgeOf(scope) === name;
        if (isBridge ? bridgeChanged : scope.veths.some((veth) => veth.outer.name === name)) onChange();
      }
      if (message.type === RTM_DELLINK) this.#bridges.delete(name);
      else if ([...this.#watchers].some(({ scope }) => bridgeOf(scope) === name)) this.#bridges.set(name, index);
    }
  }
  readonly #bridges = new Map<string, number>();
}

const bridgeOf = (scope: NetworkScope): string | undefined => (scope.topology === "transit" ? scope.bridge : undefined);

const hasGuard = (scope: NetworkScope, namespace: string): boolean =>
  scope.topology === "transit" ? scope.namespace === namespace : scope.candidates.includes(namespace);

const hasKernelEsp = ({ scope, espBackEnd }: Watcher, namespace: string): boolean =>
  espBackEnd === "kernel" && scope.namespace === namespace;

/** A neighbour is asked anew every few seconds; what matters is another answer than the one before. Notes it. */
function isNews(message: Message, macs: Map<string, string | undefined>): boolean {
  if (![RTM_NEWNEIGH, RTM_DELNEIGH].includes(message.type)) return false;
  const found = decodeNeighbour(message);
  if (found === undefined) return false;
  const key = `${found.linkIndex} ${found.address}`;
  const isAnother = message.type === RTM_DELNEIGH || macs.get(key) !== found.macAddress;
  macs.set(key, found.macAddress);
  return isAnother;
}

/** What charon adds for ESP in userland is told by charon; only what is taken away may be somebody else's doing. */
function matters(message: Message, ignoredIndexes: Set<number>): boolean {
  switch (message.type) {
    case RTM_NEWLINK:
    case RTM_DELLINK: {
      if (familyOfLinkMessage(message) !== 0) return false;
      const { name, index, up } = decodeLink(message);
      if (name !== USERLAND_ESP_LINK) return true;
      ignoredIndexes.add(index);
      return message.type === RTM_DELLINK || !up;
    }
    case RTM_NEWADDR:
    case RTM_DELADDR:
      return !ignoredIndexes.has(linkIndexOfAddressMessage(message));
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
      // The kernel's tables follow links and addresses, which have messages of their own.
      return (
        tableOf(message) === MAIN_TABLE ||
        isOurProtocol(protocolOfRouteMessage(message)) ||
        (tableOf(message) === CHARON_TABLE && message.type === RTM_DELROUTE)
      );
    case RTM_NEWRULE:
    case RTM_DELRULE:
      return tableOf(message) !== CHARON_TABLE || message.type === RTM_DELRULE;
    default:
      return false;
  }
}
