#!/usr/bin/env node
// The edge of the process: arguments and environment in, exit code out, signals, and the last word of a crash.
import { runCli, type Role } from "./cli/program.ts";
import { terminalOf } from "./cli/terminal.ts";
import { controlSocketOf, programVersion, readAgentConfig, readControllerConfig } from "./config.ts";
import { createLog } from "./io/log.ts";

const EXIT_INTERNAL = 70; // EX_SOFTWARE of sysexits.h
const EXIT_CONFIG = 78; // EX_CONFIG; the unit lists it in RestartPreventExitStatus=
const LAST_BREATH_MS = 5000;

const stop = new AbortController();
for (const name of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.once(name, () => stop.abort(name));

const refuse = (problems: readonly string[]): number => {
  process.stderr.write(`${problems.join("\n")}\n`);
  return EXIT_CONFIG;
};

const crash = (err: unknown): never => {
  if (err instanceof Error && "code" in err && err.code === "CONFIG_INVALID") process.exit(refuse([err.message]));
  createLog({ level: "fatal", pretty: "auto" }).fatal({ err }, "ended by an error");
  process.exit(EXIT_INTERNAL);
};
process.on("uncaughtException", crash);
process.on("unhandledRejection", crash);
// `swanherd status | head` closes the pipe early; that is no error.
process.stdout.on("error", (err: NodeJS.ErrnoException) => process.exit(err.code === "EPIPE" ? 0 : 1));

const readers = { agent: readAgentConfig, controller: readControllerConfig };
// Loaded on demand: `status` must not wait for the broker's and the kernel's libraries.
const daemons: Record<Role, (file: string | undefined) => Promise<number>> = {
  async agent(file) {
    const config = readers.agent({ file });
    if (config.kind === "invalid") return refuse(config.problems);
    const { runAgent } = await import("./agent.ts");
    await runAgent(config.value, stop.signal);
    return 0;
  },
  async controller(file) {
    const config = readers.controller({ file });
    if (config.kind === "invalid") return refuse(config.problems);
    const { runController } = await import("./controller/controller.ts");
    await runController(config.value, stop.signal, process.env, config.value.version);
    return 0;
  },
};

process.exitCode = await runCli(process.argv.slice(2), {
  version: programVersion(),
  terminal: terminalOf(process, process.env["NO_COLOR"] === undefined),
  defaultSocket: controlSocketOf(),
  signal: stop.signal,
  nowMs: Date.now,
  runDaemon: (role, file) => daemons[role](file),
  checkConfig: (role, file) => readers[role]({ file }),
}).catch(crash);
// Everything is closed by now; what is not must not keep the service manager waiting.
setTimeout(() => process.exit(), LAST_BREATH_MS).unref();
