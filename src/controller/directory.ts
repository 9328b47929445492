// The documents' directory: texts of the documents and the secrets they refer to. It refuses to know what they mean.
import { readdir, readFile, stat } from "node:fs/promises";
import path from "node:path";
import { Secret } from "../core/secret.ts";
import type { CataloguePsk, PskReference } from "../wire/documents/catalogue.ts";
import type { DocumentNote, DocumentProblem } from "../wire/documents/problem.ts";
import { pskMistake } from "../wire/documents/schema.ts";
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
        else if (isDocument(name)) files.push({ path: at, text: textOf(await readFile(path.join(directory, at))) });
      } catch (err) {
        if (isDocument(name)) problems.push({ file: at, line: 1, text: `cannot be read (${whyOf(err)})` });
      }
    }
  };
  try {
    await visit("");
  } catch (err) {
    problems.push({ file: directory, line: 1, text: `the documents' directory cannot be read (${whyOf(err)})` });
  }
  // An unmounted volume looks like this too, and no answer of ours may take every tunnel down for that.
  if (files.length === 0 && problems.length === 0) {
    const text = "the directory holds no *.yaml: if nothing is wanted any more, leave a file with `[]` in it";
    problems.push({ file: directory, line: 1, text });
  }
  return { files, problems };
}

export type ReadSecrets = {
  readonly secrets: Secrets;
  readonly problems: readonly DocumentProblem[];
  readonly notes: readonly DocumentNote[];
};

/**
 * Every pre-shared key by connection id, or what is wrong with the references. Where `isServed` is
 * false, the environment is not the one that the controller will have: what is not in it is a note.
 */
export async function readSecrets(
  psks: readonly CataloguePsk[],
  directory: string,
  environment: Environment,
  isServed = true,
): Promise<ReadSecrets> {
  const secrets = new Map<string, Secret>();
  const problems: DocumentProblem[] = [];
  const notes: DocumentNote[] = [];
  for (const { connectionId, connectionName, reference, origin } of psks) {
    const found = await readSecret(reference, directory, environment);
    const tell = (text: string) => ({ ...origin, text: `IpsecSiteConnection ${connectionName}: psk ${text}` });
    if (found instanceof Secret) secrets.set(connectionId, found);
    else if (found.whyHere !== undefined && !isServed) notes.push(tell(found.whyHere));
    else problems.push(tell(found.why));
  }
  return { secrets, problems, notes };
}

/** `whyHere`: what to say where another process may well have it. */
type NoSecret = { readonly why: string; readonly whyHere?: string };

async function readSecret(psk: PskReference, directory: string, environment: Environment): Promise<Secret | NoSecret> {
  switch (psk.kind) {
    case "literal":
      return psk.secret;
    case "env": {
      const what = `names environment variable ${psk.name}, which`;
      const value = environment[psk.name];
      if (value !== undefined) return usable(value, what);
      return { why: `${what} is not set`, whyHere: `${what} is not set here: the controller has to have it` };
    }
    case "file":
      return readSecretFile(path.resolve(directory, psk.path));
    case "credential": {
      const credentials = environment["CREDENTIALS_DIRECTORY"];
      if (credentials !== undefined) return readSecretFile(path.join(credentials, psk.name));
      return {
        why: `names credential ${psk.name}, but there are none: set LoadCredential= in the unit`,
        whyHere: `names credential ${psk.name}, which is not here: the controller's unit has to have it in LoadCredential=`,
      };
    }
  }
}

async function readSecretFile(file: string): Promise<Secret | NoSecret> {
  const what = `names file ${file}, which`;
  let text: string;
  try {
    text = textOf(await readFile(file));
  } catch (err) {
    return { why: `${what} cannot be read (${whyOf(err)})` };
  }
  // The line's end is the editor's, not the key's; other blanks may be meant.
  return usable(text.replace(/\r?\n$/, ""), what);
}

function usable(key: string, what: string): Secret | NoSecret {
  const mistake = pskMistake(key);
  return mistake === undefined ? new Secret(key) : { why: `${what} ${mistake}` };
}

/** Files outside the directory that secrets come from: they have to be watched by themselves. */
export function outsideFiles(psks: readonly CataloguePsk[], directory: string): readonly string[] {
  const files = psks.flatMap(({ reference }) =>
    reference.kind === "file" ? [path.resolve(directory, reference.path)] : [],
  );
  return files.filter((file) => path.relative(directory, file).startsWith(".."));
}

const NOT_UTF8 = "ERR_ENCODING_INVALID_ENCODED_DATA";
const decoder = new TextDecoder("utf-8", { fatal: true });

/** Foreign bytes would become question marks, in a key as well. */
const textOf = (bytes: Uint8Array): string => decoder.decode(bytes);

function whyOf(err: unknown): string {
  const code = err instanceof Error && "code" in err && typeof err.code === "string" ? err.code : "unknown error";
  return code === NOT_UTF8 ? "it is not UTF-8" : code;
}
