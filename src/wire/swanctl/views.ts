// Values in the words of swanctl.conf, and whether what charon tells in them is what was meant.
import type { Difference, Values, Verdict } from "../../core/views.ts";
import type { Section, SectionValue } from "./section.ts";

/** Selectors in an order of their own: charon may give them back in another. */
export const selectors = (list: readonly string[]): string => [...list].sort().join(", ");

/** A value of a file as it is compared: lists of selectors have no order. */
const fileValue = (key: string, value: Exclude<SectionValue, Section>): string => {
  const list = typeof value === "string" ? value.split(/\s*,\s*/) : value;
  return /\.(local|remote)_ts$/.test(key) ? selectors(list) : list.join(", ");
};

/** All values of a section, by keys with dots. */
export function valuesOfSection(section: Section, prefix = ""): Values {
  const values = new Map<string, string>();
  for (const [key, value] of Object.entries(section)) {
    const path = `${prefix}${key}`;
    if (typeof value === "string" || isList(value)) values.set(path, fileValue(path, value));
    else for (const [below, one] of valuesOfSection(value, `${path}.`)) values.set(below, one);
  }
  return values;
}

const isList = (value: SectionValue): value is readonly string[] => Array.isArray(value);

/**
 * An identity as charon prints it. Undefined for what it prints in another form: a distinguished name, bytes in hex, any
 * (identification.c).
 */
function printedIdentity(id: string): string | undefined {
  const text = id.replace(/^(?:fqdn|email|keyid):/, "");
  return /[#=%]/.test(text) ? undefined : text;
}

const lastOf = (key: string): string => key.slice(key.lastIndexOf(".") + 1);

/** Whether two values mean the same; undefined when that cannot be told. */
function isSame(key: string, wanted: string, found: string): boolean | undefined {
  switch (lastOf(key)) {
    case "id": {
      const printed = printedIdentity(wanted);
      return printed === undefined ? undefined : printed === found || wanted === found;
    }
    case "remote_addrs":
      return wanted === "%any" ? undefined : wanted === found;
    case "dpd_action":
      return (wanted === "clear" ? "none" : wanted) === found;
    default:
      return wanted === found;
  }
}

export const equalVerdict = (_key: string, wanted: string, found: string): Verdict =>
  wanted === found ? "same" : "differs";

export const loadedVerdict = (key: string, wanted: string, found: string): Verdict =>
  isSame(key, wanted, found) === false ? "differs" : "same";

/** Where a loaded connection is not as it is wanted. What one of the two does not tell is no difference. */
export function loadedDifferences(wanted: Values, loaded: Values): readonly Difference[] {
  const found: Difference[] = [];
  for (const [key, value] of loaded) {
    const expected = wanted.get(key);
    if (expected === undefined ? isOfChild(key) : isSame(key, expected, value) === false) {
      found.push({ key, wanted: expected ?? NOTHING, found: value });
    }
  }
  for (const [key, value] of wanted) {
    if (isOfChild(key) && !loaded.has(key)) found.push({ key, wanted: value, found: NOTHING });
  }
  return found;
}

const NOTHING = "nothing";

/** Every child has one: one that is not wanted shows by it, and one that is missing. Other keys are charon's defaults. */
const isOfChild = (key: string): boolean => key.startsWith("children.") && lastOf(key) === "local_ts";

/**
 * What a negotiated value is beside the wanted one. A child of the first exchange has no group of its own (RFC 7296 1.2),
 * and a rekeying keeps the limits that it had.
 */
export function negotiatedVerdict(key: string, wanted: string, found: string): Verdict {
  switch (lastOf(key)) {
    case "esp_proposals":
    case "ah_proposals":
      return wanted === found || wanted.slice(0, wanted.lastIndexOf("-")) === found ? "same" : "differs";
    case "life_time":
      return wanted === found ? "same" : "pending";
    case "local_ts":
    case "remote_ts":
      return selectorsVerdict(wanted.split(", "), found.split(", "));
    default:
      return isSame(key, wanted, found) === false ? "differs" : "same";
  }
}

function selectorsVerdict(wanted: readonly string[], found: readonly string[]): Verdict {
  if (!found.every((subnet) => wanted.includes(subnet))) return "differs";
  return found.length === wanted.length ? "same" : "narrowed";
}

/** Where an SA is not as it is wanted: what is pending or narrowed is left out. Keys of `wanted` have this prefix. */
export function negotiatedDifferences(wanted: Values, prefix: string, negotiated: Values): readonly Difference[] {
  const found: Difference[] = [];
  for (const [name, value] of negotiated) {
    const key = `${prefix}${name}`;
    const expected = wanted.get(key);
    if (expected !== undefined && negotiatedVerdict(key, expected, value) === "differs") {
      found.push({ key, wanted: expected, found: value });
    }
  }
  return found;
}
