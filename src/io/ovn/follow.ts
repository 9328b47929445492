// Keeps one OVSDB database in view: servers in turn, backoff with jitter, everything read anew after every loss.
// It refuses to know what is watched, and repeats no transaction.
import type { Clock } from "../../core/ports.ts";
import { backoffMs } from "../../core/backoff.ts";
import { UnavailableError } from "../../core/errors.ts";
import { endpointText, type Endpoint } from "../../ovsdb-client/endpoint.ts";
import { openOvsdbSession, SERVER_DATABASE, type OvsdbSession, type TlsIdentity } from "../../ovsdb-client/session.ts";
import type { Tables, TableSpecs } from "../../ovsdb-client/tables.ts";

const RETRY_BASE_MS = 500;
const RETRY_CAP_MS = 10_000;
/** A connection that stood this long was a good one: after it nothing is held against the servers. */
const STABLE_MS = 10_000;

/** `connected` is always true of a database that is not clustered (ovsdb-server(5)). */
const serverTables = (database: string) =>
  ({ Database: { columns: { connected: "boolean" }, where: [["name", "==", database]] } }) as const;

/** One life of a connection. */
export type Viewer<S extends TableSpecs> = {
  /** What is there, first of all and after every change. */
  readonly onTables: (tables: Tables<S>) => void;
  readonly onEnd: () => void;
};

export type FollowOptions<S extends TableSpecs> = {
  readonly endpoints: readonly [Endpoint, ...Endpoint[]];
  /** Asked at every connection with TLS, so that renewed certificates need no restart. May reject. */
  readonly identity: () => Promise<TlsIdentity>;
  readonly database: string;
  readonly tables: S;
  readonly clock: Clock;
  readonly connectTimeoutMs?: number | undefined;
  readonly probeIntervalMs?: number | undefined;
  readonly view: (session: OvsdbSession, server: string) => Viewer<S>;
  /** The connection was lost, or each server was tried once more in vain. */
  readonly onDown: (why: string) => void;
};

export type Follower = { close(): Promise<void> };

export function follow<S extends TableSpecs>(options: FollowOptions<S>): Follower {
  const { endpoints, clock } = options;
  const stop = new AbortController();
  const isStopped = (): boolean => stop.signal.aborted;
  const running = run();

  async function run(): Promise<void> {
    let failures = 0;
    let whys: string[] = [];
    // Agents of one cloud are given one list; each begins at another server of it.
    let at = Math.floor(clock.random() * endpoints.length);
    while (!isStopped()) {
      const endpoint = endpoints[at % endpoints.length] ?? endpoints[0];
      at += 1;
      const { stoodMs, why } = await live(endpoint);
      if (isStopped()) return;
      if (stoodMs !== undefined) {
        options.onDown(why);
        whys = [];
      } else {
        whys.push(why);
      }
      failures = stoodMs !== undefined && stoodMs >= STABLE_MS ? 0 : failures + 1;
      if (failures === 0 || failures % endpoints.length !== 0) continue;
      if (whys.length > 0) options.onDown(whys.join("; "));
      whys = [];
      const round = failures / endpoints.length;
      await pause(backoffMs(round - 1, RETRY_BASE_MS, RETRY_CAP_MS, clock.random()));
    }
  }

  /** Lives through one connection. `stoodMs` undefined: it never came to be. */
  async function live(endpoint: Endpoint): Promise<{ readonly stoodMs: number | undefined; readonly why: string }> {
    const server = endpointText(endpoint);
    let viewer: Viewer<S> | undefined;
    let beganAtMs = 0;
    let session: OvsdbSession | undefined;
    let end: (reason: Error) => void = () => undefined;
    const ended = new Promise<Error>((resolve) => (end = resolve));
    const { signal } = stop;
    try {
      const opened = await openOvsdbSession({
        endpoint,
        tls: endpoint.kind === "ssl" ? await options.identity() : undefined,
        connectTimeoutMs: options.connectTimeoutMs,
        probeIntervalMs: options.probeIntervalMs,
        onClosed: end,
        signal,
      });
      session = opened;
      await opened.requireDatabase(options.database, { signal });
      await opened.monitor(
        SERVER_DATABASE,
        serverTables(options.database),
        ({ Database: databases }) => {
          const [database] = databases.values();
          // A server of a cluster that lost the others goes on telling what it knew, and takes no transaction.
          if (database?.connected !== true) {
            throw new UnavailableError("OVSDB_DOWN", `${server} is cut off from the other servers of its cluster`);
          }
        },
        { signal },
      );
      await opened.monitor(
        options.database,
        options.tables,
        (tables) => {
          if (viewer === undefined) beganAtMs = clock.nowMs();
          viewer ??= options.view(opened, server);
          viewer.onTables(tables);
        },
        { signal },
      );
      const shut = (): void => void opened.close();
      signal.addEventListener("abort", shut);
      if (signal.aborted) shut();
      const reason = await ended;
      signal.removeEventListener("abort", shut);
      return { stoodMs: viewer === undefined ? undefined : clock.nowMs() - beganAtMs, why: whyOf(server, reason) };
    } catch (error) {
      // The session was never opened, or cannot be used: a bug in a viewer ends up here, too, and is told as it is.
      return { stoodMs: viewer === undefined ? undefined : clock.nowMs() - beganAtMs, why: whyOf(server, error) };
    } finally {
      await session?.close();
      viewer?.onEnd();
    }
  }

  function pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const finish = (): void => {
        cancel();
        stop.signal.removeEventListener("abort", finish);
        resolve();
      };
      const cancel = clock.after(delayMs, finish);
      stop.signal.addEventListener("abort", finish);
    });
  }

  return {
    async close() {
      stop.abort();
      await running;
    },
  };
}

/** Our own errors name the server where that helps; those that do not get it put before them. */
function whyOf(server: string, error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.includes(server) ? text : `${server}: ${text}`;
}
