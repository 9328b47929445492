// Documents -> catalogue, or every problem at once. What several keys or documents have to do with each other is judged
// here; it refuses to read a secret.
import { isInside, hostRange, readFamily } from "../../core/read-address.ts";
import type { IpFamily } from "../../core/model.ts";
import type { Catalogue, CatalogueNetwork, CatalogueService, CatalogueSubnet, ExternalAddress } from "./catalogue.ts";
import { buildConnection } from "./connection.ts";
import { readGroups } from "./endpoint-group.ts";
import { identified, NameIndex, type Entry } from "./index-of-names.ts";
import type { DocumentProblem } from "./problem.ts";
import { derivedId } from "./uuid.ts";
import { readYaml, type DocumentFile } from "./yaml.ts";

export type CatalogueResult =
  | { readonly kind: "valid"; readonly catalogue: Catalogue }
  | { readonly kind: "invalid"; readonly problems: readonly DocumentProblem[] };

export function readCatalogue(files: readonly DocumentFile[]): CatalogueResult {
  const read = files.map(readYaml);
  const index = new NameIndex(read.flatMap(({ documents }) => documents));
  const services = buildServices(index);
  const problems = [...read.flatMap((one) => one.problems), ...index.problems].sort(
    (a, b) => a.file.localeCompare(b.file) || a.line - b.line,
  );
  return problems.length === 0 ? { kind: "valid", catalogue: { services } } : { kind: "invalid", problems };
}

function buildServices(index: NameIndex): readonly CatalogueService[] {
  // A subnet or group that nobody uses is judged too.
  const subnets = new Map(index.all("Subnet").map((entry) => [entry, buildSubnet(entry, index)]));
  const groups = readGroups(index);
  const networks = new Map(index.all("Network").map((entry) => [entry, buildNetwork(entry, index)]));
  const services = new Map<Entry<"VpnService">, CatalogueService>();
  for (const entry of index.all("VpnService")) {
    const service = buildService(entry, networks, subnets, index);
    if (service !== undefined) services.set(entry, service);
  }
  judgeSharedRouters(services, index);
  judgeSharedAddresses(services, index);

  const connections = new Map<string, CatalogueService["connections"][number][]>();
  for (const entry of index.all("IpsecSiteConnection")) {
    const named = index.find("VpnService", entry.value.vpnservice, entry, ["vpnservice"]);
    const service = named === undefined ? undefined : services.get(named);
    const connection = buildConnection(entry, service, groups, index);
    if (service === undefined || connection === undefined) continue;
    connections.set(service.id, [...(connections.get(service.id) ?? []), connection]);
  }
  return [...services.values()].map((service) => ({ ...service, connections: connections.get(service.id) ?? [] }));
}

/** Absent means the first address, as in Neutron. */
function gatewayOf(cidr: string, gateway: string | null | undefined): string | null {
  return gateway === undefined ? (hostRange(cidr)?.first ?? null) : gateway;
}

const familyOf = (text: string): IpFamily => readFamily(text) ?? 4;

const gatewayOutside = (gateway: string, cidr: string): string =>
  `gateway_ip ${gateway} is not in ${cidr}: correct one of them, or write null for none`;

function buildSubnet(entry: Entry<"Subnet">, index: NameIndex): CatalogueSubnet {
  const { value, raw } = entry;
  const gatewayAddress = gatewayOf(value.cidr, value.gateway_ip);
  if (gatewayAddress !== null && !isInside(value.cidr, gatewayAddress)) {
    index.report(raw, ["gateway_ip"], `Subnet ${value.name}: ${gatewayOutside(gatewayAddress, value.cidr)}`);
  }
  return {
    ...identified(entry),
    networkId: derivedId("SubnetNetwork", entry.id),
    cidr: value.cidr,
    family: familyOf(value.cidr),
    gatewayAddress,
  };
}

function buildNetwork(entry: Entry<"Network">, index: NameIndex): CatalogueNetwork {
  const { value, raw } = entry;
  const subnets = value.subnets.map((subnet, at): CatalogueSubnet => {
    const gatewayAddress = gatewayOf(subnet.cidr, subnet.gateway_ip);
    if (gatewayAddress !== null && !isInside(subnet.cidr, gatewayAddress)) {
      const text = `Network ${value.name}: ${gatewayOutside(gatewayAddress, subnet.cidr)}`;
      index.report(raw, ["subnets", at, "gateway_ip"], text);
    }
    if (value.subnets.findIndex((other) => other.cidr === subnet.cidr) !== at) {
      index.report(
        raw,
        ["subnets", at, "cidr"],
        `Network ${value.name}: cidr ${subnet.cidr} is given twice: remove one`,
      );
    }
    return {
      id: subnet.id ?? derivedId("NetworkSubnet", entry.id, subnet.cidr),
      project: entry.project,
      name: subnet.name ?? `${value.name}-${subnet.cidr}`,
      description: "",
      networkId: entry.id,
      cidr: subnet.cidr,
      family: familyOf(subnet.cidr),
      gatewayAddress,
    };
  });
  if (value.mtu < 1280 && subnets.some(({ family }) => family === 6)) {
    index.report(raw, ["mtu"], `Network ${value.name}: mtu ${value.mtu} is below IPv6's minimum of 1280`);
  }
  return { ...identified(entry), mtuBytes: value.mtu, subnets };
}

function buildService(
  entry: Entry<"VpnService">,
  networks: ReadonlyMap<Entry<"Network">, CatalogueNetwork>,
  subnets: ReadonlyMap<Entry<"Subnet">, CatalogueSubnet>,
  index: NameIndex,
): CatalogueService | undefined {
  const { value, raw } = entry;
  const router = index.find("Router", value.router, entry, ["router"]);
  const named = index.find("Network", value.external.network, entry, ["external", "network"]);
  const network = named === undefined ? undefined : networks.get(named);
  const subnet = value.subnet === undefined ? undefined : index.find("Subnet", value.subnet, entry, ["subnet"]);
  const addresses = network === undefined ? undefined : externalAddresses(entry, network, index);
  if (router === undefined || network === undefined || addresses === undefined) return undefined;
  if (value.subnet !== undefined && subnet === undefined) return undefined;
  return {
    ...identified(entry),
    origin: { file: raw.file, line: raw.lineOf([]) },
    enabled: value.admin_state_up,
    host: value.host,
    routerId: router.id,
    external: { network, addresses },
    subnet: subnet === undefined ? undefined : subnets.get(subnet),
    connections: [],
  };
}

function externalAddresses(
  { value, raw }: Entry<"VpnService">,
  network: CatalogueNetwork,
  index: NameIndex,
): readonly ExternalAddress[] | undefined {
  const found = value.external.fixed_ips.flatMap((address, at): ExternalAddress[] => {
    const where = ["external", "fixed_ips", at];
    const subnet = network.subnets.find(({ cidr }) => isInside(cidr, address));
    if (subnet === undefined) {
      const cidrs = network.subnets.map(({ cidr }) => cidr).join(", ");
      index.report(
        raw,
        where,
        `VpnService ${value.name}: fixed_ips has ${address}, which is in no subnet of network ${network.name} (${cidrs})`,
      );
      return [];
    }
    if (subnet.gatewayAddress === address) {
      index.report(
        raw,
        where,
        `VpnService ${value.name}: fixed_ips has ${address}, which is the network's gateway: take another`,
      );
    }
    return [{ address, family: subnet.family, subnet }];
  });
  return found.length === value.external.fixed_ips.length ? found : undefined;
}

/** One router has one namespace on one host, with one external port. */
function judgeSharedRouters(services: ReadonlyMap<Entry<"VpnService">, CatalogueService>, index: NameIndex): void {
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

function judgeSharedAddresses(services: ReadonlyMap<Entry<"VpnService">, CatalogueService>, index: NameIndex): void {
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
