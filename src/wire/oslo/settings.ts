// Several configuration files as oslo.config sees them together: the last word counts, and $names stand for other options.
// It refuses to know which options there are.
import type { Assignment } from "./ini.ts";

export type ConfigFile = { readonly file: string; readonly assignments: readonly Assignment[] };

/** Where an option was found. */
export type Found = {
  readonly file: string;
  readonly line: number;
  /** As it stands in the file. */
  readonly section: string;
  readonly option: string;
};

export type FoundValue = Found & {
  readonly value: string;
  /**
   * Names in it that no file sets; they stand in it as they were. For oslo.config they are defaults of the program's own, or
   * an error: a dollar itself is written $$.
   */
  readonly unresolved: readonly string[];
};

export type OsloSettings = {
  /** Every option of every file, in their order. */
  readonly all: readonly Found[];
  /** The value in force: that of the last file, and in it the last one. */
  get(section: string, option: string): FoundValue | undefined;
  /** All values of an option that may be given several times (MultiStrOpt), in the order of the files. */
  getAll(section: string, option: string): readonly FoundValue[];
};

/** Names of groups are compared without regard to case; DEFAULT is one of its own. */
export const sectionKey = (section: string): string => (section === "DEFAULT" ? section : section.toLowerCase());

// string.Template with oslo.config's own pattern for names, of which it heeds no case.
const REFERENCE = /\$(?:(\$)|([_a-z][._a-z0-9]*)|\{([_a-z][._a-z0-9]*)\})/gi;
// Deeper than anything meant; what refers to itself ends here.
const MAX_DEPTH = 20;

/** `defaults`: what Neutron itself takes for an option of [DEFAULT] that no file sets. */
export function readSettings(
  files: readonly ConfigFile[],
  defaults: ReadonlyMap<string, string> = new Map(),
): OsloSettings {
  const all = files.flatMap(({ file, assignments }) => assignments.map((one) => ({ file, ...one })));
  const byName = new Map<string, (typeof all)[number][]>();
  const keyOf = (section: string, option: string): string => `${sectionKey(section)}\n${option}`;
  for (const one of all) {
    const key = keyOf(one.section, one.option);
    byName.set(key, [...(byName.get(key) ?? []), one]);
  }

  /** The text that stands for a name used in `section`: the section's own option, or one of [DEFAULT]. */
  function lookUp(name: string, section: string): { readonly value: string; readonly section: string } | undefined {
    const dot = name.indexOf(".");
    const [group, option] = dot < 0 ? [section, name] : [name.slice(0, dot), name.slice(dot + 1)];
    for (const [at, of] of [
      [group, option],
      ["DEFAULT", name],
    ] as const) {
      const found = byName.get(keyOf(at, of))?.at(-1);
      if (found !== undefined) return { value: found.value, section: at };
    }
    const standard = defaults.get(name);
    return standard === undefined ? undefined : { value: standard, section: "DEFAULT" };
  }

  function substitute(text: string, section: string, unresolved: Set<string>, depth: number): string {
    return text
      .replaceAll("\\$", "$$$$")
      .replace(REFERENCE, (whole, dollar?: string, bare?: string, braced?: string) => {
        if (dollar !== undefined) return "$";
        const name = bare ?? braced ?? "";
        const found = depth < MAX_DEPTH ? lookUp(name, section) : undefined;
        if (found !== undefined) return substitute(found.value, found.section, unresolved, depth + 1);
        unresolved.add(name);
        return whole;
      });
  }

  function resolved({ value, ...found }: (typeof all)[number]): FoundValue {
    const unresolved = new Set<string>();
    return { ...found, value: substitute(value, found.section, unresolved, 0), unresolved: [...unresolved] };
  }

  const getAll = (section: string, option: string): readonly FoundValue[] =>
    (byName.get(keyOf(section, option)) ?? []).map(resolved);
  return {
    all: all.map(({ file, line, section, option }) => ({ file, line, section, option })),
    get: (section, option) => getAll(section, option).at(-1),
    getAll,
  };
}
