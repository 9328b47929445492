// What is looked at during a run, and what was found to be wrong: the checker of views, and who listens all along.
import { setTimeout as sleep } from "node:timers/promises";
import { Checker } from "./check/checker.ts";
import { Guarded } from "./check/guarded.ts";
import { checkQueues } from "./check/orphans.ts";
import type { Finding, Invariant, Subject } from "./check/subject.ts";
import { SIDES, type SiteRouter } from "./model.ts";
import {
  checkNewTraffic,
  checkTunnelTraffic,
  ClearText,
  tunnelPings,
  unrelatedPings,
  type Pings,
} from "./observers.ts";
import { subjectOf } from "./subject.ts";
import { QUEUE_TTL_SECONDS, type ChaosWorld } from "./world.ts";

export type Violation = Finding & { readonly atMs: number };

export type Settled = {
  /** Unix time in ms at which everything was found right; undefined: never. */
  readonly rightMs: number | undefined;
  /** What was wrong the last time that anything was: what the repair waited for, or what was never repaired. */
  readonly findings: readonly Finding[];
};

const PAUSE_MS = 300;
/** Longer than a ping of those that go on all the time may be without an answer. */
const SILENCE_MS = 3_000;
/** More findings of one invariant say nothing more. */
const MOST_OF_A_KIND = 5;

export class Watch {
  readonly violations: Violation[] = [];
  readonly #world: ChaosWorld;
  readonly #repairWithinMs: number;
  readonly #signal: AbortSignal;
  readonly #onViolation: (finding: Finding) => void;
  readonly #subject: Subject;
  readonly #checker: Checker;
  readonly #guarded: Guarded;
  readonly #clear: ClearText;
  readonly #tunnels: readonly Pings[];
  /** By router. */
  readonly #unrelated: Map<string, Pings>;
  /** Ids of routers. */
  #exempt = new Set<string>();
  #isStopped = false;

  constructor(
    world: ChaosWorld,
    of: {
      readonly repairWithinMs: number;
      readonly signal: AbortSignal;
      readonly onViolation: (finding: Finding) => void;
    },
  ) {
    this.#world = world;
    this.#repairWithinMs = of.repairWithinMs;
    this.#signal = of.signal;
    this.#onViolation = of.onViolation;
    this.#subject = subjectOf(world);
    this.#checker = new Checker(this.#subject);
    this.#guarded = new Guarded(this.#subject.routers, of.repairWithinMs);
    const built = world.lab.builtWorld();
    this.#clear = new ClearText(built.bridge, (line) => this.#noteClear(line));
    this.#tunnels = tunnelPings(built, world.model);
    const { routers } = world.model;
    const firstTwo = SIDES.flatMap((side) => routers.filter((router) => router.side === side).slice(0, 2));
    this.#unrelated = new Map(firstTwo.map((router) => [router.id, unrelatedPings(built, router)]));
    this.noteChange();
  }

  /** To be called when the documents have changed, at that moment. */
  noteChange(): void {
    this.#guarded.change(this.#checker.noteDocuments());
  }

  /** Until everything is right the next time this router's packets may be seen in clear. */
  exempt(routerId: string): void {
    this.#exempt.add(routerId);
  }

  /** Of these routers unrelated traffic is not looked at from now on until what this resolves to is called. */
  async suspend(routerIds: readonly string[]): Promise<() => void> {
    const { model, lab } = this.#world;
    const routers = model.routers.filter(({ id }) => routerIds.includes(id) && this.#unrelated.has(id));
    for (const { id } of routers) {
      const pings = this.#unrelated.get(id);
      this.#unrelated.delete(id);
      await pings?.stop();
      this.#judge(pings === undefined ? [] : losses(pings));
    }
    return () => {
      if (this.#isStopped) return;
      for (const router of routers) this.#unrelated.set(router.id, unrelatedPings(lab.builtWorld(), router));
    };
  }

  has(invariant: Invariant): boolean {
    return this.violations.some((violation) => violation.invariant === invariant);
  }

  /** A packet sent in clear on purpose has to be seen. */
  async proveCapture(router: SiteRouter): Promise<void> {
    this.#judge(await this.#clear.prove(this.#world.lab.builtWorld(), router));
  }

  /** Looks until nothing is wrong, or the time since `quietMs` is up. */
  async settle(quietMs: number): Promise<Settled> {
    this.#checker.begin();
    let wrong: readonly Finding[] = [];
    for (;;) {
      this.#signal.throwIfAborted();
      const findings = await this.#look();
      this.#judge([...this.#checker.contradictions(), ...[...this.#unrelated.values()].flatMap(losses)]);
      if (findings.length === 0) {
        this.#guarded.confirm(this.#checker.confirm());
        this.#exempt = new Set();
        return { rightMs: this.#checker.rightMs, findings: wrong };
      }
      wrong = findings;
      if (Date.now() - quietMs > this.#repairWithinMs) {
        this.#judge(findings);
        return { rightMs: undefined, findings };
      }
      await sleep(PAUSE_MS);
    }
  }

  /** What can be judged only when a run comes to its end. */
  async checkEnd(router: SiteRouter): Promise<void> {
    await this.proveCapture(router);
    const deadline = performance.now() + QUEUE_TTL_SECONDS * 1000 + 5_000;
    let queues = await checkQueues(this.#subject);
    while (queues.length > 0 && performance.now() < deadline) {
      await sleep(1_000, undefined, { signal: this.#signal });
      queues = await checkQueues(this.#subject);
    }
    this.#judge(queues);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await Promise.all([this.#clear, ...this.#tunnels, ...this.#unrelated.values()].map((one) => one.stop()));
  }

  async #look(): Promise<readonly Finding[]> {
    const findings = await this.#checker.look();
    if (findings.length > 0) return findings;
    const { up } = this.#checker.noteDocuments();
    const { lab, model } = this.#world;
    const world = lab.builtWorld();
    const unrelated = model.routers.filter(({ id }) => this.#unrelated.has(id));
    return [
      ...(await checkNewTraffic(world, unrelated)),
      ...(await checkTunnelTraffic(world, model, (id) => up.has(id))),
    ];
  }

  #noteClear(line: string): void {
    const router = this.#guarded.leakedBy(line);
    if (router === undefined || this.#exempt.has(router.id)) return;
    this.#judge([{ invariant: "clear-text", about: router.id, text: line }]);
  }

  #judge(findings: readonly Finding[]): void {
    for (const finding of findings) {
      const same = this.violations.filter(({ invariant }) => invariant === finding.invariant);
      if (same.length >= MOST_OF_A_KIND || same.some(({ about }) => about === finding.about)) continue;
      this.#onViolation(finding);
      this.violations.push({ ...finding, atMs: Date.now() });
    }
  }
}

function losses(pings: Pings): readonly Finding[] {
  const lost = pings.lost();
  const finding = (text: string): Finding => ({ invariant: "unrelated-traffic", about: pings.name, text });
  return [
    ...(pings.silentMs > SILENCE_MS ? [finding(`no answer for ${Math.round(pings.silentMs / 1000)} s`)] : []),
    ...(lost.length > 0
      ? [finding(`lost ${lost.length} of ${pings.received + lost.length}: ${lost.slice(0, 20).join(" ")}`)]
      : []),
  ];
}
