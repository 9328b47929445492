// systemctl, one run for one change or for the question that follows it. It knows nothing of charon.
import { execa } from "execa";
import { DeadlineError, UnavailableError } from "../../core/errors.ts";
import { decodeProperties, type UnitProperties } from "./unit.ts";

/** Longer than TimeoutStartSec= and TimeoutStopSec= of our unit, so that systemd's own judgement comes first. */
const TIMEOUT_MS = 45_000;

export type Systemctl = { readonly ok: boolean; readonly stdout: string; readonly said: string };

export async function systemctl(args: readonly string[], signal: AbortSignal): Promise<Systemctl> {
  const result = await execa("systemctl", ["--no-ask-password", "--no-pager", ...args], {
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" },
    extendEnv: false,
    stdin: "ignore",
    cancelSignal: signal,
    timeout: TIMEOUT_MS,
    reject: false,
  });
  signal.throwIfAborted();
  if (result.timedOut) {
    throw new DeadlineError(`systemctl ${args.join(" ")} did not end within ${String(TIMEOUT_MS)} ms`);
  }
  // Its first line says what happened, the next ones where to look.
  const said = result.stderr.split("\n")[0] ?? "";
  return { ok: !result.failed, stdout: result.stdout, said: said === "" ? (result.shortMessage ?? "") : said };
}

export async function readUnit(
  unit: string,
  properties: readonly string[],
  signal: AbortSignal,
): Promise<UnitProperties> {
  const shown = await systemctl(["show", `--property=${properties.join(",")}`, unit], signal);
  if (!shown.ok) throw new UnavailableError("CHARON_DOWN", `systemd does not tell about ${unit}: ${shown.said}`);
  return decodeProperties(shown.stdout);
}

/** Stops a unit and waits; nothing of it is left to be seen. Succeeds when it does not run. */
export async function stopUnit(unit: string, signal: AbortSignal): Promise<void> {
  const stopped = await systemctl(["stop", unit], signal);
  if (!stopped.ok) {
    // systemd 252 refuses to stop what it has not loaded.
    const state = (await readUnit(unit, ["ActiveState"], signal)).get("ActiveState");
    if (state !== "inactive" && state !== "failed") {
      throw new UnavailableError("CHARON_DOWN", `${unit} could not be stopped: ${stopped.said}`);
    }
  }
  // Refused when it is not loaded any more, which is what is wanted.
  await systemctl(["reset-failed", unit], signal);
}
