// Random cases. What is rare is aimed at: a mishap names the kind of step that it befalls, and most rounds are given a
// change or a drift that makes such a step.
import fc from "fast-check";
import type { Case, Round } from "./case.ts";
import { DRIFTS, type Drift } from "./drift.ts";
import { CHANGES, type Change, type ConnectionSpec, type RouterSpec } from "./specs.ts";
import { MISHAPS, STEP_KINDS, type StepKind } from "./steps.ts";

/** What makes an agent take a step of this kind. */
const PROVOKED_BY: Readonly<Record<StepKind, readonly (Change | Drift)[]>> = {
  createNamespace: ["namespaceGone"],
  applyGuard: ["guardGone", "guardChanged", "selectorAdded", "connectionAdded"],
  setSysctl: ["sysctlChanged", "linkGone"],
  createVeth: ["linkGone", "linkMoved", "port"],
  setLink: ["linkDown", "linkChanged", "aliasGone", "linkMtu", "mac"],
  attachToBridge: ["bridgePortGone", "port"],
  deleteLink: ["port", "linkMoved"],
  addAddress: ["addressGone", "address", "transit"],
  removeAddress: ["addressAdded", "address", "prefixLength"],
  addRoute: ["routeGone", "outerRouteGone", "linkDown", "selectorReplaced"],
  removeRoute: ["routeAdded", "gateway", "selectorReplaced", "connectionRemoved"],
  addRule: ["ruleGone", "everything"],
  removeRule: ["ruleAdded", "everything"],
  addExemption: ["exemptionGone"],
  deleteNamespace: ["routerRemoved"],
  writeFile: ["fileRemoved", "fileChanged", "childLifetime"],
  removeFile: ["connectionRemoved", "adminState"],
  loadSecret: ["secretUnloaded", "psk", "charonDied"],
  unloadSecret: ["psk", "connectionRemoved"],
  loadPeer: ["connectionUnloaded", "connectionChangedByHand", "charonRestarted"],
  unloadPeer: ["connectionRemoved", "peerMoved"],
  beginUpdate: ["childLifetime", "selectorAdded", "markerUnloaded"],
  reauthenticate: ["psk"],
  terminateIke: ["ikeProposal", "ikeVersion", "terms", "peerMoved"],
  terminateChild: ["childProposal", "selectorReplaced"],
  initiate: ["childSaTerminated", "ikeSaTerminated", "charonRestarted"],
  commit: ["markerUnloaded", "childLifetime", "everythingUnloaded"],
  unloadMarker: ["connectionRemoved", "adminState"],
  startCharon: ["charonDied", "namespaceGone"],
  removeCharon: ["allDisabled", "routerRemoved"],
};

const rarely = fc.nat(5).map((roll) => roll === 5);
const pick = fc.nat(60);

const connection = (number: number): fc.Arbitrary<ConnectionSpec> =>
  fc
    .record({
      peer: fc.constantFrom(20, 5),
      isV1: rarely,
      isV6: rarely,
      isResponder: rarely,
      state: fc.constantFrom("usable", "usable", "usable", "usable", "disabled", "unusable"),
      isWide: rarely,
      peers: fc.constantFrom([2], [2], [2, 3], [2, 3, 4]),
    })
    .map(({ peer, isV1, isV6, isResponder, state, isWide, peers }): ConnectionSpec => ({
      number,
      peer,
      version: isV1 ? 1 : 2,
      psk: "a",
      ikeGroup: "group14",
      ikeSeconds: 3600,
      espGroup: "group14",
      espSeconds: 3600,
      dpdSeconds: 30,
      family: isV6 ? 6 : 4,
      locals: isWide ? [2, 3] : [2],
      peers,
      isResponder,
      state,
      mtuBytes: 1500,
    }));

const routerSpec: fc.Arbitrary<RouterSpec> = fc
  .record({
    first: connection(1),
    second: fc.option(connection(2), { nil: undefined, freq: 1 }),
    isThree: rarely,
    third: fc.option(connection(3), { nil: undefined, freq: 1 }),
  })
  .map(({ first, second, third, isThree }) => ({
    connections: [first, second, isThree ? third : undefined].filter((one) => one !== undefined),
    address: 10,
    prefixLength6: 64,
    linkMtuBytes: 1500,
    gateway: 1,
    transitPrefixLength: 28,
    port: 0,
    mac: 0,
  }));

type Roll = {
  readonly aim: StepKind;
  readonly how: (typeof MISHAPS)[number];
  readonly skip: number;
  readonly provoked: number;
  readonly change: Change;
  readonly drift: Drift | undefined;
};

/** Steps that few changes need, and then once. */
const RARE: readonly StepKind[] = [
  "deleteLink",
  "removeAddress",
  "removeRoute",
  "removeRule",
  "deleteNamespace",
  "removeFile",
  "unloadSecret",
  "unloadPeer",
  "reauthenticate",
  "reauthenticate",
  "terminateIke",
  "terminateChild",
  "unloadMarker",
  "removeCharon",
];

const isDrift = (one: Change | Drift): one is Drift => (DRIFTS as readonly string[]).includes(one);

const roll: fc.Arbitrary<Roll> = fc.record({
  aim: fc.constantFrom(...STEP_KINDS, ...RARE, ...RARE),
  how: fc.constantFrom(...MISHAPS),
  skip: fc.nat(8).map((deep) => Math.max(0, deep - 5)),
  provoked: fc.nat(11),
  change: fc.constantFrom<Change>("nothing", "nothing", ...CHANGES),
  drift: fc.option(fc.constantFrom(...DRIFTS), { nil: undefined, freq: 3 }),
});

const round: fc.Arbitrary<Round> = fc
  .record({
    roll,
    second: roll,
    third: roll,
    isThird: fc.boolean(),
    pick,
    driftPick: pick,
    isHeard: fc.boolean(),
    told: fc.constantFrom("named", "named", "unnamed", "taken"),
    isKilledFirst: rarely,
    isForgetful: rarely,
    isBrokerAway: rarely,
    peers: fc.constantFrom("answer", "answer", "answer", "answer", "answer", "silent", "otherKey"),
  })
  .map((all): Round => {
    const { told, isBrokerAway, peers } = all;
    const provokers = PROVOKED_BY[all.roll.aim];
    // In the other rounds the mishap comes if it fits.
    const provoker = all.roll.provoked < 11 ? provokers[all.roll.provoked % provokers.length] : undefined;
    const drifts = [provoker !== undefined && isDrift(provoker) ? provoker : undefined, all.roll.drift];
    return {
      change: provoker !== undefined && !isDrift(provoker) ? provoker : all.roll.change,
      pick: all.pick,
      told,
      drifts: drifts.flatMap((drift, index) =>
        drift === undefined ? [] : [{ drift, pick: all.driftPick + index, isHeard: all.isHeard }],
      ),
      mishaps: [all.roll, all.second, ...(all.isThird ? [all.third] : [])].map(({ aim, how, skip }) => ({
        step: aim,
        how,
        skip: RARE.includes(aim) ? 0 : skip,
      })),
      isKilledFirst: all.isKilledFirst,
      knowing: all.isForgetful ? "unknown" : "remembered",
      isBrokerAway,
      peers,
    };
  });

export const anyCase: fc.Arbitrary<Case> = fc.record({
  espBackEnd: fc.constantFrom("kernel" as const, "userland" as const),
  hasNeighbour: fc.nat(7).map((one) => one === 7),
  initial: routerSpec,
  spare: connection(5),
  rounds: fc.array(round, { minLength: 2, maxLength: 3 }),
});
