// What differs between the places where routers' charons run: the world around them, where in it things are, and what can be
// done to them there. One file a place; all else of a run is the same in each.
import type { LabSide } from "../../lab.ts";
import type { World } from "../../world.ts";
import type { Fault } from "../faults/fault.ts";
import type { FaultKind } from "../faults/kinds.ts";
import type { Model, Side, SiteRouter } from "../model.ts";

export type Faults = Readonly<Partial<Record<FaultKind, Fault>>>;

export type Place = {
  /** Routers of both sides together, unless asked for otherwise. */
  readonly routers: number;
  readonly faults: Faults;
  /** Why it cannot be had on this machine; undefined: it can. */
  readonly lacks: () => string | undefined;
  readonly open: (of: { readonly prefix: string; readonly model: Model }) => Promise<Site>;
};

/** The place of one run. */
export type Site = {
  readonly sideOf: (router: SiteRouter) => LabSide;
  readonly agentConfigOf: (side: Side) => Readonly<Record<string, unknown>>;
  readonly groundOf: (router: SiteRouter) => Ground;
  /** When the world is built, and before there are agents in it. */
  readonly furnish: (world: World) => Promise<void>;
  /** When the agents are at work: what a control plane does as soon as it sees their ports. */
  readonly attend: () => Promise<void>;
  readonly l3Agent?: L3Agent;
  readonly openVswitch?: OpenVswitch;
  /** When nothing else is left. */
  readonly close: () => Promise<void>;
};

/** Where the things of one router are. */
export type Ground = {
  /** As the checker calls it. */
  readonly kind: "transit" | "router" | "ovs";
  readonly charonNamespace: string;
  /** Where links, rules and routes are that the agent or charon has made, and which of all there they are. */
  readonly namespaces: readonly string[];
  readonly isLink: (name: string) => boolean;
  readonly isRoute: (route: Readonly<Record<string, string | number | undefined>>) => boolean;
  /** Links of a router's own namespace that are neither's. */
  readonly isOwnLink: (name: string) => boolean;
  /** What the LAN is translated to on the internet. */
  readonly egressAddresses: readonly string[];
};

/** What Neutron's L3 agent does to a router. */
export type L3Agent = {
  /** The namespace and everything in it, after it was deleted. */
  readonly remake: (router: SiteRouter) => Promise<void>;
  /** All its chains, with a floating address of the router's host or without; returns which. */
  readonly writeChains: (router: SiteRouter, hasFloating: boolean) => Promise<void>;
  readonly setRole: (router: SiteRouter, role: string) => void;
  /** What `iptables-save` said when the chains had been written. */
  readonly chainsOf: (routerId: string) => string | undefined;
};

/** The switch that the routers of one side are plugged into. */
export type OpenVswitch = {
  readonly bridge: string;
  readonly database: string;
  readonly routers: readonly SiteRouter[];
  readonly vsctl: (...args: readonly string[]) => string;
  readonly killSwitch: () => Promise<void>;
  readonly startSwitch: () => Promise<void>;
  readonly stopDatabase: () => Promise<void>;
  readonly startDatabase: () => Promise<void>;
  /** Resolves when hosts reach the internet again, or have not for long. */
  readonly settled: () => Promise<void>;
};
