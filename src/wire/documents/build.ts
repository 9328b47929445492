// Documents -> catalogue, or every problem at once. What several keys or documents have to do with each other is judged
// here; it refuses to read a secret.
import { lastAddress, parseCidr } from "../../core/address.ts";
import { doOverlap, isInside, hostRange, readFamily } from "../../core/read-address.ts";
import type { IpFamily } from "../../core/model.ts";
import type {
  Catalogue,
  CatalogueNetwork,
  CataloguePsk,
  CatalogueService,
  CatalogueSubnet,
  ExternalAddress,
} from "./catalogue.ts";
import { buildConnection, pskOf } from "./connection.ts";
import { readGroups } from "./endpoint-group.ts";
import { identified, NameIndex, type Entry } from "./index-of-names.ts";
import {
  judgeSharedAddresses,
  judgeSharedRouters,
  noteSharedNetworks,
  noteUnusedSubnets,
  type BuiltConnection,
} from "./neighbours.ts";
import { byPlace, type DocumentNote, type DocumentProblem } from "./problem.ts";
import { derivedId } from "./uuid.ts";
import { readYaml, type DocumentFile } from "./yaml.ts";

/** `psks`: of every connection that can be judged on, so that a bad reference is told beside other problems. */
export type CatalogueResult = { readonly notes: readonly DocumentNote[]; readonly psks: readonly CataloguePsk[] } & (
  | { readonly kind: "valid"; readonly catalogue: Catalogue }
  | { readonly kind: "invalid"; readonly problems: readonly DocumentProblem[] }
);

/** `isComplete`: false when there are more files, which could not be read. */
export function readCatalogue(files: readonly DocumentFile[], isComplete = true): CatalogueResult {
  const read = files.map(readYaml);
  const documents = read.flatMap((one) => one.documents);
  const index = new NameIndex(documents, isComplete && read.every(({ problems }) => problems.length === 0));
  const services = buildServices(index);
  const problems = [...read.flatMap((one) => one.problems), ...index.problems].sort(byPlace);
  const told = { notes: [...index.notes].sort(byPlace), psks: index.all("IpsecSiteConnection").map(pskOf) };
  return problems.length === 0
    ? { kind: "valid", catalogue: { services }, ...told }
    : { kind: "invalid", problems, ...told };
}

function buildServices(index: NameIndex): readonly CatalogueService[] {
  // A subnet, group or policy that nobody uses is judged too.
  const subnets = new Map(index.all("Subnet").map((entry) => [entry, buildSubnet(entry, index)]));
  const groups = readGroups(index);
  for (const policy of [...index.all("IkePolicy"), ...index.all("IpsecPolicy")]) judgeLifetime(policy, index);
  const networks = new Map(index.all("Network").map((entry) => [entry, buildNetwork(entry, index)]));
  const services = new Map<Entry<"VpnService">, CatalogueService>();
  for (const entry of index.all("VpnService")) {
    const service = buildService(entry, networks, subnets, index);
    if (service !== undefined) services.set(entry, service);
  }
  judgeSharedRouters(services, index);
  judgeSharedAddresses(services, index);

  const connections = new Map<CatalogueService, BuiltConnection[]>();
  for (const entry of index.all("IpsecSiteConnection")) {
    const named = index.find("VpnService", entry.value.vpnservice, entry, ["vpnservice"]);
    const service = named === undefined ? undefined : services.get(named);
    const connection = buildConnection(entry, service, groups, index);
    if (service === undefined || connection === undefined) continue;
    connections.set(service, [...(connections.get(service) ?? []), { entry, connection }]);
  }
  noteUnusedSubnets(services, connections, index);
  noteSharedNetworks(connections, index);
  return [...services.values()].map((service) => {
    const own = (connections.get(service) ?? []).map(({ connection }) => connection);
    // Neutron lists a service with endpoint groups without a subnet.
    const isOlderForm = own.length === 0 || own.some(({ localGroupId }) => localGroupId === null);
    return { ...service, subnet: isOlderForm ? service.subnet : undefined, connections: own };
  });
}

const A_DAY_SECONDS = 86_400;

function judgeLifetime({ kind, value, raw }: Entry<"IkePolicy"> | Entry<"IpsecPolicy">, index: NameIndex): void {
  if (value.lifetime.value <= A_DAY_SECONDS) return;
  const text = `${kind} ${value.name}: lifetime.value ${value.lifetime.value} is more than a day (${A_DAY_SECONDS} seconds)`;
  index.note(raw, ["lifetime", "value"], `${text}: Neutron sets no limit, but many peers do`);
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
    const other = value.subnets.slice(0, at).find(({ cidr }) => doOverlap(cidr, subnet.cidr));
    if (other !== undefined) {
      const text = `Network ${value.name}: cidr ${subnet.cidr} overlaps ${other.cidr} of the same network`;
      index.report(raw, ["subnets", at, "cidr"], `${text}: remove one`);
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
    index.report(raw, ["mtu"], `Network ${value.name}: mtu ${value.mtu} is below IPv6's minimum of 1280: raise it`);
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
        `VpnService ${value.name}: fixed_ips has ${address}, which is in no subnet of network ${network.name} (${cidrs}): take an address of one`,
      );
      return [];
    }
    const taken = subnet.gatewayAddress === address ? "the network's gateway" : reservedAs(address, subnet);
    if (taken !== undefined) {
      index.report(raw, where, `VpnService ${value.name}: fixed_ips has ${address}, which is ${taken}: take another`);
    }
    return [{ address, family: subnet.family, subnet }];
  });
  return found.length === value.external.fixed_ips.length ? found : undefined;
}

/** What an address of the subnet is for, when it can be nobody's. /31 and /127 have none to spare (RFC 3021, RFC 6164). */
function reservedAs(address: string, { cidr, family }: CatalogueSubnet): string | undefined {
  const { prefixLength } = parseCidr(cidr);
  if (prefixLength >= (family === 4 ? 31 : 127)) return undefined;
  if (cidr === `${address}/${prefixLength}`) return `the address of the network ${cidr} itself`;
  return family === 4 && lastAddress(cidr) === address ? `the broadcast address of ${cidr}` : undefined;
}
