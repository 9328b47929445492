// Certificate authorities and certificates of a test, made by openssl in a directory that goes with it.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export type Pair = { readonly certFile: string; readonly keyFile: string };

export type Authority = Pair & {
  /** `names` as openssl writes them (DNS:localhost, IP:127.0.0.1). One that is to have expired has in the next second. */
  issue(name: string, names: string, options?: { readonly isExpired?: boolean }): Pair;
};

export type Certificates = {
  readonly directory: string;
  authority(name: string): Authority;
  remove(): void;
};

export function createCertificates(): Certificates {
  const directory = mkdtempSync(join(tmpdir(), "swanherd-test-tls-"));
  const at = (name: string): string => join(directory, name);
  const openssl = (...args: readonly string[]): void => {
    execFileSync("openssl", args, { cwd: directory, stdio: ["ignore", "ignore", "pipe"] });
  };
  const newKey = (name: string): string => {
    const keyFile = at(`${name}.key`);
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", keyFile);
    return keyFile;
  };

  return {
    directory,
    authority(ca) {
      const keyFile = newKey(ca);
      const certFile = at(`${ca}.pem`);
      const subject = `/CN=${ca}`;
      openssl("req", "-x509", "-new", "-key", keyFile, "-subj", subject, "-days", "2", "-out", certFile);
      return {
        certFile,
        keyFile,
        issue(name, names, { isExpired = false } = {}) {
          const own = newKey(name);
          const request = at(`${name}.csr`);
          const extensions = at(`${name}.ext`);
          const pem = at(`${name}.pem`);
          writeFileSync(extensions, `subjectAltName=${names}\n`);
          openssl("req", "-new", "-key", own, "-subj", `/CN=${name}`, "-out", request);
          // openssl 3.5 makes none that ends before it begins.
          const days = isExpired ? "0" : "2";
          const signer = ["-CA", certFile, "-CAkey", keyFile, "-CAcreateserial"];
          openssl("x509", "-req", "-in", request, ...signer, "-days", days, "-extfile", extensions, "-out", pem);
          return { certFile: pem, keyFile: own };
        },
      };
    },
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}
