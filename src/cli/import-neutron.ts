// `swanherd import-neutron`: an agent's configuration out of Neutron's files. The password of the broker goes where the
// configuration goes, and nowhere else.
import { EXIT, type Terminal } from "./terminal.ts";
import { countWords, printable } from "./words.ts";

export type ImportedConfig =
  | { readonly kind: "invalid"; readonly problems: readonly string[] }
  | { readonly kind: "ok"; readonly yaml: string; readonly notes: readonly string[] };

export type ImportActions = {
  readonly read: (files: readonly string[]) => ImportedConfig;
  /** Makes the file, for its owner only; throws when there is one already. */
  readonly write: (file: string, yaml: string) => void;
};

export function runImportNeutron(
  files: readonly string[],
  output: string | undefined,
  { read, write }: ImportActions,
  terminal: Terminal,
): number {
  const imported = read(files);
  const err = (line: string): void => terminal.err(`${printable(line)}\n`);
  if (imported.kind === "invalid") {
    imported.problems.forEach(err);
    err(`${countWords(imported.problems.length, "problem")}, nothing is written`);
    return EXIT.config;
  }
  if (output === undefined) {
    terminal.out(imported.yaml);
  } else {
    try {
      write(output, imported.yaml);
    } catch (error) {
      err(`${output}: ${whyNot(error)}`);
      return EXIT.failure;
    }
  }
  if (imported.notes.length > 0) err("Not taken over, or to be looked at:");
  imported.notes.forEach(err);
  if (output !== undefined) err(`${output}: written, mode 0600; swanherd check-config ${output}`);
  return EXIT.ok;
}

function whyNot(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "unknown error";
  return code === "EEXIST" ? "is there already and stays as it is: name another file" : `cannot be written (${code})`;
}
