// Shapes of the VPNaaS wire as Neutron writes it. Tolerant: unknown keys pass (joined relations come and go with
// releases), keys that some release leaves out have Neutron's default. It refuses to judge what the values mean.
import { z } from "zod";

const text = z.string();
const optionalText = z
  .string()
  .nullish()
  .transform((value) => value ?? "");

// Neutron's columns hold 255 characters. Only people read these, and no table should be as wide as a longer one.
const shownText = optionalText.transform((value) => value.slice(0, 255));

/** A vpnservice. Connections stay unread here, so that a bad one does not spoil its neighbours. */
export const serviceSchema = z.object({
  id: text,
  router_id: text,
  name: shownText,
  project_id: shownText,
  status: shownText,
  admin_state_up: z.boolean().default(true),
  ipsec_site_connections: z.array(z.unknown()),
});
export type WireService = z.infer<typeof serviceSchema>;

const lifetime = {
  lifetime_units: text.default("seconds"),
  lifetime_value: z.int().min(60).default(3600),
};

const ikePolicySchema = z.object({
  ike_version: text,
  phase1_negotiation_mode: text.default("main"),
  encryption_algorithm: text,
  auth_algorithm: text,
  pfs: text,
  ...lifetime,
});
export type WireIkePolicy = z.infer<typeof ikePolicySchema>;

const ipsecPolicySchema = z.object({
  transform_protocol: text.default("esp"),
  encapsulation_mode: text.default("tunnel"),
  encryption_algorithm: text,
  auth_algorithm: text,
  pfs: text,
  ...lifetime,
});
export type WireIpsecPolicy = z.infer<typeof ipsecPolicySchema>;

/** What is read of a connection even when the rest of it cannot be used: this never fails for an object. */
export const connectionHeadSchema = z.object({
  name: shownText.catch(""),
  status: shownText.catch(""),
  local_cidrs: z.array(z.unknown()).catch([]),
  peer_cidrs: z.array(z.unknown()).catch([]),
});

/** Read before the rest: a connection that is off needs no more. */
export const adminStateSchema = z.object({ admin_state_up: z.boolean().default(true) });

export const connectionSchema = z.object({
  peer_address: text,
  peer_id: text,
  local_id: optionalText,
  auth_mode: text.default("psk"),
  psk: text,
  mtu: z.int().min(0).default(1500),
  initiator: text.default("bi-directional"),
  // Flat on the wire; the nested dpd{} exists in the REST API only.
  dpd_action: text.default("hold"),
  dpd_interval: z.int().min(0).default(30),
  dpd_timeout: z.int().min(0).default(120),
  local_cidrs: z.array(text),
  peer_cidrs: z.array(text),
  local_ip_vers: z.union([z.literal(4), z.literal(6)]).nullish(),
  external_ip: text.nullish(),
  ikepolicy: ikePolicySchema,
  ipsecpolicy: ipsecPolicySchema,
});
export type WireConnection = z.infer<typeof connectionSchema>;

const fixedIp = z.object({ ip_address: text, subnet_id: text });

const portSchema = z.object({
  id: text,
  mac_address: text,
  network_id: text.optional(),
  fixed_ips: z.array(fixedIp),
});
export type WirePort = z.infer<typeof portSchema>;

export const transitDetailsSchema = z.object({
  gw_port: portSchema,
  transit_port: portSchema,
  transit_gateway_ip: text,
  external_network: z.object({
    id: text,
    name: optionalText,
    mtu: z
      .int()
      .min(0)
      .nullish()
      .transform((value) => value ?? 0),
  }),
});

export const subnetSchema = z.object({ cidr: text, gateway_ip: text.nullish() });
export type WireSubnet = z.infer<typeof subnetSchema>;

const statusEntry = z.object({ status: text, updated_pending_status: z.boolean() });

/** The server reads all four keys of each service without a default: one missing aborts its whole transaction. */
export const statusReportSchema = z.array(
  statusEntry.extend({ id: text, ipsec_site_connections: z.record(text, statusEntry) }),
);
export type WireStatusReport = z.infer<typeof statusReportSchema>;
