// What we tell about a router, its services and its connections: one value that the status report, the metrics,
// the health answers and the command line are views of.
import type { ConnectionId, RouterId, ServiceId } from "./ids.ts";
import type { Cidr } from "./model.ts";
import type { Reason } from "./reason.ts";
import type { PortState } from "./switch.ts";

export type ReportedStatus = "ACTIVE" | "DOWN" | "ERROR";

/** One CHILD SA that a connection wants, whether it is installed or not. */
export type ChildState = {
  readonly name: string;
  readonly localSubnets: readonly Cidr[];
  readonly peerSubnets: readonly Cidr[];
  readonly installed: boolean;
  readonly spiIn?: string;
  readonly spiOut?: string;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly packetsIn: number;
  readonly packetsOut: number;
};

export type ConnectionState = {
  readonly id: ConnectionId;
  readonly name: string;
  readonly service: ServiceId;
  readonly status: ReportedStatus;
  /** Absent while ACTIVE. */
  readonly reason?: Reason;
  /** Desired, written and loaded agree. */
  readonly inSync: boolean;
  readonly localAddress?: string;
  readonly peerAddress?: string;
  readonly ikeVersion?: 1 | 2;
  /** SPIs of the IKE SA, `<initiator>:<responder>` in hex, while one is established. */
  readonly ikeSpis?: string;
  readonly children: readonly ChildState[];
};

export type ServiceState = { readonly id: ServiceId; readonly name: string; readonly status: ReportedStatus };

export type RouterState = {
  readonly id: RouterId;
  readonly namespace: string;
  /** Another machine carries it, and tells of it. */
  readonly role?: "standby";
  readonly charon: "up" | "starting" | "down" | "not-wanted";
  readonly services: readonly ServiceState[];
  readonly connections: readonly ConnectionState[];
  /** Ports of a switch, in the order external, transit; absent where the router has none. */
  readonly ports?: readonly PortState[];
  /** End of the last pass over this router, Unix time in ms; absent before the first. */
  readonly lastPassAtMs?: number;
  /** Text of the failure that the last pass ended with. */
  readonly lastFailure?: string;
};

/** Whether OVN's southbound database says that this agent is here and alive: without it nothing is scheduled to it. */
export type OvnState = {
  readonly registered: boolean;
  readonly chassis?: string;
  /** The server that said so, while registered. */
  readonly southbound?: string;
  /** What is missing; absent while registered. */
  readonly why?: string;
};

/** The agent as its local socket shows it. `version` is raised when a field changes its meaning. */
export type AgentState = {
  readonly version: 1;
  readonly host: string;
  readonly startedAtMs: number;
  readonly espBackEnd: "kernel" | "userland";
  /** Who runs charons; absent while the agent is being built. */
  readonly supervisor?: "systemd" | "process";
  readonly brokerConnected: boolean;
  /** Absent where the agent does not announce itself in OVN. */
  readonly ovn?: OvnState;
  readonly desired: "unknown" | "remembered" | "fetched";
  readonly lastFetchAtMs?: number;
  readonly routers: readonly RouterState[];
};
