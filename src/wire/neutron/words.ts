// What is wrong with a value of the wire, in words for operators. It refuses to show a pre-shared key.
import type { z } from "zod";

const MAX_SHOWN_CHARACTERS = 80;

/** A plain value as JSON: control characters show as escapes, long texts are cut. What is nested may hold a key: only its type shows. */
export function shown(value: unknown): string {
  if (value === undefined) return "missing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object" && value !== null) return "an object";
  const text = typeof value === "string" ? JSON.stringify(value) : JSON.stringify(value);
  return text.length > MAX_SHOWN_CHARACTERS ? `${text.slice(0, MAX_SHOWN_CHARACTERS)}…` : text;
}

/** The first issue: which key, which value, what was expected. */
export function describeIssue(error: z.ZodError, json: unknown): string {
  const issue = error.issues[0];
  if (issue === undefined) return "is not readable";
  if (issue.path.length === 0) return "is no object";
  const path = issue.path.map(String).join(".");
  const expected = issue.message.replace(/^Invalid input: /, "");
  if (issue.path.includes("psk")) return `${path} is not a text`;
  return `${path} is ${shown(valueAt(json, issue.path))}: ${expected}`;
}

function valueAt(json: unknown, path: readonly PropertyKey[]): unknown {
  let value: unknown = json;
  for (const key of path) {
    if (typeof value !== "object" || value === null) return undefined;
    value = Reflect.get(value, key);
  }
  return value;
}
