// Writes files that hold secrets: for their owner only from the first byte on, and whole or not at all.
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { FileError } from "../core/errors.ts";

/**
 * Readers see the old file or the new one, never a part: written beside it, then renamed. `isKept` is for what must
 * outlast a power cut; what can be made again does not wait for the disk. Throws FileError.
 */
export function writePrivateFile(path: string, content: string | Uint8Array, { isKept }: { isKept: boolean }): void {
  const beside = `${path}.new`;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    rmSync(beside, { force: true }); // one that a crash left would keep its mode
    writeFileSync(beside, content, { mode: 0o600, flush: isKept });
    renameSync(beside, path);
  } catch (error) {
    removeIfPossible(beside); // the part of it that a full disk had room for
    throw new FileError(path, errnoOf(error), { cause: error });
  }
}

function removeIfPossible(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // The next attempt removes it.
  }
}

const errnoOf = (error: unknown): string =>
  error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : String(error);
