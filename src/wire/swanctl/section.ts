// swanctl's configuration as a value, and that value as the text of a conf file. The same value goes over VICI, whose
// load-conn takes the same keys (VICI README, load-conn), so what is written and what is loaded cannot differ.

export type SectionValue = string | readonly string[] | Section;
export type Section = { readonly [key: string]: SectionValue };

/** libstrongswan's settings parser: inside double quotes only these need an escape; a bare newline ends a value. */
const quote = (value: string): string =>
  `"${value
    .replace(/[\\"]/g, (c) => `\\${c}`)
    .replace(/\n/g, "\\n")
    .replace(/\r/g, "\\r")
    .replace(/\t/g, "\\t")}"`;

/** Those of its values that are sections. */
export const sectionsOf = (value: SectionValue | undefined): readonly (readonly [string, Section])[] =>
  value === undefined || !isSection(value)
    ? []
    : Object.entries(value).flatMap(([key, below]) => (isSection(below) ? [[key, below] as const] : []));

const isSection = (value: SectionValue): value is Section => typeof value === "object" && !Array.isArray(value);

/** The text of a swanctl conf file. Lists become one comma-separated value: none of our list items holds a comma. */
export function sectionText(section: Section, depth = 0): string {
  const indent = "  ".repeat(depth);
  let text = "";
  for (const [key, value] of Object.entries(section)) {
    if (isSection(value)) text += `${indent}${key} {\n${sectionText(value, depth + 1)}${indent}}\n`;
    else text += `${indent}${key} = ${quote(typeof value === "string" ? value : value.join(", "))}\n`;
  }
  return text;
}

/**
 * The section that a conf file's text is, as far as `sectionText` writes such files; undefined when it is anything else,
 * for instance cut off, or with an include. Every value is a text: which are lists only their key tells.
 */
export function parseSection(text: string): Section | undefined {
  const root: Record<string, SectionValue> = {};
  const open = [root];
  for (const line of text.split("\n")) {
    const current = open.at(-1);
    const [, begun] = /^\s*(\S+) \{$/.exec(line) ?? [];
    const [, key, quoted] = /^\s*(\S+) = "((?:[^"\\]|\\.)*)"$/.exec(line) ?? [];
    if (current === undefined) return undefined;
    if (begun !== undefined) {
      const below: Record<string, SectionValue> = {};
      current[begun] = below;
      open.push(below);
    } else if (key !== undefined && quoted !== undefined) current[key] = unquote(quoted);
    else if (/^\s*\}$/.test(line)) open.pop();
    else if (line.trim() !== "") return undefined;
  }
  return open.length === 1 ? root : undefined;
}

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t" };
const unquote = (text: string): string => text.replace(/\\(.)/g, (_all, c: string) => ESCAPES[c] ?? c);
