// Neutron's algorithm names in strongSwan's proposal keywords
// (libstrongswan crypto/proposal/proposal_keywords_static.txt), and as strongSwan prints them.
import {
  AUTH_ALGORITHMS,
  DH_GROUPS as GROUP_WORDS,
  ENCRYPTION_ALGORITHMS,
  isAead,
  type CharonAlgorithms,
} from "../../core/algorithms.ts";

const AEAD = /^aes-(128|192|256)-(gcm|ccm)-(8|12|16)$/;
const CBC = /^aes-(128|192|256)$/;
const COUNTER = /^aes-(128|192|256)-ctr$/;

/** Keyword, and the names of get-algorithms for the integrity algorithm and the PRF. */
const INTEGRITY: Readonly<Record<string, readonly [keyword: string, integrity: string, prf: string]>> = {
  sha1: ["sha1", "HMAC_SHA1_96", "PRF_HMAC_SHA1"],
  sha256: ["sha256", "HMAC_SHA2_256_128", "PRF_HMAC_SHA2_256"],
  sha384: ["sha384", "HMAC_SHA2_384_192", "PRF_HMAC_SHA2_384"],
  sha512: ["sha512", "HMAC_SHA2_512_256", "PRF_HMAC_SHA2_512"],
  "aes-xcbc": ["aesxcbc", "AES_XCBC_96", "PRF_AES128_XCBC"],
  "aes-cmac": ["aescmac", "AES_CMAC_96", "PRF_AES128_CMAC"],
};

/** Keyword, and the name of get-algorithms. */
const DH_GROUPS: Readonly<Record<string, readonly [keyword: string, name: string]>> = {
  group2: ["modp1024", "MODP_1024"],
  group5: ["modp1536", "MODP_1536"],
  group14: ["modp2048", "MODP_2048"],
  group15: ["modp3072", "MODP_3072"],
  group16: ["modp4096", "MODP_4096"],
  group17: ["modp6144", "MODP_6144"],
  group18: ["modp8192", "MODP_8192"],
  group19: ["ecp256", "ECP_256"],
  group20: ["ecp384", "ECP_384"],
  group21: ["ecp521", "ECP_521"],
  group22: ["modp1024s160", "MODP_1024_160"],
  group23: ["modp2048s224", "MODP_2048_224"],
  group24: ["modp2048s256", "MODP_2048_256"],
  group25: ["ecp192", "ECP_192"],
  group26: ["ecp224", "ECP_224"],
  group27: ["ecp224bp", "ECP_224_BP"],
  group28: ["ecp256bp", "ECP_256_BP"],
  group29: ["ecp384bp", "ECP_384_BP"],
  group30: ["ecp512bp", "ECP_512_BP"],
  group31: ["curve25519", "CURVE_25519"],
};

export class UnknownAlgorithmError extends Error {
  override readonly name = "UnknownAlgorithmError";
}

function keyword(kind: string, name: string, found: string | undefined): string {
  if (found === undefined) throw new UnknownAlgorithmError(`${kind} "${name}" has no strongSwan keyword`);
  return found;
}

type Cipher = { readonly text: string; readonly printed: string };

function cipherOf(name: string): Cipher | undefined {
  const [, aeadBits, mode = "", icvBytes = ""] = AEAD.exec(name) ?? [];
  if (aeadBits !== undefined) {
    return { text: `aes${aeadBits}${mode}${icvBytes}`, printed: `AES_${mode.toUpperCase()}_${icvBytes}` };
  }
  const [, counterBits] = COUNTER.exec(name) ?? [];
  if (counterBits !== undefined) return { text: `aes${counterBits}ctr`, printed: "AES_CTR" };
  const [, bits] = CBC.exec(name) ?? [];
  if (bits !== undefined) return { text: `aes${bits}`, printed: "AES_CBC" };
  return name === "3des" ? { text: "3des", printed: "3DES_CBC" } : undefined;
}

function encryption(name: string): Cipher {
  const cipher = cipherOf(name);
  if (cipher === undefined) throw new UnknownAlgorithmError(`encryption algorithm "${name}" has no strongSwan keyword`);
  return cipher;
}

const integrity = (name: string): string => keyword("auth algorithm", name, INTEGRITY[name]?.[0]);
const dhGroup = (name: string): string => keyword("pfs group", name, DH_GROUPS[name]?.[0]);

/** Something that has names of algorithms as get-algorithms gives them. */
type Names = { readonly has: (name: string) => boolean };

/** Which of our words a charon with these algorithms can compute. */
export function computedBy(loaded: {
  readonly encryption: Names;
  readonly aead: Names;
  readonly integrity: Names;
  readonly prf: Names;
  readonly keyExchange: Names;
}): CharonAlgorithms {
  const those = (words: ReadonlySet<string>, isThere: (word: string) => boolean): ReadonlySet<string> =>
    new Set([...words].filter(isThere));
  return {
    encryption: those(ENCRYPTION_ALGORITHMS, (word) => {
      const { printed } = encryption(word);
      return (isAead(word) ? loaded.aead : loaded.encryption).has(printed);
    }),
    authentication: those(AUTH_ALGORITHMS, (word) => loaded.integrity.has(INTEGRITY[word]?.[1] ?? "")),
    prf: those(AUTH_ALGORITHMS, (word) => loaded.prf.has(INTEGRITY[word]?.[2] ?? "")),
    dhGroups: those(GROUP_WORDS, (word) => loaded.keyExchange.has(DH_GROUPS[word]?.[1] ?? "")),
  };
}

type Suite = { readonly encryption: string; readonly authentication: string; readonly dhGroup: string };

/** An IKE proposal. With AEAD the auth algorithm is the PRF only (RFC 5282 8), which is written out. */
export function ikeProposal(suite: Suite): string {
  const cipher = encryption(suite.encryption);
  const auth = integrity(suite.authentication);
  const middle = isAead(suite.encryption) ? [`prf${auth}`] : [auth, `prf${auth}`];
  return [cipher.text, ...middle, dhGroup(suite.dhGroup)].join("-");
}

export function espProposal(suite: Suite): string {
  const cipher = encryption(suite.encryption);
  return [
    cipher.text,
    ...(isAead(suite.encryption) ? [] : [integrity(suite.authentication)]),
    dhGroup(suite.dhGroup),
  ].join("-");
}

export const ahProposal = (suite: Suite): string => [integrity(suite.authentication), dhGroup(suite.dhGroup)].join("-");

/** What an SA was negotiated with, by the names that list-sas has. */
type Negotiated = {
  readonly encryption: string | undefined;
  readonly encryptionKeyBits: number | undefined;
  readonly integrity: string | undefined;
  readonly prf: string | undefined;
  readonly dhGroup: string | undefined;
};

const PRINTED_INTEGRITY = new Map(Object.values(INTEGRITY).map(([word, printed]) => [printed, word]));
const PRINTED_PRF = new Map(Object.values(INTEGRITY).map(([word, , printed]) => [printed, `prf${word}`]));
const PRINTED_GROUPS = new Map(Object.values(DH_GROUPS).map(([word, printed]) => [printed, word]));

/** In the words of a proposal; what has none stays as charon prints it. */
function inWords(printed: string | undefined, words: ReadonlyMap<string, string>): readonly string[] {
  return printed === undefined ? [] : [words.get(printed) ?? printed];
}

function cipherInWords({ encryption: printed, encryptionKeyBits: bits }: Negotiated): readonly string[] {
  if (printed === undefined) return [];
  const [, mode, icvBytes] = /^AES_(GCM|CCM)_(\d+)$/.exec(printed) ?? [];
  if (mode !== undefined) return [`aes${String(bits)}${mode.toLowerCase()}${icvBytes ?? ""}`];
  if (printed === "AES_CBC") return [`aes${String(bits)}`];
  if (printed === "AES_CTR") return [`aes${String(bits)}ctr`];
  return [printed === "3DES_CBC" ? "3des" : printed];
}

/** The proposal that an IKE SA came from, as `ikeProposal` writes it. */
export const ikeProposalOf = (sa: Negotiated): string =>
  [
    ...cipherInWords(sa),
    ...inWords(sa.integrity, PRINTED_INTEGRITY),
    ...inWords(sa.prf, PRINTED_PRF),
    ...inWords(sa.dhGroup, PRINTED_GROUPS),
  ].join("-");

/** That of a CHILD SA; without a group when it shares its IKE SA's key exchange. */
export const espProposalOf = (sa: Negotiated): string =>
  [...cipherInWords(sa), ahProposalOf(sa)].filter((part) => part !== "").join("-");

export const ahProposalOf = (sa: Negotiated): string =>
  [...inWords(sa.integrity, PRINTED_INTEGRITY), ...inWords(sa.dhGroup, PRINTED_GROUPS)].join("-");
