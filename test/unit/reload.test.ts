// A daemon that is asked to read its configuration again: what it logs, and what it has in force afterwards.
import { pino } from "pino";
import { expect, test } from "vitest";
import type { RereadConfig } from "../../src/config-changes.ts";
import { reloadWhenAsked } from "../../src/reload.ts";

type Config = { readonly log: { readonly level: string }; readonly warnings: readonly string[]; readonly name: string };

const configOf = (name: string, level = "info"): Config => ({ name, log: { level }, warnings: [] });
const ok = (value: Config, changes: readonly object[] = []): RereadConfig<Config> =>
  ({ kind: "ok", file: "f", value, changes }) as RereadConfig<Config>;

/** A daemon with level `info`; `answers` are what the file says from one time to the next. */
function daemonOf(...answers: (RereadConfig<Config> | Error)[]) {
  const lines: string[] = [];
  const applied: string[] = [];
  const comparedWith: string[] = [];
  const log = pino(
    { base: null, timestamp: false, level: "info", formatters: { level: (level) => ({ level }) } },
    { write: (line: string) => void lines.push(line.trim()) },
  );
  let ask = (): void => undefined;
  const reload = {
    onAsked: (listener: () => void) => void (ask = listener),
    read: (inForce: Config) => {
      comparedWith.push(inForce.name);
      const answer = answers.shift();
      if (answer === undefined || answer instanceof Error) throw answer ?? new Error("asked too often");
      return answer;
    },
  };
  reloadWhenAsked(configOf("first"), reload, log, ({ name }) => applied.push(name));
  return { lines, applied, comparedWith, log, ask: () => ask() };
}

const CHANGES = [
  { key: "passIntervalSeconds", from: 60, to: 30, isLive: true },
  { key: "host", from: "gw-1", to: "gw-2", isLive: false },
];

test("each change is one line that says whether it is in force", () => {
  const daemon = daemonOf(ok(configOf("second"), CHANGES));
  daemon.ask();
  expect(daemon.lines).toEqual([
    '{"level":"info","key":"passIntervalSeconds","from":60,"to":30,"msg":"configuration changed, in force now"}',
    '{"level":"warn","key":"host","from":"gw-1","to":"gw-2","msg":"configuration changed, in force after a restart only"}',
  ]);
  expect(daemon.applied).toEqual(["second"]);
});

test("nothing changed is told as well", () => {
  const daemon = daemonOf(ok(configOf("same")));
  daemon.ask();
  expect(daemon.lines).toEqual(['{"level":"info","file":"f","msg":"configuration read again, nothing differs"}']);
});

test("a file that cannot be used has every problem logged, and the next one is compared with what is in force", () => {
  const problems = ["f:1: a", "f:2: b"];
  const daemon = daemonOf(ok(configOf("second")), { kind: "invalid", file: "f", problems }, ok(configOf("third")));
  for (let times = 0; times < 3; times += 1) daemon.ask();
  expect(daemon.lines.filter((line) => line.includes('"error"'))).toEqual(
    problems.map(
      (problem) => `{"level":"error","problem":"${problem}","msg":"configuration not usable, the one in force stays"}`,
    ),
  );
  expect(daemon.applied).toEqual(["second", "third"]);
  expect(daemon.comparedWith).toEqual(["first", "second", "second"]);
});

test("the lines about a change are there whether the log is to tell more or less from now on", () => {
  const daemon = daemonOf(ok(configOf("quiet", "error"), CHANGES), ok(configOf("loud", "debug"), CHANGES));
  daemon.ask();
  expect([daemon.lines.length, daemon.log.level]).toEqual([2, "error"]);
  daemon.ask();
  expect([daemon.lines.length, daemon.log.level]).toEqual([4, "debug"]);
});

test("what is worth a look is told each time", () => {
  const daemon = daemonOf(ok({ ...configOf("second"), warnings: ["f:1: everybody may read it"] }, CHANGES));
  daemon.ask();
  expect(daemon.lines.at(-1)).toContain("f:1: everybody may read it");
});

test("a bug while reading ends no daemon", () => {
  const daemon = daemonOf(new Error("no package.json"));
  daemon.ask();
  expect(daemon.lines).toEqual([expect.stringContaining("please report it")]);
  expect(daemon.applied).toEqual([]);
});
