// The kinds of documents: Neutron's REST attributes with its defaults, references by name. Unknown keys are typos.
// What two keys or two documents have to do with each other is judged elsewhere.
import { z } from "zod";
import { AUTH_ALGORITHMS, DH_GROUPS, DPD_ACTIONS, ENCRYPTION_ALGORITHMS, INITIATORS } from "../../core/algorithms.ts";
import { isUuid } from "../../core/ids.ts";
import { readAddress, readCidr } from "../../core/read-address.ts";

const MAX_TEXT_CHARACTERS = 255;

const text = () => z.string().min(1).max(MAX_TEXT_CHARACTERS);
// eslint-disable-next-line no-control-regex -- control characters are what is refused
const plainText = () => text().refine((value) => !/[\x00-\x1f\x7f]/.test(value), "contains a control character");
const name = plainText;
const oneOf = (words: Iterable<string>) => z.enum([...words] as [string, ...string[]]);

const address = () =>
  z.string().transform((value, context) => {
    const canonical = readAddress(value);
    if (canonical !== undefined) return canonical;
    context.addIssue({ code: "custom", message: `is ${JSON.stringify(value)}: expected an IP address` });
    return z.NEVER;
  });

/** As Neutron's API: host bits are a typo, not something to mask in silence. */
const cidr = () =>
  z.string().transform((value, context) => {
    const canonical = readCidr(value);
    if (canonical === undefined) {
      context.addIssue({ code: "custom", message: `is ${JSON.stringify(value)}: expected a CIDR such as 10.1.0.0/24` });
      return z.NEVER;
    }
    if (readAddress(value.replace(/\/\d+$/, "")) !== canonical.replace(/\/\d+$/, "")) {
      context.addIssue({
        code: "custom",
        message: `is ${JSON.stringify(value)}, which has host bits set: write ${canonical}`,
      });
      return z.NEVER;
    }
    return canonical;
  });

const base = {
  name: name(),
  description: z.string().max(MAX_TEXT_CHARACTERS).default(""),
  id: z.string().refine(isUuid, "is no lower-case UUID").optional(),
};
const inProject = { ...base, project: name().default("default") };

/** Absent: the first address, as in Neutron; null: no gateway. */
const gatewayIp = address().nullable().optional();

const router = z.strictObject({ kind: z.literal("Router"), ...inProject });

const network = z.strictObject({
  kind: z.literal("Network"),
  ...base,
  // Without one it can be named from every project.
  project: name().optional(),
  mtu: z.int().min(68).max(65_535).default(1500),
  subnets: z
    .array(z.strictObject({ cidr: cidr(), gateway_ip: gatewayIp, name: name().optional(), id: base.id }))
    .min(1),
});

const subnet = z.strictObject({ kind: z.literal("Subnet"), ...inProject, cidr: cidr(), gateway_ip: gatewayIp });

const algorithms = {
  encryption_algorithm: oneOf(ENCRYPTION_ALGORITHMS).default("aes-128"),
  auth_algorithm: oneOf(AUTH_ALGORITHMS).default("sha1"),
  pfs: oneOf(DH_GROUPS).default("group5"),
  lifetime: z
    .strictObject({ units: z.literal("seconds").default("seconds"), value: z.int().min(60).default(3600) })
    .prefault({}),
};

const ikePolicy = z.strictObject({
  kind: z.literal("IkePolicy"),
  ...inProject,
  ike_version: z.enum(["v1", "v2"]).default("v1"),
  phase1_negotiation_mode: z.enum(["main", "aggressive"]).default("main"),
  ...algorithms,
});

const ipsecPolicy = z.strictObject({
  kind: z.literal("IpsecPolicy"),
  ...inProject,
  transform_protocol: z.enum(["esp", "ah"]).default("esp"),
  encapsulation_mode: z.enum(["tunnel", "transport"]).default("tunnel"),
  ...algorithms,
});

const endpointGroup = z.strictObject({
  kind: z.literal("EndpointGroup"),
  ...inProject,
  type: z.enum(["subnet", "cidr"]),
  // What an endpoint is depends on the type.
  endpoints: z.array(text()).min(1),
});

const vpnService = z.strictObject({
  kind: z.literal("VpnService"),
  ...inProject,
  admin_state_up: z.boolean().default(true),
  host: plainText(),
  router: name(),
  subnet: name().optional(),
  external: z.strictObject({ network: name(), fixed_ips: z.array(address()).min(1) }),
});

const PSK_FORMS = "expected a text, {file: PATH}, {env: NAME} or {credential: NAME}";
const psk = z.union(
  [
    z.string(),
    z.strictObject({ file: text() }),
    z.strictObject({ env: text() }),
    z.strictObject({ credential: text().regex(/^[^/]+$/) }),
  ],
  { error: PSK_FORMS },
);

const connection = z.strictObject({
  kind: z.literal("IpsecSiteConnection"),
  ...inProject,
  admin_state_up: z.boolean().default(true),
  vpnservice: name(),
  ikepolicy: name(),
  ipsecpolicy: name(),
  local_ep_group: name().optional(),
  peer_ep_group: name().optional(),
  peer_cidrs: z.array(cidr()).min(1).optional(),
  peer_address: address(),
  peer_id: plainText(),
  local_id: z.string().max(MAX_TEXT_CHARACTERS).default(""),
  auth_mode: z.literal("psk").default("psk"),
  psk: psk.refine((value) => value !== "", "is empty: give the connection a pre-shared key"),
  initiator: z.enum(INITIATORS).default("bi-directional"),
  mtu: z.int().min(68).default(1500),
  dpd: z
    .strictObject({
      action: z.enum(DPD_ACTIONS).default("hold"),
      interval: z.int().min(0).default(30),
      timeout: z.int().min(0).default(120),
    })
    .prefault({}),
});

export const SCHEMAS = {
  Router: router,
  Network: network,
  Subnet: subnet,
  IkePolicy: ikePolicy,
  IpsecPolicy: ipsecPolicy,
  EndpointGroup: endpointGroup,
  VpnService: vpnService,
  IpsecSiteConnection: connection,
} as const;

export type Kind = keyof typeof SCHEMAS;
export type Parsed<K extends Kind> = z.output<(typeof SCHEMAS)[K]>;

export const KINDS = Object.keys(SCHEMAS) as readonly Kind[];
export const isKind = (value: unknown): value is Kind => KINDS.some((kind) => kind === value);
