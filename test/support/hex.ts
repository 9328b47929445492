// Rows of hex with captions: placeholders are for the reader and carry no bytes.
import { readFileSync } from "node:fs";

export function hex(rows: TemplateStringsArray, ...captions: string[]): Buffer;
export function hex(rows: TemplateStringsArray): Buffer {
  return fromHex(rows.join(""));
}

export function u32(value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeUInt32BE(value);
  return out;
}

/** A golden file: lines of hex, `#` starts a comment that runs to the end of the line. */
export function readHexFile(path: string | URL): Buffer {
  return fromHex(readFileSync(path, "utf8").replace(/#.*$/gm, ""));
}

function fromHex(text: string): Buffer {
  const digits = text.replace(/\s+/g, "");
  const bytes = Buffer.from(digits, "hex");
  // Buffer.from stops at the first character that is not hex and says nothing.
  if (bytes.length * 2 !== digits.length) throw new Error(`not hex from digit ${bytes.length * 2} on`);
  return bytes;
}
