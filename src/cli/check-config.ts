// `swanherd check-config`: every problem of a configuration, one line each.
import { EXIT, type Terminal } from "./terminal.ts";
import { countWords } from "./words.ts";

export type CheckedConfig = { readonly file: string; readonly problems?: readonly string[] };

export function showCheckedConfig({ file, problems = [] }: CheckedConfig, terminal: Terminal): number {
  if (problems.length === 0) {
    terminal.out(`${file}: fine\n`);
    return EXIT.ok;
  }
  terminal.err(`${problems.join("\n")}\n${countWords(problems.length, "problem")}\n`);
  return EXIT.config;
}
