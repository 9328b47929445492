// A usable connection and service of the wire, as the server sends them, to be spoilt key by key.
export const ROUTER = "7d3c2a52-4a55-4c1c-9a3b-0d1f6f1a2b01";
export const SERVICE = "11111111-1111-4111-8111-111111111111";
export const CONNECTION = "22222222-2222-4222-8222-222222222222";
export const PSK = "not-to-be-shown";

export type Keys = Record<string, unknown>;

export const aWireConnection = (changed: Keys = {}): Keys => ({
  id: CONNECTION,
  name: "to-right",
  project_id: "acme",
  peer_address: "203.0.113.20",
  peer_id: "203.0.113.20",
  local_id: "",
  route_mode: "static",
  auth_mode: "psk",
  psk: PSK,
  mtu: 1500,
  initiator: "bi-directional",
  dpd_action: "hold",
  dpd_interval: 30,
  dpd_timeout: 120,
  status: "PENDING_CREATE",
  admin_state_up: true,
  peer_cidrs: ["10.2.0.0/24"],
  local_cidrs: ["10.1.0.0/24"],
  local_ip_vers: 4,
  external_ip: "203.0.113.10",
  ikepolicy: aWirePolicy({ ike_version: "v2", phase1_negotiation_mode: "main" }),
  ipsecpolicy: aWirePolicy({ transform_protocol: "esp", encapsulation_mode: "tunnel" }),
  ...changed,
});

export const aWirePolicy = (changed: Keys): Keys => ({
  encryption_algorithm: "aes-256",
  auth_algorithm: "sha256",
  pfs: "group14",
  lifetime_units: "seconds",
  lifetime_value: 3600,
  ...changed,
});

export const aWireService = (changed: Keys = {}): Keys => ({
  id: SERVICE,
  name: "left",
  project_id: "acme",
  router_id: ROUTER,
  status: "PENDING_CREATE",
  admin_state_up: true,
  ipsec_site_connections: [aWireConnection()],
  ...changed,
});
