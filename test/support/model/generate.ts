// Random cases. What is rare is aimed at: a mishap names the kind of step that it befalls, and most rounds are given a
// change or a drift that makes such a step.
import fc from "fast-check";
import type { Case, Round } from "./case.ts";
import { DRIFTS, type Drift } from "./drift.ts";
import { CHANGES, type Change, type ConnectionSpec, type RouterSpec } from "./specs.ts";
import { MISHAPS, STEP_KINDS, type StepKind } from "./steps.ts";

/** What makes an agent, which is done with the router, take a step of this kind. */
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
  addRule: ["ruleGone", "outerRuleGone", "everything"],
  removeRule: ["ruleAdded", "everything"],
  addPolicy: ["policyGone", "selectorAdded"],
  removePolicy: ["policyAdded", "selectorReplaced", "connectionRemoved"],
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
      state: fc.constantFrom("usable", "usable", "usable", "usable", "usable", "usable", "disabled", "unusable"),
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
    second: fc.option(connection(2), { nil: undefined, freq: 2 }),
    isThree: rarely,
    third: fc.option(connection(3), { nil: undefined, freq: 2 }),
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
  readonly pick: number;
};

/** Taken when a router is made. */
const FIRST: readonly StepKind[] = [
  "createNamespace",
  "applyGuard",
  "setSysctl",
  "createVeth",
  "setLink",
  "attachToBridge",
  "addAddress",
  "addRoute",
  "addRule",
  "addPolicy",
  "writeFile",
  "loadSecret",
  "loadPeer",
  "beginUpdate",
  "initiate",
  "commit",
  "startCharon",
];
/** Taken only when something changes, and then once or twice. */
const RARE = STEP_KINDS.filter((kind) => !FIRST.includes(kind));
/** Of these a part comes to nothing, since what provokes them is mended otherwise. */
const ELUSIVE: readonly StepKind[] = ["reauthenticate", "reauthenticate", "removeFile", "terminateChild"];
const LATER: readonly StepKind[] = [...STEP_KINDS, ...RARE, ...RARE, ...ELUSIVE, ...ELUSIVE];

/** Changes that no step is aimed at by. */
const UNAIMED = CHANGES.filter((change) => !Object.values(PROVOKED_BY).some((all) => all.includes(change)));

/** Changes that are one of many for the steps that they provoke. */
const ONCE: readonly Change[] = ["linkMtu", "mac", "connectionAdded"];

const isDrift = (one: Change | Drift): one is Drift => (DRIFTS as readonly string[]).includes(one);

/** Steps that a change or drift brings about. */
const madeBy = (provoker: Change | Drift): readonly StepKind[] =>
  STEP_KINDS.filter((kind) => PROVOKED_BY[kind].includes(provoker));

const roll = (kinds: readonly StepKind[]): fc.Arbitrary<Roll> =>
  fc.record({
    aim: fc.constantFrom(...kinds),
    how: fc.constantFrom(...MISHAPS),
    skip: fc.nat(8).map((deep) => Math.max(0, deep - 5)),
    pick,
  });

const driftAt = fc.record({ drift: fc.constantFrom(...DRIFTS), pick, isHeard: fc.boolean() });

const round = (kinds: readonly StepKind[]): fc.Arbitrary<Round> =>
  fc
    .record({
      first: roll(kinds),
      second: roll(kinds),
      third: fc.option(roll(kinds), { nil: undefined, freq: 2 }),
      isAimed: fc.nat(11).map((one) => one < 11),
      change: fc.constantFrom<Change>("nothing", ...CHANGES, ...UNAIMED, ...UNAIMED, ...ONCE, ...ONCE),
      drift: fc.option(driftAt, { nil: undefined, freq: 3 }),
      pick,
      driftPick: pick,
      isHeard: fc.boolean(),
      midway: fc.option(
        fc.record({
          drift: fc.constantFrom(...DRIFTS),
          pick,
          isHeard: fc.boolean(),
          steps: fc.integer({ min: 1, max: 12 }),
        }),
        {
          nil: undefined,
          freq: 3,
        },
      ),
      told: fc.constantFrom("named", "named", "unnamed", "taken"),
      isKilledFirst: rarely,
      isDriftWhileDead: fc.boolean(),
      isForgetful: rarely,
      isBrokerAway: rarely,
      isLostWhileDead: fc.nat(29).map((one) => one === 29),
      peers: fc.constantFrom("answer", "answer", "answer", "answer", "answer", "silent", "otherKey"),
    })
    .map((all): Round => {
      const { first, second, third, isAimed, midway, told, isLostWhileDead, peers } = all;
      const provokers = PROVOKED_BY[first.aim];
      // In the other rounds the mishap comes if it fits.
      const provoker = isAimed ? provokers[first.pick % provokers.length] : undefined;
      // What goes wrong beside it is as well something that this brings about.
      const others = provoker === undefined ? [] : madeBy(provoker);
      const aim = others[second.pick % Math.max(1, others.length)] ?? second.aim;
      const isChange = provoker !== undefined && !isDrift(provoker);
      const drifts = [
        ...(isLostWhileDead ? [{ drift: "namespaceGone" as const, pick: 0, isHeard: false }] : []),
        ...(provoker !== undefined && isDrift(provoker)
          ? [{ drift: provoker, pick: all.driftPick, isHeard: all.isHeard }]
          : []),
        ...(all.drift === undefined ? [] : [all.drift]),
      ];
      return {
        change: isChange ? provoker : all.change,
        pick: all.pick,
        told,
        drifts,
        midway,
        mishaps: [first, { ...second, aim }, ...(third === undefined ? [] : [third])].map(
          ({ aim: step, how, skip }) => ({
            step,
            how,
            skip: FIRST.includes(step) ? skip : 0,
          }),
        ),
        isKilledFirst: all.isKilledFirst || isLostWhileDead,
        isDriftWhileDead: all.isDriftWhileDead || isLostWhileDead,
        knowing: all.isForgetful && !isLostWhileDead ? "unknown" : "remembered",
        isBrokerAway: all.isBrokerAway || isLostWhileDead,
        peers,
      };
    });

export const anyCase: fc.Arbitrary<Case> = fc
  .record({
    espBackEnd: fc.constantFrom("kernel" as const, "userland" as const),
    hasNeighbour: fc.nat(7).map((one) => one === 7),
    initial: routerSpec,
    spare: connection(5),
    first: round(FIRST),
    later: fc.array(round(LATER), { minLength: 1, maxLength: 2 }),
  })
  .map(({ first, later, ...more }): Case => ({ ...more, rounds: [first, ...later] }));
