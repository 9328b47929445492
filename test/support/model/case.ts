// One case: a router is asked for, then changed and disturbed in rounds. After each round it has to come to rest as wanted.
import { decodeMarker } from "../../../src/core/fingerprint.ts";
import { connectionId, type ConnectionId, type RouterId } from "../../../src/core/ids.ts";
import type { EspBackEnd } from "../../../src/core/guard.ts";
import { namespaceName } from "../../../src/core/names.ts";
import { belongsTo } from "../../../src/core/observed.ts";
import { peerNameOf } from "../../../src/core/peers.ts";
import { ROUTER } from "../network-builders.ts";
import { settle } from "./clock.ts";
import type { Counts } from "./counts.ts";
import { disturb, leavesSasAlone, type Drift } from "./drift.ts";
import { lookAtListed, lookAtUnlisted } from "./final-law.ts";
import { addForeign, foreignText, lookAtForeign } from "./foreign.ts";
import { changed, desiredOf, NEIGHBOUR, type Change, type ConnectionSpec, type RouterSpec } from "./specs.ts";
import type { Mishap } from "./steps.ts";
import { ModelWorld, type Lie, type PassRecord } from "./world.ts";

export type Round = {
  readonly change: Change;
  readonly pick: number;
  /** `named`: by a cast that names the router. `taken`: a removal that names it. */
  readonly told: "named" | "unnamed" | "taken";
  readonly drifts: readonly { readonly drift: Drift; readonly pick: number; readonly isHeard: boolean }[];
  /** What changes in the middle of a pass, after so many steps. */
  readonly midway:
    { readonly drift: Drift; readonly pick: number; readonly isHeard: boolean; readonly steps: number } | undefined;
  readonly mishaps: readonly Mishap[];
  /** An agent that is killed while nothing is to be done. */
  readonly isKilledFirst: boolean;
  /** What has drifted has done so before the next agent starts. */
  readonly isDriftWhileDead: boolean;
  /** What the next agent finds after a crash, and whether it can ask. */
  readonly knowing: "unknown" | "remembered";
  readonly isBrokerAway: boolean;
  readonly peers: "answer" | "silent" | "otherKey";
};

export type Case = {
  readonly espBackEnd: EspBackEnd;
  readonly hasNeighbour: boolean;
  readonly initial: RouterSpec;
  readonly spare: ConnectionSpec;
  readonly rounds: readonly Round[];
};

/** How long the longest chain of waits may take: the windows of updates and differences, pauses, looks at absences. */
const REST_MS = 240_000;
/** Far more than any case takes: a loop that never lets time go on must not hang the test. */
const MAX_TURNS = 400;
const AWAY_MS = 70_000;
const DEAF_MS = 20_000;
/** Passes that change something before one finds nothing to do. */
const PASSES = 2;

/** What was violated; empty when all laws held. */
export async function runCase(
  plan: Case,
  counts: Counts,
  lie?: Lie,
  trace?: (line: string) => void,
): Promise<readonly string[]> {
  counts.cases += 1;
  const run = new CaseRun(plan, counts, lie);
  run.world.trace = trace;
  await run.all();
  return run.world.violations;
}

class CaseRun {
  readonly world: ModelWorld;
  readonly #plan: Case;
  readonly #counts: Counts;
  #spec: RouterSpec | undefined;
  #wasRestarted = false;

  constructor(plan: Case, counts: Counts, lie: Lie | undefined) {
    this.#plan = plan;
    this.#counts = counts;
    const routers = plan.hasNeighbour ? [ROUTER, NEIGHBOUR] : [ROUTER];
    this.world = new ModelWorld({
      routers,
      espBackEnd: plan.espBackEnd,
      counts,
      ...(lie === undefined ? {} : { lie }),
    });
  }

  async all(): Promise<void> {
    const { world } = this;
    addForeign(world);
    const foreign = foreignText(world);
    if (this.#plan.hasNeighbour) world.listed.set(NEIGHBOUR, desiredOf(NEIGHBOUR_SPEC, NEIGHBOUR));
    for (const round of this.#plan.rounds) {
      await this.#round(round);
      if (world.violations.length > 0) return;
    }
    if (foreignText(world) !== foreign) world.violate("something foreign was touched");
  }

  async #round(round: Round): Promise<void> {
    const { world } = this;
    const before = this.#spec;
    const sas = this.#sas();
    const { grants } = world.ike;
    const isKilled = round.isKilledFirst && before !== undefined;
    if (isKilled) world.agent.kill();
    const drifts = isKilled && round.isDriftWhileDead ? this.#drift(round) : [];
    if (isKilled) await this.#restart(round);
    // What has not come to pass in the rounds before may do so now.
    world.mishaps = [...world.mishaps, ...round.mishaps.map((mishap) => ({ ...mishap }))];
    if (!isKilled || !round.isDriftWhileDead) drifts.push(...this.#drift(round));
    const { midway } = round;
    if (midway !== undefined) {
      const act = (): void => {
        if (this.#disturb(midway)) {
          drifts.push(midway.drift);
          this.#counts.add("midway", midway.drift);
          world.changedMidway(ROUTER);
        }
      };
      world.midway = { left: midway.steps, act };
    }
    this.#peersBehave(round.peers);
    this.#change(round);
    await this.#rest(round);
    world.midway = undefined;
    this.#noteUnproved(drifts);
    if (world.violations.length > 0) return;
    for (const router of world.listed.values()) lookAtListed(world, router);
    // A pair whose inner end was taken elsewhere, and what is outside a namespace that is gone, is known by nothing any more.
    const isPairLost = drifts.some(
      (drift) => drift === "linkMoved" || (drift === "namespaceGone" && this.#wasRestarted),
    );
    if (!world.listed.has(ROUTER) && !isPairLost && isKnownGone(world)) lookAtUnlisted(world, ROUTER);
    lookAtForeign(world);
    // An IKE SA that grants what was taken away takes its other CHILD SAs along.
    const isGranted = world.ike.grants > grants;
    if (drifts.every((drift) => leavesSasAlone(drift)) && !isGranted) this.#compareSas(sas, before, this.#spec);
    if (isGranted) this.#counts.add("kept", "nothing, since a peer insisted");
  }

  #drift(round: Round): Drift[] {
    return round.drifts.filter((one) => this.#disturb(one)).map(({ drift }) => drift);
  }

  #disturb({ drift, pick, isHeard }: Round["drifts"][number]): boolean {
    this.world.trace?.(`drift ${drift} ${pick}`);
    const isDone = disturb(this.world, ROUTER, drift, pick, isHeard);
    if (isDone) this.#counts.add("drift", drift);
    return isDone;
  }

  /**
   * Without its marker and without our notes nothing tells what terms an IKE SA is on. It is re-authenticated, and charon
   * hands the old terms on (ike_sa.c; README, limits).
   */
  #noteUnproved(drifts: readonly Drift[]): void {
    const isUnproved = drifts.some((drift) => drift === "markerUnloaded" || drift === "everythingUnloaded");
    if (isUnproved && this.#wasRestarted) this.world.mayHaveOldTerms = true;
  }

  /** Likewise what an agent brought up in a new charon and was killed before it could commit. */
  #noteUncommitted(): void {
    const { ike } = this.world;
    if (!ike.isRunning(ROUTER)) return;
    const { secrets, ikeSas } = ike.charon(ROUTER);
    const proved = [...secrets.keys()].flatMap((id) => decodeMarker(id)?.connection ?? []);
    const isProved = (name: string): boolean => proved.some((id) => belongsTo(name, id));
    const childSas = ikeSas.flatMap((sa) => sa.children);
    if (!childSas.every(({ name }) => isProved(name))) this.world.mayHaveOldTerms = true;
  }

  #change(round: Round): void {
    const { world } = this;
    const wasListed = this.#spec !== undefined;
    this.#spec = wasListed
      ? changed(this.#spec ?? this.#plan.initial, round.change, round.pick, this.#plan.spare)
      : this.#plan.initial;
    this.#counts.add("change", wasListed ? round.change : "routerAdded");
    if (this.#spec === undefined) world.listed.delete(ROUTER);
    else world.listed.set(ROUTER, desiredOf(this.#spec));
    const { loop } = world.agent;
    if (this.#spec === undefined) this.#counts.add("removal", round.told);
    if (this.#spec === undefined && round.told === "taken") {
      world.proof.taken(ROUTER);
      loop.removedFromAgent(ROUTER);
    } else if (round.told === "unnamed") loop.agentUpdated();
    else {
      world.proof.named(ROUTER, world.clock.nowMs());
      loop.serviceUpdated(ROUTER);
    }
  }

  #peersBehave(peers: Round["peers"]): void {
    if (peers === "answer") return;
    const { world } = this;
    this.#counts.add("peers", peers);
    const remotes = [5, 20].map((peer) => {
      const tunnel = { localAddress: "203.0.113.10", localId: "203.0.113.10" };
      const peerAddress = `203.0.113.${peer}`;
      return world.ike.remote(
        peerNameOf({ ...tunnel, peerAddress, peerId: peerAddress } as Parameters<typeof peerNameOf>[0]),
      );
    });
    for (const remote of remotes) {
      if (peers === "silent") remote.answers = "never";
      else remote.psk = "a";
    }
    world.later(DEAF_MS, () => {
      for (const remote of remotes) {
        remote.answers = "at once";
        remote.psk = undefined;
      }
      // charon gives up at last what was not answered, whether or not somebody asks it to.
      const sas = world.ike.isRunning(ROUTER) ? world.ike.charon(ROUTER).ikeSas : [];
      for (const sa of sas.filter(({ state }) => state === "connecting")) world.ike.dropIkeSa(ROUTER, sa.uniqueId);
    });
  }

  /** Lets the clock go on until nothing is left to do at any time. */
  async #rest(round: Round): Promise<void> {
    const { world } = this;
    let sinceMs = world.clock.nowMs();
    let left = world.mishaps.length;
    let { midways } = world;
    world.passes = [];
    await settle();
    for (let turns = 0; ; turns += 1) {
      while (!world.agent.isAlive && world.violations.length === 0) await this.#restart(round);
      if (world.mishaps.length !== left || world.midways !== midways || world.clock.nowMs() < world.disturbedUntilMs) {
        left = world.mishaps.length;
        midways = world.midways;
        sinceMs = world.clock.nowMs();
        world.passes = [];
      }
      if (world.violations.length > 0) return;
      if (isAtRest(world)) break;
      if (world.clock.nowMs() >= sinceMs + REST_MS || turns > MAX_TURNS) {
        world.violate(
          `not at rest: ${JSON.stringify(world.passes.slice(-3).map(({ scope, outcome }) => [scope, outcome]))}`,
        );
        return;
      }
      await world.clock.step(sinceMs + REST_MS);
    }
    for (const router of [ROUTER, NEIGHBOUR]) countPasses(world, router);
  }

  async #restart(round: Round): Promise<void> {
    const { world } = this;
    const isGone = this.#spec !== undefined && !world.network.namespaces.has(namespaceName(ROUTER));
    const place = isGone ? ", no namespace" : "";
    this.#counts.add("restart", `${round.knowing}${round.isBrokerAway ? ", no broker" : ""}${place}`);
    world.isReachable = !round.isBrokerAway;
    this.#wasRestarted = true;
    this.#noteUncommitted();
    world.restart(round.knowing);
    await settle();
    if (!round.isBrokerAway) return;
    const before = world.stepCount;
    const untilMs = world.clock.nowMs() + AWAY_MS;
    for (let turns = 0; world.agent.isAlive && turns < MAX_TURNS; turns += 1) {
      if (!(await world.clock.step(untilMs))) break;
    }
    world.isReachable = true;
    if (round.knowing === "unknown" && world.stepCount !== before) world.violate("steps, and nothing is known");
    if (!world.agent.isAlive) return;
    world.agent.loop.connected();
    await settle();
  }

  /** SPIs by connection, of what stands now. */
  #sas(): ReadonlyMap<ConnectionId, string> {
    const { ike } = this.world;
    const sas = ike.isRunning(ROUTER) ? ike.charon(ROUTER).ikeSas.flatMap((sa) => sa.children) : [];
    const ids = (this.#spec?.connections ?? []).map(({ number }) => numbered(number));
    return new Map(
      ids.map((id) => [
        id,
        sas
          .filter(({ name }) => belongsTo(name, id))
          .map(({ uniqueId }) => uniqueId)
          .join(" "),
      ]),
    );
  }

  /** A connection keeps its SAs if neither it changes nor another to the same peer. */
  #compareSas(
    before: ReadonlyMap<ConnectionId, string>,
    was: RouterSpec | undefined,
    is: RouterSpec | undefined,
  ): void {
    if (was === undefined || is === undefined) return;
    const now = this.#sas();
    const toPeer = (spec: RouterSpec, peer: number): string =>
      JSON.stringify(spec.connections.filter((one) => one.peer === peer && one.state === "usable"));
    for (const { number, peer, state } of was.connections) {
      const id = numbered(number);
      if (state !== "usable" || toPeer(was, peer) !== toPeer(is, peer)) continue;
      this.#counts.add("kept", "SAs of an unchanged connection");
      if (before.get(id) !== now.get(id)) {
        this.world.violate(`${id} is unchanged and has other SAs: ${before.get(id) ?? ""} -> ${now.get(id) ?? ""}`);
      }
    }
  }
}

const numbered = (number: number): ConnectionId =>
  connectionId(`c0000000-0000-4000-8000-${String(number).padStart(12, "0")}`);

const NEIGHBOUR_SPEC: RouterSpec = {
  connections: [
    {
      number: 1,
      peer: 20,
      version: 2,
      psk: "n",
      ikeGroup: "group14",
      ikeSeconds: 3600,
      espGroup: "group14",
      espSeconds: 3600,
      dpdSeconds: 30,
      family: 4,
      locals: [2],
      peers: [2],
      isResponder: false,
      state: "usable",
      mtuBytes: 1500,
    },
  ],
  address: 30,
  prefixLength6: 64,
  linkMtuBytes: 1500,
  gateway: 1,
  transitPrefixLength: 28,
  port: 0,
  mac: 0,
};

const stepsOf = ({ outcome }: PassRecord): number => (outcome.kind === "waiting" ? 0 : outcome.steps);
const isIdle = (record: PassRecord | undefined): boolean =>
  record?.outcome.kind === "converged" && record.outcome.steps === 0 && record.outcome.wakeAtMs === undefined;

/** The last look at everything found nothing to do, now or later, and the list is what is worked for. */
function isAtRest(world: ModelWorld): boolean {
  const { desired } = world.agent.loop;
  if (desired.kind !== "fetched" || !world.agent.hasFetched) return false;
  for (const router of [ROUTER, NEIGHBOUR]) {
    const listed = world.listed.get(router);
    if (listed === undefined) {
      if (desired.routers.has(router) || isHeld(world, router)) return false;
      if (world.unfinished.has(router)) return false;
      if (world.passes.some((record) => record.router === router) && !isIdleRemoval(world, router)) return false;
      continue;
    }
    const passes = world.passes.filter((record) => record.router === router);
    const last = passes.at(-1);
    if (last?.desired === undefined || !isIdle(last)) return false;
    const working = passes.findLastIndex((record) => stepsOf(record) > 0);
    if (!passes.slice(working + 1).some(({ scope }) => scope === "everything")) return false;
    const ids = last.desired.connections.map(({ id }) => id).sort();
    if (
      ids.join() !==
      listed.connections
        .map(({ id }) => id)
        .sort()
        .join()
    )
      return false;
  }
  return true;
}

/** A namespace that an agent was killed over before it could mark it: nobody can tell whose it is, and it is left. */
const isUnmarked = (world: ModelWorld, router: RouterId): boolean =>
  [...(world.network.namespaces.get(namespaceName(router))?.links.values() ?? [])].every(
    ({ name, alias }) => name === "lo" && alias === undefined,
  );

const isHeld = (world: ModelWorld, router: RouterId): boolean =>
  world.network.namespaces.has(namespaceName(router)) && !isUnmarked(world, router);

const isKnownGone = (world: ModelWorld): boolean => !world.network.namespaces.has(namespaceName(ROUTER));

const isIdleRemoval = (world: ModelWorld, router: RouterId): boolean => {
  const last = world.passes.findLast((record) => record.router === router);
  return last?.desired === undefined && last?.outcome.kind === "converged";
};

/**
 * Two passes that change something, and then one that finds nothing to do. It counts anew when the plan itself had said
 * that it waits for a moment (a window of an update, a pause before an attempt), or when other things are asked for.
 */
function countPasses(world: ModelWorld, router: RouterId): void {
  const passes = world.passes.filter((record) => record.router === router);
  let left = PASSES;
  let dueAtMs: number | undefined;
  let desired: PassRecord["desired"];
  for (const pass of passes) {
    if (pass.desired !== desired || (dueAtMs !== undefined && pass.startedAtMs >= dueAtMs)) left = PASSES;
    if (stepsOf(pass) > 0 && pass.isBlind !== true) left -= 1;
    if (left < 0) {
      world.violate(
        `${router} took more than ${PASSES} passes: ${JSON.stringify(passes.map(({ scope, outcome }) => [scope, outcome]))}`,
      );
      return;
    }
    dueAtMs = pass.outcome.wakeAtMs;
    desired = pass.desired;
  }
}
