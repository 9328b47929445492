// The rules of scripts/check-imports.ts, tried on small trees that exist only here.
import { expect, test } from "vitest";
import { checkChecker, checkImports, formatProblem } from "../../scripts/check-imports.ts";

const check = (tree: Record<string, string>): string[] =>
  checkImports(new Map(Object.entries(tree).map(([file, text]) => [`src/${file}`, text]))).map(formatProblem);

const imports = (specifier: string): string => `import { a } from ${JSON.stringify(specifier)};\na();\n`;
const importsType = (specifier: string): string =>
  `import type { A } from ${JSON.stringify(specifier)};\nexport type B = A;\n`;

const forbidden: readonly (readonly [file: string, text: string, named: string])[] = [
  ["core/plan.ts", imports("../io/kernel/netns.ts"), "core/plan -> io/kernel/netns"],
  ["core/plan.ts", importsType("../reconcile/loop.ts"), "core/plan -type-> reconcile/loop"],
  ["core/plan.ts", imports("../wire/neutron/status.ts"), "core/plan -> wire/neutron/status"],
  ["core/plan.ts", imports("../config.ts"), "core/plan -> config"],
  ["core/plan.ts", imports("ipaddr.js"), "core/plan -> package ipaddr.js"],
  ["core/plan.ts", imports("node:crypto"), "core/plan -> node:crypto"],
  ["core/names.ts", imports("node:fs"), "core/names -> node:fs"],
  ["vici-client/packet.ts", imports("../core/errors.ts"), "vici-client/packet -> core/errors"],
  ["vici-client/packet.ts", imports("node:net"), "vici-client/packet -> node:net"],
  ["vici-client/session.ts", imports("pino"), "vici-client/session -> package pino"],
  ["ovsdb-client/tables.ts", imports("../core/errors.ts"), "ovsdb-client/tables -> core/errors"],
  ["ovsdb-client/tables.ts", imports("node:tls"), "ovsdb-client/tables -> node:tls"],
  ["ovsdb-client/session.ts", imports("pino"), "ovsdb-client/session -> package pino"],
  ["wire/ovn/a.ts", imports("../../ovsdb-client/operations.ts"), "wire/ovn -> ovsdb-client/operations"],
  ["wire/ovn/a.ts", importsType("../../ovsdb-client/session.ts"), "wire/ovn -type-> ovsdb-client/session"],
  ["config.ts", imports("./ovsdb-client/session.ts"), "config -> ovsdb-client/session"],
  ["wire/neutron/a.ts", imports("../oslo/b.ts"), "wire/neutron -> wire/oslo/b"],
  ["wire/swanctl/a.ts", imports("../../vici-client/message.ts"), "wire/swanctl -> vici-client/message"],
  ["wire/swanctl/a.ts", importsType("../../vici-client/session.ts"), "wire/swanctl -type-> vici-client/session"],
  ["wire/swanctl/a.ts", imports("node:fs/promises"), "wire/swanctl -> node:fs/promises"],
  ["wire/swanctl/a.ts", imports("fs"), "wire/swanctl -> fs"],
  ["reconcile/loop.ts", imports("../io/log.ts"), "reconcile/loop -> io/log"],
  ["reconcile/loop.ts", imports("pino"), "reconcile/loop -> package pino"],
  ["reconcile/loop.ts", importsType("../config.ts"), "reconcile/loop -type-> config"],
  ["controller/catalogue.ts", imports("../wire/swanctl/a.ts"), "controller/catalogue -> wire/swanctl/a"],
  ["controller/catalogue.ts", imports("../io/kernel/netns.ts"), "controller/catalogue -> io/kernel/netns"],
  ["controller/catalogue.ts", imports("../config.ts"), "controller/catalogue -> config"],
  ["controller/catalogue.ts", imports("amqplib"), "controller/catalogue -> package amqplib"],
  ["io/nft/apply.ts", imports("../kernel/netns.ts"), "io/nft -> io/kernel/netns"],
  ["io/nft/apply.ts", imports("../log.ts"), "io/nft -> io/log"],
  ["io/nft/apply.ts", imports("amqplib"), "io/nft -> package amqplib"],
  ["io/nft/apply.ts", importsType("../../reconcile/loop.ts"), "io/nft -type-> reconcile/loop"],
  ["cli/status.ts", imports("../io/api/server.ts"), "cli/status -> io/api/server"],
  ["cli/status.ts", imports("../config.ts"), "cli/status -> config"],
  ["cli/status.ts", imports("node:fs"), "cli/status -> node:fs"],
  ["config.ts", imports("./core/plan.ts"), "config -> core/plan"],
  ["config.ts", imports("pino"), "config -> package pino"],
  ["agent.ts", imports("./config.ts"), "agent -> config"],
  ["agent.ts", imports("amqplib"), "agent -> package amqplib"],
  ["main.ts", imports("./core/errors.ts"), "main -> core/errors"],
  ["main.ts", imports("./io/metrics.ts"), "main -> io/metrics"],
  ["main.ts", imports("./controller/catalogue.ts"), "main -> controller/catalogue"],
  ["main.ts", imports("commander"), "main -> package commander"],
  ["core/plan.ts", imports("../../test/support/hex.ts"), "test/support/hex.ts (which is in no ring)"],
];

test.each(forbidden)("%s is refused what the rules forbid (%#)", (file, text, named) => {
  const [problem, ...others] = check({ [file]: text });
  expect(problem).toContain(`src/${file}:1: `);
  expect(problem).toContain(named);
  expect(others).toEqual([]);
});

test("the edges that the rules allow are not reported", () => {
  const tree = {
    "core/model.ts": imports("ipaddr.js") + importsType("./ids.ts"),
    "core/network-plan.ts": imports("ipaddr.js"),
    "core/guard.ts": imports("ipaddr.js"),
    "core/fingerprint.ts": imports("node:crypto"),
    "vici-client/session.ts": imports("node:net") + imports("./framing.ts"),
    "ovsdb-client/session.ts": imports("node:net") + imports("node:tls") + imports("zod") + imports("./framing.ts"),
    "wire/ovn/a.ts": importsType("../../ovsdb-client/tables.ts"),
    "io/ovn/a.ts": imports("../../ovsdb-client/session.ts") + imports("../../wire/ovn/b.ts") + imports("node:fs"),
    "wire/swanctl/a.ts": importsType("../../vici-client/message.ts") + imports("../../core/model.ts"),
    "wire/documents/a.ts": imports("yaml") + imports("zod") + imports("ipaddr.js") + imports("node:crypto"),
    "reconcile/loop.ts": importsType("pino") + imports("../core/plan.ts"),
    "controller/catalogue.ts": imports("chokidar") + imports("node:fs/promises") + imports("../io/rabbit/server.ts"),
    "controller/controller.ts": importsType("../config.ts") + imports("../io/log.ts") + imports("../wire/oslo/a.ts"),
    "io/nft/apply.ts": imports("execa") + importsType("../log.ts") + imports("../metrics.ts") + imports("./rules.ts"),
    "cli/status.ts": imports("../io/api/client.ts") + imports("picocolors") + importsType("../config.ts"),
    "config.ts": imports("node:fs") + imports("zod") + imports("./core/secret.ts") + "export const a = process.env;",
    "agent.ts": importsType("./config.ts") + imports("./io/kernel/netns.ts") + imports("./reconcile/loop.ts"),
    "main.ts":
      imports("./config.ts") + imports("./agent.ts") + imports("./controller/controller.ts") + imports("./io/log.ts"),
  };
  expect(check(tree)).toEqual([]);
});

test.each([
  ["a dynamic import", `const a = await import("../io/log.ts");\n`],
  ["a re-export", `export { a } from "../io/log.ts";\n`],
  ["an import in a type", `export type A = import("../io/log.ts").Logger;\n`],
  ["a require", `const a = require("../io/log.ts");\n`],
  ["an import for its effect", `import "../io/log.ts";\n`],
])("%s is an edge too", (_name, text) => {
  expect(check({ "core/plan.ts": text })).toHaveLength(1);
});

test("a cycle is found once, at the line that closes it", () => {
  const tree = {
    "core/a.ts": imports("./b.ts"),
    "core/b.ts": "\n" + imports("./c.ts"),
    "core/c.ts": "\n\n" + importsType("./a.ts"),
  };
  expect(check(tree)).toEqual([
    expect.stringContaining("src/core/c.ts:3: cycle src/core/a.ts -> src/core/b.ts -> src/core/c.ts -> src/core/a.ts"),
  ]);
});

test("a diamond is not a cycle", () => {
  const tree = {
    "core/a.ts": imports("./b.ts") + imports("./c.ts"),
    "core/b.ts": imports("./d.ts"),
    "core/c.ts": imports("./d.ts"),
    "core/d.ts": "",
  };
  expect(check(tree)).toEqual([]);
});

test.each([
  `const a = process.env;`,
  `const a = process["env"];`,
  `const { env } = process;`,
  `import { env } from "node:process";`,
])("the environment is refused outside config.ts and main.ts: %s", (text) => {
  expect(check({ "io/log.ts": text })).toEqual([expect.stringContaining("src/io/log.ts:1: reads process.env")]);
  expect(check({ "config.ts": text, "main.ts": text })).toEqual([]);
});

test("a file outside the known folders is refused", () => {
  expect(check({ "utils.ts": "", "helpers/a.ts": "" })).toEqual([
    expect.stringContaining("src/helpers/a.ts:1: is in no ring"),
    expect.stringContaining("src/utils.ts:1: is in no ring"),
  ]);
});

test("the checker of chaos imports itself, Node's modules and yaml, and nothing else", () => {
  const problemsOf = (specifier: string): number =>
    checkChecker(new Map([["scripts/chaos/check/a.ts", imports(specifier)]])).length;
  expect(["./tree.ts", "node:fs", "yaml"].map(problemsOf)).toEqual([0, 0, 0]);
  const foreign = ["../model.ts", "../../lab.ts", "../../../src/core/names.ts", "ipaddr.js", "execa"];
  expect(foreign.map(problemsOf)).toEqual(foreign.map(() => 1));
});
