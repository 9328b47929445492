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

/** As printed with a leading zero or none, e.g. "0000002a": interface ids and marks. */
export function readHexInteger(section: Section, key: string): number | undefined {
  const text = readText(section, key);
  if (text === undefined) return undefined;
  if (!/^[0-9a-f]{1,8}$/i.test(text)) throw new MalformedMessageError(`${key} is not hex: ${JSON.stringify(text)}`);
  return Number.parseInt(text, 16);
}

/** One of the words that charon has for it. A word of a newer charon is refused: it may mean anything. */
export function requireOneOf<Word extends string>(section: Section, key: string, words: readonly Word[]): Word {
  const text = requireText(section, key);
  const word = words.find((known) => known === text);
  if (word === undefined) throw new MalformedMessageError(`${key} is ${JSON.stringify(text)}, not ${words.join(", ")}`);
  return word;
}

/** A value as its bytes, also where they happened to be UTF-8 and were decoded as text. */
export function requireBytes(section: Section, key: string): Buffer {
  const value = section.get(key);
  if (value === undefined) throw new MalformedMessageError(`${key} is missing`);
  if (typeof value === "string") return Buffer.from(value, "utf8");
  if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  throw new MalformedMessageError(`${key} is not a value`);
}

const GENERALIZED_TIME = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/;

/** ASN.1 GeneralizedTime in UTC with whole seconds (X.690, 11.7), which is how charon prints a validity. */
export function readTime(section: Section, key: string): Date | undefined {
  const text = readText(section, key);
  if (text === undefined) return undefined;
  const parts = GENERALIZED_TIME.exec(text)?.slice(1) ?? [];
  const [year, month, day, hour, minute, second] = parts;
  const time = new Date(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  if (Number.isNaN(time.getTime())) throw new MalformedMessageError(`${key} is not a time: ${JSON.stringify(text)}`);
  return time;
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
