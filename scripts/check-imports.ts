// Who may import whom in src, and in the checker of chaos: the rings as a table, and the check that nothing crosses them.
// It refuses to know what the code does; it reads imports and `process.env`, nothing else.
import { readdirSync, readFileSync } from "node:fs";
import { builtinModules } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

export type Problem = { readonly file: string; readonly line: number; readonly text: string };

type Import = { readonly specifier: string; readonly line: number; readonly typeOnly: boolean };

type Facts = { readonly imports: readonly Import[]; readonly environmentLines: readonly number[] };

type Place = { readonly ring: Ring; readonly part: string };

const RINGS = [
  "core",
  "vici-client",
  "ovsdb-client",
  "wire",
  "reconcile",
  "io",
  "controller",
  "cli",
  "config",
  "agent",
  "main",
] as const;
type Ring = (typeof RINGS)[number];

/** What one file may import, each list with the narrowest thing that is needed. */
type Rule = {
  /** `types`: by `import type` only. */
  readonly inside: (target: Place, typeOnly: boolean) => boolean;
  readonly packages: readonly string[];
  readonly typePackages?: readonly string[];
  /** Node's own modules that reach outside the process; all others are allowed except in core. */
  readonly effects: readonly string[];
  readonly advice: string;
};

const EFFECTS = new Set(
  ["child_process", "cluster", "dgram", "dns", "fs", "http", "http2", "https", "net", "tls", "worker_threads"].flatMap(
    (name) => [name, `${name}/promises`],
  ),
);

const IO_PACKAGES: Readonly<Record<string, readonly string[]>> = {
  charon: ["execa"],
  kernel: ["netlink", "koffi", "ipaddr.js"],
  "l3-agent": [],
  nft: ["execa", "koffi"],
  ovn: [],
  ovs: [],
  rabbit: ["amqplib"],
  api: [],
  metrics: ["prom-client"],
  systemd: ["koffi"],
  log: ["pino", "pino-pretty"],
};

const CORE_PACKAGES = (part: string): readonly string[] =>
  ["address", "guard", "model", "read-address"].includes(part) || part.startsWith("network") ? ["ipaddr.js"] : [];

const withoutExtension = (file: string): string => file.replace(/\.[cm]?[jt]sx?$/, "");

/** Files of a ring that is one file otherwise. */
const FILES_BESIDE: Readonly<Record<string, Ring>> = {
  "agent-options": "agent",
  reload: "agent",
  "config-changes": "config",
  "config-files": "config",
  "config-import": "config",
};

/** The ring of a file, and the part of it: the folder or file right below the ring. */
function placeOf(file: string): Place | undefined {
  const [root, first = "", ...rest] = withoutExtension(file).split("/");
  if (root !== "src") return undefined;
  const ring = RINGS.find((name) => name === first || FILES_BESIDE[first] === name);
  if (ring === undefined) return undefined;
  const isFile = rest.length === 0;
  if (isFile !== (ring === "config" || ring === "agent" || ring === "main")) return undefined;
  return { ring, part: rest[0] ?? first };
}

function ruleOf(file: string, { ring, part }: Place): Rule {
  switch (ring) {
    case "core":
      return {
        inside: (to) => to.ring === "core",
        packages: CORE_PACKAGES(part),
        effects: [],
        advice: "core performs nothing and knows no outside: state the need in core/ports.ts",
      };
    case "vici-client":
      return {
        inside: (to) => to.ring === "vici-client",
        packages: [],
        effects: part === "session" ? ["net"] : [],
        advice: "vici-client is a library of its own: it knows nothing of us, and only session.ts has a socket",
      };
    case "ovsdb-client":
      return {
        inside: (to) => to.ring === "ovsdb-client",
        packages: ["zod"],
        effects: part === "session" ? ["net", "tls"] : [],
        advice: "ovsdb-client is a library of its own: it knows nothing of us, and only session.ts has a socket",
      };
    case "wire":
      return {
        inside: (to, typeOnly) =>
          to.ring === "core" ||
          (to.ring === "wire" && to.part === part) ||
          (to.ring === "vici-client" && to.part === "message" && typeOnly) ||
          (to.ring === "ovsdb-client" && ["operations", "tables"].includes(to.part) && typeOnly),
        packages: ["zod", "yaml", "ipaddr.js"],
        effects: [],
        advice: "one foreign language a folder: wire imports core, its own folder and the clients' types of messages",
      };
    case "reconcile":
      return {
        inside: (to) => to.ring === "core" || to.ring === "reconcile",
        packages: [],
        typePackages: ["pino"],
        effects: [],
        advice: "reconcile only sequences: take the effect as a port of core/ports.ts",
      };
    case "controller":
      if (withoutExtension(file) === "src/controller/controller") return compositionRoot;
      return {
        inside: (to, typeOnly) =>
          to.ring === "core" ||
          to.ring === "controller" ||
          (to.ring === "wire" && ["neutron", "documents"].includes(to.part)) ||
          (to.ring === "io" && ["rabbit", "api", "metrics", "log", "private-file"].includes(to.part)) ||
          (to.ring === "config" && typeOnly),
        packages: ["chokidar"],
        typePackages: ["pino"],
        effects: ["fs", "fs/promises"],
        advice:
          "the controller serves documents: it has wire/{neutron,documents} and io/{rabbit,api,metrics,log,private-file}",
      };
    case "io":
      return {
        inside: (to, typeOnly) =>
          ["core", "vici-client", "ovsdb-client", "wire"].includes(to.ring) ||
          (to.ring === "io" &&
            ([part, "metrics", "private-file"].includes(to.part) || (to.part === "log" && typeOnly))),
        packages: IO_PACKAGES[part] ?? [],
        typePackages: ["pino"],
        effects: [...EFFECTS],
        advice: "io implements ports one outside thing a folder: let agent.ts hand over what another folder has",
      };
    case "cli":
      return {
        inside: (to, typeOnly) =>
          to.ring === "core" ||
          to.ring === "cli" ||
          (to.ring === "io" && to.part === "api") ||
          (to.ring === "config" && typeOnly),
        packages: ["commander", "@commander-js/extra-typings", "picocolors"],
        effects: [],
        advice: "a command asks the agent through io/api/client.ts, or takes the action as a function",
      };
    case "config":
      return {
        inside: (to) =>
          to.ring === "config" ||
          (to.ring === "core" && ["ids", "secret", "errors"].includes(to.part)) ||
          (to.ring === "wire" && to.part === "oslo") || // the grammar of transportUrl
          (to.ring === "ovsdb-client" && to.part === "endpoint"), // and of endpoints
        packages: ["zod", "yaml"],
        effects: ["fs", "fs/promises", "net"],
        advice:
          "config knows values, not what is done with them: it has core/{ids,secret,errors}, wire/oslo and ovsdb-client/endpoint",
      };
    case "agent":
      return compositionRoot;
    case "main":
      return {
        inside: (to) =>
          ["config", "cli", "agent"].includes(to.ring) ||
          (to.ring === "controller" && ["controller", "check"].includes(to.part)) ||
          (to.ring === "io" && to.part === "log"),
        packages: [],
        effects: [],
        advice: "main is the edge of the process: arguments in, exit code out; the rest belongs to agent.ts or cli",
      };
  }
}

const compositionRoot: Rule = {
  inside: (to, typeOnly) =>
    ["core", "vici-client", "ovsdb-client", "wire", "reconcile", "io", "controller"].includes(to.ring) ||
    (to.ring === "config" && typeOnly) ||
    to.part === "agent-options" ||
    to.part === "reload",
  packages: [],
  typePackages: ["pino"],
  effects: [],
  advice: "a composition root only hands things to each other; the configuration reaches it as a value",
};

/** cli may use the client of the api, not its server: the part of a place is too coarse for that one. */
const isAllowed = (rule: Rule, from: Place, target: string, to: Place, typeOnly: boolean): boolean =>
  rule.inside(to, typeOnly) &&
  !(from.ring === "cli" && to.ring === "io" && withoutExtension(target) !== "src/io/api/client");

const lineOf = (source: ts.SourceFile, node: ts.Node): number =>
  source.getLineAndCharacterOfPosition(node.getStart(source)).line + 1;

function isTypeOnly(node: ts.ImportDeclaration | ts.ExportDeclaration): boolean {
  if (ts.isExportDeclaration(node)) return node.isTypeOnly;
  const clause = node.importClause;
  if (clause === undefined) return false;
  if (clause.phaseModifier === ts.SyntaxKind.TypeKeyword) return true;
  const named = clause.namedBindings;
  return (
    clause.name === undefined &&
    named !== undefined &&
    ts.isNamedImports(named) &&
    named.elements.length > 0 &&
    named.elements.every((element) => element.isTypeOnly)
  );
}

function readFacts(file: string, text: string): Facts {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.ESNext, true);
  const imports: Import[] = [];
  const environmentLines: number[] = [];
  const add = (at: ts.Node, specifier: ts.Node | undefined, typeOnly: boolean): void => {
    if (specifier !== undefined && ts.isStringLiteralLike(specifier)) {
      imports.push({ specifier: specifier.text, line: lineOf(source, at), typeOnly });
    }
  };
  const isProcess = (node: ts.Node): boolean => ts.isIdentifier(node) && node.text === "process";
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) {
      add(node, node.moduleSpecifier, isTypeOnly(node));
    } else if (ts.isImportEqualsDeclaration(node) && ts.isExternalModuleReference(node.moduleReference)) {
      add(node, node.moduleReference.expression, node.isTypeOnly);
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      add(node, node.argument.literal, true);
    } else if (ts.isCallExpression(node)) {
      const callee = node.expression;
      const loads =
        callee.kind === ts.SyntaxKind.ImportKeyword || (ts.isIdentifier(callee) && callee.text === "require");
      if (loads) add(node, node.arguments[0], false);
    }
    const readsEnvironment =
      (ts.isPropertyAccessExpression(node) && isProcess(node.expression) && node.name.text === "env") ||
      (ts.isElementAccessExpression(node) &&
        isProcess(node.expression) &&
        ts.isStringLiteralLike(node.argumentExpression) &&
        node.argumentExpression.text === "env") ||
      (ts.isVariableDeclaration(node) &&
        node.initializer !== undefined &&
        isProcess(node.initializer) &&
        ts.isObjectBindingPattern(node.name) &&
        node.name.elements.some((element) => (element.propertyName ?? element.name).getText(source) === "env")) ||
      (ts.isImportSpecifier(node) &&
        (node.propertyName ?? node.name).text === "env" &&
        /^(node:)?process$/.test((node.parent.parent.parent.moduleSpecifier as ts.StringLiteral).text));
    if (readsEnvironment) environmentLines.push(lineOf(source, node));
    ts.forEachChild(node, visit);
  };
  visit(source);
  return { imports, environmentLines };
}

const packageOf = (specifier: string): string =>
  specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");

/** Resolves like our own imports are written: relative, with the extension. */
const resolve = (from: string, specifier: string): string => path.posix.join(path.posix.dirname(from), specifier);

const nameOf = ({ ring, part }: Place): string => (part === ring ? ring : `${ring}/${part}`);

function edgeProblem(file: string, place: Place, found: Import): string | undefined {
  const { specifier, typeOnly } = found;
  const rule = ruleOf(file, place);
  const arrow = typeOnly ? "-type->" : "->";
  const edge = (to: string): string => `${nameOf(place)} ${arrow} ${to}: ${rule.advice}`;
  if (specifier.startsWith(".")) {
    const target = resolve(file, specifier);
    const to = placeOf(target);
    if (to === undefined) return edge(`${target} (which is in no ring)`);
    return isAllowed(rule, place, target, to, typeOnly)
      ? undefined
      : edge(withoutExtension(target).slice("src/".length));
  }
  const builtin = specifier.replace(/^node:/, "");
  if (specifier.startsWith("node:") || builtinModules.includes(builtin)) {
    if (place.ring === "core") {
      const hashes = ["fingerprint", "names"].includes(place.part) && builtin === "crypto";
      return hashes ? undefined : edge(specifier);
    }
    return !EFFECTS.has(builtin) || rule.effects.includes(builtin) ? undefined : edge(specifier);
  }
  const name = packageOf(specifier);
  const allowed = rule.packages.includes(name) || (typeOnly && rule.typePackages?.includes(name) === true);
  return allowed ? undefined : edge(`package ${name}`);
}

/** Every cycle once, starting at its first file in alphabetical order. Type imports count: the rings must be layers. */
function findCycles(graph: ReadonlyMap<string, ReadonlyMap<string, number>>): Problem[] {
  const problems: Problem[] = [];
  const done = new Set<string>();
  const stack: string[] = [];
  const visit = (file: string): void => {
    const at = stack.indexOf(file);
    if (at >= 0) {
      const cycle = stack.slice(at);
      const last = cycle.at(-1) ?? file;
      problems.push({
        file: last,
        line: graph.get(last)?.get(file) ?? 1,
        text: `cycle ${[...cycle, file].join(" -> ")}: move what both need into a file of its own`,
      });
      return;
    }
    if (done.has(file)) return;
    stack.push(file);
    for (const next of [...(graph.get(file)?.keys() ?? [])].sort()) visit(next);
    stack.pop();
    done.add(file);
  };
  for (const file of [...graph.keys()].sort()) visit(file);
  return problems;
}

/** Judges a tree of `src/…` paths and their texts. */
export function checkImports(files: ReadonlyMap<string, string>): readonly Problem[] {
  const problems: Problem[] = [];
  const graph = new Map<string, Map<string, number>>();
  for (const [file, text] of files) {
    const place = placeOf(file);
    if (place === undefined) {
      problems.push({ file, line: 1, text: "is in no ring: put it into one of the folders that the rules know" });
      continue;
    }
    const { imports, environmentLines } = readFacts(file, text);
    const edges = new Map<string, number>();
    for (const found of imports) {
      const problem = edgeProblem(file, place, found);
      if (problem !== undefined) problems.push({ file, line: found.line, text: problem });
      const target = resolve(file, found.specifier);
      if (found.specifier.startsWith(".") && files.has(target)) edges.set(target, found.line);
    }
    graph.set(file, edges);
    if (place.ring === "config" || place.ring === "main") continue;
    for (const line of environmentLines) {
      problems.push({ file, line, text: "reads process.env: only config.ts and main.ts may; take it as a value" });
    }
  }
  problems.push(...findCycles(graph));
  return problems.sort((a, b) => a.file.localeCompare(b.file) || a.line - b.line);
}

/**
 * The checker of `npm run chaos` judges the program, so it may not think as the program does: it has Node's own modules, the
 * YAML parser and itself, and by no detour anything of src.
 */
const CHECKER = "scripts/chaos/check";

/** Judges the checker's files, by their paths and texts. */
export function checkChecker(files: ReadonlyMap<string, string>): readonly Problem[] {
  return [...files].flatMap(([file, text]) =>
    readFacts(file, text).imports.flatMap(({ specifier, line }) => {
      const isOwn = specifier.startsWith(".")
        ? resolve(file, specifier).startsWith(`${CHECKER}/`)
        : specifier.startsWith("node:") || specifier === "yaml";
      return isOwn
        ? []
        : [{ file, line, text: `${CHECKER} -> ${specifier}: the checker shares no code with the program` }];
    }),
  );
}

export const formatProblem = ({ file, line, text }: Problem): string => `${file}:${line}: ${text}`;

function readTree(root: string, directory: string): Map<string, string> {
  const names = readdirSync(path.join(root, directory), { recursive: true, encoding: "utf8" });
  return new Map(
    names
      .filter((name) => /\.[cm]?tsx?$/.test(name))
      .map((name) => path.posix.join(directory, name.split(path.sep).join("/")))
      .sort()
      .map((file) => [file, readFileSync(path.join(root, file), "utf8")]),
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const root = fileURLToPath(new URL("..", import.meta.url));
  const files = readTree(root, "src");
  const problems = [...checkImports(files), ...checkChecker(readTree(root, CHECKER))];
  for (const problem of problems) process.stderr.write(`${formatProblem(problem)}\n`);
  process.stdout.write(`imports: ${files.size} files, ${problems.length} problems\n`);
  process.exitCode = problems.length === 0 ? 0 : 1;
}
