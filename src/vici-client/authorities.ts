// Certification authorities and where to ask them: load-authority, unload-authority, get-authorities, list-authorities.
import { readList, readText, requireText, sectionsOf } from "./fields.ts";
import type { Section } from "./message.ts";
import { collect, printable, run } from "./run.ts";
import type { CommandOptions, ViciRequester } from "./session.ts";

export type AuthorityConfig = (
  | {
      /** The CA's certificate, PEM or DER. */
      readonly caCert: string | Uint8Array;
    }
  | {
      /** Path of the CA's certificate, read by charon itself. */
      readonly caCertFile: string;
    }
  | {
      /** CKA_ID of the CA's certificate on a PKCS#11 token, in hex. */
      readonly caCertHandle: string;
      readonly slot?: number;
      readonly module?: string;
    }
) & {
  /** http, ldap or file. */
  readonly crlUris?: readonly string[];
  /** http. */
  readonly ocspUris?: readonly string[];
  /** For "hash and URL" (RFC 7296, 3.6). */
  readonly certUriBase?: string;
};

/**
 * Replaces the one of the same name. A certificate that cannot be read, or is not a CA's, is refused as "CA certificate
 * missing".
 */
export async function loadAuthority(
  vici: ViciRequester,
  name: string,
  config: AuthorityConfig,
  options?: CommandOptions,
): Promise<void> {
  const { crlUris, ocspUris, certUriBase } = config;
  const section = { ...sourceArgs(config), crl_uris: crlUris, ocsp_uris: ocspUris, cert_uri_base: certUriBase };
  await run(vici, "load-authority", new Map([[name, section]]), options);
}

function sourceArgs(config: AuthorityConfig): Record<string, string | Uint8Array | undefined> {
  if ("caCert" in config) return { cacert: config.caCert };
  if ("caCertFile" in config) return { file: config.caCertFile };
  return { handle: config.caCertHandle, slot: config.slot?.toString(), module: config.module };
}

/** Refused when there is none of that name. Flushes the cache of certificates. */
export async function unloadAuthority(vici: ViciRequester, name: string, options?: CommandOptions): Promise<void> {
  await run(vici, "unload-authority", { name: printable("name", name) }, options);
}

/** Names. */
export async function getAuthorities(vici: ViciRequester, options?: CommandOptions): Promise<readonly string[]> {
  return readList(await vici.request("get-authorities", {}, options), "authorities");
}

export type Authority = {
  readonly name: string;
  /** Distinguished name of the CA's certificate. */
  readonly caSubject: string;
  readonly crlUris: readonly string[];
  readonly ocspUris: readonly string[];
  readonly certUriBase: string | undefined;
};

export async function listAuthorities(
  vici: ViciRequester,
  filter: { readonly name?: string } = {},
  options?: CommandOptions,
): Promise<readonly Authority[]> {
  const args = { name: printable("name", filter.name) };
  return (await collect(vici, "list-authorities", "list-authority", args, decodeAuthorities, options)).flat();
}

/** A list-authority event; charon puts one authority into each. */
export function decodeAuthorities(message: Section): readonly Authority[] {
  return sectionsOf(message).map(([name, section]) => ({
    name,
    caSubject: requireText(section, "cacert"),
    crlUris: readList(section, "crl_uris"),
    ocspUris: readList(section, "ocsp_uris"),
    certUriBase: readText(section, "cert_uri_base"),
  }));
}
