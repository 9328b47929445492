// Supervisor `systemd`: each charon is an instance of a template unit, sandboxed, in a control group of its own.
// systemctl runs on a change only; whether charon lives is seen in /proc and on its socket, as under `process`.
import { setTimeout as sleep } from "node:timers/promises";
import { DeadlineError, UnavailableError } from "../../core/errors.ts";
import { endCharon, inspectCharon } from "./process.ts";
import type { Supervisor } from "./supervisor.ts";
import { readUnit, stopUnit, systemctl } from "./systemctl.ts";
import { startFailure, unitName } from "./unit.ts";

const STATE_PROPERTIES = ["ActiveState", "Result", "ExecMainStatus", "MainPID"];
/** How long a unit may be believed active without a charon in it: systemd hears of its end at once. */
const STALE_MS = 10_000;
const STALE_POLL_MS = 50;

export type SystemdOptions = {
  /** `name@.service`; its instances are named after the namespaces. */
  readonly template: string;
  /** What is found by its name; the unit says what is run. */
  readonly executable: string;
};

export const systemdSupervisor = ({ template, executable }: SystemdOptions): Supervisor => ({
  kind: "systemd",

  async start({ namespace, strongswanConf, former }, signal) {
    const unit = unitName(template, namespace);
    // One of another template would be started again by systemd, beside ours.
    if (former?.unit !== undefined && former.unit !== unit) await stopUnit(former.unit, signal);
    const startedAt = performance.now();
    let wasReset = false;
    for (;;) {
      // One that waits to be started again by systemd is started by this.
      const started = await systemctl(["start", unit], signal);
      const properties = await readUnit(unit, STATE_PROPERTIES, signal);
      if (!started.ok) {
        // Over its StartLimitBurst= systemd does not even try. How often it is tried is paced by us.
        if (properties.get("ActiveState") !== "failed" || wasReset) {
          throw new UnavailableError("CHARON_DOWN", startFailure(unit, properties, started.said));
        }
        await systemctl(["reset-failed", unit], signal);
        wasReset = true;
        continue;
      }
      const charon = inspectCharon(Number(properties.get("MainPID")), executable);
      if (charon?.strongswanConf === strongswanConf) return charon;
      // systemd has not heard yet that it ended.
      if (performance.now() - startedAt > STALE_MS) {
        const pid = properties.get("MainPID") ?? "";
        throw new DeadlineError(`${unit} is active, but its main process (pid ${pid}) is no ${executable} of ours`);
      }
      await sleep(STALE_POLL_MS);
    }
  },

  async stop(namespace, charon, signal) {
    const unit = unitName(template, namespace);
    if (charon !== undefined && charon.unit !== unit) await endCharon(charon, signal);
    // Also when none runs: systemd may be about to start it again.
    await stopUnit(unit, signal);
  },
});
