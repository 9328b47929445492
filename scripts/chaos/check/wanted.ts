// What the documents want, read by rules of its own: the YAML as an operator reads it, and which tunnels must be up.
import { readFileSync } from "node:fs";
import { parse } from "yaml";

export type WantedAlgorithms = { readonly encryption: string; readonly auth: string; readonly group: string };

export type WantedConnection = {
  readonly id: string;
  readonly name: string;
  readonly routerId: string;
  readonly serviceId: string | undefined;
  readonly host: string;
  /** Of connection and service. */
  readonly isEnabled: boolean;
  readonly localAddress: string;
  readonly peerAddress: string;
  readonly psk: string;
  readonly version: "v1" | "v2";
  readonly ike: WantedAlgorithms;
  readonly esp: WantedAlgorithms;
  readonly ikeLifetime: number;
  readonly espLifetime: number;
  readonly localSubnets: readonly string[];
  readonly peerSubnets: readonly string[];
  readonly dpd: { readonly action: string; readonly interval: number; readonly timeout: number };
  readonly mtu: number;
};

export type WantedRouter = {
  readonly id: string;
  readonly host: string;
  readonly address: string;
  readonly gateway: string;
  readonly mtu: number;
  readonly connections: readonly WantedConnection[];
};

export type Wanted = {
  readonly routers: ReadonlyMap<string, WantedRouter>;
  readonly connections: readonly WantedConnection[];
  /** Ids of those that two gateways can agree about. */
  readonly up: ReadonlySet<string>;
};

type Doc = Readonly<Record<string, unknown>>;

const text = (doc: Doc, key: string): string => {
  const value = doc[key];
  if (typeof value !== "string") throw new Error(`${String(doc["kind"])} ${String(doc["name"])} has no ${key}`);
  return value;
};
const numberOf = (doc: Doc, key: string): number => Number(doc[key]);
const part = (doc: Doc, key: string): Doc => (doc[key] ?? {}) as Doc;
const list = (doc: Doc, key: string): readonly unknown[] => (doc[key] ?? []) as readonly unknown[];

export function readWanted(documentsFile: string): Wanted {
  const docs = parse(readFileSync(documentsFile, "utf8")) as readonly Doc[];
  const named = (kind: string, name: string): Doc => {
    const found = docs.find((doc) => doc["kind"] === kind && doc["name"] === name);
    if (found === undefined) throw new Error(`no ${kind} is named ${name}`);
    return found;
  };
  const ofKind = (kind: string): readonly Doc[] => docs.filter((doc) => doc["kind"] === kind);
  const connections = ofKind("IpsecSiteConnection").map((doc) => connectionOf(doc, named));
  const routers = new Map<string, WantedRouter>();
  for (const service of ofKind("VpnService")) {
    const id = text(named("Router", text(service, "router")), "id");
    const network = named("Network", text(part(service, "external"), "network"));
    routers.set(id, {
      id,
      host: text(service, "host"),
      address: addressOf(service),
      gateway: text(list(network, "subnets")[0] as Doc, "gateway_ip"),
      mtu: numberOf(network, "mtu"),
      connections: connections.filter(({ routerId }) => routerId === id),
    });
  }
  const up = connections.filter((one) => connections.some((other) => canAgree(one, other)));
  return { routers, connections, up: new Set(up.map(({ id }) => id)) };
}

const addressOf = (service: Doc): string => String(list(part(service, "external"), "fixed_ips")[0]);

function connectionOf(doc: Doc, named: (kind: string, name: string) => Doc): WantedConnection {
  const service = named("VpnService", text(doc, "vpnservice"));
  const ike = named("IkePolicy", text(doc, "ikepolicy"));
  const esp = named("IpsecPolicy", text(doc, "ipsecpolicy"));
  const subnet = (name: unknown): string => text(named("Subnet", String(name)), "cidr");
  const dpd = part(doc, "dpd");
  return {
    id: text(doc, "id"),
    name: text(doc, "name"),
    routerId: text(named("Router", text(service, "router")), "id"),
    serviceId: typeof service["id"] === "string" ? service["id"] : undefined,
    host: text(service, "host"),
    isEnabled: doc["admin_state_up"] !== false && service["admin_state_up"] !== false,
    localAddress: addressOf(service),
    peerAddress: text(doc, "peer_address"),
    psk: text(doc, "psk"),
    version: text(ike, "ike_version") === "v1" ? "v1" : "v2",
    ike: algorithmsOf(ike),
    esp: algorithmsOf(esp),
    ikeLifetime: numberOf(part(ike, "lifetime"), "value"),
    espLifetime: numberOf(part(esp, "lifetime"), "value"),
    localSubnets: list(named("EndpointGroup", text(doc, "local_ep_group")), "endpoints").map(subnet),
    peerSubnets: list(named("EndpointGroup", text(doc, "peer_ep_group")), "endpoints").map(String),
    dpd: { action: text(dpd, "action"), interval: numberOf(dpd, "interval"), timeout: numberOf(dpd, "timeout") },
    mtu: numberOf(doc, "mtu"),
  };
}

const algorithmsOf = (policy: Doc): WantedAlgorithms => ({
  encryption: text(policy, "encryption_algorithm"),
  auth: text(policy, "auth_algorithm"),
  group: text(policy, "pfs"),
});

const isSame = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);
const isSameSet = (a: readonly string[], b: readonly string[]): boolean => isSame([...a].sort(), [...b].sort());

/** Whether two connections are the two ends of one tunnel. */
function canAgree(one: WantedConnection, other: WantedConnection): boolean {
  return (
    one.isEnabled &&
    other.isEnabled &&
    one.localAddress === other.peerAddress &&
    one.peerAddress === other.localAddress &&
    one.psk === other.psk &&
    one.version === other.version &&
    isSame(one.ike, other.ike) &&
    isSame(one.esp, other.esp) &&
    isSameSet(one.localSubnets, other.peerSubnets) &&
    isSameSet(one.peerSubnets, other.localSubnets)
  );
}
