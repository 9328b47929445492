// YAML text -> the maps in it, each with the lines of its keys. It refuses to know what a document means, and to repeat
// a parser's words: they quote the file, which may hold a pre-shared key.
import {
  isMap,
  isSeq,
  LineCounter,
  parseAllDocuments,
  visit,
  type Alias,
  type Document,
  type Node,
  type YAMLError,
} from "yaml";
import type { DocumentProblem } from "./problem.ts";

/** `path` as problems show it: relative to the documents' directory. */
export type DocumentFile = { readonly path: string; readonly text: string };

export type RawDocument = {
  readonly file: string;
  readonly value: Readonly<Record<string, unknown>>;
  /** Line of the deepest part of the path that stands in the file. */
  readonly lineOf: (path: readonly PropertyKey[]) => number;
};

export type RawDocuments = {
  readonly documents: readonly RawDocument[];
  readonly problems: readonly DocumentProblem[];
};

const ALIAS = "an alias (*name) has no anchor (&name) before it: put a text that begins with * in quotes";

/** By the parser's code. */
const SENTENCES: Readonly<Record<string, string>> = {
  BAD_ALIAS: ALIAS,
  BAD_DQ_ESCAPE: 'a backslash between " means nothing here: double it, or use single quotes',
  BAD_INDENT: "the indentation does not fit, or a bracket is not closed",
  BAD_SCALAR_START: "a text cannot begin with this character: put it in quotes",
  BLOCK_AS_IMPLICIT_KEY: "a text has a colon and a blank in it: put it in quotes",
  DUPLICATE_KEY: "a key is given twice: remove one",
  MISSING_CHAR: "something is missing: a closing quote or bracket, or the colon after a key",
  MULTILINE_IMPLICIT_KEY: "a key goes over several lines: is its colon missing?",
  TAB_AS_INDENT: "a tab is no indentation: use blanks",
  TAG_RESOLVE_FAILED: "a tag (!name) is not known here: put a text that begins with ! in quotes",
  UNEXPECTED_TOKEN: "something stands where nothing may: look at quotes, brackets and indentation",
};

/** One file holds maps, lists of maps, or several of either between `---`. */
export function readYaml({ path: file, text }: DocumentFile): RawDocuments {
  const lines = new LineCounter();
  const line = (offset: number): number => Math.max(1, lines.linePos(offset).line);
  const documents: RawDocument[] = [];
  const problems: DocumentProblem[] = [];
  const unreadable = (at: number, sentence: string): void => {
    // One slip makes the parser stumble several times.
    if (problems.at(-1)?.line === at) return;
    problems.push({ file, line: at, text: `not readable as YAML: ${sentence}` });
  };
  const parsed = parseAllDocuments(text, { lineCounter: lines, prettyErrors: false, logLevel: "silent" });
  for (const document of parsed as Document.Parsed[]) {
    // A warning is about a tag or directive that is left out: the value is not what was meant.
    const mistakes = [...document.errors, ...document.warnings].sort((a, b) => a.pos[0] - b.pos[0]);
    for (const mistake of mistakes) {
      const { code } = mistake;
      unreadable(line(offsetOfMistake(mistake, document)), SENTENCES[code] ?? `its parser says ${code}`);
    }
    const { contents } = document;
    if (mistakes.length > 0 || contents === null) continue;
    const nodes: readonly unknown[] = isSeq(contents) ? contents.items : [contents];
    for (const node of nodes) collect(node as Node | null, document, contents);
  }
  return { documents, problems };

  function collect(node: Node | null, document: Document.Parsed, contents: Node): void {
    const start = node?.range?.[0] ?? contents.range?.[0] ?? 0;
    if (!isMap(node)) {
      // `---` with nothing behind it parses as an empty scalar.
      if (node !== null && "value" in node && node.value === null) return;
      problems.push({ file, line: line(start), text: "is no map: a document starts with `kind:`" });
      return;
    }
    let value: unknown;
    try {
      value = node.toJS(document);
    } catch {
      const alias = loneAlias(node, document);
      if (alias !== undefined) unreadable(line(alias.range?.[0] ?? start), ALIAS);
      else unreadable(line(start), "aliases (*name) unfold into more than can be read: write the values out");
      return;
    }
    documents.push({
      file,
      value: value as Record<string, unknown>,
      lineOf: (path) => line(offsetOf(node, path) ?? start),
    });
  }
}

/** A quote that is not closed is missed at the end of the file; what helps is where it was opened. */
function offsetOfMistake({ code, pos: [offset] }: YAMLError, document: Document.Parsed): number {
  let opened: number | undefined;
  if (code === "MISSING_CHAR") {
    visit(document, {
      Scalar(_key, { type, range }) {
        const isQuoted = type === "QUOTE_DOUBLE" || type === "QUOTE_SINGLE";
        if (isQuoted && range && range[0] < offset && offset <= range[2]) opened = range[0];
      },
    });
  }
  return opened ?? offset;
}

/** The first alias without an anchor before it. */
function loneAlias(node: Node, document: Document.Parsed): Alias | undefined {
  let found: Alias | undefined;
  visit(node, {
    Alias(_key, alias) {
      if (alias.resolve(document) !== undefined) return undefined;
      found = alias;
      return visit.BREAK;
    },
  });
  return found;
}

function offsetOf(node: unknown, path: readonly PropertyKey[]): number | undefined {
  let found: number | undefined;
  let current = node;
  for (const key of path) {
    if (isMap(current)) {
      const pair = current.items.find((item) => String(item.key) === String(key));
      if (pair === undefined) return found;
      found = (pair.key as Node | null)?.range?.[0] ?? found;
      current = pair.value;
    } else if (isSeq(current)) {
      current = current.items[Number(key)];
      found = (current as Node | null | undefined)?.range?.[0] ?? found;
    } else {
      return found;
    }
  }
  return found;
}
