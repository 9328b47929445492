// The message layer of VICI: sections, key/values and lists as bytes and as values (VICI README, "Message format").
// Knows no command and no key.
import { MalformedMessageError } from "./errors.ts";

const SECTION_START = 1;
const SECTION_END = 2;
const KEY_VALUE = 3;
const LIST_START = 4;
const LIST_ITEM = 5;
const LIST_END = 6;

export const MAX_NAME_BYTES = 0xff; // u8 length prefix
export const MAX_VALUE_BYTES = 0xffff; // u16 length prefix
/** The protocol has no limit; charon's own messages nest four deep. Without one, hostile bytes choose our depth. */
export const MAX_DEPTH = 32;

/** A string wherever the bytes are UTF-8, the bytes themselves where they are not: nothing is lost either way. */
export type Atom = string | Uint8Array;
export type List = readonly Atom[];
export type Value = Atom | List | Section;
/**
 * A Map, because keys are names that operators choose: an object would move "1" before "a" and give `__proto__` a
 * meaning. Entries keep the order of the wire.
 */
export type Section = ReadonlyMap<string, Value>;

export type ValueInput = Atom | List | SectionInput;
/**
 * What may be encoded. An object literal reads well, yet JavaScript moves keys such as "10" to its front: use a Map where
 * keys are not yours. An undefined member is left out.
 */
export type SectionInput =
  ReadonlyMap<string, ValueInput | undefined> | { readonly [key: string]: ValueInput | undefined };

export function decodeMessage(bytes: Uint8Array): Section {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  // One native call for the whole message; pieces are then cut out of it in JavaScript.
  const text = buffer.toString("latin1");
  const end = buffer.length;
  const root = new Map<string, Value>();
  const parents: Map<string, Value>[] = [];
  let section = root;
  let at = 0;
  while (at < end) {
    const type = buffer[at] ?? 0;
    at += 1;
    if (type === SECTION_END) {
      const parent = parents.pop();
      if (parent === undefined) throw new MalformedMessageError(`section end without start at byte ${at - 1}`);
      section = parent;
      continue;
    }
    if (type !== KEY_VALUE && type !== SECTION_START && type !== LIST_START) {
      if (type === LIST_ITEM || type === LIST_END) {
        throw new MalformedMessageError(`list ${type === LIST_ITEM ? "item" : "end"} outside a list at byte ${at - 1}`);
      }
      throw new MalformedMessageError(`unknown element type ${type} at byte ${at - 1}`);
    }

    const nameAt = at + 1;
    const nameEnd = nameAt + (buffer[at] ?? end);
    if (nameEnd > end) throw new MalformedMessageError(`name truncated at byte ${at}`);
    const name = decodeName(buffer, text, nameAt, nameEnd);
    at = nameEnd;

    const size = section.size;
    if (type === KEY_VALUE) {
      const valueAt = at + 2;
      const valueEnd = valueAt + (((buffer[at] ?? 0) << 8) | (buffer[at + 1] ?? 0));
      if (valueEnd > end) throw new MalformedMessageError(`value of ${name} truncated at byte ${at}`);
      section.set(name, decodeAtom(buffer, text, valueAt, valueEnd));
      at = valueEnd;
    } else if (type === SECTION_START) {
      if (parents.length === MAX_DEPTH) throw new MalformedMessageError(`sections nest deeper than ${MAX_DEPTH}`);
      const child = new Map<string, Value>();
      section.set(name, child);
      refuseRepeated(section, size, name);
      parents.push(section);
      section = child;
      continue;
    } else {
      const items: Atom[] = [];
      section.set(name, items);
      at = decodeItems(buffer, text, at, name, items);
    }
    refuseRepeated(section, size, name);
  }
  if (parents.length > 0) throw new MalformedMessageError(`message ends inside a section, ${parents.length} deep`);
  return root;
}

/** Reads items up to and including the list's end, returns the offset after it. */
function decodeItems(buffer: Buffer, text: string, from: number, name: string, into: Atom[]): number {
  const end = buffer.length;
  let at = from;
  while (at < end) {
    const type = buffer[at] ?? 0;
    if (type === LIST_END) return at + 1;
    if (type === LIST_START) throw new MalformedMessageError(`list inside the list ${name} at byte ${at}`);
    if (type !== LIST_ITEM)
      throw new MalformedMessageError(`element type ${type} inside the list ${name} at byte ${at}`);
    const itemAt = at + 3;
    const itemEnd = itemAt + (((buffer[at + 1] ?? 0) << 8) | (buffer[at + 2] ?? 0));
    if (itemEnd > end) throw new MalformedMessageError(`item of ${name} truncated at byte ${at}`);
    into.push(decodeAtom(buffer, text, itemAt, itemEnd));
    at = itemEnd;
  }
  throw new MalformedMessageError(`message ends inside the list ${name}`);
}

/**
 * "Key names must be unique in the current section." Taking the last one would be worse than refusing: an IKE config
 * called "up" would turn the `up` of a child-updown event into its opposite.
 */
function refuseRepeated(section: Section, sizeBefore: number, name: string): void {
  if (section.size === sizeBefore) throw new MalformedMessageError(`${name} occurs twice in one section`);
}

function isAscii(buffer: Buffer, from: number, to: number): boolean {
  let bits = 0;
  for (let at = from; at < to; at += 1) bits |= buffer[at] ?? 0;
  return bits < 0x80;
}

/**
 * V8 copies substrings of up to 12 characters and makes longer ones a view that keeps the whole parent alive: a cached
 * id must not hold on to a message of half a megabyte.
 */
const COPIED_SUBSTRING_LENGTH = 12;

function ascii(buffer: Buffer, text: string, from: number, to: number): string {
  return to - from <= COPIED_SUBSTRING_LENGTH ? text.slice(from, to) : buffer.toString("latin1", from, to);
}

function decodeAtom(buffer: Buffer, text: string, from: number, to: number): Atom {
  if (isAscii(buffer, from, to)) return ascii(buffer, text, from, to);
  const decoded = buffer.toString("utf8", from, to);
  // Invalid bytes become U+FFFD. The character itself may also have been sent, so only a comparison tells.
  if (!decoded.includes("\ufffd")) return decoded;
  const raw = buffer.subarray(from, to);
  return Buffer.from(decoded).equals(raw) ? decoded : Buffer.from(raw);
}

/**
 * Names are ASCII by the protocol and charon prints nothing else. A foreign byte still becomes a string (with U+FFFD,
 * which no name of the caller's equals): one strange connection must not make all others unreadable.
 */
function decodeName(buffer: Buffer, text: string, from: number, to: number): string {
  return isAscii(buffer, from, to) ? ascii(buffer, text, from, to) : buffer.toString("utf8", from, to);
}

export function encodeMessage(message: SectionInput): Buffer {
  const out = Buffer.allocUnsafe(measureSection(message, 0));
  writeSection(out, message, 0);
  return out;
}

function entriesOf(section: SectionInput): Iterable<readonly [string, ValueInput | undefined]> {
  return isMap(section) ? section : Object.entries(section);
}

function isMap(section: SectionInput): section is ReadonlyMap<string, ValueInput | undefined> {
  return section instanceof Map;
}

function isAtom(value: ValueInput): value is Atom {
  return typeof value === "string" || value instanceof Uint8Array;
}

function isList(value: List | SectionInput): value is List {
  return Array.isArray(value);
}

const byteLength = (atom: Atom): number => (typeof atom === "string" ? Buffer.byteLength(atom) : atom.length);

/** Bytes the section's members take; refuses whatever the layout cannot carry, so that writing cannot fail half-way. */
function measureSection(section: SectionInput, depth: number): number {
  if (depth > MAX_DEPTH) throw new MalformedMessageError(`sections nest deeper than ${MAX_DEPTH}`);
  let bytes = 0;
  for (const [name, value] of entriesOf(section)) {
    if (value === undefined) continue;
    bytes += 2 + measureName(name);
    if (isAtom(value)) {
      bytes += 2 + measureAtom(`value of ${name}`, value);
    } else if (isList(value)) {
      bytes += 1;
      for (const item of value) bytes += 3 + measureAtom(`item of ${name}`, item);
    } else {
      bytes += 1 + measureSection(value, depth + 1);
    }
  }
  return bytes;
}

/** charon 5.9.8 drops a whole message over one name with a byte outside 0x20..0x7e (vici_message.c, vici_stringify). */
const NOT_PRINTABLE_ASCII = /[^\x20-\x7e]/;

function measureName(name: string): number {
  if (name.length === 0 || name.length > MAX_NAME_BYTES) {
    throw new MalformedMessageError(`key is ${name.length} bytes, allowed 1..${MAX_NAME_BYTES}`);
  }
  if (NOT_PRINTABLE_ASCII.test(name))
    throw new MalformedMessageError(`key ${JSON.stringify(name)} is not printable ASCII`);
  return name.length;
}

function measureAtom(what: string, atom: Atom): number {
  const bytes = byteLength(atom);
  if (bytes > MAX_VALUE_BYTES) {
    throw new MalformedMessageError(`${what} is ${bytes} bytes, allowed 0..${MAX_VALUE_BYTES}`);
  }
  return bytes;
}

/** SECTION_START, KEY_VALUE and LIST_START all begin: type, u8 name length, name. */
function writeSection(out: Buffer, section: SectionInput, from: number): number {
  let at = from;
  for (const [name, value] of entriesOf(section)) {
    if (value === undefined) continue;
    if (isAtom(value)) {
      at = writeAtom(out, value, writeName(out, KEY_VALUE, name, at));
    } else if (isList(value)) {
      at = writeName(out, LIST_START, name, at);
      for (const item of value) {
        out[at] = LIST_ITEM;
        at = writeAtom(out, item, at + 1);
      }
      out[at] = LIST_END;
      at += 1;
    } else {
      at = writeSection(out, value, writeName(out, SECTION_START, name, at));
      out[at] = SECTION_END;
      at += 1;
    }
  }
  return at;
}

function writeName(out: Buffer, type: number, name: string, at: number): number {
  out[at] = type;
  out[at + 1] = name.length;
  return at + 2 + out.write(name, at + 2, "latin1");
}

/** Both kinds of value: u16 big-endian length, bytes. */
function writeAtom(out: Buffer, atom: Atom, at: number): number {
  if (typeof atom !== "string") {
    out.writeUInt16BE(atom.length, at);
    out.set(atom, at + 2);
    return at + 2 + atom.length;
  }
  const bytes = out.write(atom, at + 2, "utf8");
  out.writeUInt16BE(bytes, at);
  return at + 2 + bytes;
}
