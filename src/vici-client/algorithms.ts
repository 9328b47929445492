// What this charon can compute: get-algorithms (vici_query.c).
import { readSection, requireText } from "./fields.ts";
import type { Section } from "./message.ts";
import type { CommandOptions, ViciRequester } from "./session.ts";

/** Name of the algorithm, as strongSwan prints it, to the plugin that provides it: the first one, if several do. */
export type Implementations = ReadonlyMap<string, string>;

/**
 * For IKE, and for ESP only where charon does it itself (kernel-libipsec): with kernel ESP the kernel's ciphers count. A
 * name says nothing about key lengths. Empty: none, or a charon that does not tell (key derivation before 5.9.6).
 */
export type LoadedAlgorithms = {
  /** Ciphers without authentication, e.g. AES_CBC, 3DES_CBC, NULL. */
  readonly encryption: Implementations;
  /** E.g. HMAC_SHA2_256_128, where the last number is the length in bits after truncation. */
  readonly integrity: Implementations;
  /** Ciphers with authentication, e.g. AES_GCM_16, where the number is the length of the tag in bytes. */
  readonly aead: Implementations;
  /** E.g. HASH_SHA2_256. */
  readonly hash: Implementations;
  /** E.g. PRF_HMAC_SHA2_256. */
  readonly prf: Implementations;
  /** Extendable output, e.g. XOF_SHAKE256. */
  readonly xof: Implementations;
  readonly keyDerivation: Implementations;
  /** Deterministic random bit generators. */
  readonly drbg: Implementations;
  /** Diffie-Hellman groups and key encapsulation, e.g. MODP_2048, CURVE_25519, ML_KEM_768. */
  readonly keyExchange: Implementations;
  /** RNG_WEAK, RNG_STRONG, RNG_TRUE. */
  readonly random: Implementations;
  readonly nonce: Implementations;
};

export async function getAlgorithms(vici: ViciRequester, options?: CommandOptions): Promise<LoadedAlgorithms> {
  return decodeAlgorithms(await vici.request("get-algorithms", {}, options));
}

export function decodeAlgorithms(answer: Section): LoadedAlgorithms {
  const implementations = (type: string): Implementations => {
    const section = readSection(answer, type);
    return new Map([...section.keys()].map((name) => [name, requireText(section, name)]));
  };
  return {
    encryption: implementations("encryption"),
    integrity: implementations("integrity"),
    aead: implementations("aead"),
    hash: implementations("hasher"),
    prf: implementations("prf"),
    xof: implementations("xof"),
    keyDerivation: implementations("kdf"),
    drbg: implementations("drbg"),
    // 6.0 renamed it from "dh", since it also has methods that are no Diffie-Hellman.
    keyExchange: implementations(answer.has("ke") ? "ke" : "dh"),
    random: implementations("rng"),
    nonce: implementations("nonce-gen"),
  };
}
