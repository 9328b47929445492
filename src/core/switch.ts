// Ports of a switch of Open vSwitch: which we want, which are ours, and what is known of each. Pure.
import type { PortId, RouterId } from "./ids.ts";

/** A port as it should be. OVN knows it by `port`, we by `router` and `owner`. */
export type SwitchPort = {
  readonly bridge: string;
  /** Of the port, of its only interface and of the link. */
  readonly name: string;
  readonly port: PortId;
  readonly macAddress: string;
  readonly router: RouterId;
  readonly owner: string;
};

export const switchPort = (port: SwitchPort): SwitchPort => port;

export type ObservedSwitchPort = {
  readonly bridge: string;
  readonly name: string;
  /** Of the interface: empty for a link that is there already, `internal` for one of the switch's own. */
  readonly type: string;
  readonly port: string | undefined;
  readonly macAddress: string | undefined;
  readonly isActive: boolean;
  readonly router: string | undefined;
  readonly owner: string | undefined;
  /** The switch has taken the link in. */
  readonly isOpen: boolean;
  /** What the switch says against the link. */
  readonly problem: string | undefined;
  /** OVN's controller on this machine has told the switch what to do with its packets. */
  readonly isInstalled: boolean;
};

/** Of a switch only what may be ours: ports with our mark, and those that OVN knows by an id of the scope's. */
export type ObservedSwitch =
  | { readonly kind: "unreachable"; readonly why: string }
  | {
      readonly kind: "read";
      readonly bridgeExists: boolean;
      /** It has no part in the kernel. */
      readonly isUserland: boolean;
      readonly ports: readonly ObservedSwitchPort[];
    };

export const isPlugged = (wanted: SwitchPort, held: ObservedSwitchPort): boolean =>
  held.name === wanted.name &&
  held.bridge === wanted.bridge &&
  held.type === "" &&
  held.port === wanted.port &&
  held.macAddress === wanted.macAddress &&
  held.isActive &&
  held.router === wanted.router &&
  held.owner === wanted.owner;

/**
 * Ports that cannot stay: ours that nobody wants, and others that claim what is ours by the list, such as the stock agent's,
 * whose port of the same id has another name. Of two with one id OVN serves only one.
 */
export function strayPorts(
  of: { readonly router: RouterId; readonly owner: string; readonly wanted: readonly SwitchPort[] },
  held: readonly ObservedSwitchPort[],
): readonly ObservedSwitchPort[] {
  return held.filter((port) => {
    const wanted = of.wanted.find(({ name }) => name === port.name);
    if (wanted !== undefined) return port.bridge !== wanted.bridge || port.type !== "";
    const isOurs = port.router === of.router && port.owner === of.owner;
    return isOurs || of.wanted.some(({ port: id }) => id === port.port);
  });
}

/** How far a port has come, for people. */
export type PortState = {
  readonly name: string;
  readonly port: PortId;
  readonly state: "bound" | "waiting" | "failed" | "missing";
  /** Absent while bound. */
  readonly why?: string;
};

export function portState(wanted: SwitchPort, seen: ObservedSwitch | undefined): PortState {
  const { name, port, bridge } = wanted;
  const told = (state: "waiting" | "failed" | "missing", why: string): PortState => ({ name, port, state, why });
  if (seen === undefined) return told("missing", "Open vSwitch was not looked at yet");
  if (seen.kind === "unreachable") return told("missing", seen.why);
  if (!seen.bridgeExists) return told("missing", `there is no bridge ${bridge} in Open vSwitch`);
  const held = seen.ports.find((one) => isPlugged(wanted, one));
  if (held === undefined) return told("missing", `it is not plugged into ${bridge} yet`);
  if (held.problem !== undefined) return told("failed", `Open vSwitch cannot use ${name}: ${held.problem}`);
  if (!held.isOpen) return told("waiting", `waiting for ovs-vswitchd to take in ${name}`);
  if (!held.isInstalled) return told("waiting", `waiting for OVN to bind port ${port}`);
  return { name, port, state: "bound" };
}
