// The state in force: the last documents without a problem. A change with problems changes nothing and is told.
import type { Logger } from "pino";
import { readCatalogue } from "../wire/documents/build.ts";
import type { DocumentProblem } from "../wire/documents/problem.ts";
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
  /** Secrets that live outside the directory, as of the state in force. */
  readonly outsideFiles: readonly string[];
  /** Reads everything again. Readings never overlap; one asked for while another runs follows it. */
  reload(): Promise<void>;
};

export function createCatalogueKeeper({ directory, environment, log, onChange }: CatalogueOptions): CatalogueKeeper {
  let inForce: Payloads | undefined;
  let problems: readonly DocumentProblem[] = [];
  let outside: readonly string[] = [];
  let told = "";
  let running: Promise<void> | undefined;
  let isWanted = false;

  async function read(): Promise<void> {
    const { files, problems: unreadable } = await readDocuments(directory);
    const result = readCatalogue(files);
    const secrets = result.kind === "valid" ? await readSecrets(result.catalogue, directory, environment) : undefined;
    problems = [...unreadable, ...(result.kind === "invalid" ? result.problems : []), ...(secrets?.problems ?? [])];
    tellProblems();
    if (problems.length > 0 || result.kind === "invalid" || secrets === undefined) return;
    const before = inForce;
    inForce = buildPayloads(result.catalogue, secrets.secrets);
    outside = outsideFiles(result.catalogue, directory);
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
