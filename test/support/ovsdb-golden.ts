// The recorded messages of test/golden/ovsdb, by their captions.
import { readFileSync } from "node:fs";

const FILE = new URL("../golden/ovsdb/southbound.txt", import.meta.url);

/** As they came: one message each, by the comment line right before it. */
export const ovsdbMessages: ReadonlyMap<string, string> = new Map(
  [...readFileSync(FILE, "utf8").matchAll(/^# (.*)\n(\{.*)$/gm)].map(([, caption = "", message = ""]) => [
    caption,
    message,
  ]),
);

export function ovsdbMessage(caption: string): Buffer {
  const message = ovsdbMessages.get(caption);
  if (message === undefined) throw new Error(`no message "${caption}" was recorded`);
  return Buffer.from(message);
}
