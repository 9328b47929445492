// What the agent keeps on disk over a restart: this node's key, and the last snapshot. Mode 0600, written atomically.
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Logger } from "pino";
import type { NodeKey } from "../core/fingerprint.ts";
import { writePrivateFile } from "./private-file.ts";

const KEY_BYTES = 32;
const MAC_CHARACTERS = 64;

function readIfThere(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}

/**
 * The random key of this node. A lost or damaged one is made anew: then nothing that charon holds can be proved to be
 * what we loaded, and every connection is re-authenticated once.
 */
export function loadNodeKey(stateDirectory: string, log: Logger): NodeKey {
  const path = join(stateDirectory, "node.key");
  const found = readIfThere(path);
  if (found?.length === KEY_BYTES) return found;
  if (found === undefined) log.info({ path }, "there is no node key, making one");
  else log.warn({ path, bytes: found.length }, "node key is damaged, making a new one");
  const key = randomBytes(KEY_BYTES);
  writePrivateFile(path, key, { isKept: true });
  return key;
}

/** The snapshot file: a MAC under the node's key, then the text. What does not prove to be ours is not believed. */
export function createSnapshotStore(stateDirectory: string, key: NodeKey, log: Logger) {
  const path = join(stateDirectory, "snapshot");
  const macOf = (text: string): string => createHmac("sha256", key).update("snapshot\0").update(text).digest("hex");
  let stored: string | undefined;
  return {
    load(): string | undefined {
      const content = readIfThere(path)?.toString("utf8");
      if (content === undefined) {
        log.info({ path }, "there is no snapshot, waiting for the control plane");
        return undefined;
      }
      const mac = Buffer.from(content.slice(0, MAC_CHARACTERS));
      const text = content.slice(MAC_CHARACTERS + 1);
      const expected = Buffer.from(macOf(text));
      if (mac.length !== expected.length || !timingSafeEqual(mac, expected)) {
        log.warn({ path }, "snapshot is damaged or of another node key, waiting for the control plane instead");
        return undefined;
      }
      stored = text;
      return text;
    },

    save(text: string): void {
      if (text === stored) return;
      writePrivateFile(path, `${macOf(text)}\n${text}`, { isKept: true });
      stored = text;
    },
  };
}
