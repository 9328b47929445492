// The kinds of documents: Neutron's REST attributes with its defaults, references by name. Unknown keys are typos.
// What two keys or two documents have to do with each other is judged elsewhere.
import { z } from "zod";
import { AUTH_ALGORITHMS, DH_GROUPS, DPD_ACTIONS, ENCRYPTION_ALGORITHMS, INITIATORS } from "../../core/algorithms.ts";
import { isUuid } from "../../core/ids.ts";
import { readAddress, readCidr } from "../../core/read-address.ts";

const MAX_TEXT_CHARACTERS = 255;
/** Neutron keeps numbers in columns of 32 bits with a sign. */
const MAX_INTEGER = 2_147_483_647;
/** A routing key is a short string of AMQP, 255 bytes, and begins with `ipsec_agent.`. */
const MAX_HOST_BYTES = 243;
/** Into 255 bytes of charon (vici_cred.c) has to fit what Neutron's server puts before an identity, an `@`. */
const MAX_IDENTITY_BYTES = 254;

const text = () => z.string().min(1).max(MAX_TEXT_CHARACTERS);
// eslint-disable-next-line no-control-regex -- control characters are what is refused
const CONTROL_CHARACTER = /[\x00-\x1f\x7f]/;
const TAKE_IT_OUT = "contains a control character: take it out";

const plainText = () => text().refine((value) => !CONTROL_CHARACTER.test(value), TAKE_IT_OUT);
const name = plainText;
const wholeNumber = (min: number) => z.int().min(min).max(MAX_INTEGER);

/** What the agent would refuse is refused here: an identity that stands for others too would share out the key. */
const identity = () =>
  z.string().superRefine((value, context) => {
    const refuse = (message: string): void => context.addIssue({ code: "custom", message });
    if (CONTROL_CHARACTER.test(value)) refuse(TAKE_IT_OUT);
    if (Buffer.byteLength(value) > MAX_IDENTITY_BYTES) refuse(`is longer than ${MAX_IDENTITY_BYTES} bytes: shorten it`);
    if (value.includes("*") || /^@{0,2}\^.*\$$/.test(value)) {
      refuse(`is ${JSON.stringify(value)}, which would stand for other peers too: write it without * and ^…$`);
    }
  });
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

/** Equal ones are equal texts by now. */
const withoutDuplicates = (values: readonly string[], context: z.core.$RefinementCtx): void => {
  for (const [at, value] of values.entries()) {
    if (values.indexOf(value) === at) continue;
    context.addIssue({ code: "custom", path: [at], message: `${value} is given twice: remove one` });
  }
};

const base = {
  name: name(),
  description: z.string().max(MAX_TEXT_CHARACTERS).default(""),
  id: z
    .string()
    .superRefine((value, context) => {
      if (isUuid(value)) return;
      context.addIssue({ code: "custom", message: `is ${JSON.stringify(value)}: expected a lower-case UUID` });
    })
    .optional(),
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
    .strictObject({ units: z.literal("seconds").default("seconds"), value: wholeNumber(60).default(3600) })
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
  host: plainText().refine(
    (value) => Buffer.byteLength(value) <= MAX_HOST_BYTES,
    `is longer than the ${MAX_HOST_BYTES} bytes that a routing key has room for: shorten it`,
  ),
  router: name(),
  subnet: name().optional(),
  external: z.strictObject({ network: name(), fixed_ips: z.array(address()).min(1).superRefine(withoutDuplicates) }),
});

/** What is wrong with a pre-shared key, wherever it comes from; never with the key in it. */
export function pskMistake(key: string): string | undefined {
  if (key === "") return "is empty: give the connection a pre-shared key";
  if (key.includes("\0")) return "contains a NUL character: take it out";
  const { length } = Array.from(key);
  // The width of Neutron's column.
  return length > MAX_TEXT_CHARACTERS
    ? `has ${length} characters: at most ${MAX_TEXT_CHARACTERS}, as in Neutron`
    : undefined;
}

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
  peer_cidrs: z.array(cidr()).min(1).superRefine(withoutDuplicates).optional(),
  peer_address: address(),
  peer_id: identity().refine((value) => value.replace(/^@{1,2}/, "") !== "", "is empty: name the peer"),
  local_id: identity().default(""),
  auth_mode: z.literal("psk").default("psk"),
  psk: psk.superRefine((value, context) => {
    const mistake = typeof value === "string" ? pskMistake(value) : undefined;
    if (mistake !== undefined) context.addIssue({ code: "custom", message: mistake });
  }),
  initiator: z.enum(INITIATORS).default("bi-directional"),
  mtu: z
    .int()
    .max(65_535)
    .superRefine((value, context) => {
      // IPv6's own minimum is judged where the family is known.
      if (value >= 68) return;
      context.addIssue({ code: "custom", message: `is ${value}: at least 68 for IPv4, 1280 for IPv6` });
    })
    .default(1500),
  dpd: z
    .strictObject({
      action: z.enum(DPD_ACTIONS).default("hold"),
      interval: wholeNumber(0).default(30),
      timeout: wholeNumber(0).default(120),
    })
    .superRefine(({ interval, timeout }, context) => {
      if (timeout > interval) return;
      const message = `${timeout} is not above dpd.interval ${interval}: raise it`;
      context.addIssue({ code: "custom", path: ["timeout"], message });
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
