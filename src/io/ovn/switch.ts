// The local Open vSwitch as far as our ports are concerned: what it was last told to hold, kept in view, and changes to it.
// It decides nothing: which port belongs where is the plan's.
import type { Logger } from "pino";
import { UnavailableError } from "../../core/errors.ts";
import { isUuid, routerId, type RouterId } from "../../core/ids.ts";
import { isSwitched, type NetworkScope } from "../../core/network.ts";
import type { Clock } from "../../core/ports.ts";
import type { ObservedSwitch, ObservedSwitchPort, SwitchPort } from "../../core/switch.ts";
import { parseEndpoints } from "../../ovsdb-client/endpoint.ts";
import { OvsdbError } from "../../ovsdb-client/errors.ts";
import type { Json } from "../../ovsdb-client/message.ts";
import { countOf, type OperationResult } from "../../ovsdb-client/operations.ts";
import type { OvsdbSession } from "../../ovsdb-client/session.ts";
import { LOCAL_DATABASE } from "../../wire/ovn/local.ts";
import { decodeSwitch, SWITCH_TABLES, type SwitchRows, type SwitchTables } from "../../wire/ovn/switch.ts";
import { follow } from "./follow.ts";
import { encodePlug, encodeUnplug } from "./port-operations.ts";
import { readIdentity, type IdentityFiles } from "./identity.ts";

/** An ovsdb-server that is restarted is back by then, and what it said before still holds. */
const LOSS_GRACE_MS = 5_000;
/** How long the switch may take to let a link of its own go. */
const LET_GO_MS = 5_000;
const NEVER_READ = "the local Open vSwitch database was not read yet";

export type SwitchOptions = IdentityFiles & {
  /** As ovsdb(7) writes them. */
  readonly localDatabase: string;
  readonly clock: Clock;
  readonly log: Logger;
};

type Watcher = { readonly scope: NetworkScope; readonly onChange: () => void };
type View = { readonly tables: SwitchTables; readonly rows: SwitchRows };

export class OpenVswitch {
  readonly #options: SwitchOptions;
  readonly #follower: { close(): Promise<void> };
  readonly #watchers = new Set<Watcher>();
  /** What was last seen of a scope. */
  readonly #told = new WeakMap<NetworkScope, string | undefined>();
  readonly #onView = new Set<() => void>();
  #session: OvsdbSession | undefined;
  #view: View | undefined;
  #why = NEVER_READ;
  #cancelGrace: (() => void) | undefined;
  #isLost = false;

  constructor(options: SwitchOptions) {
    this.#options = options;
    const parsed = parseEndpoints(options.localDatabase);
    if (parsed.kind === "invalid") throw new TypeError(parsed.problem); // the configuration has let it through
    this.#follower = follow({
      endpoints: parsed.endpoints,
      identity: () => readIdentity(options),
      database: LOCAL_DATABASE,
      tables: SWITCH_TABLES,
      clock: options.clock,
      view: (session) => {
        this.#session = session;
        return {
          onTables: (tables) => this.#take(tables),
          onEnd: () => {
            if (this.#session === session) this.#session = undefined;
          },
        };
      },
      onDown: (why) => this.#lost(why),
    });
  }

  observe(scope: NetworkScope): ObservedSwitch | undefined {
    const seen = this.#look(scope);
    this.#told.set(scope, JSON.stringify(seen));
    return seen;
  }

  #look(scope: NetworkScope): ObservedSwitch | undefined {
    if (!isSwitched(scope)) return undefined;
    if (this.#view === undefined) return { kind: "unreachable", why: this.#why };
    const { bridges, ports } = this.#view.rows;
    const wanted = scope.veths.flatMap(({ port }) => port ?? []);
    const names = new Set(wanted.map(({ name }) => name));
    const ids = new Set<string | undefined>(wanted.map(({ port }) => port));
    const bridge = bridges.get(scope.integrationBridge);
    return {
      kind: "read",
      bridgeExists: bridge !== undefined,
      isUserland: bridge?.isUserland ?? false,
      ports: [...ports.values()].filter(
        ({ name, port, router }) => names.has(name) || ids.has(port) || router === scope.router,
      ),
    };
  }

  /** Whose ports are here that have our mark; rejects while nobody can know. */
  async listOwned(owner: string, signal: AbortSignal): Promise<readonly RouterId[]> {
    await this.#known(signal);
    const ports = [...(this.#view?.rows.ports.values() ?? [])];
    return [
      ...new Set(
        ports.flatMap(({ owner: of, router = "" }) => (of === owner && isUuid(router) ? [routerId(router)] : [])),
      ),
    ];
  }

  async plug(port: SwitchPort, signal: AbortSignal): Promise<void> {
    const operations = encodePlug(port, this.#held().tables);
    if (operations === undefined) {
      throw new UnavailableError("BRIDGE_MISSING", `there is no bridge ${port.bridge} in Open vSwitch`);
    }
    const results = await this.#transact(`plug ${port.name} into ${port.bridge}`, operations, signal);
    // None: the row went while we wrote, which is seen in a moment.
    if (countOf(results.at(-1)) === 0) {
      throw new UnavailableError("OVSDB_DOWN", `${port.bridge} has changed while ${port.name} was plugged into it`);
    }
    await this.#seen(({ rows }) => rows.ports.get(port.name)?.port === port.port, signal);
  }

  /** `isAwaited`: resolves only when the switch has let its link go, too, so that another one can have its name. */
  async unplug(name: string, bridge: string, isAwaited: boolean, signal: AbortSignal): Promise<void> {
    const operations = encodeUnplug(name, bridge, this.#held().tables);
    if (operations.length === 0) return;
    const results = await this.#transact(`unplug ${name} from ${bridge}`, operations, signal);
    const generation = isAwaited ? generationOf(results.at(-1)) : 0;
    await this.#seen(({ rows, tables }) => {
      const [row] = tables.Open_vSwitch.values();
      return rows.ports.get(name)?.bridge !== bridge && (row?.cur_cfg ?? 0) >= generation;
    }, signal);
  }

  watch(scope: NetworkScope, onChange: () => void): () => void {
    const watcher = { scope, onChange };
    this.#watchers.add(watcher);
    // A switch takes a port in while nobody watches yet: what is not as it was told then is told now.
    if (JSON.stringify(this.#look(scope)) !== this.#told.get(scope)) queueMicrotask(onChange);
    return () => this.#watchers.delete(watcher);
  }

  async close(): Promise<void> {
    this.#watchers.clear();
    this.#cancelGrace?.();
    await this.#follower.close();
  }

  #take(tables: SwitchTables): void {
    const before = this.#view;
    const rows = decodeSwitch(tables);
    this.#view = { tables, rows };
    this.#cancelGrace?.();
    this.#cancelGrace = undefined;
    if (this.#isLost) this.#options.log.info("the local Open vSwitch database is back");
    this.#isLost = false;
    for (const look of [...this.#onView]) look();
    const changed = changedPorts(before?.rows, rows);
    const bridgesChanged = before === undefined || namesOf(before.rows) !== namesOf(rows);
    for (const { scope, onChange } of [...this.#watchers]) {
      if (bridgesChanged || changed.some((port) => concerns(scope, port))) onChange();
    }
  }

  #lost(why: string): void {
    this.#session = undefined;
    this.#why = `the local Open vSwitch database is not reachable: ${why}`;
    if (!this.#isLost)
      this.#options.log.warn({ why }, "the local Open vSwitch database is lost, ports stay as they are");
    this.#isLost = true;
    if (this.#view === undefined) {
      for (const look of [...this.#onView]) look();
      return;
    }
    this.#cancelGrace ??= this.#options.clock.after(LOSS_GRACE_MS, () => {
      this.#view = undefined;
      this.#cancelGrace = undefined;
      for (const { onChange } of [...this.#watchers]) onChange();
    });
  }

  #held(): View {
    if (this.#view !== undefined) return this.#view;
    throw new UnavailableError("OVSDB_DOWN", this.#why);
  }

  async #transact(what: string, operations: readonly Json[], signal: AbortSignal): Promise<readonly OperationResult[]> {
    if (this.#session === undefined) throw new UnavailableError("OVSDB_DOWN", `${what}: ${this.#why}`);
    try {
      return await this.#session.transact(LOCAL_DATABASE, operations, { signal });
    } catch (cause) {
      if (!(cause instanceof OvsdbError)) throw cause;
      throw new UnavailableError("OVSDB_DOWN", `${what}: ${cause.message}`, { cause });
    }
  }

  /** The first answer, or the reason why there is none yet. */
  async #known(signal: AbortSignal): Promise<void> {
    if (this.#view === undefined && this.#why === NEVER_READ) await this.#until(() => this.#why !== NEVER_READ, signal);
    this.#held();
  }

  /** What was written comes back in the tables, and only then the next look at them tells the truth. */
  #seen(isThere: (view: View) => boolean, signal: AbortSignal): Promise<void> {
    return this.#until(() => this.#view !== undefined && isThere(this.#view), signal);
  }

  /** Gives up after a while without saying so: what is not so then is found by whoever looks next. */
  #until(isSo: () => boolean, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const finish = (how: () => void): void => {
        cancel();
        this.#onView.delete(look);
        signal.removeEventListener("abort", onAbort);
        how();
      };
      const look = (): void => {
        if (isSo()) finish(resolve);
      };
      const onAbort = (): void =>
        finish(() => reject(signal.reason instanceof Error ? signal.reason : new Error("aborted")));
      const cancel = this.#options.clock.after(LET_GO_MS, () => finish(resolve));
      signal.addEventListener("abort", onAbort, { once: true });
      this.#onView.add(look);
      look();
    });
  }
}

function generationOf(result: OperationResult | undefined): number {
  const rows: unknown = result?.["rows"];
  const [row] = Array.isArray(rows) ? (rows as readonly unknown[]) : [];
  const value: unknown = typeof row === "object" && row !== null ? (row as Record<string, unknown>)["next_cfg"] : 0;
  return typeof value === "number" ? value : 0;
}

const namesOf = ({ bridges }: SwitchRows): string => JSON.stringify([...bridges]);

const concerns = (scope: NetworkScope, { name, port, router }: ObservedSwitchPort): boolean =>
  router === scope.router ||
  scope.veths.some(({ port: wanted }) => wanted !== undefined && (wanted.name === name || wanted.port === port));

/** Those that came, went or differ, as they were and as they are. */
function changedPorts(before: SwitchRows | undefined, after: SwitchRows): readonly ObservedSwitchPort[] {
  const gone = [...(before?.ports.values() ?? [])].filter((port) => !isSame(after.ports.get(port.name), port));
  const come = [...after.ports.values()].filter((port) => !isSame(before?.ports.get(port.name), port));
  return [...gone, ...come];
}

const isSame = (one: ObservedSwitchPort | undefined, other: ObservedSwitchPort): boolean =>
  one !== undefined && JSON.stringify(one) === JSON.stringify(other);
