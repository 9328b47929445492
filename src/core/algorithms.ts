// The words for algorithms, groups and actions that can be configured: Neutron's own. A word outside is unsupported.

const sizes = ["128", "192", "256"];

export const ENCRYPTION_ALGORITHMS: ReadonlySet<string> = new Set([
  // Current in 2025.1 and older; the 2026.2 migration rewrites it.
  "3des",
  ...sizes.flatMap((bits) => [
    `aes-${bits}`,
    `aes-${bits}-ctr`,
    ...["ccm", "gcm"].flatMap((mode) => ["8", "12", "16"].map((icv) => `aes-${bits}-${mode}-${icv}`)),
  ]),
]);

export const AUTH_ALGORITHMS: ReadonlySet<string> = new Set([
  // The API's default up to 2026.1.
  "sha1",
  "sha256",
  "sha384",
  "sha512",
  "aes-xcbc",
  "aes-cmac",
]);

export const DH_GROUPS: ReadonlySet<string> = new Set(
  [2, 5, ...Array.from({ length: 18 }, (_, index) => 14 + index)].map((group) => `group${group}`),
);

/** Ciphers with authentication: beside them the auth algorithm is IKE's PRF only (RFC 5282 8), and none in ESP. */
export const isAead = (encryption: string): boolean => /-[cg]cm-/.test(encryption);

/** Which of the words something can compute. */
type Ciphers = { readonly encryption: ReadonlySet<string>; readonly authentication: ReadonlySet<string> };
/** What the kernel's IPsec takes. */
export type KernelEsp = Ciphers & { readonly hasAh: boolean };
/** What a charon has plugins for; `prf` are the auth algorithms that it can use as IKE's PRF. */
export type CharonAlgorithms = Ciphers & {
  readonly prf: ReadonlySet<string>;
  readonly dhGroups: ReadonlySet<string>;
};

export const DPD_ACTIONS = ["hold", "clear", "restart", "disabled", "restart-by-peer"] as const;
export const INITIATORS = ["bi-directional", "response-only"] as const;
