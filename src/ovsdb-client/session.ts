// The socket: requests by number, many in flight, updates of what is watched, and echoes both ways. Never connects again:
// who needs that knows better what to do meanwhile.
import { createConnection, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { z } from "zod";
import { endpointText, type Endpoint } from "./endpoint.ts";
import {
  MalformedMessageError,
  OvsdbClosedError,
  OvsdbNoDatabaseError,
  OvsdbRefusedError,
  OvsdbTimeoutError,
} from "./errors.ts";
import { emptyFramer, feed } from "./framing.ts";
import {
  decodeServerMessage,
  encodeAnswer,
  encodeRefusal,
  encodeRequest,
  parsed,
  type Json,
  type ServerMessage,
} from "./message.ts";
import { decodeResults, type OperationResult } from "./operations.ts";
import { applyUpdates, emptyTables, monitorRequests, type Tables, type TableSpecs } from "./tables.ts";

const DEFAULT_CONNECT_TIMEOUT_MS = 5_000;
export const DEFAULT_REQUEST_TIMEOUT_MS = 10_000;
/** Of Open vSwitch's own clients (ovsdb-idl; `ovn-remote-probe-interval` has the same default). */
const DEFAULT_PROBE_INTERVAL_MS = 5_000;

/** What ovsdb-server tells of its databases is one more of them (ovsdb-server(5)). */
export const SERVER_DATABASE = "_Server";

/** PEM texts. The server is known by its certificate's CA; its name is not compared, since OVN's certificates have none. */
export type TlsIdentity = { readonly privateKey: string; readonly certificate: string; readonly caCertificate: string };

export type SessionOptions = {
  readonly endpoint: Endpoint;
  /** Wanted for `ssl:` endpoints, and not used for others. */
  readonly tls?: TlsIdentity | undefined;
  readonly connectTimeoutMs?: number | undefined;
  /** After this long without a word from the server it is asked for an echo; after this long again it is given up. */
  readonly probeIntervalMs?: number | undefined;
  /** Told once when the session is over, for whatever reason. */
  readonly onClosed?: ((reason: Error) => void) | undefined;
  /** Gives up while connecting; afterwards there is close(). */
  readonly signal?: AbortSignal | undefined;
};

export type RequestOptions = { readonly timeoutMs?: number | undefined; readonly signal?: AbortSignal | undefined };

type Waiter = {
  readonly method: string;
  readonly resolve: (result: unknown) => void;
  readonly reject: (reason: Error) => void;
};

/** RFC 7047, section 3.1, `<error>`; ovsdb-server sends plain strings for faults of JSON-RPC itself. */
const refusal = z.union([z.string(), z.object({ error: z.string(), details: z.string().optional() })]);
const databaseNames = z.array(z.string());
const update2 = z.tuple([z.json(), z.unknown()]);

export class OvsdbSession {
  readonly #name: string;
  readonly #socket: Socket;
  readonly #onClosed: ((reason: Error) => void) | undefined;
  readonly #probeIntervalMs: number;
  readonly #waiters = new Map<number, Waiter>();
  readonly #monitors = new Map<number, (updates: unknown) => void>();
  readonly #closed: Promise<void>;
  #framer = emptyFramer;
  #lastId = 0;
  #heardAtMs = performance.now();
  #probe: NodeJS.Timeout | undefined;
  #over: Error | undefined;

  private constructor(socket: Socket, options: SessionOptions) {
    this.#socket = socket;
    this.#name = endpointText(options.endpoint);
    this.#onClosed = options.onClosed;
    this.#probeIntervalMs = options.probeIntervalMs ?? DEFAULT_PROBE_INTERVAL_MS;
    socket.on("data", (chunk: Buffer) => this.#take(chunk));
    socket.on("error", (error: NodeJS.ErrnoException) => this.#drop(closedBy(this.#name, error, true)));
    socket.on("end", () => this.#drop(undefined));
    this.#closed = new Promise((resolve) => {
      socket.on("close", () => {
        this.#drop(undefined);
        resolve();
      });
    });
    this.#armProbe();
  }

  /** Rejects with OvsdbClosedError, OvsdbTimeoutError or the signal's reason. */
  static async open(options: SessionOptions): Promise<OvsdbSession> {
    return new OvsdbSession(await connected(options), options);
  }

  get isOpen(): boolean {
    return this.#over === undefined;
  }

  /** RFC 7047, section 4.1.1. */
  async listDatabases(options?: RequestOptions): Promise<readonly string[]> {
    return parsed(databaseNames, await this.request("list_dbs", [], options), "the list of databases");
  }

  /** Rejects with OvsdbNoDatabaseError, which tells those that are there, when this one is not. */
  async requireDatabase(database: string, options?: RequestOptions): Promise<void> {
    const served = await this.listDatabases(options);
    if (served.includes(database)) return;
    throw new OvsdbNoDatabaseError(
      database,
      served.filter((name) => name !== SERVER_DATABASE),
    );
  }

  /** RFC 7047, section 4.1.3. Rejects with OvsdbRefusedError when an operation, or the commit, failed: then none is done. */
  async transact(
    database: string,
    operations: readonly Json[],
    options?: RequestOptions,
  ): Promise<readonly OperationResult[]> {
    return decodeResults(await this.request("transact", [database, ...operations], options), operations.length);
  }

  /**
   * ovsdb-server(7), section 4.1.12. `onTables` is called with what is there before this resolves, and with every change
   * from then on, until the session is over. It must not throw: what it throws ends the session.
   */
  async monitor<S extends TableSpecs>(
    database: string,
    specs: S,
    onTables: (tables: Tables<S>) => void,
    options?: RequestOptions,
  ): Promise<void> {
    let tables = emptyTables(specs);
    // Registered before the answer is looked at: updates may be right behind it.
    const id = this.#lastId + 1;
    const take = (updates: unknown): void => {
      tables = applyUpdates(specs, tables, updates);
      onTables(tables);
    };
    this.#monitors.set(id, take);
    try {
      await this.#ask("monitor_cond", [database, id, monitorRequests(specs)], options, take);
    } catch (error) {
      this.#monitors.delete(id);
      throw error;
    }
  }

  /** Resolves with the result, whatever it is (RFC 7047, section 4.1). */
  request(method: string, params: readonly Json[], options?: RequestOptions): Promise<unknown> {
    return this.#ask(method, params, options, () => undefined);
  }

  /** Rejects whatever still waits and resolves when the socket is gone. */
  async close(): Promise<void> {
    this.#drop(undefined);
    await this.#closed;
  }

  /** `onResult` runs before anything behind the answer is read. */
  #ask(
    method: string,
    params: readonly Json[],
    { timeoutMs = DEFAULT_REQUEST_TIMEOUT_MS, signal }: RequestOptions = {},
    onResult: (result: unknown) => void,
  ): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#over !== undefined) {
        reject(new OvsdbClosedError(this.#name, "the session is over", false, { cause: this.#over }));
        return;
      }
      if (signal?.aborted === true) {
        reject(abortReason(signal));
        return;
      }
      this.#lastId += 1;
      const id = this.#lastId;
      const settle = (how: () => void) => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", onAbort);
        this.#waiters.delete(id);
        how();
      };
      // Answers have numbers: one that comes too late is told from the next one's, and costs nothing.
      const onAbort = () => settle(() => reject(abortReason(signal)));
      const timer = setTimeout(
        () => settle(() => reject(new OvsdbTimeoutError(`${method} at ${this.#name}`, timeoutMs, true))),
        timeoutMs,
      );
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#waiters.set(id, {
        method,
        resolve: (result) => {
          onResult(result);
          settle(() => resolve(result));
        },
        reject: (reason) => settle(() => reject(reason)),
      });
      this.#socket.write(encodeRequest(id, method, params));
    });
  }

  #take(chunk: Buffer): void {
    this.#heardAtMs = performance.now();
    try {
      const fed = feed(this.#framer, chunk);
      this.#framer = fed.framer;
      for (const message of fed.messages) {
        if (this.#over !== undefined) return;
        this.#receive(decodeServerMessage(message));
      }
    } catch (error) {
      this.#drop(error as Error);
    }
  }

  #receive(message: ServerMessage): void {
    switch (message.kind) {
      case "response":
        this.#answered(message.id, message.result, message.error);
        return;
      case "request":
        this.#socket.write(
          message.method === "echo"
            ? encodeAnswer(message.id, message.params)
            : encodeRefusal(message.id, "unknown method"),
        );
        return;
      case "notification": {
        // Others, such as those of locks, are for requests that are never made here.
        if (message.method !== "update2") return;
        const [id, updates] = parsed(update2, message.params, "an update");
        const take = typeof id === "number" ? this.#monitors.get(id) : undefined;
        if (take === undefined) throw new MalformedMessageError("an update of what is not watched");
        take(updates);
        return;
      }
      default:
        return message satisfies never;
    }
  }

  #answered(id: number, result: unknown, error: unknown): void {
    const waiter = this.#waiters.get(id);
    if (waiter === undefined) {
      if (id < 1 || id > this.#lastId) throw new MalformedMessageError("an answer to nothing that was asked");
      return; // nobody waits for it any more
    }
    if (error === null) {
      waiter.resolve(result);
      return;
    }
    const told = parsed(refusal, error, "an error");
    waiter.reject(
      typeof told === "string"
        ? new OvsdbRefusedError(waiter.method, told, undefined)
        : new OvsdbRefusedError(waiter.method, told.error, told.details),
    );
  }

  /** RFC 7047, section 4.1.11: either side may ask the other for an echo to see whether it is still there. */
  #armProbe(): void {
    const silentMs = performance.now() - this.#heardAtMs;
    this.#probe = setTimeout(
      () => {
        if (performance.now() - this.#heardAtMs < this.#probeIntervalMs) {
          this.#armProbe();
          return;
        }
        this.request("echo", [], { timeoutMs: this.#probeIntervalMs }).then(
          () => {
            if (this.#over === undefined) this.#armProbe();
          },
          (error: unknown) => this.#drop(error as Error),
        );
      },
      Math.max(1, this.#probeIntervalMs - silentMs),
    );
  }

  /** `reason` undefined: the server, or we, ended the connection without an error. */
  #drop(reason: Error | undefined): void {
    if (this.#over !== undefined) return;
    const over = reason ?? new OvsdbClosedError(this.#name, "the connection was closed", true);
    this.#over = over;
    clearTimeout(this.#probe);
    this.#socket.destroy();
    this.#monitors.clear();
    for (const waiter of [...this.#waiters.values()]) waiter.reject(over);
    this.#onClosed?.(over);
  }
}

function connected({
  endpoint,
  tls,
  connectTimeoutMs = DEFAULT_CONNECT_TIMEOUT_MS,
  signal,
}: SessionOptions): Promise<Socket> {
  const name = endpointText(endpoint);
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(abortReason(signal));
      return;
    }
    let socket: Socket;
    try {
      socket = begun(endpoint, tls);
    } catch (cause) {
      // A key or certificate that OpenSSL cannot read; its own words say which, and quote nothing of it.
      reject(new OvsdbClosedError(name, cause instanceof Error ? cause.message : "no TLS", false, { cause }));
      return;
    }
    const fail = (reason: Error) => {
      release();
      socket.destroy();
      reject(reason);
    };
    const onAbort = () => fail(abortReason(signal));
    const timer = setTimeout(
      () => fail(new OvsdbTimeoutError(`connecting to ${name}`, connectTimeoutMs, false)),
      connectTimeoutMs,
    );
    const release = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    // Stays for the life of the socket: an 'error' without a listener would end the process.
    socket.on("error", (error: NodeJS.ErrnoException) => fail(closedBy(name, error, false)));
    socket.once("end", () => fail(new OvsdbClosedError(name, "the server ended the connection", false)));
    socket.once(endpoint.kind === "ssl" ? "secureConnect" : "connect", () => {
      release();
      resolve(socket);
    });
  });
}

function begun(endpoint: Endpoint, tls: TlsIdentity | undefined): Socket {
  if (endpoint.kind === "unix") return createConnection({ path: endpoint.path });
  const { host, port } = endpoint;
  if (endpoint.kind === "tcp") return createConnection({ host, port, keepAlive: true, noDelay: true });
  if (tls === undefined) throw new Error("wants a private key, a certificate and a CA certificate");
  const socket = connectTls({
    host,
    port,
    key: tls.privateKey,
    cert: tls.certificate,
    ca: tls.caCertificate,
    minVersion: "TLSv1.2",
    // Certificates of ovs-pki(8) have a made-up common name and nothing else; Open vSwitch's own clients look at the CA only.
    checkServerIdentity: () => undefined,
  });
  return socket.setKeepAlive(true).setNoDelay(true);
}

const closedBy = (name: string, error: NodeJS.ErrnoException, sent: boolean): OvsdbClosedError =>
  new OvsdbClosedError(name, error.code ?? error.message, sent, { cause: error });

function abortReason(signal: AbortSignal | undefined): Error {
  const reason: unknown = signal?.reason;
  return reason instanceof Error ? reason : new Error(`aborted: ${String(reason)}`, { cause: reason });
}

export function openOvsdbSession(options: SessionOptions): Promise<OvsdbSession> {
  return OvsdbSession.open(options);
}
