// A router with fakes of the kernel and of charon around it, to be reconciled pass by pass or by a whole loop.
import { pino } from "pino";
import type { Finding } from "../../src/core/finding.ts";
import type { RouterId } from "../../src/core/ids.ts";
import type { DesiredRouter } from "../../src/core/model.ts";
import { AGENT_NAMESPACE } from "../../src/core/network.ts";
import type { CharonPlanOptions } from "../../src/core/charon-step.ts";
import type { ChildSa } from "../../src/core/observed.ts";
import { emptyMemory, type ReconcileOptions, type RouterMemory } from "../../src/reconcile/memory.ts";
import { Reconciler, type Outcome, type PassScope } from "../../src/reconcile/reconcile.ts";
import { ALL_ALGORITHMS } from "./builders.ts";
import { charonOptions } from "./charon-options.ts";
import { FakeIke } from "./fake-ike.ts";
import { FakeNetwork } from "./fake-network.ts";
import { fakeTiming } from "./fake-timing.ts";
import { ROUTER } from "./network-builders.ts";

export type LoggedLine = { readonly level: number; readonly msg: string } & Readonly<Record<string, unknown>>;

export class ReconcileWorld {
  readonly clock = fakeTiming(0.5);
  readonly network = new FakeNetwork();
  readonly ike: FakeIke;
  readonly options: Extract<ReconcileOptions, { readonly topology?: "transit" }>;
  readonly reconciler: Reconciler;
  readonly ports;
  memory: RouterMemory = emptyMemory(ROUTER);
  /** How often charon was told to have been started again. */
  restarts = 0;
  /** What was told to be somebody else's doing. */
  readonly drift: Finding[] = [];
  readonly #logged: string[] = [];
  readonly log = pino({ level: "info" }, { write: (line: string) => void this.#logged.push(line) });

  constructor(more: Partial<CharonPlanOptions> = {}) {
    const charonPlan = charonOptions(more);
    this.ike = new FakeIke(charonPlan, () => this.clock.nowMs());
    this.ports = { network: this.network, ike: this.ike, clock: this.clock };
    this.options = {
      host: "gw-left",
      espBackEnd: "kernel",
      kernelEsp: ALL_ALGORITHMS,
      charonPlan,
      initiateRetry: { baseMs: 1_000, capMs: 8_000 },
      restart: { baseMs: 500, capMs: 8_000 },
      attachment: (router: RouterId) => ({
        attachedBy: "bridge",
        bridge: "br-ex",
        routerNamespace: `qrouter-${router}`,
      }),
    };
    const observer = {
      onStep: () => undefined,
      onCharonRestart: () => {
        this.restarts += 1;
      },
      onInternalError: () => undefined,
      onDrift: (findings: readonly Finding[]) => void this.drift.push(...findings),
    };
    this.reconciler = new Reconciler(this.ports, this.options, observer, this.log);
    this.network.addLink(AGENT_NAMESPACE, "br-ex", {});
    this.addRouterNamespace(ROUTER);
  }

  /** What the log says at this level (pino's numbers) and above. */
  linesFrom(level: 30 | 40 | 50): readonly LoggedLine[] {
    return this.#logged.map((line) => JSON.parse(line) as LoggedLine).filter((line) => line.level >= level);
  }

  get errors(): readonly LoggedLine[] {
    return this.linesFrom(50);
  }

  addRouterNamespace(router: RouterId): void {
    this.network.addNamespace(`qrouter-${router}`);
  }

  pass(desired: DesiredRouter, scope: PassScope = "everything", from: "remembered" | "fetched" = "fetched") {
    return this.reconciler.pass(desired, from, scope, this.memory, new AbortController().signal);
  }

  /** Passes, and lets time go by, until nothing is left to do at any time. Throws when that does not come. */
  async converge(desired: DesiredRouter, maxPasses = 80): Promise<number> {
    let last: Outcome | undefined;
    for (let passes = 1; passes <= maxPasses; passes += 1) {
      const outcome = await this.pass(desired);
      if (outcome.kind === "converged" && outcome.steps === 0 && outcome.wakeAtMs === undefined) return passes;
      last = outcome;
      const dueInMs = outcome.kind === "waiting" ? 0 : (outcome.wakeAtMs ?? 0) - this.clock.nowMs();
      await this.clock.advance(Math.max(dueInMs, outcome.kind === "incomplete" ? 1_000 : 0));
    }
    throw new Error(`not converged after ${String(maxPasses)} passes: ${JSON.stringify(last)}`);
  }

  childSas(router: RouterId = ROUTER): readonly Pick<ChildSa, "name" | "uniqueId">[] {
    return this.ike.charon(router).ikeSas.flatMap((sa) => sa.children);
  }
}
