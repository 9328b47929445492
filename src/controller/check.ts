// A directory of documents judged as the controller would judge it, without a broker and without serving anything.
import path from "node:path";
import { readCatalogue } from "../wire/documents/build.ts";
import { byPlace, formatProblem, type DocumentProblem } from "../wire/documents/problem.ts";
import { readDocuments, readSecrets, type Environment } from "./directory.ts";

/** One line each, with the path as the user can open it. */
export type CheckedDocuments = {
  readonly directory: string;
  readonly problems: readonly string[];
  readonly notes: readonly string[];
};

export async function checkDocuments(directory: string, environment: Environment): Promise<CheckedDocuments> {
  const { files, problems: unreadable } = await readDocuments(directory);
  const result = readCatalogue(files, unreadable.length === 0);
  const read = await readSecrets(result.psks, directory, environment, false);
  const judged = [...unreadable, ...(result.kind === "invalid" ? result.problems : []), ...read.problems];
  // What is told of the directory itself has its name already.
  const line = (problem: DocumentProblem): string =>
    formatProblem(problem.file === directory ? problem : { ...problem, file: path.join(directory, problem.file) });
  return {
    directory,
    problems: judged.sort(byPlace).map(line),
    notes: [...result.notes, ...read.notes].sort(byPlace).map(line),
  };
}
