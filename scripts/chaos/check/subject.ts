// What the checker is told: where things are, never what they should be. It shares no code with the program.

export type SubjectAgent = {
  readonly host: string;
  readonly runDirectory: string;
  readonly stateDirectory: string;
  readonly controlSocket: string;
};

export type SubjectRouter = {
  readonly id: string;
  readonly host: string;
  /** Where its charon runs, and what its packets come by. */
  readonly place: "transit" | "router" | "ovs";
  /** How the addresses of its LAN begin, `10.1.`, and what they are translated to on the internet. */
  readonly lanPrefix: string;
  readonly egressAddresses: readonly string[];
  /** Links of the router's own namespace that are not the agent's. */
  readonly isOwnLink: (link: string) => boolean;
};

/** Who encrypts: charon, which sends by a TUN device, or the kernel. */
export type EspBackEnd = "userland" | "kernel";

export type Subject = {
  readonly espBackEnd: EspBackEnd;
  /** The lab's directory; charons of its agents have it in their environment. */
  readonly directory: string;
  readonly documentsFile: string;
  readonly controllerSocket: string;
  readonly agents: readonly SubjectAgent[];
  /** Every router that there may be: what is there of another is nobody's here. */
  readonly routers: readonly SubjectRouter[];
  /** The bridge that is the internet, and the ports on it that are not the agents'. */
  readonly bridge: string;
  readonly isOwnPort: (link: string) => boolean;
  /** In a router's own namespace: what Neutron's L3 agent has written, as `iptables-save` says it. */
  readonly chainsOf: (routerId: string) => string | undefined;
  /** The switch of those that are plugged into one. */
  readonly openVswitch: { readonly database: string } | undefined;
  /** Queues of those who watch. */
  readonly isOwnQueue: (queue: string) => boolean;
  /** `rabbitmqctl list_queues name consumers messages`, or undefined while the broker is away. */
  readonly listQueues: () => Promise<string | undefined>;
};

export const INVARIANTS = [
  "written",
  "loaded",
  "negotiated",
  "reported",
  "network",
  "guard",
  "ipsec",
  "orphan-namespace",
  "orphan-process",
  "orphan-file",
  "orphan-queue",
  "contradiction",
  "clear-text",
  "unrelated-traffic",
  "tunnel-traffic",
] as const;
export type Invariant = (typeof INVARIANTS)[number];

/** One thing that is not as the documents want it. */
export type Finding = {
  readonly invariant: Invariant;
  /** A router's id, a connection's id, or what else it is about. */
  readonly about: string;
  readonly text: string;
};
