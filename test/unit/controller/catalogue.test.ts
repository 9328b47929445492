// The state in force against directories with mistakes: every one of them leaves the last good state where it is.
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createCatalogueKeeper, type CatalogueKeeper } from "../../../src/controller/catalogue.ts";
import { servicesOnHost } from "../../../src/controller/payload.ts";
import { formatProblem } from "../../../src/wire/documents/problem.ts";
import { filesOf, REFUSALS } from "../../support/refusals.ts";

let directory: string;
let lines: string[];
let changes: number;

beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), "swanherd-catalogue-"));
  await mkdir(path.join(directory, "psk"));
  await writeFile(path.join(directory, "psk", "to-right"), "a-key\n");
  lines = [];
  changes = 0;
});
afterEach(() => rm(directory, { recursive: true }));

const keeperOf = (environment: Record<string, string> = {}): CatalogueKeeper =>
  createCatalogueKeeper({
    directory,
    environment,
    log: pino({}, { write: (line: string) => void lines.push(line) }),
    onChange: () => (changes += 1),
  });

async function put(files: ReadonlyMap<string, string>): Promise<void> {
  for (const [name, text] of files) await writeFile(path.join(directory, name), text);
}

const answerOf = (keeper: CatalogueKeeper): unknown =>
  keeper.inForce && servicesOnHost(keeper.inForce, "gw-left", () => "ACTIVE");

describe("the last good state stays in force, and everything is told, when there is", () => {
  test.each(REFUSALS)("%s", async (...refusal) => {
    const { good, bad } = filesOf(refusal);
    const keeper = keeperOf();
    await put(good);
    await keeper.reload();
    const before = answerOf(keeper);
    expect(before).toHaveLength(1);
    await put(bad);
    await keeper.reload();
    expect(keeper.problems.map(formatProblem)).toEqual(refusal[4]);
    expect(answerOf(keeper)).toEqual(before);
    expect(changes).toBe(1);
    await put(good);
    await keeper.reload();
    expect([keeper.problems, changes]).toEqual([[], 2]);
  });
});

const [first] = REFUSALS;
const GOOD = first === undefined ? new Map<string, string>() : filesOf(first).good;
const withPsk = (reference: string): ReadonlyMap<string, string> =>
  new Map([...GOOD].map(([name, text]) => [name, text.replace("{file: psk/to-right}", reference)]));
const AT = "connection.yaml:11: IpsecSiteConnection to-right: psk names";

describe("a reference to a key is refused when it is", () => {
  test.each<[what: string, reference: string, content: string | Uint8Array | undefined, says: string]>([
    ["a file that is not there", "{file: psk/none}", undefined, "file <DIR>/psk/none, which cannot be read (ENOENT)"],
    ["a directory", "{file: psk}", undefined, "file <DIR>/psk, which cannot be read (EISDIR)"],
    [
      "an empty file",
      "{file: psk/key}",
      "\n",
      "file <DIR>/psk/key, which is empty: give the connection a pre-shared key",
    ],
    [
      "a file longer than Neutron's column",
      "{file: psk/key}",
      "hunter2".repeat(40),
      "file <DIR>/psk/key, which has 280 characters: at most 255, as in Neutron",
    ],
    [
      "a file with a NUL in it",
      "{file: psk/key}",
      "hunter\0two",
      "file <DIR>/psk/key, which contains a NUL character: take it out",
    ],
    [
      "a file of random bytes",
      "{file: psk/key}",
      Uint8Array.of(0xff, 0xfe, 0x80),
      "file <DIR>/psk/key, which cannot be read (it is not UTF-8)",
    ],
    [
      "an environment variable that is not set",
      "{env: NOWHERE}",
      undefined,
      "environment variable NOWHERE, which is not set",
    ],
    [
      "an environment variable that is empty",
      "{env: EMPTY}",
      undefined,
      "environment variable EMPTY, which is empty: give the connection a pre-shared key",
    ],
    [
      "a credential without LoadCredential=",
      "{credential: key}",
      undefined,
      "credential key, but there are none: set LoadCredential= in the unit",
    ],
  ])("%s", async (_what, reference, content, says) => {
    if (content !== undefined) await writeFile(path.join(directory, "psk", "key"), content);
    await put(withPsk(reference));
    const keeper = keeperOf({ EMPTY: "" });
    await keeper.reload();
    expect(keeper.problems.map(formatProblem)).toEqual([`${AT} ${says}`.replace("<DIR>", directory)]);
    expect(lines.join()).not.toContain("hunter");
  });

  test("wrong, beside what else is wrong", async () => {
    const files = withPsk("{file: psk/none}");
    await put(new Map([...files, ["more.yaml", "kind: Nonsense"]]));
    const keeper = keeperOf();
    await keeper.reload();
    expect(keeper.problems.map(({ file }) => file)).toEqual(["connection.yaml", "more.yaml"]);
  });
});

test("a document that is no UTF-8 is refused, and nobody is told that what it holds is missing", async () => {
  await put(GOOD);
  await writeFile(path.join(directory, "base.yaml"), Uint8Array.of(0x2d, 0x20, 0xff));
  const keeper = keeperOf();
  await keeper.reload();
  expect(keeper.problems.map(formatProblem)).toEqual(["base.yaml:1: cannot be read (it is not UTF-8)"]);
});

test("a note is no problem, and is told once", async () => {
  const noted = new Map([...GOOD].map(([name, text]) => [name, text.replace("value: 3600", "value: 86401")]));
  await put(noted);
  const keeper = keeperOf();
  await keeper.reload();
  await keeper.reload();
  expect([keeper.problems, keeper.notes.length, keeper.inForce === undefined]).toEqual([[], 1, false]);
  const told = lines.map((line) => JSON.parse(line) as { level: number; note?: string }).filter(({ note }) => note);
  expect(told).toMatchObject([{ level: 30, file: "base.yaml", line: 6 }]);
});
