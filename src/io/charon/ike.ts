// Implements the port Ike: one Daemon per router, found again by one walk through /proc.
import type { CharonStep } from "../../core/charon-step.ts";
import type { RouterId } from "../../core/ids.ts";
import type { ObservedCharon } from "../../core/observed.ts";
import type { CharonEvent, Ike } from "../../core/ports.ts";
import { Daemon, type DaemonOptions } from "./daemon.ts";
import { findOtherDaemons, processesByNamespace, type OtherDaemon } from "./other-daemons.ts";
import { findCharons, isAlive, type CharonProcess } from "./process.ts";

/** `executable` is what charons are found by. */
export type IkeOptions = DaemonOptions & { readonly executable: string };

const SCAN_AGE_MS = 100;

export const createIke = (options: IkeOptions): Ike => new CharonIke(options);

class CharonIke implements Ike {
  readonly #options: IkeOptions;
  readonly #daemons = new Map<RouterId, Daemon>();
  readonly #charons: () => ReadonlyMap<string, CharonProcess>;
  readonly #processes = shared(processesByNamespace);

  constructor(options: IkeOptions) {
    this.#options = options;
    this.#charons = shared(() => findCharons(options.executable));
  }

  observe(router: RouterId, signal: AbortSignal): Promise<ObservedCharon> {
    return this.#daemon(router).observe(signal);
  }

  start(router: RouterId, signal: AbortSignal): Promise<void> {
    return this.#daemon(router).start(signal);
  }

  apply(router: RouterId, step: CharonStep, signal: AbortSignal): Promise<void> {
    return this.#daemon(router).apply(step, signal);
  }

  tryPeer(router: RouterId, step: Extract<CharonStep, { kind: "loadPeer" }>, signal: AbortSignal): Promise<void> {
    return this.#daemon(router).tryPeer(step, signal);
  }

  async remove(router: RouterId, signal: AbortSignal): Promise<void> {
    const daemon = this.#daemon(router);
    await daemon.remove(signal);
    this.#forgetIdle(router, daemon);
  }

  watch(router: RouterId, listener: (event: CharonEvent) => void): () => void {
    const daemon = this.#daemon(router);
    const unwatch = daemon.watch(listener);
    return () => {
      unwatch();
      this.#forgetIdle(router, daemon);
    };
  }

  async close(): Promise<void> {
    await Promise.all([...this.#daemons.values()].map((daemon) => daemon.close()));
  }

  /** Whoever watches a router hears of its next charon too: a connection may be switched off and on again. */
  #forgetIdle(router: RouterId, daemon: Daemon): void {
    if (daemon.isIdle && this.#daemons.get(router) === daemon) this.#daemons.delete(router);
  }

  #daemon(router: RouterId): Daemon {
    const known = this.#daemons.get(router);
    if (known !== undefined) return known;
    const daemon = new Daemon(
      router,
      this.#options,
      (path) => this.#find(path),
      (namespace, own) => this.#findOthers(namespace, own),
    );
    this.#daemons.set(router, daemon);
    return daemon;
  }

  #find(strongswanConfPath: string): CharonProcess | undefined {
    const found = this.#charons().get(strongswanConfPath);
    return found !== undefined && isAlive(found) ? found : undefined;
  }

  #findOthers(namespace: string, own: string): readonly OtherDaemon[] {
    const inode = this.#options.namespaceInode(namespace);
    const pids = inode === undefined ? undefined : this.#processes().get(inode);
    return pids === undefined ? [] : findOtherDaemons(pids, namespace, own);
  }
}

/** One walk through /proc serves all routers that ask within the same moment, as they do when the agent starts. */
function shared<T>(walk: () => T): () => T {
  let last: { readonly atMs: number; readonly found: T } | undefined;
  return () => {
    const atMs = performance.now();
    if (last === undefined || atMs - last.atMs > SCAN_AGE_MS) last = { atMs, found: walk() };
    return last.found;
  };
}
