// One run: a world, rounds of faults, and the checks all along and at the end.
import { randomBytes } from "node:crypto";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Checker } from "./check/checker.ts";
import { Guarded } from "./check/guarded.ts";
import { checkQueues } from "./check/orphans.ts";
import type { Finding, Invariant, Subject } from "./check/subject.ts";
import { listenToCasts } from "./faults/casts.ts";
import type { Scene } from "./faults/fault.ts";
import type { FaultKind } from "./faults/kinds.ts";
import { egressAddressOf, SIDES, type SiteRouter } from "./model.ts";
import { checkTunnelTraffic, ClearText, tunnelPings, unrelatedPings, type Pings } from "./observers.ts";
import { seeded, type Random } from "./random.ts";
import { changeUntil, inflict, planFaults, type Round } from "./round.ts";
import { buildChaosWorld, EGRESS, type ChaosWorld } from "./world.ts";

export type RunOptions = {
  readonly seed: number;
  readonly program: string;
  readonly perSide: number;
  readonly faults: number;
  readonly forMs: number;
  readonly kinds: readonly FaultKind[];
  /** How long after the last change and fault everything may take to come right. */
  readonly repairWithinMs: number;
  readonly say: (line: string) => void;
  readonly signal: AbortSignal;
};

export type Violation = Finding & { readonly round: number; readonly atMs: number };

export type RunResult = {
  readonly seed: number;
  readonly rounds: readonly Round[];
  readonly violations: readonly Violation[];
  readonly durationMs: number;
};

/** What a run leaves for who wants to know why: called while the world still is. */
export type Keep = (world: ChaosWorld, result: RunResult) => void;

export async function runChaos(options: RunOptions, keep: Keep): Promise<RunResult> {
  const startedAt = performance.now();
  // As tests name things: what a killed run leaves is found by that.
  const prefix = `t${randomBytes(3).toString("hex")}`;
  const world = await buildChaosWorld({ prefix, perSide: options.perSide, program: options.program });
  const run = new Run(world, options);
  try {
    await run.whole();
  } finally {
    await run.stop();
    const result = run.result(performance.now() - startedAt);
    if (result.violations.length > 0) keep(world, result);
    await world.destroy();
  }
  return run.result(performance.now() - startedAt);
}

class Run {
  readonly #world: ChaosWorld;
  readonly #options: RunOptions;
  readonly #subject: Subject;
  readonly #checker: Checker;
  readonly #random: Random;
  readonly #guarded: Guarded;
  readonly #clear: ClearText;
  readonly #tunnels: readonly Pings[];
  readonly #unrelated: readonly Pings[];
  readonly #scene: Omit<Scene, "claim" | "exempt">;
  readonly #rounds: Round[] = [];
  readonly #violations: Violation[] = [];
  /** Ids of routers. */
  #exempt = new Set<string>();

  constructor(world: ChaosWorld, options: RunOptions) {
    this.#world = world;
    this.#options = options;
    this.#subject = subjectOf(world);
    this.#checker = new Checker(this.#subject);
    this.#random = seeded(options.seed);
    const built = world.lab.builtWorld();
    this.#guarded = new Guarded(this.#subject.routers);
    this.#clear = new ClearText(built.bridge, (line) => this.#noteClear(line));
    this.#tunnels = tunnelPings(built, world.model);
    this.#unrelated = unrelatedPings(
      built,
      SIDES.flatMap((side) => world.model.routers.filter((router) => router.side === side).slice(0, 2)),
    );
    const { hosts } = world.model;
    const casts = listenToCasts(world.lab.rabbitmq?.port ?? 0, [hosts.left, hosts.right]);
    this.#scene = { world, random: this.#random, casts };
  }

  async whole(): Promise<void> {
    const { seed, say, faults, forMs, signal } = this.#options;
    const deadline = performance.now() + forMs;
    this.#checker.noteDocuments();
    this.#judge(await this.#clear.prove(this.#anyRouter()));
    await this.#settle("the first start", [], [], Date.now());
    const happened = (): number => this.#rounds.reduce((sum, round) => sum + round.faults.length, 0);
    while (this.#violations.length === 0 && happened() < faults && performance.now() < deadline) {
      signal.throwIfAborted();
      await this.#round(faults - happened());
    }
    if (this.#violations.length > 0) return;
    this.#judge(await this.#clear.prove(this.#anyRouter()));
    this.#judge(this.#unrelatedLosses());
    this.#judge(await checkQueues(this.#subject));
    say(`seed ${seed}: taking all documents away`);
    await this.#takeAway();
  }

  async stop(): Promise<void> {
    await this.#scene.casts.close();
    await Promise.all([this.#clear, ...this.#tunnels, ...this.#unrelated].map((one) => one.stop()));
  }

  result(durationMs: number): RunResult {
    const { seed } = this.#options;
    return { seed, rounds: this.#rounds, violations: this.#violations, durationMs };
  }

  #anyRouter(): SiteRouter {
    return this.#random.pick(this.#world.model.routers);
  }

  async #round(most: number): Promise<void> {
    const claimed = new Set<string>();
    const claim = (thing: string): boolean => !claimed.has(thing) && claimed.add(thing).size > 0;
    const scene: Scene = { ...this.#scene, claim, exempt: (router) => void this.#exempt.add(router) };
    const plan = planFaults(this.#options.kinds, this.#random, most);
    let isOver = false;
    const changing = changeUntil(
      { ...scene, random: seeded(this.#random.whole(0, 2 ** 31)) },
      () => this.#noteChange(),
      () => isOver,
    );
    const faults = await Promise.all(
      plan.map((planned) => inflict(planned, { ...scene, random: seeded(this.#random.whole(0, 2 ** 31)) })),
    ).finally(() => (isOver = true));
    const changes = await changing;
    await this.#settle(
      `round ${this.#rounds.length}`,
      changes,
      faults.flatMap((fault) => fault ?? []),
      Date.now(),
    );
  }

  /** Looks until nothing is wrong, or the time is up. */
  async #settle(name: string, changes: readonly string[], faults: Round["faults"], quietMs: number): Promise<void> {
    const { repairWithinMs, signal, say, seed } = this.#options;
    this.#checker.begin();
    let findings: readonly Finding[] = [];
    let rightMs: number | undefined;
    do {
      signal.throwIfAborted();
      const lookedAtMs = Date.now();
      findings = await this.#look();
      this.#judge(await this.#checker.lookForContradictions());
      if (findings.length === 0) {
        rightMs = lookedAtMs;
        this.#guarded.confirm(this.#checker.noteDocuments());
        this.#exempt = new Set();
      }
      if (rightMs === undefined) await sleep(300);
    } while (rightMs === undefined && Date.now() - quietMs < repairWithinMs);
    const number = this.#rounds.length;
    this.#rounds.push({ number, changes, faults, quietMs, rightMs, findings });
    const kinds = faults.map(({ kind, text }) => `${kind} (${text})`).join("; ");
    const took = rightMs === undefined ? "NOT RIGHT" : `right after ${((rightMs - quietMs) / 1000).toFixed(1)} s`;
    say(`seed ${seed}, ${name}: ${changes.length} changes, ${kinds === "" ? "no fault" : kinds}: ${took}`);
    if (rightMs === undefined) this.#judge(findings);
  }

  async #look(): Promise<readonly Finding[]> {
    const findings = await this.#checker.look();
    if (findings.length > 0) return findings;
    const { up } = this.#checker.noteDocuments();
    return checkTunnelTraffic(this.#world.lab.builtWorld(), this.#world.model, (id) => up.has(id));
  }

  #noteClear(line: string): void {
    const router = this.#guarded.leakedBy(line);
    if (router === undefined || this.#exempt.has(router.id)) return;
    this.#judge([{ invariant: "clear-text", about: router.id, text: line }]);
  }

  #unrelatedLosses(): readonly Finding[] {
    return this.#unrelated.flatMap((pings): readonly Finding[] => {
      const lost = pings.lost();
      const text = `lost ${lost.length} of ${pings.received + lost.length}: ${lost.slice(0, 20).join(" ")}`;
      if (lost.length === 0 && pings.received > 0) return [];
      return [{ invariant: "unrelated-traffic", about: pings.name, text }];
    });
  }

  /** The last change: nothing is wanted any more, and nothing may be left. */
  async #takeAway(): Promise<void> {
    const { model } = this.#world;
    this.#world.write({ ...model, withdrawn: new Set(model.routers.map(({ number }) => number)) });
    this.#noteChange();
    await this.#settle("everything taken away", [], [], Date.now());
  }

  #noteChange(): void {
    this.#guarded.change(this.#checker.noteDocuments());
  }

  #judge(findings: readonly Finding[]): void {
    const round = this.#rounds.length;
    for (const finding of findings) {
      const isKnown = this.#violations.some(
        ({ about, invariant }) => about === finding.about && invariant === finding.invariant,
      );
      if (isKnown) continue;
      this.#options.say(
        `seed ${this.#options.seed}: VIOLATION of ${finding.invariant}: ${finding.about}: ${finding.text}`,
      );
      this.#violations.push({ ...finding, round, atMs: Date.now() });
    }
  }
}

/** The invariants that were violated. */
export const violated = ({ violations }: RunResult): ReadonlySet<Invariant> =>
  new Set(violations.map(({ invariant }) => invariant));

function subjectOf(world: ChaosWorld): Subject {
  const { lab, prefix, controller, model } = world;
  const ownPorts = new RegExp(`^${prefix}-`);
  return {
    directory: lab.directory,
    documentsFile: path.join(lab.documentsDirectory, "documents.yaml"),
    controllerSocket: controller.socket,
    agents: SIDES.map((side) => {
      const { host, runDirectory, stateDirectory, socket } = world.agents[side];
      return { host, runDirectory, stateDirectory, controlSocket: socket };
    }),
    routers: model.routers.map((router) => ({
      id: router.id,
      host: model.hosts[router.side],
      lanPrefix: `10.${router.number}.`,
      egressAddress: egressAddressOf(router),
    })),
    bridge: lab.builtWorld().bridge,
    isOwnPort: (link) => ownPorts.test(link),
    isOwnLink: (link) => link === "lo" || link === EGRESS || /^lan\d*$/.test(link),
    listQueues: async () =>
      lab.rabbitmq?.ctl("list_queues", "--silent", "name", "consumers", "messages").catch(() => undefined),
  };
}
