// The working tree in a directory of its own, with a cure reverted or without: the tree itself is never written to.
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { mutate, type Mutation } from "../chaos/program-copy.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
/** What the tests read. */
const PARTS = ["src", "test", "scripts", "docs", "etc", "systemd", "package.json", "tsconfig.json", "README.md"];

export type TreeCopy = {
  readonly directory: string;
  /** Puts the mutations into the sources; what it returns takes them out again. */
  readonly change: (mutations: readonly Mutation[]) => () => void;
  readonly remove: () => void;
};

export function copyTree(): TreeCopy {
  // By such a name a later run of the tests finds and removes one whose owner was killed (scripts/leftovers.ts).
  const directory = mkdtempSync(path.join(tmpdir(), "swanherd-cures-"));
  const remove = (): void => rmSync(directory, { recursive: true, force: true });
  const copy = (part: string): void =>
    cpSync(path.join(ROOT, part), path.join(directory, part), { recursive: true, verbatimSymlinks: true });
  try {
    for (const part of PARTS) copy(part);
    // Not one link for all of them: vitest keeps what it knows of earlier runs in there.
    const modules = path.join(directory, "node_modules");
    mkdirSync(modules);
    for (const name of readdirSync(path.join(ROOT, "node_modules")).filter((one) => !isCache(one))) {
      symlinkSync(path.join(ROOT, "node_modules", name), path.join(modules, name));
    }
  } catch (error) {
    remove();
    throw error;
  }
  return {
    directory,
    change(mutations) {
      const files = new Set(mutations.map(({ file }) => path.join(directory, file)));
      const before = [...files].map((file) => [file, readFileSync(file)] as const);
      for (const { file, ...change } of mutations) mutate(path.join(directory, file), change);
      return () => {
        for (const [file, text] of before) writeFileSync(file, text);
      };
    },
    remove,
  };
}

const isCache = (name: string): boolean => name.startsWith(".") && name !== ".bin";
