// The whole check: desired, written, loaded, negotiated and reported, the network, and what should not be there.
import { checkGuard, checkNetwork } from "./network.ts";
import { checkLoaded } from "./loaded.ts";
import { checkNegotiated } from "./negotiated.ts";
import { checkOrphans } from "./orphans.ts";
import { checkReported, readReport } from "./reported.ts";
import type { Finding, Subject } from "./subject.ts";
import { readWanted, type Wanted } from "./wanted.ts";
import { checkWritten } from "./written.ts";

/** How long what an agent says of a connection may differ from what charon holds: it lists SAs every few seconds. */
const CONTRADICTION_MS = 15_000;
/** An agent that has just started has not looked at everything. */
const START_MS = 10_000;

export class Checker {
  readonly #subject: Subject;
  readonly #pskOf = new Map<string, { readonly psk: string; readonly sinceMs: number }>();
  readonly #contradictedSince = new Map<string, number>();
  #pending = new Set<string>();

  constructor(subject: Subject) {
    this.#subject = subject;
  }

  /** To be called whenever the documents have changed, at that moment. */
  noteDocuments(): Wanted {
    const wanted = readWanted(this.#subject.documentsFile);
    for (const { id, psk } of wanted.connections) {
      const known = this.#pskOf.get(id);
      if (known?.psk !== psk) this.#pskOf.set(id, { psk, sinceMs: known === undefined ? 0 : Date.now() });
    }
    return wanted;
  }

  /** All routers are looked at again; before, only those that were not right the last time. */
  begin(): void {
    this.#pending = new Set();
  }

  /** Everything that is wrong now. Routers that were right since `begin` are looked at again when all others are. */
  async look(): Promise<readonly Finding[]> {
    const wanted = readWanted(this.#subject.documentsFile);
    const all = [...wanted.routers.keys()];
    const some = all.filter((id) => this.#pending.has(id));
    const isPartial = some.length > 0 && some.length < all.length;
    const ofSome = await this.#lookAt(wanted, isPartial ? some : all);
    if (ofSome.length > 0 || !isPartial) return ofSome;
    return this.#lookAt(wanted, all);
  }

  async #lookAt(wanted: Wanted, ids: readonly string[]): Promise<readonly Finding[]> {
    const findings: Finding[] = [];
    for (const id of ids) {
      const router = wanted.routers.get(id);
      const agent = this.#subject.agents.find(({ host }) => host === router?.host);
      if (router === undefined || agent === undefined) continue;
      const [network, guard, loaded, negotiated] = await Promise.all([
        checkNetwork(router, this.#subject),
        checkGuard(router),
        checkLoaded(router),
        checkNegotiated(router, wanted, (one) => this.#pskOf.get(one)?.sinceMs ?? 0),
      ]);
      const ofRouter = [
        ...checkWritten(router, agent.runDirectory),
        ...network,
        ...guard,
        ...loaded,
        ...negotiated.findings,
      ];
      if (ofRouter.length === 0) this.#pending.delete(id);
      else this.#pending.add(id);
      findings.push(...ofRouter);
    }
    const { agents, controllerSocket } = this.#subject;
    const [reported, orphans] = await Promise.all([
      checkReported(wanted, agents, controllerSocket),
      checkOrphans(wanted, this.#subject),
    ]);
    return [...findings, ...reported, ...orphans];
  }

  /** What agents say of connections against what charon holds of them, to be called again and again. */
  async lookForContradictions(): Promise<readonly Finding[]> {
    const wanted = readWanted(this.#subject.documentsFile);
    const findings: Finding[] = [];
    for (const { host, controlSocket } of this.#subject.agents) {
      const report = await readReport(controlSocket);
      const isYoung = report === undefined || Date.now() - report.startedAtMs < START_MS;
      for (const router of wanted.routers.values()) {
        if (router.host !== host) continue;
        const { installed } = await checkNegotiated(router, wanted, () => 0);
        for (const { id } of router.connections) {
          const status = report?.connections.find((row) => row.id === id)?.status;
          const isUnknown = isYoung || installed === undefined || status === undefined;
          const holds = installed?.has(id) === true;
          if (isUnknown || holds === (status === "ACTIVE")) this.#contradictedSince.delete(id);
          else
            findings.push(
              ...this.#contradicted(id, `reported ${status}, and charon holds ${holds ? "all" : "not all"} of it`),
            );
        }
      }
    }
    return findings;
  }

  #contradicted(id: string, text: string): readonly Finding[] {
    const sinceMs = this.#contradictedSince.get(id) ?? Date.now();
    this.#contradictedSince.set(id, sinceMs);
    const forMs = Date.now() - sinceMs;
    if (forMs < CONTRADICTION_MS) return [];
    return [{ invariant: "contradiction", about: id, text: `${text}, for ${Math.round(forMs / 1000)} s` }];
  }
}
