// Which supervisor runs the charons, decided once at the start, and whether the unit on this machine fits this agent.
import { existsSync } from "node:fs";
import { ConfigError } from "../../core/errors.ts";
import { routerId } from "../../core/ids.ts";
import { namespaceName } from "../../core/names.ts";
import { charonPaths } from "./files.ts";
import { processSupervisor } from "./process-supervisor.ts";
import type { Supervisor } from "./supervisor.ts";
import { systemctl } from "./systemctl.ts";
import { systemdSupervisor } from "./systemd-supervisor.ts";
import { CHECKED_PROPERTIES, decodeProperties, unitName, unitProblems } from "./unit.ts";

export type ChoiceOptions = {
  readonly wanted: "auto" | "systemd" | "process";
  /** `name@.service` */
  readonly template: string;
  readonly executable: string;
  readonly runDirectory: string;
  readonly socketDirectory: string;
  readonly namespacePath: (name: string) => string;
};

export type Choice = {
  readonly supervisor: Supervisor;
  /** Why it is not systemd, where that would have been taken. */
  readonly why: string | undefined;
};

/** sd_booted(3) looks for the same. */
const BOOTED = "/run/systemd/system";
/** No router has it: its unit is looked at, never started. */
const SAMPLE = namespaceName(routerId("00000000-0000-0000-0000-000000000000"));

/** Throws a ConfigError when systemd is to run charons and its unit would not run those of this agent. */
export async function chooseSupervisor(options: ChoiceOptions, signal: AbortSignal): Promise<Choice> {
  const { wanted, template, executable, namespacePath } = options;
  const byProcess = (why: string | undefined): Choice => ({
    supervisor: processSupervisor({ executable, namespacePath }),
    why,
  });
  if (wanted === "process") return byProcess(undefined);
  const obstacle = await findObstacle(options, signal);
  if (obstacle === undefined) return { supervisor: systemdSupervisor({ template, executable }), why: undefined };
  if (wanted === "auto") return byProcess(obstacle);
  throw new ConfigError([`supervisor: systemd cannot be had here: ${obstacle}; or set supervisor: process`]);
}

/** Why systemd cannot run charons here; undefined when it can. */
async function findObstacle(options: ChoiceOptions, signal: AbortSignal): Promise<string | undefined> {
  const { template, runDirectory, socketDirectory, namespacePath } = options;
  if (!existsSync(BOOTED)) return `systemd does not run on this machine (there is no ${BOOTED})`;
  const unit = unitName(template, SAMPLE);
  const shown = await systemctl(["show", `--property=${CHECKED_PROPERTIES.join(",")}`, unit], signal);
  if (!shown.ok) return `systemctl does not tell about ${unit}: ${shown.said}`;
  const properties = decodeProperties(shown.stdout);
  const state = properties.get("LoadState");
  if (state !== "loaded") {
    return `systemd has no usable unit ${template} (LoadState=${state ?? ""}): install it and systemctl daemon-reload`;
  }
  const problems = unitProblems(unit, template, properties, {
    strongswanConf: charonPaths(runDirectory, socketDirectory, SAMPLE).strongswanConf,
    namespacePath: namespacePath(SAMPLE),
  });
  // It is there to be used: running charons otherwise in silence would not be what its owner expects.
  if (problems.length > 0) throw new ConfigError(problems);
  return undefined;
}
