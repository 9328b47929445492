// The command line: which commands there are, what they take and what their help teaches.
// It refuses to know how an agent is run: that is handed in as a function.
import { Command, CommanderError } from "@commander-js/extra-typings";
import type { RouterId } from "../core/ids.ts";
import { apiClient, type ApiClient } from "../io/api/client.ts";
import { showCheckedConfig, type CheckedConfig } from "./check-config.ts";
import { showCheckedDocuments, type CheckedDocuments } from "./controller-check.ts";
import { runImportNeutron, type ImportActions } from "./import-neutron.ts";
import { runDiff } from "./diff.ts";
import { runStatus } from "./status.ts";
import { runSync } from "./sync.ts";
import { runTeardown } from "./teardown.ts";
import { EXIT, EXIT_CODES_HELP, type Terminal } from "./terminal.ts";

export type Role = "agent" | "controller";

export type CliOptions = {
  readonly version: string;
  readonly terminal: Terminal;
  /** Asked when no --socket names another. */
  readonly defaultSocket: string;
  readonly signal: AbortSignal;
  readonly nowMs: () => number;
  /** Runs the daemon until `signal`. */
  readonly runDaemon: (role: Role, file: string | undefined) => Promise<void>;
  readonly checkConfig: (role: Role, file: string | undefined) => CheckedConfig;
  readonly importNeutron: ImportActions;
  readonly checkDocuments: (directory: string) => Promise<CheckedDocuments>;
  /** Tears down without an agent, by its configuration. */
  readonly teardownOffline: (file: string | undefined, router: RouterId | undefined) => Promise<readonly RouterId[]>;
};

/** Runs one command line (without the program's own name) and gives its exit code. */
export async function runCli(argv: readonly string[], options: CliOptions): Promise<number> {
  const outcome = { code: EXIT.ok as number };
  try {
    await buildProgram(options, (code) => (outcome.code = code)).parseAsync(argv, { from: "user" });
  } catch (err) {
    // Help and version end with an error of their own, exit code 0.
    if (err instanceof CommanderError) return err.exitCode;
    throw err;
  }
  return outcome.code;
}

function buildProgram(options: CliOptions, done: (code: number) => void): Command {
  const { terminal, signal, nowMs } = options;
  const client = (socketPath: string): ApiClient => apiClient(socketPath, signal);
  const program = new Command("swanherd")
    .description(
      "Keeps IPsec tunnels the way the control plane wants them: one strongSwan charon per network namespace.",
    )
    .version(options.version, "-V, --version", "print the version")
    .helpOption("-h, --help", "print help")
    .helpCommand("help [command]", "print help for a command")
    .showHelpAfterError("(swanherd --help shows what there is)")
    .configureOutput({
      writeOut: (text) => terminal.out(text),
      writeErr: (text) => terminal.err(text),
      getOutHasColors: () => terminal.hasColours,
      getErrHasColors: () => terminal.hasColours,
      getOutHelpWidth: () => terminal.columns ?? 100,
      getErrHelpWidth: () => terminal.columns ?? 100,
    })
    .exitOverride()
    .addHelpText("after", examples(["swanherd status", "what every router and connection is doing"]) + EXIT_CODES_HELP);

  const daemon = (role: Role, description: string) =>
    program
      .command(role)
      .description(description)
      .option("-c, --config <file>", `configuration (default: $SWANHERD_CONFIG or /etc/swanherd/${role}.yaml)`);
  const inForeground = (role: Role) =>
    [
      `swanherd ${role} --config ./${role}.yaml`,
      "run in the foreground; SIGTERM or SIGINT ends it, SIGHUP has it read its configuration again",
    ] as const;

  daemon("agent", "run the agent of this machine; stopping it leaves the tunnels up")
    .addHelpText("after", examples(inForeground("agent")))
    .action(async ({ config }) => options.runDaemon("agent", config));

  daemon("controller", "serve YAML documents to agents, in place of an OpenStack Neutron server")
    .option("--check <directory>", "only judge the documents there: no configuration, no broker, nothing is served")
    .addHelpText(
      "after",
      examples(inForeground("controller"), [
        "swanherd controller --check ./documents",
        "every problem of the documents at once; exit code 78 if there is one",
      ]),
    )
    .action(async ({ config, check }) => {
      if (check === undefined) await options.runDaemon("controller", config);
      else done(showCheckedDocuments(await options.checkDocuments(check), terminal));
    });

  program
    .command("status")
    .description("what every router and connection is doing, and why one is DOWN")
    .argument("[id]", "a router or connection: its id, the beginning of it, or a connection's name")
    .option("--json", "the state as JSON, for programs")
    .option("--watch", "again every second, until interrupted")
    .option("--socket <path>", "control socket of the agent or controller", options.defaultSocket)
    .addHelpText(
      "after",
      examples(
        ["swanherd status 7d3c2a52", "one router by the beginning of its id"],
        ["swanherd status --socket /run/swanherd/controller.sock", "what the agents told the controller"],
      ),
    )
    .action(async (id, { json = false, watch = false, socket }) =>
      done(await runStatus(client(socket), { id, json, watch }, terminal, nowMs, signal)),
    );

  program
    .command("diff")
    .description("desired state against what is written, loaded and negotiated, value by value")
    .argument("[id]", "a router or connection, as for status (default: all)")
    .option("--all", "also what is the same")
    .option("--json", "as JSON, for programs")
    .option("--socket <path>", "control socket of the agent", options.defaultSocket)
    .addHelpText(
      "after",
      `
The keys are those of swanctl.conf. A value that differs is marked with "!"; "-" is what a view cannot tell: charon shows
no secrets, proposals or lifetimes of a config, and an SA is negotiated when it is. Secrets are shown as short
fingerprints that mean something on this machine only. Exit code 1 if something differs.
${examples(["swanherd diff 7d3c2a52", "what is not as it should be at one router"], ["swanherd diff to-right --all", "every value of one connection"])}`,
    )
    .action(async (id, { all = false, json = false, socket }) =>
      done(await runDiff(client(socket), { id, all, json }, terminal)),
    );

  program
    .command("sync")
    .description("compare with the control plane and repair now, instead of at the next pass")
    .argument("[router]", "id of one router (default: all)")
    .option("--socket <path>", "control socket of the agent", options.defaultSocket)
    .addHelpText("after", examples(["swanherd sync", "also resumes what teardown has paused"]))
    .action(async (router, { socket }) => done(await runSync(client(socket), router, terminal)));

  program
    .command("teardown")
    .description("take tunnels down on purpose, and keep them down until sync")
    .option("--router <id>", "one router only (default: all of this machine)")
    .option("--yes", "really do it; without it the command says what it would do")
    .option("--socket <path>", "control socket of the agent", options.defaultSocket)
    .option("-c, --config <file>", "the agent's configuration, for when no agent runs (default: as agent)")
    .addHelpText(
      "after",
      examples(
        ["swanherd teardown --yes", "before this machine is taken out of service"],
        ["swanherd teardown --yes --config ./agent.yaml", "what a stopped agent has left up"],
      ),
    )
    .action(async ({ router, yes = false, socket, config }) =>
      done(await runTeardown(client(socket), { router, yes }, terminal, (id) => options.teardownOffline(config, id))),
    );

  program
    .command("check-config")
    .description("tell every problem of a configuration at once")
    .argument("[file]", "the configuration (default: what agent or controller would read)")
    .option("--controller", "it is a controller's")
    .addHelpText("after", examples(["swanherd check-config ./agent.yaml", "exit code 78 if there is a problem"]))
    .action((file, { controller = false }) =>
      done(showCheckedConfig(options.checkConfig(controller ? "controller" : "agent", file), terminal)),
    );

  program
    .command("import-neutron")
    .description("make an agent's configuration out of the files of a Neutron VPN agent")
    .argument("<file...>", "neutron.conf, ovn_vpn_agent.ini and others, in the order of --config-file; or a directory")
    .option("-o, --output <file>", "make this file, mode 0600, instead of printing; one that is there stays as it is")
    .addHelpText(
      "after",
      `
Give the files that the agent in place is started with, in the same order: a later one overrides an earlier one. Of a
directory its *.conf are read, as --config-dir does. Values of several lines, options given several times and $names are
understood as oslo.config understands them.

Taken over are the host, the broker with its password, virtual host and TLS, the kinds of queues, exchange, timeout and
intervals; each with its origin beside it. What is left out is told on standard error and at the end of the result, one
line each, with the reason. The result holds the broker's password: print it only where nobody else looks.
${examples(
  [
    "swanherd import-neutron /etc/neutron/neutron.conf /etc/neutron/ovn_vpn_agent.ini -o /etc/swanherd/agent.yaml",
    "the usual two files of a gateway",
  ],
  ["swanherd check-config /etc/swanherd/agent.yaml", "judges the result, and the files that it names"],
)}`,
    )
    .action((files, { output }) => done(runImportNeutron(files, output, options.importNeutron, terminal)));
  return program;
}

const examples = (...all: readonly (readonly [command: string, what: string])[]): string =>
  `\nExample${all.length === 1 ? "" : "s"}:\n${all.map(([command, what]) => `  $ ${command}\n      ${what}\n`).join("")}`;
