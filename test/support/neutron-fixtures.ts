// Recorded replies and calls of a real Neutron, as the JSON values inside the envelope.
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

type Variant = "ovn" | "l3";
const directory = (variant: Variant): string =>
  fileURLToPath(new URL(`../golden/neutron/${variant}/`, import.meta.url));

type Recorded = { oslo_message: { result?: unknown; args?: unknown; method?: string } };

function recorded(variant: Variant, name: string): Recorded["oslo_message"] {
  return (JSON.parse(readFileSync(`${directory(variant)}${name}`, "utf8")) as Recorded).oslo_message;
}

/** File names that contain the text, in time order. */
export const fixtureNames = (variant: Variant, containing: string): string[] =>
  readdirSync(directory(variant))
    .filter((name) => name.includes(containing) && name.endsWith(".json"))
    .sort();

function byNumber(variant: Variant, number: string): Recorded["oslo_message"] {
  const [name] = fixtureNames(variant, `${number}-`).filter((candidate) => candidate.startsWith(`${number}-`));
  if (name === undefined) throw new Error(`no fixture ${variant}/${number}`);
  return recorded(variant, name);
}

export const fixtureResult = (variant: Variant, number: string): unknown => byNumber(variant, number).result;
export const fixtureArgs = (variant: Variant, number: string): unknown => byNumber(variant, number).args;
export const namedResult = (variant: Variant, name: string): unknown => recorded(variant, name).result;
