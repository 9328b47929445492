// Builders of what a router should have: tunnels, connections, services, routers. Ids are numbered, so that plans as text
// can call them C1, C2.
import {
  AUTH_ALGORITHMS,
  DH_GROUPS,
  ENCRYPTION_ALGORITHMS,
  type CharonAlgorithms,
  type KernelEsp,
} from "../../src/core/algorithms.ts";
import { connectionId, serviceId, type ConnectionId, type RouterId } from "../../src/core/ids.ts";
import type {
  DesiredConnection,
  DesiredRouter,
  DesiredService,
  IkePolicy,
  IpsecPolicy,
  Tunnel,
} from "../../src/core/model.ts";
import type { ChildSa, IkeSa, RunningCharon } from "../../src/core/observed.ts";
import { Secret } from "../../src/core/secret.ts";
import { PLUMBING, ROUTER } from "./network-builders.ts";

/** Everything, as strongSwan with all its plugins and a kernel with all its modules have it. */
export const ALL_ALGORITHMS: CharonAlgorithms & KernelEsp = {
  encryption: ENCRYPTION_ALGORITHMS,
  authentication: AUTH_ALGORITHMS,
  prf: AUTH_ALGORITHMS,
  dhGroups: DH_GROUPS,
  hasAh: true,
};

export const aConnectionId = (number: number): ConnectionId =>
  connectionId(`c0000000-0000-4000-8000-${String(number).padStart(12, "0")}`);

export const SERVICE = serviceId("5e000000-0000-4000-8000-000000000001");
/** A text that must never come out of anything. */
export const PSK = "correct horse battery staple";

export const anIkePolicy = (more: Partial<IkePolicy> = {}): IkePolicy => ({
  version: 2,
  mode: "main",
  encryption: "aes-256",
  authentication: "sha256",
  dhGroup: "group14",
  lifetime: { kind: "seconds", seconds: 3600 },
  ...more,
});

export const anIpsecPolicy = (more: Partial<IpsecPolicy> = {}): IpsecPolicy => ({
  protocol: "esp",
  mode: "tunnel",
  encryption: "aes-256",
  authentication: "sha256",
  dhGroup: "group14",
  lifetime: { kind: "seconds", seconds: 3600 },
  ...more,
});

/** The tunnel of connection `number`: 10.1.<number>.0/24 to 10.2.<number>.0/24, so that no two have a pair in common. */
export function aTunnel(number = 1, more: Partial<Tunnel> = {}): Tunnel {
  return {
    id: aConnectionId(number),
    localAddress: "203.0.113.10",
    peerAddress: "203.0.113.20",
    localId: "203.0.113.10",
    peerId: "203.0.113.20",
    psk: new Secret(PSK),
    localSubnets: [`10.1.${String(number)}.0/24`],
    peerSubnets: [`10.2.${String(number)}.0/24`],
    ike: anIkePolicy(),
    ipsec: anIpsecPolicy(),
    initiator: "bi-directional",
    dpd: { action: "restart", intervalSeconds: 30, timeoutSeconds: 120 },
    mtuBytes: 1500,
    ...more,
  };
}

export function aConnection(tunnel: Tunnel = aTunnel()): DesiredConnection {
  const { id, localSubnets, peerSubnets } = tunnel;
  return {
    kind: "usable",
    id,
    service: SERVICE,
    name: `to-${tunnel.peerAddress}`,
    guarded: { localSubnets, peerSubnets },
    reportedStatus: "PENDING_CREATE",
    tunnel,
  };
}

export function aDisabledConnection(tunnel: Tunnel = aTunnel(), why: "connection" | "service" = "connection") {
  const { id, service, name, guarded, reportedStatus } = aConnection(tunnel);
  return { kind: "disabled", id, service, name, guarded, reportedStatus, why } satisfies DesiredConnection;
}

export function anUnusableConnection(tunnel: Tunnel = aTunnel(), text = "ah-esp cannot be had") {
  const { id, service, name, guarded, reportedStatus } = aConnection(tunnel);
  const reason = { code: "unsupported" as const, text };
  return { kind: "unusable", id, service, name, guarded, reportedStatus, reason } satisfies DesiredConnection;
}

export const aService = (more: Partial<DesiredService> = {}): DesiredService => ({
  id: SERVICE,
  name: "left",
  project: "acme",
  enabled: true,
  reportedStatus: "PENDING_CREATE",
  ...more,
});

/** A router with one service and the given connections; a tunnel stands for its usable connection. */
export function aRouterWith(
  connections: readonly (Tunnel | DesiredConnection)[],
  more: Partial<DesiredRouter> & { readonly id?: RouterId } = {},
): DesiredRouter {
  return {
    id: ROUTER,
    services: [aService()],
    connections: connections.map((one) => ("psk" in one ? aConnection(one) : one)),
    plumbing: { kind: "known", value: PLUMBING },
    ...more,
  };
}

export const aChildSa = (more: Partial<ChildSa> = {}): ChildSa => ({
  name: aConnectionId(1),
  uniqueId: "1",
  state: "installed",
  ageSeconds: 0,
  localSubnets: ["10.1.1.0/24"],
  peerSubnets: ["10.2.1.0/24"],
  spiIn: "c1000001",
  spiOut: "c2000001",
  reqId: 1,
  values: new Map(),
  bytesIn: 0,
  bytesOut: 0,
  packetsIn: 0,
  packetsOut: 0,
  ...more,
});

export const anIkeSa = (peer: string, more: Partial<IkeSa> = {}): IkeSa => ({
  peer,
  uniqueId: "1",
  state: "established",
  spis: "0000000000000001:0000000000000002",
  values: new Map(),
  children: [aChildSa()],
  ...more,
});

/** With these SAs and nothing else. */
export const aRunningCharon = (...ikeSas: readonly IkeSa[]): RunningCharon => ({
  kind: "up",
  instance: "1",
  startedAtMs: 0,
  algorithms: ALL_ALGORITHMS,
  peers: new Map(),
  loaded: new Map(),
  secretIds: new Set(),
  markers: new Map(),
  ikeSas,
  files: new Map(),
});
