// Reads members of a decoded section as text, numbers, lists and sections. Knows how charon prints, not what it says.
import { MalformedMessageError } from "./errors.ts";
import type { Atom, Section, Value } from "./message.ts";

const emptySection: Section = new Map();

/** For display and comparison: bytes that are not UTF-8 become U+FFFD. Read the section itself where they matter. */
const atomText = (atom: Atom): string => (typeof atom === "string" ? atom : Buffer.from(atom).toString("utf8"));

export function isSection(value: Value | undefined): value is Section {
  return value instanceof Map;
}

export function readText(section: Section, key: string): string | undefined {
  const value = section.get(key);
  if (value === undefined) return undefined;
  if (typeof value === "string" || value instanceof Uint8Array) return atomText(value);
  throw new MalformedMessageError(`${key} is not a value`);
}

export function requireText(section: Section, key: string): string {
  const text = readText(section, key);
  if (text === undefined) throw new MalformedMessageError(`${key} is missing`);
  return text;
}

/**
 * charon prints integers in decimal, deadlines that have passed as negative ones. The u64 counters of bytes lose their
 * last digits above 2^53 (nine petabytes through one SA), which no reader of a counter notices.
 */
export function readInteger(section: Section, key: string): number | undefined {
  const text = readText(section, key);
  if (text === undefined) return undefined;
  if (!/^-?\d{1,20}$/.test(text)) throw new MalformedMessageError(`${key} is not an integer: ${JSON.stringify(text)}`);
  return Number(text);
}

export function requireInteger(section: Section, key: string): number {
  const integer = readInteger(section, key);
  if (integer === undefined) throw new MalformedMessageError(`${key} is missing`);
  return integer;
}

export function readYes(section: Section, key: string): boolean {
  return section.get(key) === "yes";
}

/** charon leaves empty lists out in some places and sends them in others: both are empty. */
export function readList(section: Section, key: string): readonly string[] {
  const value = section.get(key);
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw new MalformedMessageError(`${key} is not a list`);
  return (value as readonly Atom[]).map(atomText);
}

export function readSection(section: Section, key: string): Section {
  const value = section.get(key);
  if (value === undefined) return emptySection;
  if (!isSection(value)) throw new MalformedMessageError(`${key} is not a section`);
  return value;
}

/** The member sections, in the order of the wire. */
export function sectionsOf(section: Section): readonly (readonly [string, Section])[] {
  const found: (readonly [string, Section])[] = [];
  for (const [key, value] of section) if (isSection(value)) found.push([key, value]);
  return found;
}
