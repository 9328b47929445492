// A failed question as one line and an exit code.
import { RefusedError, UnreachableError } from "../io/api/client.ts";
import { EXIT, type Terminal } from "./terminal.ts";
import { printable } from "./words.ts";

/** What was asked for is not among what there is. */
export function reportNotThere(id: string, terminal: Terminal): number {
  terminal.err(`nothing here has the id or name ${printable(id)}; swanherd status lists what there is\n`);
  return EXIT.failure;
}

export function reportFailure(err: unknown, terminal: Terminal): number {
  if (err instanceof UnreachableError) {
    terminal.err(`${err.message}\n`);
    return EXIT.unreachable;
  }
  if (err instanceof RefusedError) {
    terminal.err(`refused: ${err.message}\n`);
    return EXIT.failure;
  }
  // The user's own interrupt needs no explanation.
  if (err instanceof Error && err.name === "AbortError") return EXIT.failure;
  throw err;
}
