import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { routersWithFiles } from "../../../../src/io/charon/files.ts";
import { ROUTER } from "../../../support/network-builders.ts";

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), "swanherd-files-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

test("routers of which files are left are known by their directories", () => {
  for (const name of [`qvpn-${ROUTER}`, "qvpn-none", "another"]) mkdirSync(path.join(directory, name));
  expect(routersWithFiles(directory)).toEqual([ROUTER]);
  expect(routersWithFiles(path.join(directory, "not-there"))).toEqual([]);
});
