// Keeps a session and a subscription to one charon alive across its restarts. Repeats a command only if charon cannot
// have seen it; what a restart undid is the caller's to load again, which is why it is told.
import { ViciClosedError, ViciTimeoutError } from "./errors.ts";
import type { Section, SectionInput } from "./message.ts";
import {
  type CommandOptions,
  DEFAULT_COMMAND_TIMEOUT_MS,
  type OnEvent,
  openViciSession,
  type ViciRequester,
  type ViciSession,
} from "./session.ts";
import { type Subscription, subscribe } from "./subscription.ts";

/** Calls back after the delay unless the returned function was called before. */
export type Timer = (delayMs: number, callback: () => void) => () => void;

export type ViciClientOptions = {
  readonly path: string;
  readonly connectTimeoutMs?: number;
  /** For commands that bring no deadline of their own. */
  readonly commandTimeoutMs?: number;
  readonly events?: readonly string[];
  readonly onEvent?: (name: string, message: Section) => void;
  /** The subscription stands. Anything may have happened while it did not: read everything again. */
  readonly onConnected?: (subscription: { readonly unknownEvents: readonly string[] }) => void;
  /** Told once per lost or failed connection series: after a success, or at the first failure. */
  readonly onDisconnected?: (reason: Error) => void;
  readonly retryBaseMs?: number;
  readonly retryCapMs?: number;
  readonly timer?: Timer;
  /** In [0, 1). */
  readonly random?: () => number;
};

// charon's socket appears about 10 ms after its start, so the first retries are quick.
const RETRY_BASE_MS = 50;
const RETRY_CAP_MS = 5_000;

const systemTimer: Timer = (delayMs, callback) => {
  const handle = setTimeout(callback, delayMs);
  return () => clearTimeout(handle);
};

export class ViciClient implements ViciRequester {
  readonly #options: ViciClientOptions;
  readonly #timer: Timer;
  readonly #random: () => number;
  #opening: Promise<ViciSession> | undefined;
  #subscription: Subscription | undefined;
  #subscribing: Promise<void> | undefined;
  #cancelRetry: (() => void) | undefined;
  #failures = 0;
  readonly #closing = new AbortController();

  constructor(options: ViciClientOptions) {
    this.#options = options;
    this.#timer = options.timer ?? systemTimer;
    this.#random = options.random ?? Math.random;
    if (this.#events.length > 0) this.#subscribe();
  }

  get #isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  get #events(): readonly string[] {
    return this.#options.events ?? [];
  }

  request(command: string, args: SectionInput = {}, options: CommandOptions = {}): Promise<Section> {
    return this.#attempt(command, options, (session, rest) => session.request(command, args, rest));
  }

  stream(
    command: string,
    event: string,
    args: SectionInput,
    onEvent: OnEvent,
    options: CommandOptions = {},
  ): Promise<Section> {
    return this.#attempt(command, options, (session, rest) => session.stream(command, event, args, onEvent, rest));
  }

  /** Resolves when both sockets are gone. Commands in flight are rejected with ViciClosedError. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#cancelRetry?.();
    await Promise.all([
      this.#opening?.then(
        (session) => session.close(),
        () => undefined, // it never opened
      ),
      this.#subscribing,
      this.#subscription?.close(),
    ]);
  }

  async #attempt(
    command: string,
    options: CommandOptions,
    run: (session: ViciSession, options: CommandOptions) => Promise<Section>,
  ): Promise<Section> {
    const timeoutMs = options.timeoutMs ?? this.#options.commandTimeoutMs ?? DEFAULT_COMMAND_TIMEOUT_MS;
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      options.signal?.throwIfAborted();
      const session = await this.#session();
      const leftMs = Math.ceil(deadline - performance.now());
      if (leftMs <= 0) throw new ViciTimeoutError(command, timeoutMs, false);
      try {
        return await run(session, { timeoutMs: leftMs, signal: options.signal });
      } catch (error) {
        // Waited behind the command that cost the session, or met a charon that has just been restarted.
        const isUnsent = error instanceof ViciClosedError && !error.sent;
        if (!isUnsent || this.#isClosed) throw error;
      }
    }
  }

  #session(): Promise<ViciSession> {
    const { path, connectTimeoutMs } = this.#options;
    if (this.#isClosed) return Promise.reject(new ViciClosedError(path, "the client was closed", false));
    if (this.#opening !== undefined) return this.#opening;
    const forget = () => {
      if (this.#opening === opening) this.#opening = undefined;
    };
    const opening = openViciSession({ path, connectTimeoutMs, onClosed: forget });
    opening.catch(forget);
    this.#opening = opening;
    return opening;
  }

  #subscribe(): void {
    const { path, connectTimeoutMs, commandTimeoutMs, onEvent } = this.#options;
    this.#subscribing = subscribe({
      path,
      connectTimeoutMs,
      registerTimeoutMs: commandTimeoutMs,
      events: this.#events,
      signal: this.#closing.signal,
      onEvent: (name, message) => onEvent?.(name, message),
      onClosed: (reason) => {
        this.#subscription = undefined;
        this.#lost(reason);
      },
    }).then(
      (subscription) => this.#found(subscription),
      (error: unknown) => this.#lost(error as Error),
    );
  }

  async #found(subscription: Subscription): Promise<void> {
    if (this.#isClosed) {
      await subscription.close();
      return;
    }
    this.#subscription = subscription;
    this.#failures = 0;
    this.#options.onConnected?.({ unknownEvents: subscription.unknown });
  }

  #lost(reason: Error): void {
    if (this.#isClosed) return;
    if (this.#failures === 0) this.#options.onDisconnected?.(reason);
    const { retryBaseMs = RETRY_BASE_MS, retryCapMs = RETRY_CAP_MS } = this.#options;
    const ceilingMs = Math.min(retryCapMs, retryBaseMs * 2 ** Math.min(this.#failures, 30));
    this.#failures += 1;
    // Half fixed, half random: many agents' sockets do not return in step, and none returns at once.
    const delayMs = Math.round(ceilingMs * (0.5 + this.#random() / 2));
    this.#cancelRetry = this.#timer(delayMs, () => this.#subscribe());
  }
}

export function createViciClient(options: ViciClientOptions): ViciClient {
  return new ViciClient(options);
}
