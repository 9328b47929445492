// `swanherd controller --check`: what is wrong with documents, and what is worth knowing of them, one line each.
import { showCheckedConfig } from "./check-config.ts";
import type { Terminal } from "./terminal.ts";
import { printable } from "./words.ts";

export type CheckedDocuments = {
  readonly directory: string;
  readonly problems: readonly string[];
  /** Not wrong, but worth knowing. */
  readonly notes: readonly string[];
};

export function showCheckedDocuments({ directory, problems, notes }: CheckedDocuments, terminal: Terminal): number {
  for (const note of notes) terminal.out(`note: ${printable(note)}\n`);
  return showCheckedConfig({ file: printable(directory), problems: problems.map(printable) }, terminal);
}
