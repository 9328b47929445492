// One router's charon, told what is wanted and passed over step by step, with every step written down: the golden plans.
import type { CharonPlanOptions, CharonStep } from "../../src/core/charon-step.ts";
import type { DataPlane } from "../../src/core/data-plane.ts";
import type { DesiredConnection, Tunnel } from "../../src/core/model.ts";
import { emptyNotes, type Notes } from "../../src/core/observed.ts";
import { planCharon, type CharonPlan } from "../../src/core/plan.ts";
import { applyGroups } from "../../src/reconcile/apply.ts";
import { noteProgress, notesFor, refreshNotes } from "../../src/reconcile/upkeep.ts";
import { aConnection } from "./builders.ts";
import { charonOptions } from "./charon-options.ts";
import { FakeIke } from "./fake-ike.ts";
import { fakeTiming } from "./fake-timing.ts";
import { expectGoldenPlan } from "./golden-plan.ts";
import { ROUTER } from "./network-builders.ts";

const never = new AbortController().signal;
const MAX_ROUNDS = 6;

export class CharonScene {
  readonly clock = fakeTiming();
  ike: FakeIke;
  options: CharonPlanOptions;
  notes: Notes = emptyNotes("");
  plan: CharonPlan | undefined;
  connections: readonly DesiredConnection[] = [];
  dataPlane: DataPlane | undefined;
  readonly #lines: string[] = [];
  readonly #symbols = new Map<string, string>();

  constructor(more: Partial<CharonPlanOptions> = {}) {
    this.options = charonOptions(more);
    this.ike = new FakeIke(this.options, () => this.clock.nowMs());
  }

  get charon() {
    return this.ike.charon(ROUTER);
  }

  want(...wanted: readonly (Tunnel | DesiredConnection)[]): void {
    this.connections = wanted.map((one) => ("psk" in one ? aConnection(one) : one));
  }

  /** As a new agent: what it noted is gone, charon is not. */
  forgetNotes(): void {
    this.notes = emptyNotes("");
  }

  useKey(key: Uint8Array): void {
    this.options = charonOptions({ key });
    this.ike.use(this.options);
  }

  /** Passes until nothing is left to do now, and writes down what was done, a block a round. */
  async pass(caption: string): Promise<void> {
    this.#lines.push("", `== ${caption} (${String(this.clock.nowMs())} ms)`);
    await this.ike.start(ROUTER, never);
    for (let round = 1; round <= MAX_ROUNDS; round += 1) {
      const charon = await this.ike.observe(ROUTER, never);
      if (charon.kind !== "up") throw new Error("charon is not up");
      const observed =
        this.dataPlane === undefined
          ? charon
          : { ...charon, dataPlane: { ...this.dataPlane, atMs: this.clock.nowMs() } };
      const nowMs = this.clock.nowMs();
      this.notes = notesFor(this.notes, observed);
      refreshNotes(this.notes, observed, this.connections, nowMs, this.options.splitChildren);
      this.plan = planCharon(this.connections, observed, this.notes, nowMs, this.options);
      noteProgress(this.notes, this.plan, this.connections, nowMs, this.options.differingGraceMs);
      if (this.plan.groups.length === 0) break;
      if (round > 1) this.#lines.push("-- then");
      for (const step of this.plan.groups.flatMap((group) => group.steps)) this.#lines.push(this.#print(step));
      const failures = await applyGroups(this.plan.groups, this.notes, this.#applier(), never);
      for (const { step, error } of failures) {
        this.#lines.push(`!! ${step.kind}: ${error instanceof Error ? error.message : String(error)}`);
      }
      if (failures.length > 0) break;
    }
    const wakeAtMs = this.plan?.wakeAtMs;
    if (wakeAtMs !== undefined) this.#lines.push(`.. looks again at ${String(wakeAtMs)} ms`);
  }

  expectPlan(name: string, provenance: string): void {
    expectGoldenPlan(`charon-${name}`, `# ${provenance}\n${this.#lines.slice(1).join("\n")}\n`);
  }

  #applier() {
    return {
      router: ROUTER,
      ike: this.ike,
      clock: this.clock,
      key: this.options.key,
      initiateRetry: { baseMs: 1_000, capMs: 60_000 },
      onStep: () => undefined,
    };
  }

  #print(step: CharonStep): string {
    return this.#readable(printStep(step));
  }

  /** C1, P1, f1 for ids that say nothing to a reader. */
  #readable(text: string): string {
    return text
      .replace(/c0000000-0000-4000-8000-0*(\d+)/g, "C$1")
      .replace(/peer-[0-9a-f]{12}/g, (name) => this.#symbol("P", name))
      .replace(/\b[0-9a-f]{16}\b/g, (fingerprint) => this.#symbol("f", fingerprint))
      .replace(/(C\d+)-([0-9a-f]{8})\b/g, (_, id: string, suffix: string) => `${id}.${this.#symbol("pair", suffix)}`);
  }

  #symbol(kind: string, text: string): string {
    const known = this.#symbols.get(text);
    if (known !== undefined) return known;
    const count = [...this.#symbols.values()].filter((symbol) => /^[a-zA-Z]+/.exec(symbol)?.[0] === kind).length;
    const symbol = `${kind}${String(count + 1)}`;
    this.#symbols.set(text, symbol);
    return symbol;
  }
}

function printStep(step: CharonStep): string {
  switch (step.kind) {
    case "writeFile":
    case "removeFile":
      return `${step.kind} ${step.connection}`;
    case "loadSecret":
    case "unloadSecret":
      return `${step.kind} ${step.id}`;
    case "loadPeer": {
      const members = step.peer.members.map((member) => member.tunnel.id).join(", ");
      const how = step.isAnew === true ? " anew" : "";
      return `loadPeer ${step.peer.name}${how} led by ${step.peer.leader.id}: ${members}`;
    }
    case "unloadPeer":
      return `unloadPeer ${step.name}`;
    case "beginUpdate": {
      const stale = [
        ...step.staleIkeSas.map((id) => `IKE SA ${id}`),
        ...step.staleChildSas.map((id) => `CHILD SA ${id}`),
      ].join(", ");
      const until = stale === "" ? "" : `, outdates ${stale} until ${String(step.deadlineMs)} ms`;
      return `beginUpdate ${step.connection}, may initiate at ${String(step.initiateAtMs)} ms${until}`;
    }
    case "reauthenticate":
      return `reauthenticate IKE SA ${step.ikeSa} of ${step.peer}`;
    case "terminateIke":
      return `terminateIke ${step.ikeSa}: ${step.why}`;
    case "terminateChild":
      return `terminateChild ${step.childSa}: ${step.why}`;
    case "initiate":
      return `initiate ${step.child} on ${step.peer}`;
    case "commit": {
      const replaces = step.replaces.length === 0 ? "" : `, replaces ${String(step.replaces.length)}`;
      return `commit ${step.marker.connection} as ${step.marker.leads ? "leader" : "member"}${replaces}`;
    }
    case "unloadMarker":
      return `unloadMarker ${/[0-9a-f-]{36}/.exec(step.id.slice("ntlm-swanherd-".length))?.[0] ?? step.id}`;
    default:
      return step satisfies never;
  }
}
