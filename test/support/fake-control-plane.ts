// A ControlPlane that serves the list it is given, can be held or made to fail, and keeps what it was told.
import { UnavailableError } from "../../src/core/errors.ts";
import type { RouterId } from "../../src/core/ids.ts";
import type { DesiredRouter } from "../../src/core/model.ts";
import type { ControlPlane, FetchedList, StatusReport } from "../../src/core/ports.ts";
import { PLUMBING } from "./network-builders.ts";

export class FakeControlPlane implements ControlPlane {
  routers: readonly DesiredRouter[] = [];
  problems: FetchedList["problems"] = [];
  complete = true;
  fetches = 0;
  plumbingFetches: RouterId[] = [];
  readonly reports: StatusReport[] = [];
  /** Calls that fail before one succeeds again. */
  failures = 0;
  #gate: Promise<void> | undefined;
  #plumbingGate: Promise<void> | undefined;

  /** The next answers are made now and come when the returned function is called. */
  hold(what: "list" | "plumbing" = "list"): () => void {
    let release: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (release = resolve));
    if (what === "list") this.#gate = gate;
    else this.#plumbingGate = gate;
    return () => {
      this.#gate = undefined;
      this.#plumbingGate = undefined;
      release();
    };
  }

  async fetchRouters(): Promise<FetchedList> {
    this.fetches += 1;
    const { problems, complete } = this;
    const routers = new Map(this.routers.map(({ id, services, connections }) => [id, { services, connections }]));
    this.#fail();
    await this.#gate;
    return { routers, problems, complete };
  }

  async fetchPlumbing(router: RouterId): Promise<DesiredRouter["plumbing"]> {
    this.plumbingFetches.push(router);
    await this.#plumbingGate;
    return this.routers.find(({ id }) => id === router)?.plumbing ?? { kind: "known", value: PLUMBING };
  }

  reportStatus(report: StatusReport): Promise<void> {
    try {
      this.#fail();
    } catch (error) {
      return Promise.reject(error instanceof Error ? error : new Error(String(error)));
    }
    this.reports.push(report);
    return Promise.resolve();
  }

  #fail(): void {
    if (this.failures === 0) return;
    this.failures -= 1;
    throw new UnavailableError("BROKER_DOWN", "not connected");
  }
}
