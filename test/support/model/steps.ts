// What an agent does to the world, by name, and how each of it can go wrong.
import type { CharonStep } from "../../../src/core/charon-step.ts";
import type { NetworkStep } from "../../../src/core/network-plan.ts";

/** The model's routers are of topology `transit`, and its machines have Linux bridges only. */
type ForeignKind = "removeGuard" | "flushIpsec" | "removeIpsec" | "plugPort" | "unplugPort" | "keepNeighbour";
export type StepKind = Exclude<NetworkStep["kind"], ForeignKind> | CharonStep["kind"] | "startCharon" | "removeCharon";

// A record, so that a kind which is missing here does not compile.
const ALL: Readonly<Record<StepKind, true>> = {
  createNamespace: true,
  applyGuard: true,
  setSysctl: true,
  createVeth: true,
  setLink: true,
  attachToBridge: true,
  deleteLink: true,
  addAddress: true,
  removeAddress: true,
  addRoute: true,
  removeRoute: true,
  addRule: true,
  removeRule: true,
  addPolicy: true,
  removePolicy: true,
  deleteNamespace: true,
  writeFile: true,
  removeFile: true,
  loadSecret: true,
  unloadSecret: true,
  loadPeer: true,
  unloadPeer: true,
  beginUpdate: true,
  reauthenticate: true,
  terminateIke: true,
  terminateChild: true,
  initiate: true,
  commit: true,
  unloadMarker: true,
  startCharon: true,
  removeCharon: true,
};
export const STEP_KINDS = Object.keys(ALL) as readonly StepKind[];

/**
 * `failBefore` and `failAfter`: the step is told to have failed, without or with its effect. `crash`: the agent ends after
 * it, before the next. `charonDies`: with the step.
 */
export const MISHAPS = ["failBefore", "failAfter", "crash"] as const;
export type MishapKind = (typeof MISHAPS)[number];

/** Befalls the step of this kind that comes after `skip` others of its kind. */
export type Mishap = { readonly step: StepKind; readonly how: MishapKind; readonly skip: number };

export const MISHAP_NAMES = STEP_KINDS.flatMap((step) => MISHAPS.map((how) => `${how} ${step}`));
