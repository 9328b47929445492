// The world of the model: kernel, charons, control plane and what is on disk. All of it outlives the agent, which can be
// killed and started at any step. It watches every step for what must never be.
import type { CharonPlanOptions, CharonStep } from "../../../src/core/charon-step.ts";
import { DeadlineError, KernelError, UnavailableError } from "../../../src/core/errors.ts";
import type { DataPlane } from "../../../src/core/data-plane.ts";
import type { EspBackEnd } from "../../../src/core/guard.ts";
import type { ConnectionId, RouterId } from "../../../src/core/ids.ts";
import type { DesiredRouter } from "../../../src/core/model.ts";
import { routerOfNamespace } from "../../../src/core/names.ts";
import { AGENT_NAMESPACE } from "../../../src/core/network.ts";
import type { NetworkStep } from "../../../src/core/network-plan.ts";
import type { FetchedList } from "../../../src/core/ports.ts";
import type { Outcome, PassScope } from "../../../src/reconcile/reconcile.ts";
import { dataPlaneOf } from "../data-plane.ts";
import { FakeIke } from "../fake-ike.ts";
import { FakeNetwork } from "../fake-network.ts";
import { PLUMBING } from "../network-builders.ts";
import { Agent } from "./agent.ts";
import { cheapCharonOptions } from "./charon-plan.ts";
import { ModelClock } from "./clock.ts";
import type { Counts } from "./counts.ts";
import { openingsOf } from "./guard-law.ts";
import { RemovalProof } from "./removal-proof.ts";
import type { Mishap, MishapKind, StepKind } from "./steps.ts";

export type ModelStep =
  NetworkStep | CharonStep | { readonly kind: "startCharon" | "removeCharon"; readonly router: RouterId };

export type PassRecord = {
  readonly router: RouterId;
  /** Undefined: it was taken away. */
  readonly desired: DesiredRouter | undefined;
  readonly scope: PassScope;
  readonly startedAtMs: number;
  readonly outcome: Outcome;
  /** Something changed after it was planned. */
  readonly isBlind?: boolean;
};

/** Steps that a fake leaves out, and says that it did: a test of the test. */
export type Lie = (step: ModelStep) => boolean;

/** Far more than any case takes: an agent that never waits for a timer must not hang the test. */
const MAX_PASSES = 1_000;
const INSISTS_AFTER_MS = 50;

export class ModelWorld {
  readonly clock = new ModelClock();
  readonly network = new FakeNetwork();
  readonly ike: FakeIke;
  readonly charonPlan: CharonPlanOptions = cheapCharonOptions();
  readonly espBackEnd: EspBackEnd;
  /** What the control plane lists for this host. */
  readonly listed = new Map<RouterId, DesiredRouter>();
  isReachable = true;
  /** On disk. */
  snapshot: string | undefined;
  readonly proof = new RemovalProof();
  mishaps: Mishap[] = [];
  /** Until then nothing has to converge. */
  disturbedUntilMs = 0;
  passes: PassRecord[] = [];
  /** What the agent works for now, by router. */
  readonly known = new Map<RouterId, DesiredRouter>();
  readonly violations: string[] = [];
  /** Routers whose removal has failed and is tried again. */
  readonly unfinished = new Set<RouterId>();
  stepCount = 0;
  /** IKE SAs may be on terms that nobody can tell to be old. */
  mayHaveOldTerms = false;
  /** For whoever looks at one case. */
  trace: ((line: string) => void) | undefined;
  agent: Agent;
  /** Comes to pass between two steps of the agent, when so many are done. */
  midway: { left: number; readonly act: () => void } | undefined;
  /** How often that has been so. */
  midways = 0;
  /** Routers whose pass was planned before something changed: of what it opens it cannot know. */
  readonly #blind = new Set<RouterId>();
  #passCount = 0;
  #values = 0;
  readonly #counts: Counts;
  readonly #lie: Lie;
  readonly #routers: readonly RouterId[];
  /** Openings that no step made: those of drift, and of what has just been heard of. */
  readonly #tolerated = new Map<RouterId, ReadonlySet<string>>();

  constructor(of: {
    readonly routers: readonly RouterId[];
    readonly espBackEnd: EspBackEnd;
    readonly counts: Counts;
    readonly lie?: Lie;
  }) {
    this.#routers = of.routers;
    this.espBackEnd = of.espBackEnd;
    this.#counts = of.counts;
    this.#lie = of.lie ?? (() => false);
    this.ike = new FakeIke(this.charonPlan, () => this.clock.nowMs());
    this.ike.onInsisting = (router, sa, child) =>
      this.later(INSISTS_AFTER_MS, () => this.ike.peerAsks(router, sa, child));
    this.network.addLink(AGENT_NAMESPACE, "br-ex", {});
    this.network.dataPlaneOf = (namespace) => this.#dataPlaneOf(namespace);
    for (const router of of.routers) this.network.addNamespace(`qrouter-${router}`);
    this.agent = new Agent(this);
  }

  /** Starts another agent in the place of the dead one; `knowing`: what the disk still has. */
  restart(knowing: "unknown" | "remembered"): void {
    this.agent.kill();
    if (knowing === "unknown") this.snapshot = undefined;
    this.proof.forgetLooks(this.snapshot !== undefined);
    this.known.clear();
    this.unfinished.clear();
    this.#seeAgain(...this.#blind);
    // What the kernel holds was made by somebody else, for all that the new one knows.
    for (const space of this.network.namespaces.values()) space.guardKnown = false;
    this.agent = new Agent(this);
  }

  #dataPlaneOf(namespace: string): DataPlane | undefined {
    const router = routerOfNamespace(namespace);
    if (router === undefined || !this.network.namespaces.has(namespace)) return undefined;
    const sas = this.ike.isRunning(router) ? this.ike.charon(router).ikeSas : [];
    const carried = sas.flatMap(({ children }) => children.filter(({ isStranded }) => isStranded !== true));
    return dataPlaneOf(this.espBackEnd, carried);
  }

  /** A finding that was mended in vain is left alone, so none may look like another one. */
  nextValue(): string {
    this.#values += 1;
    return String(this.#values);
  }

  /** Something changes while a pass over the router goes on. */
  changedMidway(router: RouterId): void {
    this.midways += 1;
    this.#blind.add(router);
    this.ike.isAnotherThanKnown = true;
  }

  violate(what: string): void {
    this.violations.push(`at ${this.clock.nowMs()} ms: ${what}`);
  }

  /** A disturbance that ends by itself. */
  later(delayMs: number, end: () => void): void {
    this.disturbedUntilMs = Math.max(this.disturbedUntilMs, this.clock.nowMs() + delayMs);
    this.clock.after(this, delayMs, end);
  }

  /** From now on all that is open is nobody's fault: the next steps have to close it. */
  tolerateOpenings(): void {
    for (const router of this.#routers) this.#tolerated.set(router, new Set(this.#openings(router)));
  }

  passBegins(agent: Agent, desired: DesiredRouter, from: "remembered" | "fetched"): void {
    this.#passCount += 1;
    if (this.#passCount > MAX_PASSES) {
      this.violate("passes without end");
      agent.kill();
    }
    if (!agent.hasFetched && (from === "fetched" || !agent.remembersAtStart)) {
      this.violate(`a pass over ${desired.id} as ${from}, of which nobody told`);
    }
    const ids = new Set<ConnectionId>(desired.connections.map(({ id }) => id));
    for (const id of this.proof.standing(desired.id)) {
      if (!ids.has(id)) this.violate(`connection ${id} is left out, and its absence is not proved`);
    }
    this.proof.takenUp(desired, this.listed.get(desired.id));
    this.known.set(desired.id, desired);
    this.#seeAgain(desired.id);
    this.#tolerated.set(desired.id, new Set(this.#openings(desired.id)));
  }

  removalBegins(router: RouterId): void {
    if (this.proof.isStanding(router)) this.violate(`router ${router} is taken away, and its absence is not proved`);
    this.known.delete(router);
    this.#seeAgain(router);
    this.#tolerated.set(router, new Set(this.#openings(router)));
  }

  passEnded(record: PassRecord): void {
    this.trace?.(`pass ${record.scope} ${JSON.stringify(record.outcome)}`);
    this.passes.push(this.#blind.has(record.router) ? { ...record, isBlind: true } : record);
    if (record.desired === undefined && record.outcome.kind !== "converged") this.unfinished.add(record.router);
    else this.unfinished.delete(record.router);
  }

  answer(agent: Agent): Promise<FetchedList> {
    if (!this.isReachable) return Promise.reject(new UnavailableError("BROKER_DOWN", "not connected"));
    this.trace?.(`fetch at ${this.clock.nowMs()}: ${[...this.listed.keys()].join(" ")}`);
    this.proof.answered(this.listed, agent, this.clock.nowMs());
    agent.hasFetched = true;
    const routers = new Map([...this.listed].map(([id, { services, connections }]) => [id, { services, connections }]));
    return Promise.resolve({ routers, problems: [], complete: true });
  }

  plumbing(router: RouterId): Promise<DesiredRouter["plumbing"]> {
    if (!this.isReachable) return Promise.reject(new UnavailableError("BROKER_DOWN", "not connected"));
    return Promise.resolve(this.listed.get(router)?.plumbing ?? { kind: "known", value: PLUMBING });
  }

  /** One step of the agent, with what befalls it. The fakes act at once, so nothing comes between it and the checks. */
  perform(agent: Agent, step: ModelStep, act: () => Promise<void>): Promise<void> {
    if (!agent.isAlive) return new Promise(() => undefined);
    if (!agent.hasFetched && (step.kind === "createNamespace" || step.kind === "deleteNamespace")) {
      this.violate(`${step.kind} by an agent that has fetched nothing`);
    }
    this.stepCount += 1;
    this.#changeMidway();
    const how = this.#mishapAt(step.kind);
    this.trace?.(`${how ?? ""} ${describe(step)}`);
    if (how === "failBefore") return Promise.reject(failureOf(step));
    const done = this.#lie(step) ? Promise.resolve() : act();
    this.#lookForOpenings(step);
    if (how === "crash") {
      agent.kill();
      done.catch(() => undefined); // nobody is left to hear of it
      return new Promise(() => undefined);
    }
    return done.then(() => {
      this.#counts.add("step", step.kind);
      if (how === "failAfter") throw failureOf(step);
    });
  }

  #seeAgain(...routers: readonly RouterId[]): void {
    for (const router of routers) this.#blind.delete(router);
    this.ike.isAnotherThanKnown = this.#blind.size > 0;
  }

  #changeMidway(): void {
    if (this.midway === undefined) return;
    this.midway.left -= 1;
    if (this.midway.left >= 0) return;
    const { act } = this.midway;
    this.midway = undefined;
    act();
  }

  #mishapAt(kind: ModelStep["kind"]): MishapKind | undefined {
    const index = this.mishaps.findIndex((mishap) => mishap.step === kind);
    const mishap = this.mishaps[index];
    if (mishap === undefined) return undefined;
    if (mishap.skip > 0) {
      this.mishaps[index] = { ...mishap, skip: mishap.skip - 1 };
      return undefined;
    }
    this.mishaps.splice(index, 1);
    this.#counts.add("mishap", `${mishap.how} ${kind}`);
    return mishap.how;
  }

  #openings(router: RouterId): readonly string[] {
    return openingsOf(this.network, this.ike, router, this.known.get(router), this.espBackEnd);
  }

  #lookForOpenings(step: ModelStep): void {
    for (const router of this.#routers) {
      const open = this.#openings(router);
      const tolerated = this.#tolerated.get(router);
      if (open.length === 0) {
        if (tolerated !== undefined) this.#tolerated.delete(router);
        continue;
      }
      const isLate = isAfterGuard(step, router);
      for (const hole of open) {
        if (this.#blind.has(router)) continue;
        if (tolerated?.has(hole) !== true) this.violate(`${step.kind} opens ${hole} of ${router}`);
        else if (isLate) this.violate(`${step.kind} comes while ${hole} of ${router} is open`);
      }
      this.#tolerated.set(router, new Set(open));
    }
  }
}

/** Steps on the network of a router that may come only when its guard stands. The namespace and its `lo` are before it. */
function isAfterGuard(step: ModelStep, router: RouterId): boolean {
  switch (step.kind) {
    case "applyGuard":
    case "deleteLink":
      return step.namespace.endsWith(router);
    case "createVeth":
      return step.veth.inner.namespace.endsWith(router);
    case "addRoute":
      return step.route.namespace.endsWith(router);
    case "addAddress":
      return step.address.namespace.endsWith(router);
    case "setLink":
      return step.namespace.endsWith(router) && step.link !== "lo";
    default:
      return false;
  }
}

const CHARON_STEPS: ReadonlySet<string> = new Set<StepKind>([
  "writeFile",
  "removeFile",
  "loadSecret",
  "unloadSecret",
  "loadPeer",
  "unloadPeer",
  "beginUpdate",
  "reauthenticate",
  "terminateIke",
  "terminateChild",
  "initiate",
  "commit",
  "unloadMarker",
  "startCharon",
  "removeCharon",
]);

const failureOf = ({ kind }: ModelStep): Error =>
  CHARON_STEPS.has(kind) ? new DeadlineError(`model ${kind}`) : new KernelError(`model ${kind}`, "EIO");

const describe = (step: ModelStep): string =>
  JSON.stringify(step, (key, value: unknown) => (key === "peer" || key === "veth" ? "..." : value));
