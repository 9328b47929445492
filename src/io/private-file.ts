// Writes files that hold secrets: for their owner only from the first byte on, and whole or not at all.
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";

/**
 * Readers see the old file or the new one, never a part: written beside it, then renamed. `isKept` is for what must
 * outlast a power cut; what can be made again does not wait for the disk.
 */
export function writePrivateFile(path: string, content: string | Uint8Array, { isKept }: { isKept: boolean }): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const beside = `${path}.new`;
  rmSync(beside, { force: true }); // one that a crash left would keep its mode
  writeFileSync(beside, content, { mode: 0o600, flush: isKept });
  renameSync(beside, path);
}
