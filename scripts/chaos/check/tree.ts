// Two texts of strongSwan's as trees: what `swanctl --raw` prints, and swanctl's configuration files.

export type Tree = { readonly [key: string]: string | readonly string[] | Tree };

export const isTree = (value: Tree[string] | undefined): value is Tree =>
  typeof value === "object" && !Array.isArray(value);
export const treeAt = (tree: Tree, key: string): Tree => {
  const value = tree[key];
  return isTree(value) ? value : {};
};
export const textAt = (tree: Tree, key: string): string | undefined => {
  const value = tree[key];
  return typeof value === "string" ? value : undefined;
};
export const listAt = (tree: Tree, key: string): readonly string[] => {
  const value = tree[key];
  if (value === undefined || isTree(value)) return [];
  return typeof value === "string" ? value.split(/\s*,\s*/) : value;
};
export const subtrees = (tree: Tree): readonly (readonly [name: string, tree: Tree])[] =>
  Object.entries(tree).flatMap(([name, value]) => (isTree(value) ? [[name, value] as const] : []));

/** `list-conn event {name {key=a value [b] list=[a b] section {}}}`, one line an event; the last line is the reply. */
export function parseRaw(text: string): readonly Tree[] {
  return text
    .split("\n")
    .filter((line) => / event \{/.test(line))
    .map((line) => new RawReader(line.slice(line.indexOf("{") + 1)).section());
}

class RawReader {
  #rest: string;

  constructor(text: string) {
    this.#rest = text;
  }

  section(): Tree {
    const tree: Record<string, Tree[string]> = {};
    for (;;) {
      this.#rest = this.#rest.trimStart();
      if (this.#rest === "" || this.#rest.startsWith("}")) {
        this.#rest = this.#rest.slice(1);
        return tree;
      }
      const [head, name = "", what = ""] = /^([^\s={}]+)(=\[|=| \{)/.exec(this.#rest) ?? [];
      if (head === undefined) throw new Error(`cannot be read: ${this.#rest.slice(0, 80)}`);
      this.#rest = this.#rest.slice(head.length);
      tree[name] = what === " {" ? this.section() : what === "=[" ? this.#list() : this.#value();
    }
  }

  #list(): readonly string[] {
    const end = this.#rest.indexOf("]");
    const items = this.#rest.slice(0, end).split(" ");
    this.#rest = this.#rest.slice(end + 1);
    return items.filter((item) => item !== "");
  }

  /** A value may hold blanks: it ends before the next key, section or bracket. */
  #value(): string {
    const [value = ""] = /^.*?(?=\}| [^\s={}]+(?:=| \{))/.exec(this.#rest) ?? [this.#rest];
    this.#rest = this.#rest.slice(value.length);
    return value;
  }
}

/** `name {`, `key = "value"`, `}`, one a line, as swanctl reads it; sections of one name are one. */
export function parseConf(text: string): Tree {
  const root: Record<string, Tree[string]> = {};
  const stack = [root];
  for (const line of text.split("\n").map((one) => one.trim())) {
    const top = stack.at(-1) ?? root;
    const [, opened] = /^(\S+) \{$/.exec(line) ?? [];
    const [, key, value] = /^(\S+) = "(.*)"$/.exec(line) ?? [];
    if (opened !== undefined) {
      const inner: Record<string, Tree[string]> = { ...treeAt(top, opened) };
      top[opened] = inner;
      stack.push(inner);
    } else if (key !== undefined && value !== undefined) {
      top[key] = value.replace(/\\(.)/g, "$1");
    } else if (line === "}") {
      stack.pop();
    } else if (line !== "") {
      throw new Error(`cannot be read: ${line}`);
    }
  }
  return root;
}
