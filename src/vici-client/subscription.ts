// Events on a socket of their own, so that a slow command never delays them and they never sit between its answers.
import { MalformedMessageError, ViciClosedError, ViciTimeoutError } from "./errors.ts";
import type { Section } from "./message.ts";
import type { CharonPacket } from "./packet.ts";
import { DEFAULT_COMMAND_TIMEOUT_MS, type Link, type LinkOptions, openLink } from "./session.ts";

export type SubscriptionOptions = LinkOptions & {
  readonly events: readonly string[];
  readonly registerTimeoutMs?: number | undefined;
  /** Must not throw: what it throws ends the subscription. */
  readonly onEvent: (name: string, message: Section) => void;
  /** Told once, after which no event comes; not told when subscribing itself failed. */
  readonly onClosed?: ((reason: ViciClosedError) => void) | undefined;
  /** Gives up while subscribing; afterwards there is close(). */
  readonly signal?: AbortSignal | undefined;
};

export type Subscription = {
  readonly confirmed: readonly string[];
  /** Events this charon does not have, such as `alert` before 6.0.3: reported, since the others are still of use. */
  readonly unknown: readonly string[];
  close(): Promise<void>;
};

type Waiter = { readonly resolve: (packet: CharonPacket) => void; readonly reject: (reason: Error) => void };

/** Resolves when charon has answered every registration. Events of those already confirmed may come before that. */
export async function subscribe(options: SubscriptionOptions): Promise<Subscription> {
  const { path, events, registerTimeoutMs = DEFAULT_COMMAND_TIMEOUT_MS } = options;
  let waiter: Waiter | undefined;
  let isReady = false;
  let over: ViciClosedError | undefined;

  const link = await openLink(options, {
    onPacket: (packet) => {
      if (packet.kind === "event") {
        options.onEvent(packet.name, packet.message);
        return undefined;
      }
      if (waiter === undefined) throw new MalformedMessageError(`${packet.kind} that nothing asked for`);
      const { resolve } = waiter;
      waiter = undefined;
      resolve(packet);
      return undefined;
    },
    onGone: (reason) => {
      over = new ViciClosedError(path, reason?.message ?? "the connection was closed", false, { cause: reason });
      waiter?.reject(over);
      if (isReady) options.onClosed?.(over);
    },
  });

  const register = (name: string) =>
    new Promise<CharonPacket>((resolve, reject) => {
      if (over !== undefined) {
        reject(over);
        return;
      }
      waiter = { resolve, reject };
      link.send({ kind: "eventRegister", name });
    });

  const confirmed: string[] = [];
  const unknown: string[] = [];
  const timer = setTimeout(
    () => link.drop(new ViciTimeoutError("event registration", registerTimeoutMs, true)),
    registerTimeoutMs,
  );
  const onAbort = () => link.drop(new Error("subscribing was aborted"));
  options.signal?.addEventListener("abort", onAbort, { once: true });
  try {
    options.signal?.throwIfAborted();
    for (const name of events) {
      const answer = await register(name);
      if (answer.kind === "eventConfirm") confirmed.push(name);
      else if (answer.kind === "eventUnknown") unknown.push(name);
      else throw new MalformedMessageError(`charon answered eventRegister ${name} with ${answer.kind}`);
    }
  } catch (error) {
    await shut(link);
    throw error;
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener("abort", onAbort);
  }
  // The last answer and the end may have come in one chunk, too early for onClosed.
  if (over !== undefined) throw over;
  isReady = true;
  return { confirmed, unknown, close: () => shut(link) };
}

async function shut(link: Link): Promise<void> {
  link.drop(undefined);
  await link.closed;
}
