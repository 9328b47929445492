// What is wrong with a document: where, which value, what to do. It refuses to show a pre-shared key.
import { z } from "zod";

export type DocumentProblem = { readonly file: string; readonly line: number; readonly text: string };

/** What is taken as it is, but worth knowing. */
export type DocumentNote = DocumentProblem;

export const formatProblem = ({ file, line, text }: DocumentProblem): string => `${file}:${line}: ${text}`;

export const byPlace = (a: DocumentProblem, b: DocumentProblem): number =>
  a.file.localeCompare(b.file) || a.line - b.line;

const MAX_SHOWN_CHARACTERS = 80;

export function shown(value: unknown): string {
  if (value === undefined || value === null) return "empty";
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : "a list";
  if (typeof value === "object") return "a map";
  const text = JSON.stringify(value);
  return text.length > MAX_SHOWN_CHARACTERS ? `${text.slice(0, MAX_SHOWN_CHARACTERS)}…` : text;
}

type Explained = { readonly at: readonly PropertyKey[]; readonly text: string };

/** One sentence for each thing that the schema refuses. */
export function explainIssues(error: z.ZodError, value: unknown, schema: z.ZodType): readonly Explained[] {
  return error.issues.flatMap((issue) => {
    if (issue.code === "unrecognized_keys") {
      const known = keysAt(schema, issue.path);
      return issue.keys.map((key) => ({
        at: [...issue.path, key],
        text: `${dotted([...issue.path, key])} is not a known key${suggestion(key, known)}`,
      }));
    }
    return [{ at: issue.path, text: sentence(issue, value) }];
  });
}

function sentence(issue: z.core.$ZodIssue, root: unknown): string {
  const at = dotted(issue.path);
  const value = valueAt(root, issue.path);
  if (value === undefined && issue.code !== "custom") return `${at} is missing${wanted(issue)}`;
  if (issue.path.includes("psk"))
    return `${at} ${issue.code === "custom" ? issue.message : `is not usable${wanted(issue)}`}`;
  return issue.code === "custom"
    ? `${at} ${issue.message}`
    : `${at} is ${shown(value)}${wanted(issue, value)}${quoteHint(issue, value)}`;
}

function wanted(issue: z.core.$ZodIssue, value?: unknown): string {
  switch (issue.code) {
    case "invalid_value":
      return `:${meantWord(issue.values.map(String), value)} allowed ${issue.values.map(String).join(", ")}`;
    case "too_small":
      if (issue.origin === "array") return ": give at least one";
      return issue.origin === "string" ? ": it must not be empty" : `: at least ${issue.minimum}`;
    case "too_big":
      return `: at most ${issue.maximum}${issue.origin === "string" ? " characters" : ""}`;
    case "invalid_type":
      return `: expected ${EXPECTED[issue.expected] ?? issue.expected}`;
    case "invalid_union":
      return `: ${issue.message}`;
    default:
      return `: ${issue.message}`;
  }
}

/** ` did you mean aes-256?` for aes256; where hardly anything is allowed, the list says it as well. */
function meantWord(allowed: readonly string[], value: unknown): string {
  const meant = allowed.length > 4 && typeof value === "string" ? closest(value, allowed) : undefined;
  return meant === undefined ? "" : ` did you mean ${meant}?`;
}

const EXPECTED: Readonly<Record<string, string>> = {
  string: "a text",
  int: "a whole number",
  number: "a whole number",
  boolean: "true or false",
  array: "a list",
  object: "a map",
};

// YAML reads an unquoted 12345 as a number and true as a boolean.
const quoteHint = (issue: z.core.$ZodIssue, value: unknown): string =>
  issue.code === "invalid_type" &&
  issue.expected === "string" &&
  (typeof value === "number" || typeof value === "boolean")
    ? ", put it in quotes"
    : "";

export const dotted = (at: readonly PropertyKey[]): string => at.map(String).join(".");

export function valueAt(root: unknown, at: readonly PropertyKey[]): unknown {
  let value = root;
  for (const key of at) {
    if (typeof value !== "object" || value === null) return undefined;
    value = Reflect.get(value, key);
  }
  return value;
}

function unwrapped(schema: unknown): unknown {
  let inner = schema;
  while (
    inner instanceof z.ZodDefault ||
    inner instanceof z.ZodPrefault ||
    inner instanceof z.ZodOptional ||
    inner instanceof z.ZodNullable
  ) {
    inner = inner.unwrap();
  }
  return inner;
}

function keysAt(schema: unknown, at: readonly PropertyKey[]): readonly string[] {
  let inner = unwrapped(schema);
  for (const key of at) {
    if (inner instanceof z.ZodArray) inner = unwrapped(inner.element);
    else
      inner = inner instanceof z.ZodObject ? unwrapped((inner.shape as Record<PropertyKey, unknown>)[key]) : undefined;
  }
  return inner instanceof z.ZodObject ? Object.keys(inner.shape) : [];
}

/** `; did you mean x?`, or all that is known where that is little, or nothing. */
export function suggestion(word: string, known: readonly string[]): string {
  const meant = closest(word, known);
  if (meant !== undefined) return `; did you mean ${meant}?`;
  return known.length > 0 && known.length <= 8 ? `; known: ${known.join(", ")}` : "";
}

/** `ikePolicy` and `ike_policy` are one word to who looks for what was meant. */
const plain = (word: string): string => word.toLowerCase().replaceAll(/[^a-z0-9]/g, "");

function closest(word: string, known: readonly string[]): string | undefined {
  const [best] = known
    .map((name) => ({ name, distance: editDistance(plain(word), plain(name)) }))
    .sort((a, b) => a.distance - b.distance);
  // A third of the letters: more would suggest what nobody meant.
  return best !== undefined && best.distance <= Math.max(1, word.length / 3) ? best.name : undefined;
}

/** How many letters are put in, taken out, changed or swapped with their neighbour (Damerau and Levenshtein). */
function editDistance(a: string, b: string): number {
  let beforeLast: readonly number[] = [];
  let last: readonly number[] = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (last[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const isSwap = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const swap = isSwap ? (beforeLast[j - 2] ?? 0) + 1 : Number.POSITIVE_INFINITY;
      row.push(Math.min((row[j - 1] ?? 0) + 1, (last[j] ?? 0) + 1, change, swap));
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length] ?? 0;
}
