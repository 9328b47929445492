// Neutron's words for algorithms in strongSwan's: as its configuration writes them, and as it lists them.
import type { WantedAlgorithms } from "./wanted.ts";

const GROUPS: Readonly<Record<string, readonly [written: string, listed: string]>> = {
  group14: ["modp2048", "MODP_2048"],
  group15: ["modp3072", "MODP_3072"],
  group19: ["ecp256", "ECP_256"],
  group20: ["ecp384", "ECP_384"],
  group21: ["ecp521", "ECP_521"],
};
const AUTHS: Readonly<Record<string, string>> = {
  sha256: "HMAC_SHA2_256_128",
  sha384: "HMAC_SHA2_384_192",
  sha512: "HMAC_SHA2_512_256",
};

const known = <T>(table: Readonly<Record<string, T>>, word: string): T => {
  const found = table[word];
  if (found === undefined) throw new Error(`the checker does not know ${word}`);
  return found;
};

const cipherOf = (encryption: string): { readonly bits: string; readonly isAead: boolean } => {
  const [, bits, gcm] = /^aes-(\d+)(-gcm-16)?$/.exec(encryption) ?? [];
  if (bits === undefined) throw new Error(`the checker does not know ${encryption}`);
  return { bits, isAead: gcm !== undefined };
};

export function ikeProposal({ encryption, auth, group }: WantedAlgorithms): string {
  const { bits, isAead } = cipherOf(encryption);
  const [written] = known(GROUPS, group);
  return isAead ? `aes${bits}gcm16-prf${auth}-${written}` : `aes${bits}-${auth}-prf${auth}-${written}`;
}

export function espProposal({ encryption, auth, group }: WantedAlgorithms): string {
  const { bits, isAead } = cipherOf(encryption);
  const [written] = known(GROUPS, group);
  return isAead ? `aes${bits}gcm16-${written}` : `aes${bits}-${auth}-${written}`;
}

/** Keys of list-sas and their values; undefined: the key must not be there. */
export function listedCipher({ encryption, auth }: WantedAlgorithms): Readonly<Record<string, string | undefined>> {
  const { bits, isAead } = cipherOf(encryption);
  return {
    "encr-alg": isAead ? "AES_GCM_16" : "AES_CBC",
    "encr-keysize": bits,
    "integ-alg": isAead ? undefined : known(AUTHS, auth),
  };
}

export const listedGroup = ({ group }: WantedAlgorithms): string => known(GROUPS, group)[1];
