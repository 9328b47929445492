// Whether tests may use systemd here, and what it says about a unit.
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { labSupervisor } from "../../scripts/lab-units.ts";

/** Why units cannot be run here; undefined when they can. Where they are asked for by name that is no excuse. */
export function whyNoSystemd(): string | undefined {
  if (existsSync("/run/systemd/system")) return undefined;
  if (labSupervisor === "systemd") throw new Error("SWANHERD_LAB_SUPERVISOR=systemd, and systemd does not run here");
  return "systemd does not run here";
}

/** What systemctl prints; throws with what it says when it fails. */
export const systemctl = (...args: readonly string[]): string =>
  execFileSync("systemctl", ["--no-pager", ...args], { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }).trim();

export const propertyOf = (unit: string, property: string): string =>
  systemctl("show", `--property=${property}`, "--value", unit);
