// Whose bus it is: agents of a bus get one control plane's answers, or they would be told now this and now that. It
// refuses to know how the right is claimed.
import type { Logger } from "pino";
import type { Bar } from "../io/rabbit/claim.ts";
import { BusTakenError } from "./errors.ts";

/** Exclusive queue of the controller that serves. `ipsec_driver` is one queue a virtual host, whatever the exchange. */
export const CLAIM_QUEUE = "swanherd.controller";

export type TenureOptions = {
  readonly log: Logger;
  /** The bus is ours for the first time. */
  readonly onBegin: () => void;
  /** It is ours again, after somebody else had it. */
  readonly onReturn: () => void;
  /** It is somebody else's, and was never ours. */
  readonly onRefused: (error: BusTakenError) => void;
};

export type Tenure = {
  /** Who has the bus instead, while that is so. */
  readonly barredBy: string | undefined;
  readonly hasBegun: boolean;
  barred(bar: Bar): void;
  /** Connected, with the right in hand. */
  served(): void;
};

export function createTenure({ log, onBegin, onReturn, onRefused }: TenureOptions): Tenure {
  let barredBy: string | undefined;
  let hasBegun = false;
  return {
    get barredBy() {
      return barredBy;
    },
    get hasBegun() {
      return hasBegun;
    },
    barred(bar) {
      barredBy = describeBar(bar);
      if (!hasBegun) onRefused(new BusTakenError(`${barredBy}; stop the other one, or use another virtual host`));
      // To end now would leave nobody when the other one ends; to serve beside it would make tunnels come and go.
      else log.error({ barredBy }, "the bus is somebody else's now, nothing is served here until it is free again");
    },
    served() {
      const wasBarred = barredBy !== undefined;
      barredBy = undefined;
      if (!hasBegun) {
        hasBegun = true;
        onBegin();
      } else if (wasBarred) {
        log.info("the bus is this controller's again");
        onReturn();
      }
    },
  };
}

function describeBar(bar: Bar): string {
  switch (bar.kind) {
    case "held":
      return bar.by === undefined
        ? `another controller has this bus (its queue ${CLAIM_QUEUE}), but does not answer who it is`
        : `another controller serves this bus: ${bar.by}`;
    case "consumed":
      return `somebody else serves this bus, perhaps a Neutron server: ${bar.queue} has ${bar.consumers} consumer${bar.consumers === 1 ? "" : "s"}`;
  }
}
