// What services and connections mean for each other that share a router, an address or networks.
import type { CatalogueConnection, CatalogueService } from "./catalogue.ts";
import type { Entry, NameIndex } from "./index-of-names.ts";

type BuiltServices = ReadonlyMap<Entry<"VpnService">, CatalogueService>;
export type BuiltConnection = {
  readonly entry: Entry<"IpsecSiteConnection">;
  readonly connection: CatalogueConnection;
};
type BuiltConnections = ReadonlyMap<CatalogueService, readonly BuiltConnection[]>;

/** One router has one namespace on one host, with one external port. */
export function judgeSharedRouters(services: BuiltServices, index: NameIndex): void {
  const first = new Map<string, CatalogueService>();
  for (const [{ raw }, service] of services) {
    const other = first.get(service.routerId);
    if (other === undefined) {
      first.set(service.routerId, service);
      continue;
    }
    const same = `VpnService ${service.name}: it shares its router with VpnService ${other.name}`;
    if (service.host !== other.host) {
      index.report(
        raw,
        ["host"],
        `${same}, but host is ${service.host} here and ${other.host} there: name the same host`,
      );
    }
    const portOf = ({ external }: CatalogueService): string =>
      [external.network.id, ...external.addresses.map(({ address }) => address)].join(" ");
    if (portOf(service) !== portOf(other)) {
      index.report(raw, ["external"], `${same}, but external differs: both need the same network and fixed_ips`);
    }
  }
}

export function judgeSharedAddresses(services: BuiltServices, index: NameIndex): void {
  const owners = new Map<string, CatalogueService>();
  for (const [{ raw }, service] of services) {
    service.external.addresses.forEach(({ address }, at) => {
      const key = `${service.external.network.id} ${address}`;
      const owner = owners.get(key) ?? service;
      owners.set(key, owner);
      if (owner.routerId === service.routerId) return;
      const text = `VpnService ${service.name}: fixed_ips has ${address}, which VpnService ${owner.name} has on another router`;
      index.report(raw, ["external", "fixed_ips", at], `${text}: take another`);
    });
  }
}

/** Neutron refuses the one form beside the other; here the newer one counts, and it is said once a service. */
export function noteUnusedSubnets(services: BuiltServices, connections: BuiltConnections, index: NameIndex): void {
  for (const [{ raw }, service] of services) {
    const grouped = (connections.get(service) ?? []).filter(({ connection }) => connection.localGroupId !== null);
    if (service.subnet === undefined || grouped.length === 0) continue;
    const names = grouped.map(({ connection }) => connection.name).join(", ");
    const text = `VpnService ${service.name}: subnet ${service.subnet.name} does not count for ${names}`;
    index.note(raw, ["subnet"], `${text}: endpoint groups are given, and they win`);
  }
}

/** Neutron takes connections of one router with equal networks; an agent can only give them to one. */
export function noteSharedNetworks(connections: BuiltConnections, index: NameIndex): void {
  const owners = new Map<string, CatalogueConnection>();
  for (const [service, built] of connections) {
    for (const { entry, connection } of built) {
      if (!service.enabled || !connection.enabled) continue;
      const pairs = connection.localCidrs.flatMap((ours) =>
        connection.peerCidrs.map((theirs) => `${ours} to ${theirs}`),
      );
      const keyOf = (pair: string): string => `${service.routerId} ${pair}`;
      const shared = pairs.find((pair) => owners.has(keyOf(pair)));
      for (const pair of pairs) if (!owners.has(keyOf(pair))) owners.set(keyOf(pair), connection);
      if (shared === undefined) continue;
      const owner = owners.get(keyOf(shared))?.name ?? "";
      const text = `IpsecSiteConnection ${connection.name}: ${shared} is IpsecSiteConnection ${owner}'s on the same router, too`;
      index.note(entry.raw, [], `${text}: one of them will be ERROR conflicts-with-connection`);
    }
  }
}
