// The whole vocabulary of policies as rows: what is asked of both gateways in Neutron's words, and what two real charons
// are expected to make of it, literally. Rows are numbered by their place; addresses and ids are made of that number.
import type { EspBackEnd } from "../../src/core/guard.ts";

/** Keys of Neutron's objects that differ from the base of policy-rows: see `BASE`. */
export type Wish = {
  readonly ike?: Readonly<Record<string, unknown>>;
  readonly ipsec?: Readonly<Record<string, unknown>>;
  readonly connection?: Readonly<Record<string, unknown>>;
};

export type Platform = { readonly strongswan: string; readonly espBackEnd: EspBackEnd };

/** What list-sas has to show on the left. */
export type Agreed = {
  readonly ikeVersion: 1 | 2;
  /** Encryption, integrity, PRF and group, as strongSwan prints them; a cipher with its key length. */
  readonly ike: string;
  /** Encryption and integrity; the group of the first rekeying. */
  readonly child: string;
  readonly dhGroup: string;
  readonly mode: "TUNNEL" | "TRANSPORT";
  readonly protocol: "ESP" | "AH";
  /** Children that are there at once. */
  readonly children: number;
  /** Of both gateways; `addresses`: their own. */
  readonly ids: "addresses" | readonly [local: string, remote: string];
  /** How long a CHILD SA may live; "unlimited": volume counts. */
  readonly lifeSeconds: number | "unlimited";
};

export type Row = {
  readonly name: string;
  readonly left: Wish;
  /** The right's, where it is another than the left's. */
  readonly right?: Wish;
  readonly splitChildren?: boolean;
  /** Two subnets on each side instead of one. */
  readonly hasTwoSubnets?: boolean;
  /** The gateways' own addresses instead of subnets. */
  readonly isHostToHost?: boolean;
  /** Who begins; the left unless told otherwise. */
  readonly initiator?: "right";
  /** What is expected, literally: what the SAs show, or the text of the ERROR, for each platform. */
  readonly expected: (platform: Platform) => Agreed | RegExp;
};

/** What every wish starts from, and what two gateways agree on then. */
export const BASE = {
  ike: {
    ike_version: "v2",
    phase1_negotiation_mode: "main",
    encryption_algorithm: "aes-128",
    auth_algorithm: "sha256",
    pfs: "group14",
    lifetime_units: "seconds",
    lifetime_value: 3600,
  },
  ipsec: {
    transform_protocol: "esp",
    encapsulation_mode: "tunnel",
    encryption_algorithm: "aes-128",
    auth_algorithm: "sha256",
    pfs: "group14",
    lifetime_units: "seconds",
    lifetime_value: 3600,
  },
} as const;

const AGREED: Agreed = {
  ikeVersion: 2,
  ike: "AES_CBC-128 HMAC_SHA2_256_128 PRF_HMAC_SHA2_256 MODP_2048",
  child: "AES_CBC-128 HMAC_SHA2_256_128",
  dhGroup: "MODP_2048",
  mode: "TUNNEL",
  protocol: "ESP",
  children: 1,
  ids: "addresses",
  lifeSeconds: 3600,
};
const IKEV1: Agreed = { ...AGREED, ikeVersion: 1 };

/** Expected everywhere. */
const agreed = (more: Partial<Agreed>) => (): Agreed => ({ ...AGREED, ...more });
const refused = (text: RegExp) => (): RegExp => text;
/** Expected with kernel ESP; userland's has it not. */
const kernelOnly =
  (more: Partial<Agreed>) =>
  ({ espBackEnd }: Platform): Agreed | RegExp =>
    espBackEnd === "kernel" ? { ...AGREED, ...more } : /needs kernel ESP, and this gateway runs ESP in userland/;

const VERSIONS = [
  { ikeVersion: 1, wish: { ike_version: "v1" } },
  { ikeVersion: 2, wish: { ike_version: "v2" } },
] as const;

const CIPHERS: Readonly<Record<string, string>> = {
  "3des": "3DES_CBC",
  "aes-128": "AES_CBC-128",
  "aes-192": "AES_CBC-192",
  "aes-256": "AES_CBC-256",
  "aes-128-ctr": "AES_CTR-128",
  "aes-192-ctr": "AES_CTR-192",
  "aes-256-ctr": "AES_CTR-256",
};
const AEAD_CIPHERS: Readonly<Record<string, string>> = {
  "aes-128-ccm-8": "AES_CCM_8-128",
  "aes-192-ccm-8": "AES_CCM_8-192",
  "aes-256-ccm-8": "AES_CCM_8-256",
  "aes-128-ccm-12": "AES_CCM_12-128",
  "aes-192-ccm-12": "AES_CCM_12-192",
  "aes-256-ccm-12": "AES_CCM_12-256",
  "aes-128-ccm-16": "AES_CCM_16-128",
  "aes-192-ccm-16": "AES_CCM_16-192",
  "aes-256-ccm-16": "AES_CCM_16-256",
  "aes-128-gcm-8": "AES_GCM_8-128",
  "aes-192-gcm-8": "AES_GCM_8-192",
  "aes-256-gcm-8": "AES_GCM_8-256",
  "aes-128-gcm-12": "AES_GCM_12-128",
  "aes-192-gcm-12": "AES_GCM_12-192",
  "aes-256-gcm-12": "AES_GCM_12-256",
  "aes-128-gcm-16": "AES_GCM_16-128",
  "aes-192-gcm-16": "AES_GCM_16-192",
  "aes-256-gcm-16": "AES_GCM_16-256",
};
const AUTHENTICATION: Readonly<Record<string, readonly [integrity: string, prf: string]>> = {
  sha1: ["HMAC_SHA1_96", "PRF_HMAC_SHA1"],
  sha256: ["HMAC_SHA2_256_128", "PRF_HMAC_SHA2_256"],
  sha384: ["HMAC_SHA2_384_192", "PRF_HMAC_SHA2_384"],
  sha512: ["HMAC_SHA2_512_256", "PRF_HMAC_SHA2_512"],
  "aes-xcbc": ["AES_XCBC_96", "PRF_AES128_XCBC"],
  "aes-cmac": ["AES_CMAC_96", "PRF_AES128_CMAC"],
};
const GROUPS: Readonly<Record<string, string>> = {
  group2: "MODP_1024",
  group5: "MODP_1536",
  group14: "MODP_2048",
  group15: "MODP_3072",
  group16: "MODP_4096",
  group17: "MODP_6144",
  group18: "MODP_8192",
  group19: "ECP_256",
  group20: "ECP_384",
  group21: "ECP_521",
  group22: "MODP_1024_160",
  group23: "MODP_2048_224",
  group24: "MODP_2048_256",
  group25: "ECP_192",
  group26: "ECP_224",
  group27: "ECP_224_BP",
  group28: "ECP_256_BP",
  group29: "ECP_384_BP",
  group30: "ECP_512_BP",
  group31: "CURVE_25519",
};

const ciphers = Object.entries({ ...CIPHERS, ...AEAD_CIPHERS }).flatMap(([word, shown]): readonly Row[] => {
  const isAead = word in AEAD_CIPHERS;
  const child = isAead ? shown : `${shown} HMAC_SHA2_256_128`;
  const isForIkev1 = !isAead && !word.endsWith("-ctr");
  const text = new RegExp(`^ikepolicy encryption_algorithm "${word}" cannot protect an IKEv1 SA`);
  return [
    {
      name: `IKEv2, encryption ${word}`,
      left: { ike: { encryption_algorithm: word }, ipsec: { encryption_algorithm: word } },
      expected: agreed({
        ike: `${shown} ${isAead ? "" : "HMAC_SHA2_256_128 "}PRF_HMAC_SHA2_256 MODP_2048`,
        child,
      }),
    },
    {
      name: `IKEv1, encryption ${word} of its SA`,
      left: { ike: { ike_version: "v1", encryption_algorithm: word } },
      expected: isForIkev1
        ? agreed({ ikeVersion: 1, ike: `${shown} HMAC_SHA2_256_128 PRF_HMAC_SHA2_256 MODP_2048` })
        : refused(text),
    },
    {
      name: `IKEv1, encryption ${word} of its children`,
      left: { ike: { ike_version: "v1" }, ipsec: { encryption_algorithm: word } },
      expected: agreed({ ikeVersion: 1, child }),
    },
  ];
});

const NO_CMAC = /^ipsecpolicy auth_algorithm "aes-cmac" cannot be asked for by IKEv1/;

const authentication = Object.entries(AUTHENTICATION).flatMap(([word, [integrity, prf]]): readonly Row[] => {
  const text = new RegExp(`^ikepolicy auth_algorithm "${word}" cannot protect an IKEv1 SA`);
  return [
    {
      name: `IKEv2, authentication ${word}`,
      left: { ike: { auth_algorithm: word }, ipsec: { auth_algorithm: word } },
      expected: agreed({ ike: `AES_CBC-128 ${integrity} ${prf} MODP_2048`, child: `AES_CBC-128 ${integrity}` }),
    },
    {
      name: `IKEv2, authentication ${word} as PRF beside AES-GCM`,
      left: { ike: { auth_algorithm: word, encryption_algorithm: "aes-256-gcm-16" } },
      expected: agreed({ ike: `AES_GCM_16-256 ${prf} MODP_2048` }),
    },
    {
      name: `IKEv1, authentication ${word} of its SA`,
      left: { ike: { ike_version: "v1", auth_algorithm: word } },
      expected: word.startsWith("sha")
        ? agreed({ ikeVersion: 1, ike: `AES_CBC-128 ${integrity} ${prf} MODP_2048` })
        : refused(text),
    },
    {
      name: `IKEv1, authentication ${word} of its children`,
      left: { ike: { ike_version: "v1" }, ipsec: { auth_algorithm: word } },
      expected: word === "aes-cmac" ? refused(NO_CMAC) : agreed({ ikeVersion: 1, child: `AES_CBC-128 ${integrity}` }),
    },
    {
      name: `IKEv2, AH, authentication ${word}`,
      left: { ipsec: { transform_protocol: "ah", auth_algorithm: word } },
      expected: kernelOnly({ protocol: "AH", child: integrity }),
    },
    {
      name: `IKEv1, AH, authentication ${word}`,
      left: { ike: { ike_version: "v1" }, ipsec: { transform_protocol: "ah", auth_algorithm: word } },
      expected: (platform) =>
        word === "aes-cmac" && platform.espBackEnd === "kernel"
          ? NO_CMAC
          : kernelOnly({ ikeVersion: 1, protocol: "AH", child: integrity })(platform),
    },
  ];
});

const groups = Object.entries(GROUPS).flatMap(([word, shown]) =>
  VERSIONS.map(({ ikeVersion, wish }): Row => ({
    name: `IKEv${String(ikeVersion)}, ${word}`,
    left: { ike: { ...wish, pfs: word }, ipsec: { pfs: word } },
    expected: agreed({
      ikeVersion,
      ike: `AES_CBC-128 HMAC_SHA2_256_128 PRF_HMAC_SHA2_256 ${shown}`,
      dhGroup: shown,
    }),
  })),
);

const modes: readonly Row[] = [
  {
    name: "B-38: IKEv1, aggressive mode",
    left: { ike: { ike_version: "v1", phase1_negotiation_mode: "aggressive" } },
    expected: agreed(IKEV1),
  },
  {
    name: "IKEv2, which has no aggressive mode",
    left: { ike: { phase1_negotiation_mode: "aggressive" } },
    expected: agreed({}),
  },
  ...VERSIONS.flatMap(({ ikeVersion, wish }): readonly Row[] => [
    {
      name: `IKEv${String(ikeVersion)}, transport mode between the gateways`,
      left: { ike: wish, ipsec: { encapsulation_mode: "transport" } },
      isHostToHost: true,
      expected: kernelOnly({ ikeVersion, mode: "TRANSPORT" }),
    },
    {
      name: `IKEv${String(ikeVersion)}, transport mode of AH between the gateways`,
      left: { ike: wish, ipsec: { encapsulation_mode: "transport", transform_protocol: "ah" } },
      isHostToHost: true,
      expected: kernelOnly({ ikeVersion, mode: "TRANSPORT", protocol: "AH", child: "HMAC_SHA2_256_128" }),
    },
    {
      name: `IKEv${String(ikeVersion)}, transport mode of sites`,
      left: { ike: wish, ipsec: { encapsulation_mode: "transport" } },
      expected: ({ espBackEnd }) =>
        espBackEnd === "kernel"
          ? /^encapsulation_mode "transport" carries only what the two gateways themselves say/
          : /needs kernel ESP, and this gateway runs ESP in userland/,
    },
    {
      name: `IKEv${String(ikeVersion)}, two subnets on each side`,
      left: { ike: wish },
      hasTwoSubnets: true,
      expected: agreed({ ikeVersion, children: ikeVersion === 1 ? 4 : 1 }),
    },
  ]),
  {
    name: "IKEv2, two subnets on each side, split",
    left: {},
    hasTwoSubnets: true,
    splitChildren: true,
    expected: agreed({ children: 4 }),
  },
];

const actions: readonly Row[] = [
  ...["hold", "clear", "restart", "disabled", "restart-by-peer"].flatMap((action) =>
    VERSIONS.map(({ ikeVersion, wish }): Row => ({
      name: `IKEv${String(ikeVersion)}, DPD ${action}`,
      left: { ike: wish, connection: { dpd_action: action, dpd_interval: 5, dpd_timeout: 20 } },
      expected: agreed({ ikeVersion }),
    })),
  ),
  ...VERSIONS.flatMap(({ ikeVersion, wish }): readonly Row[] => [
    {
      name: `IKEv${String(ikeVersion)}, the peer only answers`,
      left: { ike: wish },
      right: { ike: wish, connection: { initiator: "response-only" } },
      expected: agreed({ ikeVersion }),
    },
    {
      name: `IKEv${String(ikeVersion)}, this side only answers`,
      left: { ike: wish, connection: { initiator: "response-only" } },
      right: { ike: wish },
      initiator: "right",
      expected: agreed({ ikeVersion }),
    },
    ...[60, 86_400, 86_401, 2_592_000].map((seconds): Row => ({
      name: `IKEv${String(ikeVersion)}, lifetimes of ${String(seconds)} s`,
      left: { ike: { ...wish, lifetime_value: seconds }, ipsec: { lifetime_value: seconds } },
      expected: agreed({ ikeVersion, lifeSeconds: seconds }),
    })),
    {
      name: `IKEv${String(ikeVersion)}, a volume of 100,000 kilobytes`,
      left: { ike: wish, ipsec: { lifetime_units: "kilobytes", lifetime_value: 100_000 } },
      // charon adds its own defaults for time (swanctl.conf, life_time).
      expected: agreed({ ikeVersion, lifeSeconds: 3960 }),
    },
    {
      name: `IKEv${String(ikeVersion)}, a volume for IKE's own SA`,
      left: { ike: { ...wish, lifetime_units: "kilobytes", lifetime_value: 100_000 } },
      expected: refused(/^ikepolicy lifetime_units kilobytes is not supported/),
    },
  ]),
];

/** What goes before a name that no other row has, on the wire as Neutron sends it and as charon shows it. */
const names: Readonly<Record<string, readonly [wire: string, shown: string]>> = {
  "a name": ["@", ""],
  "a name like a number": ["@1", "1"],
  "a name with an @ inside": ["@one@", "one@"],
  "an e-mail address": ["@@one@", "one@"],
  "a distinguished name": ["@C=CH, O=", "C=CH, O="],
  "255 bytes": [`@${"x".repeat(240)}.`, `${"x".repeat(240)}.`],
};
const identities: readonly Row[] = [
  { ikeVersion: 2, mode: "main" },
  { ikeVersion: 1, mode: "main" },
  { ikeVersion: 1, mode: "aggressive" },
].flatMap(({ ikeVersion, mode }, index): readonly Row[] => {
  const ike = { ike_version: `v${String(ikeVersion)}`, phase1_negotiation_mode: mode };
  const row = (what: string, wire: readonly [string, string], shown: readonly [string, string] = wire): Row => ({
    name: `IKEv${String(ikeVersion)}, ${mode} mode, identity: ${what}`,
    left: { ike, connection: { local_id: wire[0], peer_id: wire[1] } },
    right: { ike, connection: { local_id: wire[1], peer_id: wire[0] } },
    expected: agreed({ ikeVersion: ikeVersion === 1 ? 1 : 2, ids: shown }),
  });
  const own = String(index);
  return [
    ...Object.entries(names).map(([what, [wire, shown]], kind) => {
      const ends = [`l${own}${String(kind)}`, `r${own}${String(kind)}`] as const;
      return row(what, [`${wire}${ends[0]}`, `${wire}${ends[1]}`], [`${shown}${ends[0]}`, `${shown}${ends[1]}`]);
    }),
    row("the address of another", [`198.51.100.1${own}`, `2001:db8::1${own}`]),
    row(
      "an address beside a name",
      [`@198.51.100.2${own}`, `@right${own}.example`],
      [`198.51.100.2${own}`, `right${own}.example`],
    ),
    row("a key id", [`@#010${own}`, `@#020${own}`], [`01:0${own}`, `02:0${own}`]),
  ];
});

const words: readonly Row[] = [
  {
    name: "ah-esp",
    left: { ipsec: { transform_protocol: "ah-esp" } },
    expected: refused(/^ipsecpolicy transform_protocol "ah-esp" is not supported: use esp, ah$/),
  },
  {
    name: "an unknown cipher",
    left: { ipsec: { encryption_algorithm: "des" } },
    expected: refused(/^ipsecpolicy encryption_algorithm "des" is not supported/),
  },
  {
    name: "an unknown hash",
    left: { ike: { auth_algorithm: "md5" } },
    expected: refused(/^ikepolicy auth_algorithm "md5" is not supported/),
  },
  {
    name: "an unknown group",
    left: { ike: { pfs: "group1" } },
    expected: refused(/^ikepolicy pfs "group1" is not supported/),
  },
  {
    name: "an identity for any peer",
    left: { connection: { peer_id: "*" } },
    expected: refused(/^peer_id "\*" contains '\*', which would match other peers too/),
  },
];

export const ROWS: readonly Row[] = [
  ...ciphers,
  ...authentication,
  ...groups,
  ...modes,
  ...actions,
  ...identities,
  ...words,
];

const nothing = refused(/^the sides have no suite in common/);
const UNLIKE = { encryption_algorithm: "aes-256", auth_algorithm: "sha512", pfs: "group15" };

/** Sides that chose differently, of what every charon can compute and has among its own proposals: nothing may come of it. */
export const STRANGERS: readonly Row[] = VERSIONS.flatMap(({ ikeVersion, wish }): readonly Row[] => [
  {
    name: `IKEv${String(ikeVersion)}, another suite of IKE`,
    left: { ike: wish },
    right: { ike: { ...wish, ...UNLIKE } },
    expected: nothing,
  },
  {
    name: `IKEv${String(ikeVersion)}, another suite of ESP`,
    left: { ike: wish },
    right: { ike: wish, ipsec: UNLIKE },
    expected: nothing,
  },
]);
