// Keeps what our chassis' row says of us right for the life of one connection: one write at a time, and the newest
// generation only, however many there were meanwhile.
import { planAnnouncement } from "../../core/announcement.ts";
import { backoffMs } from "../../core/backoff.ts";
import type { Clock } from "../../core/ports.ts";
import { OvsdbClosedError, OvsdbTimeoutError } from "../../ovsdb-client/errors.ts";
import { countOf, encodeMapChange } from "../../ovsdb-client/operations.ts";
import type { OvsdbSession } from "../../ovsdb-client/session.ts";
import { encodeWrite, SOUTHBOUND_DATABASE, type SeenSouthbound, type Write } from "../../wire/ovn/southbound.ts";

/** Neutron counts us among the living for 75 s (agent_down_time), so a fifth of a second costs nothing. */
const WRITE_SPACING_MS = 200;
const RETRY_BASE_MS = 1_000;
const RETRY_CAP_MS = 60_000;

export type RowVerdict =
  | { readonly kind: "registered" }
  | { readonly kind: "waiting"; readonly on: "initialisation" | "row" | "permission"; readonly why: string };

type Waiting = Extract<RowVerdict, { readonly kind: "waiting" }>;

export type KeepRowOptions = {
  readonly session: Pick<OvsdbSession, "transact" | "close">;
  readonly chassis: string;
  readonly agentId: string;
  readonly clock: Clock;
  readonly onVerdict: (verdict: RowVerdict) => void;
  readonly onWrite: (result: "ok" | "failed") => void;
};

export type RowKeeper = {
  look(seen: SeenSouthbound): void;
  stop(): void;
};

export function keepRow(options: KeepRowOptions): RowKeeper {
  const { session, chassis, clock } = options;
  let seen: SeenSouthbound | undefined;
  let isWriting = false;
  let isStopped = false;
  let refusals = 0;
  let wasRegistered = false;
  let cancelPause: (() => void) | undefined;

  function waitFor(on: Waiting["on"], why: string): void {
    wasRegistered = false;
    options.onVerdict({ kind: "waiting", on, why });
  }

  function decide(): void {
    if (seen === undefined || isStopped) return;
    const { row, generation } = seen;
    if (row === undefined) {
      waitFor("row", `no row of Chassis_Private is named "${chassis}": does ovn-controller run here under that name?`);
      return;
    }
    if (generation === undefined) {
      waitFor("initialisation", "the southbound database has no row of SB_Global: nobody has initialised it");
      return;
    }
    const step = planAnnouncement(row.announcement, generation);
    if (step.kind === "none") {
      wasRegistered = true;
      options.onVerdict({ kind: "registered" });
      return;
    }
    // Another row by now, in one step, or somebody took us out of it: the control plane has forgotten us meanwhile.
    if (step.kind === "introduce" && wasRegistered) waitFor("row", `the row of "${chassis}" does not name us any more`);
    if (!isWriting && cancelPause === undefined) void write(step, row.uuid);
  }

  /** Does not reject. What is written is looked at again in the tables, where it comes back to us. */
  async function write(step: Write, row: string): Promise<void> {
    isWriting = true;
    let pauseMs = WRITE_SPACING_MS;
    try {
      const change = encodeMapChange(encodeWrite(step, row, options.agentId));
      const [result] = await session.transact(SOUTHBOUND_DATABASE, [change]);
      // None: the row went while we wrote, and its going or its successor is on the way to us.
      if (countOf(result) > 0) options.onWrite("ok");
      refusals = 0;
    } catch (error) {
      options.onWrite("failed");
      if (error instanceof OvsdbClosedError || isStopped) return;
      if (error instanceof OvsdbTimeoutError) {
        // A server that is cut off, or busy without end; the next connection is to another one where there is one.
        void session.close();
        return;
      }
      pauseMs = backoffMs(refusals, RETRY_BASE_MS, RETRY_CAP_MS, clock.random());
      refusals += 1;
      const why = error instanceof Error ? error.message : String(error);
      waitFor("permission", `the row of "${chassis}" cannot be written: ${why}`);
    } finally {
      isWriting = false;
    }
    if (isStopped) return;
    cancelPause = clock.after(pauseMs, () => {
      cancelPause = undefined;
      decide();
    });
  }

  return {
    look(now) {
      seen = now;
      decide();
    },
    stop() {
      isStopped = true;
      cancelPause?.();
    },
  };
}
