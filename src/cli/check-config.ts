// `swanherd check-config`: every problem of a configuration, one line each.
import { EXIT, type Terminal } from "./terminal.ts";
import { countWords } from "./words.ts";

export type CheckedConfig = {
  readonly file: string;
  readonly problems?: readonly string[];
  /** Not wrong, but better otherwise. */
  readonly warnings?: readonly string[];
};

export function showCheckedConfig({ file, problems = [], warnings = [] }: CheckedConfig, terminal: Terminal): number {
  for (const warning of warnings) terminal.err(`warning: ${warning}\n`);
  if (problems.length === 0) {
    terminal.out(`${file}: fine\n`);
    return EXIT.ok;
  }
  terminal.err(`${problems.join("\n")}\n${countWords(problems.length, "problem")}\n`);
  return EXIT.config;
}
