// Who we are to a server that wants certificates. Read at every connection, so that renewed ones need no restart.
import { readFile } from "node:fs/promises";
import { UnavailableError } from "../../core/errors.ts";
import type { TlsIdentity } from "../../ovsdb-client/session.ts";

export type IdentityFiles = {
  readonly privateKey: string;
  readonly certificate: string;
  readonly caCertificate: string;
};

export async function readIdentity(files: IdentityFiles): Promise<TlsIdentity> {
  const read = async (path: string): Promise<string> => {
    try {
      return await readFile(path, "utf8");
    } catch (cause) {
      const errno = cause instanceof Error && "code" in cause ? String(cause.code) : "unknown error";
      throw new UnavailableError("OVSDB_DOWN", `${path} cannot be read (${errno})`, { cause });
    }
  };
  return {
    privateKey: await read(files.privateKey),
    certificate: await read(files.certificate),
    caCertificate: await read(files.caCertificate),
  };
}
