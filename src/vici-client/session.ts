// The socket, and one command at a time on it. Never connects again and never repeats a command: client.ts does.
import { createConnection, type Socket } from "node:net";
import {
  MalformedMessageError,
  ViciClosedError,
  ViciTimeoutError,
  ViciUnknownCommandError,
  ViciUnknownEventError,
} from "./errors.ts";
import { emptyFramer, encodeFrame, feed } from "./framing.ts";
import type { Section, SectionInput } from "./message.ts";
import { type CharonPacket, type ClientPacket, decodeCharonPacket, encodeClientPacket } from "./packet.ts";

/** A local socket accepts at once or not at all; only a full backlog takes longer. */
const DEFAULT_CONNECT_TIMEOUT_MS = 2_000;
/** Every command of charon that does not wait for a peer answers in milliseconds. */
export const DEFAULT_COMMAND_TIMEOUT_MS = 10_000;

export type CommandOptions = {
  /** Counts from the call, so it includes the wait for commands before this one. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
};

/**
 * Must not throw. A promise that it returns is waited for: meanwhile nothing more is read from charon, which keeps what it
 * has to say, while the command's deadline goes on. Anything else that it returns is ignored.
 */
export type OnEvent = (message: Section) => unknown;

/** Something that takes commands: a session, or a client that opens sessions as they are needed. */
export interface ViciRequester {
  /** Resolves with charon's answer, whatever it says: `success = no` is judged by commands.ts. */
  request(command: string, args?: SectionInput, options?: CommandOptions): Promise<Section>;
  /** As request, with `onEvent` called for each `event` that charon raises until it answers. */
  stream(
    command: string,
    event: string,
    args: SectionInput,
    onEvent: OnEvent,
    options?: CommandOptions,
  ): Promise<Section>;
}

export type LinkOptions = { readonly path: string; readonly connectTimeoutMs?: number | undefined };

type LinkEvents = {
  /** Packets behind this one wait for the promise, if there is one. */
  readonly onPacket: (packet: CharonPacket) => Promise<unknown> | undefined;
  /** Once, when no further packet will come. Undefined: charon, or we, ended the connection without an error. */
  readonly onGone: (reason: Error | undefined) => void;
};

/** A connected socket that speaks packets. */
export type Link = {
  send(packet: ClientPacket): void;
  /** Ends the link at once; `onGone` is told `reason`. */
  drop(reason: Error | undefined): void;
  readonly closed: Promise<void>;
};

export async function openLink(options: LinkOptions, events: LinkEvents): Promise<Link> {
  const { path, connectTimeoutMs = DEFAULT_CONNECT_TIMEOUT_MS } = options;
  const socket = await connect(path, connectTimeoutMs);
  let framer = emptyFramer;
  let gone = false;

  const drop = (reason: Error | undefined) => {
    if (gone) return;
    gone = true;
    socket.destroy();
    events.onGone(reason);
  };
  const orDrop = (work: () => void) => {
    try {
      work();
    } catch (error) {
      drop(error as Error);
    }
  };
  /** True when a packet is being waited for: those behind it follow by themselves, and the socket reads on after them. */
  const deliver = (frames: readonly Buffer[]): boolean => {
    for (const [at, frame] of frames.entries()) {
      if (gone) return false;
      const busy = events.onPacket(decodeCharonPacket(frame));
      if (busy === undefined) continue;
      socket.pause();
      const rest = frames.slice(at + 1);
      const goOn = () => {
        if (!deliver(rest) && !gone) socket.resume();
      };
      busy.then(
        () => orDrop(goOn),
        (error: unknown) => drop(error as Error),
      );
      return true;
    }
    return false;
  };
  socket.on("data", (chunk: Buffer) =>
    orDrop(() => {
      const fed = feed(framer, chunk);
      framer = fed.framer;
      deliver(fed.frames);
    }),
  );
  socket.on("error", (error) => drop(new ViciClosedError(path, error.message, true, { cause: error })));
  socket.on("end", () => drop(undefined));
  const closed = new Promise<void>((resolve) => {
    socket.on("close", () => {
      drop(undefined);
      resolve();
    });
  });
  return { send: (packet) => void socket.write(encodeFrame(encodeClientPacket(packet))), drop, closed };
}

function connect(path: string, timeoutMs: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ path });
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new ViciTimeoutError(`connecting to ${path}`, timeoutMs, false));
    }, timeoutMs);
    // Stays for the life of the socket: an 'error' without a listener would end the process.
    socket.on("error", (error: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      reject(new ViciClosedError(path, error.code ?? error.message, false, { cause: error }));
    });
    socket.once("connect", () => {
      clearTimeout(timer);
      resolve(socket);
    });
  });
}

type Job = {
  readonly command: string;
  readonly args: SectionInput;
  readonly stream: { readonly event: string; readonly onEvent: OnEvent } | undefined;
  readonly resolve: (answer: Section) => void;
  readonly reject: (reason: Error) => void;
  sent: boolean;
};

type Waiter = { readonly resolve: (packet: CharonPacket) => void; readonly reject: (reason: Error) => void };

export type ViciSessionOptions = LinkOptions & {
  /** Told once when the session is over, for whatever reason. */
  readonly onClosed?: ((reason: ViciClosedError) => void) | undefined;
};

/**
 * VICI numbers nothing, so an answer belongs to the command before it. A command whose answer we stop waiting for (its
 * deadline passed, its caller aborted) therefore costs the session: the late answer would be taken for the next one's.
 * One that still waits in the queue only leaves the queue.
 */
export class ViciSession implements ViciRequester {
  readonly #path: string;
  readonly #onClosed: ((reason: ViciClosedError) => void) | undefined;
  readonly #queue: Job[] = [];
  #link: Link | undefined;
  #running: Job | undefined;
  #waiter: Waiter | undefined;
  #over: ViciClosedError | undefined;

  private constructor(options: ViciSessionOptions) {
    this.#path = options.path;
    this.#onClosed = options.onClosed;
  }

  static async open(options: ViciSessionOptions): Promise<ViciSession> {
    const session = new ViciSession(options);
    session.#link = await openLink(options, {
      onPacket: (packet) => session.#receive(packet),
      onGone: (reason) => session.#end(reason),
    });
    return session;
  }

  get isOpen(): boolean {
    return this.#over === undefined;
  }

  request(command: string, args: SectionInput = {}, options: CommandOptions = {}): Promise<Section> {
    return this.#enqueue(command, args, undefined, options);
  }

  stream(
    command: string,
    event: string,
    args: SectionInput,
    onEvent: OnEvent,
    options: CommandOptions = {},
  ): Promise<Section> {
    return this.#enqueue(command, args, { event, onEvent }, options);
  }

  /** Rejects whatever still waits and resolves when the socket is gone. */
  async close(): Promise<void> {
    this.#link?.drop(undefined);
    await this.#link?.closed;
  }

  #enqueue(command: string, args: SectionInput, stream: Job["stream"], options: CommandOptions): Promise<Section> {
    const { timeoutMs = DEFAULT_COMMAND_TIMEOUT_MS, signal } = options;
    return new Promise<Section>((resolve, reject) => {
      if (this.#over !== undefined) {
        reject(new ViciClosedError(this.#path, "the session is over", false, { cause: this.#over }));
        return;
      }
      if (signal?.aborted === true) {
        reject(abortReason(signal));
        return;
      }
      const job: Job = {
        command,
        args,
        stream,
        sent: false,
        resolve: (answer) => {
          release();
          resolve(answer);
        },
        reject: (reason) => {
          release();
          reject(reason);
        },
      };
      const onAbort = () => this.#abandon(job, abortReason(signal));
      const timer = setTimeout(() => this.#abandon(job, new ViciTimeoutError(command, timeoutMs, job.sent)), timeoutMs);
      const release = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", onAbort);
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#queue.push(job);
      this.#next();
    });
  }

  #next(): void {
    if (this.#running !== undefined || this.#over !== undefined) return;
    const job = this.#queue.shift();
    if (job === undefined) return;
    this.#running = job;
    this.#run(job).then(
      (answer) => this.#finish(job, () => job.resolve(answer)),
      (error: unknown) => this.#finish(job, () => job.reject(error as Error)),
    );
  }

  #finish(job: Job, settle: () => void): void {
    if (this.#running === job) this.#running = undefined;
    settle();
    this.#next();
  }

  async #run(job: Job): Promise<Section> {
    if (job.stream === undefined) return this.#command(job);
    const { event } = job.stream;
    const registered = await this.#exchange({ kind: "eventRegister", name: event }, "eventConfirm", "eventUnknown");
    if (registered.kind === "eventUnknown") throw new ViciUnknownEventError(event);
    try {
      return await this.#command(job);
    } finally {
      // The README asks for it after the response; after a refusal it is as true.
      if (this.#over === undefined) {
        await this.#exchange({ kind: "eventUnregister", name: event }, "eventConfirm", "eventUnknown");
      }
    }
  }

  async #command(job: Job): Promise<Section> {
    const answer = await this.#exchange(
      { kind: "commandRequest", name: job.command, message: job.args },
      "commandResponse",
      "commandUnknown",
      job,
    );
    if (answer.kind === "commandUnknown") throw new ViciUnknownCommandError(job.command);
    return answer.message;
  }

  async #exchange<Kind extends CharonPacket["kind"]>(
    packet: ClientPacket,
    yes: Kind,
    no: Kind,
    job?: Job,
  ): Promise<Extract<CharonPacket, { kind: Kind }>> {
    const answer = new Promise<CharonPacket>((resolve, reject) => (this.#waiter = { resolve, reject }));
    try {
      this.#link?.send(packet);
    } catch (error) {
      // Refused by our own encoder: nothing went out and nothing will come back.
      this.#waiter = undefined;
      throw error;
    }
    if (job !== undefined) job.sent = true;
    const got = await answer;
    if (got.kind === yes || got.kind === no) return got as Extract<CharonPacket, { kind: Kind }>;
    const error = new MalformedMessageError(`charon answered ${packet.kind} ${packet.name} with ${got.kind}`);
    this.#link?.drop(error);
    throw error;
  }

  #receive(packet: CharonPacket): Promise<unknown> | undefined {
    if (packet.kind === "event") {
      const stream = this.#running?.stream;
      // An event of another name was raised before its unregistration was confirmed.
      const busy = stream?.event === packet.name ? stream.onEvent(packet.message) : undefined;
      return busy instanceof Promise ? busy : undefined;
    }
    const waiter = this.#waiter;
    if (waiter === undefined) throw new MalformedMessageError(`${packet.kind} that nothing asked for`);
    this.#waiter = undefined;
    waiter.resolve(packet);
    return undefined;
  }

  #abandon(job: Job, reason: Error): void {
    if (this.#running === job) {
      this.#link?.drop(reason);
      return;
    }
    const at = this.#queue.indexOf(job);
    if (at >= 0) this.#queue.splice(at, 1);
    job.reject(reason);
  }

  #end(reason: Error | undefined): void {
    const text = reason?.message ?? "the connection was closed";
    const closed = (sent: boolean) => new ViciClosedError(this.#path, text, sent, { cause: reason });
    this.#over = closed(false);
    const running = this.#running;
    this.#running = undefined;
    this.#waiter = undefined;
    // What ended the session is the answer of the command in flight; those behind it only learn that it is over.
    const isLoss = reason === undefined || reason instanceof ViciClosedError;
    if (running !== undefined) running.reject(isLoss ? closed(running.sent) : reason);
    for (const job of this.#queue.splice(0)) job.reject(closed(false));
    this.#onClosed?.(this.#over);
  }
}

function abortReason(signal: AbortSignal | undefined): Error {
  const reason: unknown = signal?.reason;
  return reason instanceof Error ? reason : new Error(`aborted: ${String(reason)}`, { cause: reason });
}

export function openViciSession(options: ViciSessionOptions): Promise<ViciSession> {
  return ViciSession.open(options);
}
