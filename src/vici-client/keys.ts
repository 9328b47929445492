// Private keys: load-key, load-token, unload-key, get-keys. A key is known by the SHA-1 of its public key, in hex.
import { MalformedMessageError } from "./errors.ts";
import { readList, requireText } from "./fields.ts";
import { printable, run } from "./run.ts";
import type { CommandOptions, ViciRequester } from "./session.ts";

export type PrivateKey = {
  /** "any" lets charon find out. Another type than the key's is refused. */
  readonly type: "any" | "rsa" | "ecdsa" | "ed25519" | "ed448";
  /** PEM or DER, not encrypted: PKCS#8, or PKCS#1 for RSA and SEC 1 for ECDSA. */
  readonly data: string | Uint8Array;
};

/** Gives the id. The same key loaded again is the same id once. */
export async function loadKey(vici: ViciRequester, key: PrivateKey, options?: CommandOptions): Promise<string> {
  const { type, data } = key;
  return requireText(await run(vici, "load-key", { type, data }, options), "id");
}

export type TokenKey = {
  /** CKA_ID on the token, in hex. */
  readonly handle: string;
  readonly slot?: number;
  /** Name of the PKCS#11 module in strongswan.conf. */
  readonly module?: string;
  /** Kept by charon as long as the key. Printable ASCII: charon would read another as none. */
  readonly pin?: string;
};

/** Gives the id. Refused without the plugin `pkcs11`, without the token, and with a wrong PIN, in the same words. */
export async function loadToken(vici: ViciRequester, key: TokenKey, options?: CommandOptions): Promise<string> {
  const { handle, slot, module, pin } = key;
  if (pin !== undefined && !/^[\x20-\x7e]+$/.test(pin)) {
    throw new MalformedMessageError("pin is not printable ASCII: charon would ignore it");
  }
  const args = { handle: hexId("handle", handle), slot: slot?.toString(), module: printable("module", module), pin };
  return requireText(await run(vici, "load-token", args, options), "id");
}

/** Also the PIN of a token's key. Refused when there is no such key. */
export async function unloadKey(vici: ViciRequester, id: string, options?: CommandOptions): Promise<void> {
  await run(vici, "unload-key", { id: hexId("id", id) }, options);
}

/** Ids of the keys loaded over VICI, those on tokens among them. */
export async function getKeys(vici: ViciRequester, options?: CommandOptions): Promise<readonly string[]> {
  return readList(await vici.request("get-keys", {}, options), "keys");
}

/** charon reads a digit that is none as one that is (chunk_from_hex). */
function hexId(key: string, value: string): string {
  if (/^(?:[0-9a-f]{2})+$/i.test(value)) return value;
  throw new MalformedMessageError(`${key} ${JSON.stringify(value)} is not hex`);
}
