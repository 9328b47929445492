// YAML text -> the maps in it, each with the lines of its keys. It refuses to know what a document means.
import { isMap, isSeq, LineCounter, parseAllDocuments, type Document, type Node } from "yaml";
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

/** One file holds maps, lists of maps, or several of either between `---`. */
export function readYaml({ path: file, text }: DocumentFile): RawDocuments {
  const lines = new LineCounter();
  const line = (offset: number): number => Math.max(1, lines.linePos(offset).line);
  const documents: RawDocument[] = [];
  const problems: DocumentProblem[] = [];
  const parsed = parseAllDocuments(text, { lineCounter: lines, prettyErrors: false, logLevel: "silent" });
  for (const document of parsed as Document.Parsed[]) {
    for (const error of document.errors) {
      problems.push({ file, line: line(error.pos[0]), text: `not readable as YAML: ${error.message}` });
    }
    const { contents } = document;
    if (document.errors.length > 0 || contents === null) continue;
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
    } catch (error) {
      // An alias to nothing, or one that unfolds without end.
      problems.push({
        file,
        line: line(start),
        text: `not readable as YAML: ${error instanceof Error ? error.message : "bad alias"}`,
      });
      return;
    }
    documents.push({
      file,
      value: value as Record<string, unknown>,
      lineOf: (path) => line(offsetOf(node, path) ?? start),
    });
  }
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
