// Ids that follow from names: the same documents give the same ids on every machine and after every restart.
import { createHash } from "node:crypto";

// Fixed for ever: another value would be another id for every document without one, a delete and a create for all.
const NAMESPACE = "5f0d2f8e-3c1b-4b5e-9d54-6a7c1e0b9a42";

/** RFC 9562, section 5.5, in swanherd's own namespace. The parts are joined by NUL, which no name contains. */
export function derivedId(...parts: readonly string[]): string {
  const hash = createHash("sha1")
    .update(Buffer.from(NAMESPACE.replaceAll("-", ""), "hex"))
    .update(parts.join("\0"), "utf8")
    .digest()
    .subarray(0, 16);
  hash[6] = ((hash[6] ?? 0) & 0x0f) | 0x50;
  hash[8] = ((hash[8] ?? 0) & 0x3f) | 0x80;
  const hex = hash.toString("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
