// What one router's passes leave to the next, and by which options they run.
import type { CharonAlgorithms, KernelEsp } from "../core/algorithms.ts";
import type { CharonPlanOptions } from "../core/charon-step.ts";
import type { Fault } from "../core/connection-status.ts";
import type { DriftKind } from "../core/finding.ts";
import type { Guard } from "../core/guard.ts";
import type { ConnectionId, RouterId } from "../core/ids.ts";
import type { DesiredRouter } from "../core/model.ts";
import type { GuardedRouter, NetworkScope } from "../core/network.ts";
import type { Notes, ObservedCharon } from "../core/observed.ts";
import type { Grouping } from "../core/peers.ts";
import type { PortState } from "../core/switch.ts";
import type { PlaceOptions } from "./places.ts";

export type ReconcileOptions = {
  /** Of this machine; undefined: it has no ESP. */
  readonly kernelEsp: KernelEsp | undefined;
  readonly charonPlan: CharonPlanOptions;
  readonly initiateRetry: { readonly baseMs: number; readonly capMs: number };
  readonly restart: { readonly baseMs: number; readonly capMs: number };
} & PlaceOptions;

export type RouterMemory = {
  readonly router: RouterId;
  /** What the guard may have been made from: what has left the list since stays guarded until its SAs are gone. */
  applied: GuardedRouter | undefined;
  /** Why another machine carries the router; undefined: this one does. */
  standby: string | undefined;
  /** Where the network was looked at last: what is to be watched. */
  scope: NetworkScope | undefined;
  /** Whether the last attempt at the network failed: until one succeeds, every pass makes another. */
  hasNetworkFailed: boolean;
  /** Of a switch, as they were found before the last steps. */
  ports: readonly PortState[];
  /** Why nothing of IPv6 can reach the local subnets. */
  learnedFault: Fault | undefined;
  /** In force, when it was looked at last. */
  guard: Guard | undefined;
  notes: Notes | undefined;
  charon: ObservedCharon;
  /** What the last charon of the router could compute. */
  algorithms: CharonAlgorithms | undefined;
  grouping: Grouping | undefined;
  inSync: ReadonlySet<ConnectionId>;
  /** What the router was made whole to, by which configuration: what is found to repair since is drift. */
  whole: { readonly desired: DesiredRouter; readonly options: ReconcileOptions } | undefined;
  /** What charon itself told to have been changed: the pass that loads everything again has no more to say of these. */
  readonly told: Set<DriftKind>;
  fault: Fault | undefined;
  /** When charon was started, for the pauses between restarts. */
  charonStartsMs: number[];
  /** The charon whose end was counted last, by its instance. */
  succeeded: string | undefined;
  /** When the running charon was told first what is wanted. */
  charonMetAtMs: number | undefined;
  /** Why the last start failed. */
  startFailure: string | undefined;
  /** Whether files with secrets in them may lie about: those of an earlier agent, or of a charon that ended. */
  mayHaveFiles: boolean;
};

export const emptyMemory = (router: RouterId): RouterMemory => ({
  router,
  applied: undefined,
  standby: undefined,
  scope: undefined,
  hasNetworkFailed: false,
  ports: [],
  learnedFault: undefined,
  guard: undefined,
  notes: undefined,
  charon: { kind: "absent" },
  algorithms: undefined,
  grouping: undefined,
  inSync: new Set(),
  whole: undefined,
  told: new Set(),
  fault: undefined,
  charonStartsMs: [],
  succeeded: undefined,
  charonMetAtMs: undefined,
  startFailure: undefined,
  mayHaveFiles: true,
});
