// The state in force: the last documents without a problem. A change with problems changes nothing and is told.
import type { Logger } from "pino";
import { readCatalogue } from "../wire/documents/build.ts";
import { byPlace, formatProblem, type DocumentNote, type DocumentProblem } from "../wire/documents/problem.ts";
import { outsideFiles, readDocuments, readSecrets, type Environment } from "./directory.ts";
import { buildPayloads, type Payloads } from "./payload.ts";

export type CatalogueOptions = {
  readonly directory: string;
  readonly environment: Environment;
  readonly log: Logger;
  /** A new state is in force; `before` is undefined for the first. */
  readonly onChange: (before: Payloads | undefined, now: Payloads) => void;
};

export type CatalogueKeeper = {
  /** Undefined until documents without problems were read. */
  readonly inForce: Payloads | undefined;
  /** Of the last reading; empty when it is in force. */
  readonly problems: readonly DocumentProblem[];
  /** Of the last reading. */
  readonly notes: readonly DocumentNote[];
  /** Secrets that live outside the directory, as of the last reading. */
  readonly outsideFiles: readonly string[];
  /** Reads everything again. Readings never overlap; one asked for while another runs follows it. */
  reload(): Promise<void>;
};

export function createCatalogueKeeper({ directory, environment, log, onChange }: CatalogueOptions): CatalogueKeeper {
  let inForce: Payloads | undefined;
  let problems: readonly DocumentProblem[] = [];
  let notes: readonly DocumentNote[] = [];
  let outside: readonly string[] = [];
  let told = "";
  let noted: ReadonlySet<string> = new Set();
  let running: Promise<void> | undefined;
  let isWanted = false;

  async function read(): Promise<void> {
    const { files, problems: unreadable } = await readDocuments(directory);
    const result = readCatalogue(files, unreadable.length === 0);
    const read = await readSecrets(result.psks, directory, environment);
    notes = result.notes;
    tellNotes();
    problems = [...unreadable, ...(result.kind === "invalid" ? result.problems : []), ...read.problems].sort(byPlace);
    tellProblems();
    // Followed while there are problems, too: one of them may be what is missing there.
    outside = outsideFiles(result.psks, directory);
    if (problems.length > 0 || result.kind === "invalid") return;
    const before = inForce;
    inForce = buildPayloads(result.catalogue, read.secrets);
    onChange(before, inForce);
  }

  /** The same problems are told once, however often the files are read. */
  function tellProblems(): void {
    const text = JSON.stringify(problems);
    if (text === told) return;
    told = text;
    for (const { file, line, text: problem } of problems) log.error({ file, line, problem }, "document has a problem");
    if (problems.length === 0) return;
    const count = problems.length;
    if (inForce === undefined) log.error({ directory, count }, "no documents in force, agents are refused an answer");
    else log.error({ directory, count }, "documents have problems, the last good ones stay in force");
  }

  function tellNotes(): void {
    const lines = new Map(notes.map((note) => [formatProblem(note), note]));
    for (const [line, { file, line: at, text }] of lines) {
      if (!noted.has(line)) log.info({ file, line: at, note: text }, "document is worth a look");
    }
    noted = new Set(lines.keys());
  }

  async function readWhileWanted(): Promise<void> {
    while (isWanted) {
      isWanted = false;
      await read();
    }
  }

  return {
    get inForce() {
      return inForce;
    },
    get problems() {
      return problems;
    },
    get notes() {
      return notes;
    },
    get outsideFiles() {
      return outside;
    },
    reload() {
      isWanted = true;
      running ??= readWhileWanted().finally(() => (running = undefined));
      return running;
    },
  };
}
