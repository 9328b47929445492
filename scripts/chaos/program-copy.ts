// The program as it was built when the run began: what is built meanwhile does not change it, and a copy can be given a bug.
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

export type ProgramCopy = { readonly main: string; readonly remove: () => void };

/** One text of one file, which has to be there exactly once, and what stands there instead. */
export type Mutation = { readonly file: string; readonly from: string; readonly to: string };

export function copyProgram(mutations: readonly Mutation[] = []): ProgramCopy {
  const directory = mkdtempSync(path.join(tmpdir(), "swanherd-chaos-program-"));
  const remove = (): void => rmSync(directory, { recursive: true, force: true });
  try {
    cpSync(path.join(ROOT, "dist"), path.join(directory, "dist"), { recursive: true });
    cpSync(path.join(ROOT, "package.json"), path.join(directory, "package.json"));
    symlinkSync(path.join(ROOT, "node_modules"), path.join(directory, "node_modules"));
    for (const mutation of mutations) mutate(path.join(directory, "dist", mutation.file), mutation);
  } catch (error) {
    remove();
    throw error;
  }
  return { main: path.join(directory, "dist/main.js"), remove };
}

/** How often the built program has what is to be changed. */
export const occurrencesOf = ({ file, from }: Mutation): number =>
  readFileSync(path.join(ROOT, "dist", file), "utf8").split(from).length - 1;

export function mutate(file: string, { from, to }: Omit<Mutation, "file">): void {
  if (!existsSync(file)) throw new Error(`there is no ${file} to change`);
  const text = readFileSync(file, "utf8");
  const count = text.split(from).length - 1;
  if (count !== 1) throw new Error(`${file} has what is to be changed ${String(count)} times: ${from}`);
  writeFileSync(
    file,
    text.replace(from, () => to),
  );
}
