// What the READMEs and docs say is compared with what the code has: keys and defaults, reasons, metrics, exit codes, paths.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, onTestFinished, test } from "vitest";
import { parse } from "yaml";
import { EXIT } from "../../src/cli/terminal.ts";
import { AGENT_KEYS, CONTROLLER_KEYS, readAgentConfig } from "../../src/config.ts";
import { LIVE_KEYS } from "../../src/config-changes.ts";
import { REASON_CODES } from "../../src/core/reason.ts";
import { createMetrics } from "../../src/io/metrics.ts";
import { KINDS, SCHEMAS } from "../../src/wire/documents/schema.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const read = (file: string): string => readFileSync(path.join(root, file), "utf8");
const readme = read("README.md");

/** The text under a heading, up to the next heading of its level or above. */
function section(heading: string, text = readme): string {
  const lines = text.split("\n");
  const from = lines.indexOf(heading);
  if (from < 0) throw new Error(`README.md has no heading ${JSON.stringify(heading)}`);
  const level = heading.indexOf(" ");
  const length = lines.slice(from + 1).findIndex((line) => new RegExp(`^#{1,${level}} `).test(line));
  return lines.slice(from + 1, length < 0 ? undefined : from + 1 + length).join("\n");
}

/** The cells of every row of the tables in a text, without their heads. */
const rows = (text: string): string[][] =>
  [...text.matchAll(/(?:^\|.*\n?)+/gm)].flatMap(([table]) =>
    table
      .trimEnd()
      .split("\n")
      .slice(2)
      .map((line) => line.split("|").slice(1, -1))
      .map((cells) => cells.map((cell) => cell.trim())),
  );

const codeIn = (cell: string | undefined): string | undefined => /^`([^`]*)`/.exec(cell ?? "")?.[1];
const firstCodes = (text: string): string[] => rows(text).flatMap(([first]) => codeIn(first) ?? []);

/** Without a default that is the same everywhere. */
const NO_DEFAULT: Readonly<Record<string, string>> = {
  transportUrl: "none, must be given",
  host: "the machine's host name",
};

describe.each([
  ["Agent", AGENT_KEYS, "etc/agent.yaml"],
  ["Controller", CONTROLLER_KEYS, "etc/controller.yaml"],
] as const)("the configuration table %s", (name, keys, sampleFile) => {
  const table = rows(section(`### ${name}`, section("## Configuration")));

  test("has every key in the order of the code, and no other", () => {
    expect(table.map(([key]) => codeIn(key))).toEqual(keys);
  });

  test("has the defaults of the sample file, which are those of the code", () => {
    const sample: unknown = parse(read(sampleFile).replaceAll(/^#(?! \S|$)/gm, ""));
    const sampleValue = (key: string): unknown =>
      key.split(".").reduce<unknown>((value, part) => (value as Record<string, unknown>)[part], sample);
    const told = table.map(([key, shown]) => {
      const code = codeIn(shown);
      return [codeIn(key), code === undefined ? shown : (parse(code) as unknown)];
    });
    expect(told).toEqual(keys.map((key) => [key, NO_DEFAULT[key] ?? sampleValue(key)]));
  });
});

test("what a reload puts in force at once is named, and nothing else", () => {
  const told = /\*\*Reload\.\*\*.*?In force at once are ([^.]*(?:\.\w[^.]*)*)\./s.exec(readme)?.[1] ?? "";
  const names = [...told.matchAll(/`([^`]+)`/g)].map(([, name = ""]) => name);
  const isOf = (key: string, name: string): boolean => key === name || key.startsWith(`${name}.`);
  expect(LIVE_KEYS.agent.filter((key) => !names.some((name) => isOf(key, name)))).toEqual([]);
  expect(names.filter((name) => !LIVE_KEYS.agent.some((key) => isOf(key, name)))).toEqual([]);
  // A part of a group would be told as the whole of it.
  expect(AGENT_KEYS.filter((key) => names.some((name) => isOf(key, name)))).toEqual(LIVE_KEYS.agent);
  expect(LIVE_KEYS.controller).toEqual(["log.level"]);
});

test("every reason code is explained, and no other", () => {
  expect(firstCodes(section("### Status and reasons")).sort()).toEqual([...REASON_CODES].sort());
});

test("every metric is listed, and no other", async () => {
  const text = await createMetrics({ version: "0", processMetrics: false }).text();
  const declared = [...text.matchAll(/^# HELP (\S+)/gm)].map(([, name]) => name);
  expect(firstCodes(section("### Metrics")).sort()).toEqual(declared.sort());
});

test("every exit code of the commands is explained", () => {
  const told = rows(section("## Operating")).flatMap(([first = ""]) => (/^\d+$/.test(first) ? [Number(first)] : []));
  // 70, EX_SOFTWARE, is that of main.ts.
  expect(told).toEqual([...Object.values(EXIT), 70].sort((one, other) => one - other));
});

test("every folder of src is on the map", () => {
  const foldersOf = (folder: string): string[] =>
    readdirSync(path.join(root, folder), { withFileTypes: true }).flatMap((entry) =>
      entry.isDirectory() ? [`${folder}/${entry.name}/`] : [],
    );
  const isSplit = (folder: string): boolean => ["src/io/", "src/wire/"].includes(folder);
  const folders = [...foldersOf("src"), ...foldersOf("src/io"), ...foldersOf("src/wire")].filter((f) => !isSplit(f));
  expect(firstCodes(section("## Map of `src`")).sort()).toEqual(folders.sort());
});

test("the smallest configuration shown is one", () => {
  const shown = /```yaml\n([^`]*`[^`]*`[^`]*)```/.exec(section("## Installing"))?.[1] ?? "";
  const directory = mkdtempSync(path.join(tmpdir(), "swanherd-readme-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const file = path.join(directory, "agent.yaml");
  writeFileSync(file, shown.replace(/^transportUrl: \{.*?\}/m, 'transportUrl: "rabbit://user:password@mq1:5672"'));
  expect(readAgentConfig({ env: {}, file })).toMatchObject({ kind: "ok", value: { host: "gw-left" } });
});

test("the connection shown is the one of the sample documents", () => {
  const shown = /```yaml\n([^`]*)```/.exec(section("## The controller and its documents"))?.[1] ?? "";
  const sample = parse(read("etc/documents/acme/site-left.yaml")) as Record<string, unknown>[];
  const [connection] = parse(shown) as Record<string, unknown>[];
  expect(sample.find(({ kind }) => kind === "IpsecSiteConnection")).toMatchObject(connection ?? { shown });
});

test("every kind of document is described with every key", () => {
  const text = section("## Kinds", read("docs/controller.md"));
  const described = new Map(rows(text).map(([kind, keys = ""]) => [codeIn(kind), keys]));
  expect([...described.keys()]).toEqual([...KINDS]);
  const common = text.slice(0, text.indexOf("|"));
  // "the last four of an IkePolicy"
  const borrowed = new Map([["IpsecPolicy", described.get("IkePolicy")]]);
  const missing = KINDS.flatMap((kind) => {
    const told = [common, described.get(kind), borrowed.get(kind)].join();
    return Object.keys(SCHEMAS[kind].shape).filter(
      (key) => !told.includes(key === "project" ? "project" : `\`${key}\``),
    );
  });
  expect(missing).toEqual([]);
});

describe.each([
  "README.md",
  "CHANGELOG.md",
  "docs/benchmark.md",
  "docs/controller.md",
  "docs/operating.md",
  "test/README.md",
])("in %s", (file) => {
  const text = read(file);
  const slugOf = (heading: string): string =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-");
  const slugsOf = (of: string): string[] => [...of.matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) => slugOf(heading));

  test("every link leads to a file and a heading of ours", () => {
    const dead = [...text.matchAll(/\]\(([^)#]*)(?:#([^)]*))?\)/g)].filter(([, target = "", anchor]) => {
      const at = target === "" ? file : path.join(path.dirname(file), target);
      return !existsSync(path.join(root, at)) || (anchor !== undefined && !slugsOf(read(at)).includes(anchor));
    });
    expect(dead.map(([link]) => link)).toEqual([]);
  });

  test("every path of ours that is named exists", () => {
    const named = [...text.matchAll(/(?<![\w./-])(?:\.\/)?((?:src|etc|scripts|test|docs)\/[\w./-]*\w)/g)];
    expect([...new Set(named.flatMap(([, name = ""]) => (existsSync(path.join(root, name)) ? [] : [name])))]).toEqual(
      [],
    );
  });
});
