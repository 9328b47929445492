// Neutron's configuration files as one of ours: read, judged by our own bounds, and written as YAML with its origins.
// It refuses to know which option is which setting.
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { hostname as machineName } from "node:os";
import path from "node:path";
import { Document, isMap, isScalar, type YAMLMap } from "yaml";
import { errnoOf } from "./config-files.ts";
import { AGENT_KEYS, problemsOfSettings } from "./config.ts";
import { importNeutron, type ImportedSetting, type LeftOut } from "./wire/oslo/import-neutron.ts";
import { parseIni } from "./wire/oslo/ini.ts";
import { readSettings, type ConfigFile } from "./wire/oslo/settings.ts";

export type NeutronImport =
  | { readonly kind: "invalid"; readonly problems: readonly string[] }
  | {
      readonly kind: "ok";
      /** The configuration of an agent. It holds the broker's password. */
      readonly yaml: string;
      /** What was not taken over, and what of the rest wants to be looked at: one line each, without any value. */
      readonly notes: readonly string[];
    };

/**
 * Reads the files in this order, of which a later one overrides an earlier one, as oslo.config's --config-file does; of a
 * directory its *.conf by name, as --config-dir does. Every problem is told at once.
 */
export function readNeutronConfig(files: readonly string[], hostname = machineName()): NeutronImport {
  const problems: string[] = [];
  const read: ConfigFile[] = [];
  for (const file of files.flatMap((name) => expanded(name, problems))) {
    const text = textOf(file, problems);
    if (text === undefined) continue;
    const ini = parseIni(text);
    problems.push(...ini.problems.map(({ line, says }) => `${file}:${String(line)}: ${says}`));
    read.push({ file, assignments: ini.assignments });
  }
  if (problems.length > 0) return { kind: "invalid", problems };
  // What Neutron takes for these when no file says otherwise, for options that refer to them.
  const defaults = new Map([
    ["host", hostname],
    ["state_path", "/var/lib/neutron"],
  ]);
  const imported = importNeutron(readSettings(read, defaults));
  if (imported.problems.length > 0) return { kind: "invalid", problems: imported.problems };
  const { settings, refused } = judged(imported.settings);
  const leftOut = [...imported.leftOut, ...refused].map(lineOf).sort(byFile(files));
  const notes = settings.flatMap(({ key, note, from }) =>
    note === undefined ? [] : [`${placeOf(from)}: ${key} ${note}`],
  );
  return { kind: "ok", yaml: yamlOf(settings, leftOut, files), notes: [...notes, ...leftOut] };
}

/** For root only, and never over a file that is there: EEXIST is thrown as it comes. */
export const writeImported = (file: string, yaml: string): void =>
  writeFileSync(file, yaml, { mode: 0o600, flag: "wx" });

function expanded(name: string, problems: string[]): readonly string[] {
  try {
    if (!statSync(name).isDirectory()) return [name];
    const found = readdirSync(name).filter((one) => one.endsWith(".conf"));
    return found.sort().map((one) => path.join(name, one));
  } catch (err) {
    problems.push(`${name}: cannot be read (${errnoOf(err)})`);
    return [];
  }
}

function textOf(file: string, problems: string[]): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(readFileSync(file));
  } catch (err) {
    problems.push(`${file}: ${err instanceof TypeError ? "is not UTF-8" : `cannot be read (${errnoOf(err)})`}`);
    return undefined;
  }
}

type Nested = { readonly [name: string]: unknown };

function nested(settings: readonly ImportedSetting[]): Nested {
  const root: Record<string, unknown> = {};
  for (const key of AGENT_KEYS) {
    const setting = settings.find((one) => one.key === key);
    if (setting === undefined) continue;
    const names = key.split(".");
    let group = root;
    for (const name of names.slice(0, -1)) group = (group[name] ??= {}) as Record<string, unknown>;
    group[names.at(-1) ?? key] = setting.value;
  }
  return root;
}

/** Leaves out what our own bounds refuse, until nothing is refused any more. */
function judged(all: readonly ImportedSetting[]): {
  readonly settings: readonly ImportedSetting[];
  readonly refused: readonly LeftOut[];
} {
  let settings = all;
  const refused: LeftOut[] = [];
  for (;;) {
    const problems = problemsOfSettings(nested(settings));
    const isAbout = (setting: ImportedSetting, key: string): boolean =>
      key === setting.key || key.startsWith(`${setting.key}.`);
    const bad = settings.filter((setting) => problems.some(({ key }) => isAbout(setting, key)));
    if (bad.length === 0) return { settings, refused };
    for (const setting of bad) {
      const says = problems.find(({ key }) => isAbout(setting, key))?.says ?? "cannot be used";
      refused.push({ ...setting.from, why: `would be ${setting.key}, which ${says}` });
    }
    settings = settings.filter((setting) => !bad.includes(setting));
  }
}

// What stands for an option in a broken file may be anything, a piece of a password too.
const shown = (name: string): string => (/^[\w.:-]{1,80}$/.test(name) ? name : "(an odd name)");
const placeOf = ({ file, line }: { readonly file: string; readonly line: number }): string => `${file}:${String(line)}`;

function lineOf(one: LeftOut): string {
  const options = one.count === 1 ? "1 option" : `${String(one.count ?? 0)} options`;
  const what = one.option === undefined ? `(${options})` : shown(one.option);
  return `${placeOf(one)}: [${shown(one.section)}] ${what}: ${one.why}`;
}

/** As the files were given, and by their lines. */
const byFile =
  (files: readonly string[]) =>
  (one: string, other: string): number => {
    const rank = (line: string): number => files.findIndex((file) => line.startsWith(file));
    const lineNumber = (line: string): number => Number(/:(\d+): \[/.exec(line)?.[1] ?? 0);
    return rank(one) - rank(other) || lineNumber(one) - lineNumber(other);
  };

function yamlOf(settings: readonly ImportedSetting[], leftOut: readonly string[], files: readonly string[]): string {
  const document = new Document(nested(settings));
  const described = isMap(document.contents) ? document.contents : undefined;
  for (const { key, from, note } of settings) {
    const about = `${placeOf(from)}: [${shown(from.section)}] ${shown(from.option)}`;
    comment(described, key.split("."), [about, ...(note === undefined ? [] : [note])]);
  }
  document.commentBefore = [
    " swanherd agent, from what is in force in:",
    ...files.map((file) => `   ${file}`),
    " Every key with its default: etc/agent.yaml. Check this one with swanherd check-config.",
  ].join("\n");
  if (leftOut.length > 0) document.comment = [" Left out:", ...leftOut.map((line) => `   ${line}`)].join("\n");
  return document.toString({ lineWidth: 0 });
}

function comment(map: YAMLMap | undefined, [name, ...below]: readonly string[], lines: readonly string[]): void {
  const pair = map?.items.find(({ key }) => isScalar(key) && key.value === name);
  if (pair === undefined) return;
  if (below.length > 0) {
    if (isMap(pair.value)) comment(pair.value, below, lines);
  } else if (isScalar(pair.key)) {
    pair.key.commentBefore = lines.map((line) => ` ${line}`).join("\n");
  }
}
