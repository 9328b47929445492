// The whole check: desired, written, loaded, negotiated and reported, the network, and what should not be there.
import { checkIpsec } from "./ipsec.ts";
import { checkLoaded } from "./loaded.ts";
import { checkNegotiated } from "./negotiated.ts";
import { checkOrphans } from "./orphans.ts";
import { checkOf } from "./places.ts";
import { checkReported, readReport, type Report } from "./reported.ts";
import type { Finding, Subject } from "./subject.ts";
import { readWanted, type Wanted, type WantedRouter } from "./wanted.ts";
import { checkWritten } from "./written.ts";

/** How long what an agent says of a connection may differ from what charon holds: it lists SAs every few seconds. */
const CONTRADICTION_MS = 15_000;
/** An agent that has just started has not looked at everything. */
const START_MS = 10_000;

export class Checker {
  readonly #subject: Subject;
  readonly #pskOf = new Map<string, { readonly psk: string; readonly sinceMs: number }>();
  /** Keys that SAs were negotiated with, when all was right the last time. */
  readonly #provenPsk = new Map<string, string>();
  /** From the first look to the last one that found it: who is right is not looked at again for a while. */
  readonly #contradictions = new Map<
    string,
    { readonly text: string; readonly sinceMs: number; readonly lastMs: number }
  >();
  readonly #rightAt = new Map<string, number>();
  #pending = new Set<string>();

  constructor(subject: Subject) {
    this.#subject = subject;
  }

  /** To be called whenever the documents have changed, at that moment. */
  noteDocuments(): Wanted {
    const wanted = readWanted(this.#subject.documentsFile);
    const listed = new Set(wanted.connections.map(({ id }) => id));
    // One that comes back may join an IKE SA that another connection to its peer made with the same key meanwhile.
    for (const id of this.#pskOf.keys()) if (!listed.has(id)) this.#pskOf.delete(id);
    for (const { id, psk } of wanted.connections) {
      const known = this.#pskOf.get(id);
      if (known?.psk !== psk) this.#pskOf.set(id, { psk, sinceMs: known === undefined ? 0 : Date.now() });
    }
    return wanted;
  }

  /** Everything was found right just now. Nobody looks until the next round: a contradiction begins anew then. */
  confirm(): Wanted {
    this.#contradictions.clear();
    const wanted = this.noteDocuments();
    for (const { id, psk } of wanted.connections) this.#provenPsk.set(id, psk);
    return wanted;
  }

  /** An SA from before its key is wrong; one of a key that came, went and came back may have outlived that. */
  #pskSince(id: string): number {
    const known = this.#pskOf.get(id);
    return known === undefined || known.psk === this.#provenPsk.get(id) ? 0 : known.sinceMs;
  }

  /** All routers are looked at again; afterwards only those that were not right the last time. */
  begin(): void {
    this.#pending = new Set();
    this.#rightAt.clear();
  }

  /** When the last of what was wrong was found right, after a look that found nothing. */
  get rightMs(): number {
    return Math.max(...this.#rightAt.values());
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
    const listed = new Set(wanted.connections.map(({ id }) => id));
    for (const id of this.#contradictions.keys()) if (!listed.has(id)) this.#contradictions.delete(id);
    for (const id of ids) {
      const router = wanted.routers.get(id);
      const agent = this.#subject.agents.find(({ host }) => host === router?.host);
      const about = this.#subject.routers.find((one) => one.id === id);
      if (router === undefined || agent === undefined || about === undefined) continue;
      const place = checkOf(about);
      const before = await readReport(agent.controlSocket);
      const [network, guard, ipsec, loaded, negotiated] = await Promise.all([
        place.checkNetwork(router, about, this.#subject),
        place.checkGuard(router),
        this.#subject.espBackEnd === "kernel" ? checkIpsec(router, place.namespaceOf(id)) : [],
        checkLoaded(router),
        checkNegotiated(router, wanted, (one) => this.#pskSince(one)),
      ]);
      const after = await readReport(agent.controlSocket);
      this.#compareReports(router, [before, after], negotiated.installed);
      const written = checkWritten(router, agent.runDirectory);
      findings.push(
        ...this.#noted(id, [...written, ...network, ...guard, ...ipsec, ...loaded, ...negotiated.findings]),
      );
    }
    const { agents, controllerSocket } = this.#subject;
    const reported = await checkReported(wanted, agents, controllerSocket);
    findings.push(
      ...this.#noted("reports", reported),
      ...this.#noted("orphans", await checkOrphans(wanted, this.#subject)),
    );
    return findings;
  }

  /** Remembers since when there is nothing to find. */
  #noted(what: string, findings: readonly Finding[]): readonly Finding[] {
    if (findings.length > 0) {
      this.#pending.add(what);
      this.#rightAt.delete(what);
    } else {
      this.#pending.delete(what);
      if (!this.#rightAt.has(what)) this.#rightAt.set(what, Date.now());
    }
    return findings;
  }

  /** `reports`: of right before and right after charon was looked at. What one of them agrees with is none. */
  #compareReports(
    router: WantedRouter,
    reports: readonly (Report | undefined)[],
    installed: ReadonlySet<string> | undefined,
  ): void {
    const isYoung = reports.some((report) => report === undefined || Date.now() - report.startedAtMs < START_MS);
    for (const { id } of router.connections) {
      const statuses = reports.map((report) => report?.connections.find((row) => row.id === id)?.status);
      const holds = installed?.has(id) === true;
      const isUnknown = isYoung || installed === undefined || statuses.includes(undefined);
      if (isUnknown || statuses.some((status) => holds === (status === "ACTIVE"))) this.#contradictions.delete(id);
      else {
        const text = `reported ${statuses.join(", ")}, and charon holds ${holds ? "all" : "not all"} of it`;
        const nowMs = Date.now();
        this.#contradictions.set(id, {
          text,
          sinceMs: this.#contradictions.get(id)?.sinceMs ?? nowMs,
          lastMs: nowMs,
        });
      }
    }
  }

  /** Of what agents say and what charon holds, what did not agree for too long. */
  contradictions(): readonly Finding[] {
    return [...this.#contradictions].flatMap(([id, { text, sinceMs, lastMs }]): readonly Finding[] => {
      const forMs = lastMs - sinceMs;
      if (forMs < CONTRADICTION_MS) return [];
      return [{ invariant: "contradiction", about: id, text: `${text}, for ${Math.round(forMs / 1000)} s` }];
    });
  }
}
