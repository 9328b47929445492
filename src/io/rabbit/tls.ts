// TLS to the broker: from settings to what Node wants, and from its error codes to what an operator can do.
// Files are read at every connect, so that a renewed certificate needs no restart.
import { readFileSync } from "node:fs";
import { createSecureContext, type ConnectionOptions } from "node:tls";
import { UnavailableError } from "../../core/errors.ts";

/** The ssl options of oslo.messaging's [oslo_messaging_rabbit]; null: none. */
export type TlsSettings = {
  readonly enabled: boolean;
  /** ssl_ca_file, PEM: who may have signed the broker's certificate. Null: the authorities that Node.js knows. */
  readonly caFile: string | null;
  /** ssl_cert_file, PEM: ours, for brokers that want one. */
  readonly certFile: string | null;
  /** ssl_key_file, PEM. */
  readonly keyFile: string | null;
  /** full: its chain and the name or address of the host we call. chain: that not. none: not even that. */
  readonly verify: "full" | "chain" | "none";
};

export const noTls: TlsSettings = { enabled: false, caFile: null, certFile: null, keyFile: null, verify: "full" };

type TlsFile = "caFile" | "certFile" | "keyFile";

/** What tls.connect gets; of TLS versions it takes 1.2 and 1.3. Throws UnavailableError for a file that is of no use. */
export function tlsConnectionOptions(settings: TlsSettings): ConnectionOptions {
  const { verify } = settings;
  const ca = readPem(settings, "caFile");
  const cert = readPem(settings, "certFile");
  const key = readPem(settings, "keyFile");
  const material = {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
  try {
    createSecureContext(material);
  } catch (cause) {
    const names = (["certFile", "keyFile"] as const).map((file) => `amqp.tls.${file}`).join(" and ");
    throw unusable(`${names} do not make a pair of certificate and private key`, cause);
  }
  return {
    ...material,
    rejectUnauthorized: verify !== "none",
    ...(verify === "full" ? {} : { checkServerIdentity: () => undefined }),
  };
}

function readPem(settings: TlsSettings, key: TlsFile): Buffer | undefined {
  const file = settings[key];
  if (file === null) return undefined;
  let text: Buffer;
  try {
    text = readFileSync(file);
  } catch (cause) {
    throw unusable(`amqp.tls.${key} names ${file}, which cannot be read`, cause);
  }
  try {
    // Each by itself, so that the one at fault can be named; Node takes a CA file without any certificate for an empty one.
    if (key === "keyFile") createSecureContext({ key: text });
    else if (text.includes("-----BEGIN ")) createSecureContext(key === "caFile" ? { ca: text } : { cert: text });
    else throw new TypeError("no PEM block in it");
  } catch (cause) {
    const wanted = key === "keyFile" ? "private key without a passphrase" : "certificate";
    throw unusable(`amqp.tls.${key} names ${file}, which holds no usable PEM ${wanted}`, cause);
  }
  return text;
}

const unusable = (what: string, cause: unknown): UnavailableError =>
  new UnavailableError("BROKER_DOWN", what, { cause });

const UNTRUSTED =
  "the broker's certificate is not signed by an authority of amqp.tls.caFile, or the broker does not send the whole chain";
const REFUSED_US = "the broker refuses our certificate: amqp.tls.certFile must be signed by an authority it trusts";
const NOT_TLS = "no TLS is spoken at that port: 5671 is the usual one for TLS, 5672 the one without";

/** Error codes of Node's tls and of OpenSSL in its words. */
const MEANING: ReadonlyMap<string, string> = new Map([
  ["SELF_SIGNED_CERT_IN_CHAIN", UNTRUSTED],
  ["DEPTH_ZERO_SELF_SIGNED_CERT", UNTRUSTED],
  ["UNABLE_TO_VERIFY_LEAF_SIGNATURE", UNTRUSTED],
  ["UNABLE_TO_GET_ISSUER_CERT", UNTRUSTED],
  ["UNABLE_TO_GET_ISSUER_CERT_LOCALLY", UNTRUSTED],
  ["CERT_SIGNATURE_FAILURE", UNTRUSTED],
  ["CERT_HAS_EXPIRED", "the broker's certificate, or one that signed it, has expired"],
  ["CERT_NOT_YET_VALID", "the broker's certificate is not valid yet: compare the clocks"],
  [
    "ERR_TLS_CERT_ALTNAME_INVALID",
    "the broker's certificate is for another name or address than the host in transportUrl",
  ],
  ["ERR_SSL_WRONG_VERSION_NUMBER", NOT_TLS],
  ["ERR_SSL_PACKET_LENGTH_TOO_LONG", NOT_TLS],
  ["EPROTO", NOT_TLS],
  [
    "ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED",
    "the broker wants a certificate of ours: amqp.tls.certFile and keyFile",
  ],
  ["ERR_SSL_TLSV1_ALERT_UNKNOWN_CA", REFUSED_US],
  ["ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE", REFUSED_US],
  ["ERR_SSL_SSLV3_ALERT_CERTIFICATE_UNKNOWN", REFUSED_US],
  ["ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED", "our own certificate, amqp.tls.certFile, has expired"],
  ["ERR_SSL_UNSUPPORTED_PROTOCOL", "the broker speaks no TLS 1.2 or newer"],
  ["ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION", "the broker speaks no TLS 1.2 or newer"],
]);

/** The error in words that name the setting, where TLS is what failed; else as it came. */
export function explainTlsError(error: unknown): unknown {
  if (!(error instanceof Error) || !("code" in error) || typeof error.code !== "string") return error;
  const meaning = MEANING.get(error.code);
  return meaning === undefined ? error : unusable(meaning, error);
}
