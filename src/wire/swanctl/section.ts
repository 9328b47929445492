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
