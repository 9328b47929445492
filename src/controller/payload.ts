// Catalogue -> what the RPC answers. Ports, MAC addresses and transit networks follow from ids: the same after a restart.
import { createHash } from "node:crypto";
import type { IpFamily } from "../core/model.ts";
import type { Secret } from "../core/secret.ts";
import type { Catalogue, CatalogueService, CatalogueSubnet } from "../wire/documents/catalogue.ts";
import { derivedId } from "../wire/documents/uuid.ts";
import {
  encodeService,
  encodeSubnet,
  encodeTransitDetails,
  type ServedPort,
  type ServedTransit,
} from "../wire/neutron/encode.ts";

/** Every key that the catalogue refers to, by connection id. */
export type Secrets = ReadonlyMap<string, Secret>;
/** Status of a service or connection by its id. */
export type StatusOf = (id: string) => string;

// Neutron's transit network, the same for every router: each is alone on its own (service_drivers/ovn_ipsec.py).
const TRANSIT_CIDR = "169.254.0.0/28";
const TRANSIT_GATEWAY = "169.254.0.1";
const TRANSIT_ADDRESS = "169.254.0.2";

/** What one router's agent is told; `host` is where it lives. */
export type RouterPayload = { readonly host: string; readonly transit: ServedTransit };

export type Payloads = {
  readonly services: readonly CatalogueService[];
  readonly secrets: Secrets;
  readonly routers: ReadonlyMap<string, RouterPayload>;
  readonly subnets: ReadonlyMap<string, { readonly subnet: CatalogueSubnet; readonly external: boolean }>;
};

export function buildPayloads(catalogue: Catalogue, secrets: Secrets): Payloads {
  const subnets = new Map<string, { subnet: CatalogueSubnet; external: boolean }>();
  const first = new Map<string, CatalogueService>();
  // Without a connection a service is not listed, and its router is nobody's business (the server's inner join).
  const services = catalogue.services.filter(({ connections }) => connections.length > 0);
  for (const service of services) {
    if (!first.has(service.routerId)) first.set(service.routerId, service);
    for (const subnet of service.external.network.subnets) subnets.set(subnet.id, { subnet, external: true });
    if (service.subnet !== undefined) subnets.set(service.subnet.id, { subnet: service.subnet, external: false });
  }
  const macAddresses = assignMacAddresses(
    [...first.keys()].flatMap((router) => [gatewayPortId(router), transitPortId(router)]),
  );
  const routers = new Map<string, RouterPayload>();
  for (const [router, service] of first) {
    const transit = transitSubnet(router);
    subnets.set(transit.id, { subnet: transit, external: false });
    routers.set(router, { host: service.host, transit: transitOf(service, transit, macAddresses) });
  }
  return { services, secrets, routers, subnets };
}

/** Answer of get_vpn_services_on_host. */
export function servicesOnHost({ services, secrets }: Payloads, host: string, statusOf: StatusOf): readonly unknown[] {
  return services.filter((service) => service.host === host).map((service) => encodeOne(service, secrets, statusOf));
}

/** Answer of get_vpn_transit_network_details, undefined for a router that nothing is known of. */
export function transitDetails({ routers }: Payloads, router: string): unknown {
  const found = routers.get(router);
  return found === undefined ? undefined : encodeTransitDetails(found.transit);
}

/** Answer of get_subnet_info: null for a subnet that nothing is known of. */
export function subnetInfo({ subnets }: Payloads, id: string): unknown {
  const found = subnets.get(id);
  return found === undefined ? null : encodeSubnet(found.subnet, found.external);
}

/**
 * All that the agent of a router is told, as one text to compare, by router. The status is left out: it is the agent
 * that tells it.
 */
export function routerTexts(payloads: Payloads): ReadonlyMap<string, { readonly host: string; readonly text: string }> {
  const unsaid: StatusOf = () => "";
  const told = new Map<string, unknown[]>();
  for (const service of payloads.services) {
    const before = told.get(service.routerId) ?? [];
    before.push(encodeOne(service, payloads.secrets, unsaid));
    told.set(service.routerId, before);
  }
  return new Map(
    [...payloads.routers].map(([router, { host, transit }]) => {
      const subnets = transit.externalNetwork.subnets.map(({ id }) => subnetInfo(payloads, id));
      return [router, { host, text: JSON.stringify([told.get(router), encodeTransitDetails(transit), subnets]) }];
    }),
  );
}

function encodeOne(service: CatalogueService, secrets: Secrets, statusOf: StatusOf): unknown {
  return encodeService({
    ...service,
    status: statusOf(service.id),
    externalAddresses: { 4: firstAddress(service, 4), 6: firstAddress(service, 6) },
    connections: service.connections.map((connection) => ({
      ...connection,
      status: statusOf(connection.id),
      psk: secrets.get(connection.id)?.reveal() ?? "",
    })),
  });
}

const firstAddress = (service: CatalogueService, family: IpFamily): string | null =>
  service.external.addresses.find((address) => address.family === family)?.address ?? null;

const gatewayPortId = (router: string): string => derivedId("GatewayPort", router);
const transitPortId = (router: string): string => derivedId("TransitPort", router);

const transitSubnet = (router: string): CatalogueSubnet => ({
  id: derivedId("TransitSubnet", router),
  project: "",
  name: `vpn-transit-subnet-${router}`,
  description: "",
  networkId: derivedId("TransitNetwork", router),
  cidr: TRANSIT_CIDR,
  family: 4,
  gatewayAddress: TRANSIT_GATEWAY,
});

function transitOf(
  { host, routerId, external }: CatalogueService,
  transit: CatalogueSubnet,
  macAddresses: ReadonlyMap<string, string>,
): ServedTransit {
  const port = (id: string, rest: Omit<ServedPort, "id" | "macAddress" | "host">): ServedPort => ({
    id,
    macAddress: macAddresses.get(id) ?? macAddressOf(id, 0),
    host,
    ...rest,
  });
  return {
    gatewayPort: port(gatewayPortId(routerId), {
      name: `vpn-gw-${routerId}`,
      networkId: external.network.id,
      deviceId: routerId,
      deviceOwner: "network:vpn_router_gateway",
      addresses: external.addresses.map(({ address, subnet }) => ({ address, subnetId: subnet.id })),
    }),
    transitPort: port(transitPortId(routerId), {
      name: `vpn-ns-${routerId}`,
      networkId: transit.networkId,
      deviceId: transit.id,
      deviceOwner: "network:vpn_namespace",
      addresses: [{ address: TRANSIT_ADDRESS, subnetId: transit.id }],
    }),
    transitGateway: TRANSIT_GATEWAY,
    externalNetwork: external.network,
  };
}

/** Neutron's prefix leaves 24 bits: with some thousand ports two hashes meet, so the later port id takes the next one. */
function assignMacAddresses(ports: readonly string[]): ReadonlyMap<string, string> {
  const taken = new Map<string, string>();
  for (const port of [...ports].sort()) {
    let attempt = 0;
    while (taken.has(macAddressOf(port, attempt))) attempt++;
    taken.set(macAddressOf(port, attempt), port);
  }
  return new Map([...taken].map(([macAddress, port]) => [port, macAddress]));
}

function macAddressOf(port: string, attempt: number): string {
  const hash = createHash("sha256").update(`${port} ${attempt}`).digest("hex");
  return `fa:16:3e:${hash.slice(0, 2)}:${hash.slice(2, 4)}:${hash.slice(4, 6)}`;
}
