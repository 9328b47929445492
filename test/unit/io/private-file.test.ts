import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { FileError } from "../../../src/core/errors.ts";
import { writePrivateFile } from "../../../src/io/private-file.ts";

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), "swanherd-file-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

test("a file is for its owner only, also where another one lay about", () => {
  const file = path.join(directory, "below", "secret");
  writePrivateFile(file, "first", { isKept: false });
  writeFileSync(`${file}.new`, "left by a crash", { mode: 0o644 });
  writePrivateFile(file, "second", { isKept: true });
  expect([readFileSync(file, "utf8"), statSync(file).mode & 0o777]).toEqual(["second", 0o600]);
});

test("one that cannot be written says which and why, and leaves nothing of itself", () => {
  const file = path.join(directory, "taken");
  mkdirSync(path.join(file, "by-a-directory"), { recursive: true });
  expect(() => writePrivateFile(file, "text", { isKept: false })).toThrow(FileError);
  expect(() => writePrivateFile(file, "text", { isKept: false })).toThrow(/taken: E/);
  expect(readdirSync(directory)).toEqual(["taken"]);
});
