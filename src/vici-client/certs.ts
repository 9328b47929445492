// Certificates and their kin: load-cert, list-certs, flush-certs, and clear-creds, which takes keys and secrets along.
import { readText, readTime, readYes, requireBytes, requireOneOf, requireText } from "./fields.ts";
import type { Section } from "./message.ts";
import { collect, printable, run } from "./run.ts";
import type { CommandOptions, ViciRequester } from "./session.ts";

const X509_FLAGS = ["NONE", "CA", "AA", "OCSP"] as const;
/** What an X.509 certificate is for: an end entity, a CA, an attribute authority, an OCSP signer. */
export type X509Flag = (typeof X509_FLAGS)[number];

export type LoadableCert = (
  | {
      readonly type: "X509";
      /** CA only checks that the certificate is one; charon reads it from the certificate. Default: NONE. */
      readonly flag?: X509Flag;
    }
  | { readonly type: "X509_AC" | "X509_CRL" | "PUBKEY" }
) & {
  /** PEM or DER; of a PUBKEY its SubjectPublicKeyInfo. A value holds 65,535 bytes, which a CRL can exceed. */
  readonly data: string | Uint8Array;
};

/** Refused when it cannot be parsed, also for want of a plugin for its type. */
export async function loadCert(vici: ViciRequester, cert: LoadableCert, options?: CommandOptions): Promise<void> {
  const { type, data } = cert;
  await run(vici, "load-cert", { type, flag: type === "X509" ? cert.flag : undefined, data }, options);
}

export type Cert = {
  /** Whether charon also has the private key. */
  readonly hasPrivateKey: boolean;
  /** ASN.1, DER. */
  readonly der: Buffer;
} & (
  | { readonly kind: "x509"; readonly flag: X509Flag }
  | { readonly kind: "x509Ac" | "x509Crl" | "ocspResponse" }
  | {
      /** A public key without a certificate; `der` is its SubjectPublicKeyInfo. */
      readonly kind: "publicKey";
      /** Undefined when it is known by its key identifier only. */
      readonly subject: string | undefined;
      readonly notBefore: Date | undefined;
      readonly notAfter: Date | undefined;
    }
  /** Of a charon newer than this library. */
  | { readonly kind: "other"; readonly type: string }
);

/** `flag` is left out of account unless the type is X509. */
export type CertFilter = {
  /** A distinguished name, in full, or another identity that the certificate carries. */
  readonly subject?: string;
} & (
  | { readonly type: "X509"; readonly flag?: X509Flag }
  | { readonly type?: "X509_AC" | "X509_CRL" | "OCSP_RESPONSE" | "PUBKEY" }
);

/**
 * All that charon knows, also those not loaded over VICI. One larger than 65,535 bytes is missing: charon then sends no
 * event and says so in its log only (vici_builder.c).
 */
export async function listCerts(
  vici: ViciRequester,
  filter: CertFilter = {},
  options?: CommandOptions,
): Promise<readonly Cert[]> {
  const flag = filter.type === "X509" ? filter.flag : undefined;
  const args = { type: filter.type, flag, subject: printable("subject", filter.subject) };
  return collect(vici, "list-certs", "list-cert", args, decodeCert, options);
}

/** A list-cert event. */
export function decodeCert(message: Section): Cert {
  const hasPrivateKey = readYes(message, "has_privkey");
  const der = requireBytes(message, "data");
  const type = requireText(message, "type");
  switch (type) {
    case "X509":
      return { kind: "x509", hasPrivateKey, der, flag: requireOneOf(message, "flag", X509_FLAGS) };
    case "X509_AC":
      return { kind: "x509Ac", hasPrivateKey, der };
    case "X509_CRL":
      return { kind: "x509Crl", hasPrivateKey, der };
    case "OCSP_RESPONSE":
      return { kind: "ocspResponse", hasPrivateKey, der };
    case "PUBKEY":
      return {
        kind: "publicKey",
        hasPrivateKey,
        der,
        subject: readText(message, "subject"),
        notBefore: readTime(message, "not-before"),
        notAfter: readTime(message, "not-after"),
      };
    default:
      return { kind: "other", type, hasPrivateKey, der };
  }
}

/** Forgets what charon fetched or verified, all or of one type. What was loaded stays. */
export async function flushCerts(
  vici: ViciRequester,
  type?: "X509" | "X509_AC" | "X509_CRL" | "OCSP_RESPONSE" | "PUBKEY",
  options?: CommandOptions,
): Promise<void> {
  await run(vici, "flush-certs", { type }, options);
}

/**
 * Unloads _all_ that was loaded over VICI: certificates, private keys and shared secrets, of every connection. SAs stay
 * up and fail at their next authentication. Authorities stay.
 */
export async function clearCreds(vici: ViciRequester, options?: CommandOptions): Promise<void> {
  await run(vici, "clear-creds", {}, options);
}
