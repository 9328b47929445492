// Neutron's algorithm names in strongSwan's proposal keywords
// (libstrongswan crypto/proposal/proposal_keywords_static.txt).

const AEAD = /^aes-(128|192|256)-(gcm|ccm)-(8|12|16)$/;
const CBC = /^aes-(128|192|256)$/;
const COUNTER = /^aes-(128|192|256)-ctr$/;

const INTEGRITY: Readonly<Record<string, string>> = {
  sha1: "sha1",
  sha256: "sha256",
  sha384: "sha384",
  sha512: "sha512",
  "aes-xcbc": "aesxcbc",
  "aes-cmac": "aescmac",
};

const DH_GROUPS: Readonly<Record<string, string>> = {
  group2: "modp1024",
  group5: "modp1536",
  group14: "modp2048",
  group15: "modp3072",
  group16: "modp4096",
  group17: "modp6144",
  group18: "modp8192",
  group19: "ecp256",
  group20: "ecp384",
  group21: "ecp521",
  group22: "modp1024s160",
  group23: "modp2048s224",
  group24: "modp2048s256",
  group25: "ecp192",
  group26: "ecp224",
  group27: "ecp224bp",
  group28: "ecp256bp",
  group29: "ecp384bp",
  group30: "ecp512bp",
  group31: "curve25519",
};

export class UnknownAlgorithmError extends Error {
  override readonly name = "UnknownAlgorithmError";
}

function keyword(kind: string, name: string, found: string | undefined): string {
  if (found === undefined) throw new UnknownAlgorithmError(`${kind} "${name}" has no strongSwan keyword`);
  return found;
}

function encryption(name: string): { readonly text: string; readonly aead: boolean } {
  const aead = AEAD.exec(name);
  if (aead !== null) return { text: `aes${aead[1] ?? ""}${aead[2] ?? ""}${aead[3] ?? ""}`, aead: true };
  const counter = COUNTER.exec(name);
  if (counter !== null) return { text: `aes${counter[1] ?? ""}ctr`, aead: false };
  const cbc = CBC.exec(name);
  const text = cbc !== null ? `aes${cbc[1] ?? ""}` : name === "3des" ? "3des" : undefined;
  return { text: keyword("encryption algorithm", name, text), aead: false };
}

const integrity = (name: string): string => keyword("auth algorithm", name, INTEGRITY[name]);
const dhGroup = (name: string): string => keyword("pfs group", name, DH_GROUPS[name]);

type Suite = { readonly encryption: string; readonly authentication: string; readonly dhGroup: string };

/** An IKE proposal. With AEAD the auth algorithm is the PRF only (RFC 5282 8), which is written out. */
export function ikeProposal(suite: Suite): string {
  const cipher = encryption(suite.encryption);
  const auth = integrity(suite.authentication);
  const middle = cipher.aead ? [`prf${auth}`] : [auth, `prf${auth}`];
  return [cipher.text, ...middle, dhGroup(suite.dhGroup)].join("-");
}

export function espProposal(suite: Suite): string {
  const cipher = encryption(suite.encryption);
  return [cipher.text, ...(cipher.aead ? [] : [integrity(suite.authentication)]), dhGroup(suite.dhGroup)].join("-");
}

export const ahProposal = (suite: Suite): string => [integrity(suite.authentication), dhGroup(suite.dhGroup)].join("-");
