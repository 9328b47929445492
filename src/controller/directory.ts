// The documents' directory: texts of the documents and the secrets they refer to. It refuses to know what they mean.
import { readdir, readFile, stat } from "node:fs/promises";
import path from "node:path";
import { Secret } from "../core/secret.ts";
import type { Catalogue, CatalogueConnection } from "../wire/documents/catalogue.ts";
import type { DocumentProblem } from "../wire/documents/problem.ts";
import type { DocumentFile } from "../wire/documents/yaml.ts";
import type { Secrets } from "./payload.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

const isDocument = (name: string): boolean => /\.ya?ml$/.test(name) && !name.startsWith(".");

/**
 * Every *.yaml and *.yml below the directory. Names that begin with a dot are left out: editors' leftovers, .git, and
 * the versions behind the links of a mounted Kubernetes ConfigMap.
 */
export async function readDocuments(
  directory: string,
): Promise<{ readonly files: readonly DocumentFile[]; readonly problems: readonly DocumentProblem[] }> {
  const files: DocumentFile[] = [];
  const problems: DocumentProblem[] = [];
  const visit = async (relative: string): Promise<void> => {
    const names = await readdir(path.join(directory, relative));
    for (const name of names.filter((candidate) => !candidate.startsWith(".")).sort()) {
      const at = path.join(relative, name);
      try {
        // Follows links: a linked directory or file is as good as a real one.
        const isDirectory = (await stat(path.join(directory, at))).isDirectory();
        if (isDirectory) await visit(at);
        else if (isDocument(name)) files.push({ path: at, text: await readFile(path.join(directory, at), "utf8") });
      } catch (err) {
        if (isDocument(name)) problems.push({ file: at, line: 1, text: `cannot be read (${errnoOf(err)})` });
      }
    }
  };
  try {
    await visit("");
  } catch (err) {
    problems.push({ file: directory, line: 1, text: `the documents' directory cannot be read (${errnoOf(err)})` });
  }
  // An unmounted volume looks like this too, and no answer of ours may take every tunnel down for that.
  if (files.length === 0 && problems.length === 0) {
    const text = "the directory holds no *.yaml: if nothing is wanted any more, leave a file with `[]` in it";
    problems.push({ file: directory, line: 1, text });
  }
  return { files, problems };
}

/** Every pre-shared key of the catalogue by connection id, or what is wrong with the references. */
export async function readSecrets(
  catalogue: Catalogue,
  directory: string,
  environment: Environment,
): Promise<{ readonly secrets: Secrets; readonly problems: readonly DocumentProblem[] }> {
  const secrets = new Map<string, Secret>();
  const problems: DocumentProblem[] = [];
  for (const connection of catalogue.services.flatMap((service) => service.connections)) {
    const found = await readSecret(connection, directory, environment);
    if (found instanceof Secret) secrets.set(connection.id, found);
    else problems.push({ ...connection.pskOrigin, text: `IpsecSiteConnection ${connection.name}: psk ${found}` });
  }
  return { secrets, problems };
}

async function readSecret(
  { psk }: CatalogueConnection,
  directory: string,
  environment: Environment,
): Promise<Secret | string> {
  switch (psk.kind) {
    case "literal":
      return psk.secret;
    case "env": {
      const value = environment[psk.name];
      if (value === undefined) return `names environment variable ${psk.name}, which is not set`;
      return value === "" ? `names environment variable ${psk.name}, which is empty` : new Secret(value);
    }
    case "file":
      return readSecretFile(path.resolve(directory, psk.path));
    case "credential": {
      const credentials = environment["CREDENTIALS_DIRECTORY"];
      if (credentials === undefined) {
        return `names credential ${psk.name}, but there are none: set LoadCredential= in the unit`;
      }
      return readSecretFile(path.join(credentials, psk.name));
    }
  }
}

async function readSecretFile(file: string): Promise<Secret | string> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (err) {
    return `names file ${file}, which cannot be read (${errnoOf(err)})`;
  }
  // The line's end is the editor's, not the key's; other blanks may be meant.
  const key = text.replace(/\r?\n$/, "");
  return key === "" ? `names file ${file}, which is empty` : new Secret(key);
}

/** Files outside the directory that secrets come from: they have to be watched by themselves. */
export function outsideFiles(catalogue: Catalogue, directory: string): readonly string[] {
  const files = catalogue.services.flatMap(({ connections }) =>
    connections.flatMap(({ psk }) => (psk.kind === "file" ? [path.resolve(directory, psk.path)] : [])),
  );
  return files.filter((file) => path.relative(directory, file).startsWith(".."));
}

const errnoOf = (err: unknown): string =>
  err instanceof Error && "code" in err && typeof err.code === "string" ? err.code : "unknown error";
