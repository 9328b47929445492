// Template units of labs: the one that we ship, for the run directory of one agent. With SWANHERD_LAB_SUPERVISOR=systemd in
// the environment the charons of labs are such units, else processes.
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const SHIPPED = fileURLToPath(new URL("../systemd/swanherd-charon@.service", import.meta.url));
/** Of this boot only (systemd.unit(5)). */
export const UNIT_DIRECTORY = "/run/systemd/system";
const TEMPLATE = /^[^@]+-charon@\.service$/;

export const labSupervisor = process.env["SWANHERD_LAB_SUPERVISOR"] === "systemd" ? "systemd" : "process";

/** What an agent's configuration says about its supervisor; the unit that it names is there then. */
export const superviseBy = (
  supervisor: "systemd" | "process",
  host: string,
  runDirectory: string,
): Readonly<Record<string, unknown>> =>
  supervisor === "process" ? { supervisor } : { supervisor, charonUnit: installTemplate(host, runDirectory) };

export function installTemplate(host: string, runDirectory: string): string {
  const template = `${host}-charon@.service`;
  const text = readFileSync(SHIPPED, "utf8").replaceAll("/run/swanherd", runDirectory);
  writeFileSync(path.join(UNIT_DIRECTORY, template), text);
  systemctl("daemon-reload");
  return template;
}

export function removeTemplate(template: string): void {
  const pattern = template.replace("@.service", "@*.service");
  const units = listUnits(pattern);
  // Their namespaces may be gone, and with them what they could be started in again.
  if (units.length > 0) systemctl("stop", ...units);
  systemctl("reset-failed", pattern);
  rmSync(path.join(UNIT_DIRECTORY, template), { force: true });
  rmSync(path.join(UNIT_DIRECTORY, `${template}.d`), { recursive: true, force: true });
  systemctl("daemon-reload");
}

/** The templates of a lab: they name its directory. */
export const templatesOf = (directory: string): readonly string[] =>
  listTemplates().filter((name) => readFileSync(path.join(UNIT_DIRECTORY, name), "utf8").includes(`${directory}/`));

export function listTemplates(): readonly string[] {
  try {
    return readdirSync(UNIT_DIRECTORY).filter((name) => TEMPLATE.test(name));
  } catch {
    return []; // systemd does not run here
  }
}

/** Loaded units, failed ones too, by a pattern of their names. */
export const listUnits = (pattern: string): readonly string[] =>
  systemctl("list-units", "--all", "--plain", "--no-legend", pattern)
    .split("\n")
    .flatMap((line) => /^(\S+)/.exec(line)?.[1] ?? []);

function systemctl(...args: readonly string[]): string {
  try {
    return execFileSync("systemctl", ["--no-pager", ...args], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
  } catch {
    return ""; // it is not loaded any more, or there is no systemd here
  }
}
