// Files that a configuration names: where they are, whether they can be read, and who else may read them.
// It refuses to know what is in them.
import { readFileSync, realpathSync, statSync } from "node:fs";
import path from "node:path";

export const errnoOf = (err: unknown): string =>
  err instanceof Error && "code" in err && typeof err.code === "string" ? err.code : "unknown error";

/** The mode of a file that everybody may read, which takes a way there, too; undefined for others. */
export function modeForAll(file: string): string | undefined {
  try {
    const real = realpathSync(file);
    const { mode } = statSync(real);
    if ((mode & 0o004) === 0) return undefined;
    for (let below = real; path.dirname(below) !== below; below = path.dirname(below)) {
      if ((statSync(path.dirname(below)).mode & 0o001) === 0) return undefined;
    }
    return (mode & 0o7777).toString(8).padStart(4, "0");
  } catch {
    return undefined; // no file: a pipe, or gone since it was read
  }
}

type TlsFiles = { readonly caFile: string | null; readonly certFile: string | null; readonly keyFile: string | null };
type TlsSettings = TlsFiles & { readonly enabled: boolean; readonly verify: "full" | "chain" | "none" };

/** What is to be said of one key of the TLS settings; without a key, of all of them. */
export type AboutTls = { readonly key: string | undefined; readonly says: string };

const TLS_FILES = ["caFile", "certFile", "keyFile"] as const;

/** The same settings; files that are named relative to `directory` are named absolutely. */
export function withAbsoluteFiles<Settings extends TlsFiles>(settings: Settings, directory: string): Settings {
  const absolute = (name: string | null): string | null => (name === null ? null : path.resolve(directory, name));
  const { caFile, certFile, keyFile } = settings;
  return { ...settings, caFile: absolute(caFile), certFile: absolute(certFile), keyFile: absolute(keyFile) };
}

/** They are read again at every connect; that one cannot be read now is told while somebody is looking. */
export function unreadableTlsFiles(settings: TlsSettings): AboutTls[] {
  if (!settings.enabled) return [];
  return TLS_FILES.flatMap((key) => {
    const file = settings[key];
    if (file === null) return [];
    try {
      readFileSync(file);
      return [];
    } catch (err) {
      return [{ key, says: `names the file ${file}, which cannot be read (${errnoOf(err)})` }];
    }
  });
}

/** What is not wrong, but protects less than it looks. */
export function tlsWarnings({ enabled, verify, ...files }: TlsSettings): AboutTls[] {
  if (!enabled) {
    const unused = TLS_FILES.filter((key) => files[key] !== null);
    if (unused.length === 0) return [];
    return [{ key: undefined, says: `has ${unused.join(", ")}, but enabled is false: no TLS is spoken` }];
  }
  const warnings: AboutTls[] = [];
  if (verify === "none") {
    const says =
      "is none: whoever sits between here and the broker can read and change everything, pre-shared keys too";
    warnings.push({ key: "verify", says });
  }
  const { keyFile } = files;
  const mode = keyFile === null ? undefined : modeForAll(keyFile);
  if (keyFile !== null && mode !== undefined) {
    const says = `names the file ${keyFile}, which everybody may read (mode ${mode}): chmod 600 it`;
    warnings.push({ key: "keyFile", says });
  }
  return warnings;
}
