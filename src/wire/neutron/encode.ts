// The server's side of the wire: services, ports and subnets -> what Neutron 2025.1 answers, key by key as recorded.
import { hostRange, readAddress, readFamily } from "../../core/read-address.ts";
import type { IpFamily } from "../../core/model.ts";

/** Rows of documents have no time of their own, and equal documents shall give equal answers. */
const ROW_TIME = "1970-01-01T00:00:00.000000";
const API_TIME = "1970-01-01T00:00:00Z";

type Named = { readonly id: string; readonly project: string; readonly name: string; readonly description: string };

export type ServedSubnet = Named & {
  readonly networkId: string;
  readonly cidr: string;
  readonly family: IpFamily;
  readonly gatewayAddress: string | null;
};

export type ServedNetwork = Named & { readonly mtuBytes: number; readonly subnets: readonly { readonly id: string }[] };

type ServedPolicy = Named & {
  readonly encryption: string;
  readonly authentication: string;
  readonly dhGroup: string;
  readonly lifetimeSeconds: number;
};
export type ServedIkePolicy = ServedPolicy & { readonly ikeVersion: string; readonly mode: string };
export type ServedIpsecPolicy = ServedPolicy & { readonly protocol: string; readonly encapsulation: string };

export type ServedConnection = Named & {
  readonly status: string;
  readonly enabled: boolean;
  readonly peerAddress: string;
  /** As the user gave them: the '@' rule is applied here. */
  readonly peerId: string;
  readonly localId: string;
  readonly psk: string;
  readonly initiator: string;
  readonly mtuBytes: number;
  readonly dpd: { readonly action: string; readonly intervalSeconds: number; readonly timeoutSeconds: number };
  readonly ikePolicy: ServedIkePolicy;
  readonly ipsecPolicy: ServedIpsecPolicy;
  readonly localGroupId: string | null;
  readonly peerGroupId: string | null;
  readonly localCidrs: readonly string[];
  readonly peerCidrs: readonly string[];
  readonly localFamily: IpFamily;
};

export type ServedService = Named & {
  readonly status: string;
  readonly enabled: boolean;
  readonly routerId: string;
  /** First external address of each family. */
  readonly externalAddresses: { readonly [Family in IpFamily]: string | null };
  readonly subnet: ServedSubnet | undefined;
  readonly connections: readonly ServedConnection[];
};

export type ServedPort = {
  readonly id: string;
  readonly name: string;
  readonly networkId: string;
  readonly macAddress: string;
  readonly deviceId: string;
  readonly deviceOwner: "network:vpn_router_gateway" | "network:vpn_namespace";
  readonly host: string;
  readonly addresses: readonly { readonly address: string; readonly subnetId: string }[];
};

export type ServedTransit = {
  readonly gatewayPort: ServedPort;
  readonly transitPort: ServedPort;
  readonly transitGateway: string;
  readonly externalNetwork: ServedNetwork;
};

type Json = Readonly<Record<string, unknown>>;

export function encodeService(service: ServedService): Json {
  const { 4: v4, 6: v6 } = service.externalAddresses;
  return {
    name: service.name,
    description: service.description,
    status: service.status,
    admin_state_up: service.enabled,
    external_v4_ip: v4,
    external_v6_ip: v6,
    subnet_id: service.subnet?.id ?? null,
    router_id: service.routerId,
    flavor_id: null,
    id: service.id,
    project_id: service.project,
    tenant_id: service.project,
    ipsec_site_connections: service.connections.map((connection) => encodeConnection(connection, service)),
    // With endpoint groups there is no subnet: older agents get the first local CIDR in its place.
    subnet:
      service.subnet === undefined
        ? { cidr: service.connections[0]?.localCidrs[0] ?? null }
        : encodeSubnetRow(service.subnet),
    external_ip: v4 ?? v6,
  };
}

function encodeConnection(connection: ServedConnection, service: ServedService): Json {
  const identities = markedIdentities(connection.peerId, connection.localId);
  return {
    name: connection.name,
    description: connection.description,
    peer_address: connection.peerAddress,
    peer_id: identities.peer,
    local_id: identities.local,
    route_mode: "static",
    mtu: connection.mtuBytes,
    initiator: connection.initiator,
    auth_mode: "psk",
    psk: connection.psk,
    dpd_action: connection.dpd.action,
    dpd_interval: connection.dpd.intervalSeconds,
    dpd_timeout: connection.dpd.timeoutSeconds,
    status: connection.status,
    admin_state_up: connection.enabled,
    vpnservice_id: service.id,
    ipsecpolicy_id: connection.ipsecPolicy.id,
    ikepolicy_id: connection.ikePolicy.id,
    local_ep_group_id: connection.localGroupId,
    peer_ep_group_id: connection.peerGroupId,
    id: connection.id,
    project_id: connection.project,
    peer_cidrs: connection.peerCidrs,
    ikepolicy: {
      ...encodePolicy(connection.ikePolicy),
      phase1_negotiation_mode: connection.ikePolicy.mode,
      ike_version: connection.ikePolicy.ikeVersion,
    },
    ipsecpolicy: {
      ...encodePolicy(connection.ipsecPolicy),
      transform_protocol: connection.ipsecPolicy.protocol,
      encapsulation_mode: connection.ipsecPolicy.encapsulation,
    },
    local_cidrs: connection.localCidrs,
    local_ip_vers: connection.localFamily,
    external_ip: service.externalAddresses[readFamily(connection.peerAddress) ?? 4],
  };
}

/** One '@' before both ids as soon as one of them is no IP address; an empty local id stays empty. */
function markedIdentities(peer: string, local: string): { readonly peer: string; readonly local: string } {
  const isAddress = (text: string): boolean => readAddress(text) !== undefined;
  if (isAddress(peer) && (local === "" || isAddress(local))) return { peer, local };
  return { peer: `@${peer}`, local: local === "" ? "" : `@${local}` };
}

const encodePolicy = (policy: ServedPolicy): Json => ({
  name: policy.name,
  description: policy.description,
  auth_algorithm: policy.authentication,
  encryption_algorithm: policy.encryption,
  lifetime_units: "seconds",
  lifetime_value: policy.lifetimeSeconds,
  pfs: policy.dhGroup,
  id: policy.id,
  project_id: policy.project,
});

const standardAttributes = (of: "subnets" | "networks" | "ports", description: string): Json => ({
  id: 0,
  resource_type: of,
  description,
  revision_number: 0,
  created_at: ROW_TIME,
  updated_at: ROW_TIME,
  tags: [],
});

/** A subnet as a database row, in the older form of a service. */
const encodeSubnetRow = (subnet: ServedSubnet): Json => ({
  name: subnet.name,
  network_id: subnet.networkId,
  segment_id: null,
  subnetpool_id: null,
  ip_version: subnet.family,
  cidr: subnet.cidr,
  gateway_ip: subnet.gatewayAddress,
  enable_dhcp: false,
  ipv6_ra_mode: null,
  ipv6_address_mode: null,
  standard_attr_id: 0,
  id: subnet.id,
  project_id: subnet.project,
  standard_attr: standardAttributes("subnets", subnet.description),
  external: null,
  rbac_entries: [],
  subnetpool: null,
  dns_publish_fixed_ip: null,
  dns_nameservers: [],
  routes: [],
  service_types: [],
  network_standard_attr: standardAttributes("networks", ""),
  allocation_pools: [
    {
      subnet_id: subnet.id,
      first_ip: hostRange(subnet.cidr)?.first,
      last_ip: hostRange(subnet.cidr)?.last,
      id: subnet.id,
    },
  ],
});

/** A subnet as get_subnet_info answers it. */
export const encodeSubnet = (subnet: ServedSubnet, external: boolean): Json => ({
  id: subnet.id,
  name: subnet.name,
  tenant_id: subnet.project,
  network_id: subnet.networkId,
  ip_version: subnet.family,
  subnetpool_id: null,
  enable_dhcp: false,
  ipv6_ra_mode: null,
  ipv6_address_mode: null,
  standard_attr_id: 0,
  gateway_ip: subnet.gatewayAddress,
  cidr: subnet.cidr,
  allocation_pools: [{ start: hostRange(subnet.cidr)?.first, end: hostRange(subnet.cidr)?.last }],
  host_routes: [],
  dns_nameservers: [],
  shared: false,
  description: subnet.description,
  "router:external": external,
  service_types: [],
  tags: [],
  created_at: API_TIME,
  updated_at: API_TIME,
  revision_number: 0,
  project_id: subnet.project,
});

export const encodeTransitDetails = (transit: ServedTransit): Json => ({
  gw_port: encodePort(transit.gatewayPort),
  transit_port: encodePort(transit.transitPort),
  transit_gateway_ip: transit.transitGateway,
  external_network: encodeNetwork(transit.externalNetwork),
});

const encodePort = (port: ServedPort): Json => ({
  name: port.name,
  network_id: port.networkId,
  mac_address: port.macAddress,
  admin_state_up: true,
  status: "ACTIVE",
  device_id: port.deviceId,
  device_owner: port.deviceOwner,
  ip_allocation: "immediate",
  standard_attr_id: 0,
  id: port.id,
  // Ports of the VPN plugin belong to no project.
  project_id: "",
  trunk_port: null,
  propagate_uplink_status: null,
  data_plane_status: null,
  trusted: null,
  qos_network_policy_binding: null,
  standard_attr: standardAttributes("ports", ""),
  numa_affinity_policy: null,
  hardware_offload_type: null,
  hints: null,
  qos_policy_binding: null,
  device_profile: null,
  dns: null,
  security_groups: [],
  port_bindings: [
    {
      port_id: port.id,
      host: port.host,
      vnic_type: "normal",
      profile: "",
      vif_type: "unbound",
      vif_details: "",
      status: "ACTIVE",
    },
  ],
  port_security: { port_id: port.id, port_security_enabled: false },
  sub_port: null,
  dhcp_opts: [],
  port_forwardings: [],
  fixed_ips: port.addresses.map(({ address, subnetId }) => ({
    port_id: port.id,
    ip_address: address,
    subnet_id: subnetId,
    network_id: port.networkId,
  })),
  allowed_address_pairs: [],
  // No segments here: bindings have one level at most, and nobody reads it.
  binding_levels: [],
});

const encodeNetwork = (network: ServedNetwork): Json => ({
  id: network.id,
  name: network.name,
  tenant_id: network.project,
  admin_state_up: true,
  mtu: network.mtuBytes,
  status: "ACTIVE",
  subnets: network.subnets.map(({ id }) => id),
  standard_attr_id: 0,
  shared: network.project === "",
  availability_zone_hints: [],
  availability_zones: [],
  ipv4_address_scope: null,
  ipv6_address_scope: null,
  "router:external": true,
  qinq: null,
  vlan_transparent: null,
  description: network.description,
  port_security_enabled: true,
  is_default: false,
  tags: [],
  created_at: API_TIME,
  updated_at: API_TIME,
  revision_number: 0,
  project_id: network.project,
  "provider:network_type": "flat",
  "provider:physical_network": network.name,
  "provider:segmentation_id": null,
});
