#!/usr/bin/env node
// The edge of the process: arguments and environment in, exit code out, signals, and the last word of a crash.
import { runCli, type Role } from "./cli/program.ts";
import { terminalOf } from "./cli/terminal.ts";
import { rereadAgentConfig, rereadControllerConfig } from "./config-changes.ts";
import {
  controlSocketOf,
  programVersion,
  readAgentConfig,
  readControllerConfig,
  validConfig,
  type AgentConfig,
  type ControllerConfig,
} from "./config.ts";
import { readNeutronConfig, writeImported } from "./config-import.ts";
import { createLog } from "./io/log.ts";

const EXIT_INTERNAL = 70; // EX_SOFTWARE of sysexits.h
/** Ends that a person brought about and can change: a sentence instead of a crash's record. */
const EXIT_CODES: Readonly<Record<string, number>> = {
  CONFIG_INVALID: 78, // EX_CONFIG; the unit lists it in RestartPreventExitStatus=
  BUS_TAKEN: 69, // EX_UNAVAILABLE; it may be free later
};
const LAST_BREATH_MS = 5000;

const stop = new AbortController();
for (const name of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.once(name, () => stop.abort(name));

/** From now on SIGHUP ends nothing, and calls who is named; at once if it came before. */
function takeHangUps(): (reload: () => void) => void {
  let isAsked = false;
  let onHangUp = (): void => void (isAsked = true);
  process.removeAllListeners("SIGHUP");
  process.on("SIGHUP", () => onHangUp());
  return (reload) => {
    onHangUp = reload;
    if (isAsked) reload();
  };
}

const crash = (err: unknown): never => {
  const known = err instanceof Error && "code" in err ? EXIT_CODES[String(err.code)] : undefined;
  if (err instanceof Error && known !== undefined) {
    process.stderr.write(`${err.message}\n`);
    process.exit(known);
  }
  createLog({ level: "fatal", pretty: "auto" }).fatal({ err }, "ended by an error");
  process.exit(EXIT_INTERNAL);
};
process.on("uncaughtException", crash);
process.on("unhandledRejection", crash);
// `swanherd status | head` closes the pipe early; that is no error.
process.stdout.on("error", (err: NodeJS.ErrnoException) => process.exit(err.code === "EPIPE" ? 0 : 1));

const readers = { agent: readAgentConfig, controller: readControllerConfig };
// Loaded on demand: `status` must not wait for the broker's and the kernel's libraries.
const loadAgent = () => import("./agent.ts");
const daemons: Record<Role, (file: string | undefined) => Promise<void>> = {
  async agent(file) {
    const reload = {
      onAsked: takeHangUps(),
      read: (inForce: AgentConfig) => rereadAgentConfig(inForce, { file }),
    };
    const config = validConfig(readAgentConfig({ file }));
    await (await loadAgent()).runAgent(config, stop.signal, reload);
  },
  async controller(file) {
    const reload = {
      onAsked: takeHangUps(),
      read: (inForce: ControllerConfig) => rereadControllerConfig(inForce, { file }),
    };
    const config = validConfig(readControllerConfig({ file }));
    const { runController } = await import("./controller/controller.ts");
    await runController(config, stop.signal, reload, process.env);
  },
};

process.exitCode = await runCli(process.argv.slice(2), {
  version: programVersion(),
  terminal: terminalOf(process, process.env["NO_COLOR"] === undefined),
  defaultSocket: controlSocketOf(),
  signal: stop.signal,
  nowMs: Date.now,
  runDaemon: (role, file) => daemons[role](file),
  checkConfig(role, file) {
    const read = readers[role]({ file });
    return read.kind === "invalid" ? read : { file: read.file, warnings: read.value.warnings };
  },
  importNeutron: { read: (files) => readNeutronConfig(files), write: writeImported },
  checkDocuments: async (directory) => (await import("./controller/check.ts")).checkDocuments(directory, process.env),
  teardownOffline: async (file, router) =>
    (await loadAgent()).teardownWithoutAgent(validConfig(readAgentConfig({ file })), router, stop.signal),
}).catch(crash);
// Everything is closed by now; what is not must not keep the service manager waiting.
setTimeout(() => process.exit(), LAST_BREATH_MS).unref();
