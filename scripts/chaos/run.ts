// One run: a world, rounds of changes and faults with a look after each, and the end, when nothing may be left.
import { randomBytes } from "node:crypto";
import { CHANGE_KINDS, type ChangeKind } from "./changes.ts";
import type { EspBackEnd, Invariant } from "./check/subject.ts";
import { listenToCasts, type Casts } from "./faults/casts.ts";
import type { Scene } from "./faults/fault.ts";
import type { FaultKind } from "./faults/kinds.ts";
import type { SiteRouter } from "./model.ts";
import { PLACES, type PlaceName } from "./places/places.ts";
import { seeded, type Random } from "./random.ts";
import { changeUntil, inflict, planFaults, type Happened, type Round } from "./round.ts";
import { Watch, type Settled, type Violation } from "./watch.ts";
import { buildChaosWorld, type ChaosWorld } from "./world.ts";

export type RunOptions = {
  /** Of names and ids. Default: a random one, as tests name things: what a killed run leaves is found by it. */
  readonly prefix?: string;
  readonly seed: number;
  readonly place: PlaceName;
  readonly espBackEnd: EspBackEnd;
  /** Path of the program's `main.js`. */
  readonly program: string;
  readonly perSide: number;
  /** The run goes on until so many have happened, or the time is up. */
  readonly faults: number;
  readonly forMs: number;
  readonly kinds: readonly FaultKind[];
  /** Default: all. */
  readonly changes?: readonly ChangeKind[];
  /** How long after the last change and fault everything may take to come right. */
  readonly repairWithinMs: number;
  /** The run goes on until this is violated, whatever else is. Default: it ends with the first violation. */
  readonly sought?: Invariant;
  readonly say: (line: string) => void;
  readonly signal: AbortSignal;
};

export type RunResult = {
  readonly seed: number;
  readonly place: PlaceName;
  readonly espBackEnd: EspBackEnd;
  readonly rounds: readonly Round[];
  readonly violations: readonly Violation[];
  readonly durationMs: number;
};

/** What a run leaves for who wants to know why: called while the world still is. */
export type Keep = (world: ChaosWorld, result: RunResult) => Promise<void>;

export async function runChaos(options: RunOptions, keep: Keep): Promise<RunResult> {
  const startedAt = performance.now();
  const { prefix = randomPrefix() } = options;
  const { perSide, espBackEnd, program } = options;
  const world = await buildChaosWorld({ prefix, place: PLACES[options.place], perSide, espBackEnd, program });
  try {
    const run = new Run(world, options);
    try {
      await run.whole();
    } finally {
      await run.stop();
    }
    const result = run.result(performance.now() - startedAt);
    if (result.violations.length > 0) await keep(world, result);
    return result;
  } finally {
    await world.destroy();
  }
}

export const randomPrefix = (): string => `t${randomBytes(3).toString("hex")}`;

class Run {
  readonly #world: ChaosWorld;
  readonly #options: RunOptions;
  readonly #random: Random;
  readonly #watch: Watch;
  readonly #casts: Casts;
  readonly #rounds: Round[] = [];

  constructor(world: ChaosWorld, options: RunOptions) {
    const { seed, say, repairWithinMs, signal } = options;
    this.#world = world;
    this.#options = options;
    this.#random = seeded(seed);
    this.#watch = new Watch(world, {
      repairWithinMs,
      signal,
      onViolation: ({ invariant, about, text }) => say(`seed ${seed}: VIOLATION of ${invariant}: ${about}: ${text}`),
    });
    const { hosts } = world.model;
    this.#casts = listenToCasts(world.lab.rabbitmq?.port ?? 0, [hosts.left, hosts.right]);
  }

  async whole(): Promise<void> {
    const { faults, forMs, signal } = this.#options;
    const deadline = performance.now() + forMs;
    await this.#watch.proveCapture(this.#anyRouter());
    await this.#settle("the first start", { changes: [], faults: [] });
    const happened = (): number => this.#rounds.reduce((sum, round) => sum + round.faults.length, 0);
    while (!this.#isDone() && happened() < faults && performance.now() < deadline) {
      signal.throwIfAborted();
      await this.#round(faults - happened());
    }
    if (this.#isDone()) return;
    await this.#watch.checkEnd(this.#anyRouter());
    await this.#takeAway();
  }

  async stop(): Promise<void> {
    await this.#casts.close();
    await this.#watch.stop();
  }

  result(durationMs: number): RunResult {
    const { violations } = this.#watch;
    const { seed, place, espBackEnd } = this.#options;
    return { seed, place, espBackEnd, rounds: this.#rounds, violations, durationMs };
  }

  #isDone(): boolean {
    const { sought } = this.#options;
    return sought === undefined ? this.#watch.violations.length > 0 : this.#watch.has(sought);
  }

  #anyRouter(): SiteRouter {
    return this.#random.pick(this.#world.model.routers);
  }

  async #round(mostFaults: number): Promise<void> {
    const { kinds, changes: changeKinds = CHANGE_KINDS } = this.#options;
    const claimed = new Set<string>();
    const scene = (): Scene => ({
      world: this.#world,
      // Of its own, so that what is chosen does not depend on who is first.
      random: seeded(this.#random.whole(0, 2 ** 31)),
      casts: this.#casts,
      claim: (thing) => !claimed.has(thing) && claimed.add(thing).size > 0,
      exempt: (routerId) => this.#watch.exempt(routerId),
      suspend: (routerIds) => this.#watch.suspend(routerIds),
    });
    const plan = planFaults(kinds, this.#random, mostFaults);
    let isOver = false;
    const changing = changeUntil(
      scene(),
      changeKinds,
      () => this.#watch.noteChange(),
      () => isOver,
    );
    const inflicted = Promise.all(plan.map((planned) => inflict(planned, scene()))).finally(() => (isOver = true));
    const [changes, faults] = await Promise.all([changing, inflicted]);
    await this.#settle(`round ${this.#rounds.length}`, { changes, faults: faults.flatMap((fault) => fault ?? []) });
  }

  async #settle(name: string, did: Pick<Round, "changes" | "faults">): Promise<void> {
    const quietMs = Date.now();
    const settled = await this.#watch.settle(quietMs);
    this.#rounds.push({ number: this.#rounds.length, ...did, quietMs, ...settled });
    this.#options.say(`seed ${this.#options.seed}, ${name}: ${courseOf(did, quietMs, settled)}`);
  }

  /** The last change: nothing is wanted any more, and nothing may be left. */
  async #takeAway(): Promise<void> {
    const { model } = this.#world;
    this.#world.write({ ...model, withdrawn: new Set(model.routers.map(({ number }) => number)) });
    this.#watch.noteChange();
    await this.#settle("everything taken away", { changes: [], faults: [] });
  }
}

function courseOf(did: Pick<Round, "changes" | "faults">, quietMs: number, { rightMs }: Settled): string {
  const faults = did.faults.map(({ kind, text }: Happened) => `${kind} (${text})`).join("; ");
  const end = rightMs === undefined ? "NOT RIGHT" : `right after ${((rightMs - quietMs) / 1000).toFixed(1)} s`;
  return `${did.changes.length} changes, ${faults === "" ? "no fault" : faults}: ${end}`;
}
