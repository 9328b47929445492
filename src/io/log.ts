// The root of the log: JSON lines, or pretty ones on a terminal. It owns what may never be printed.
// It refuses to know who logs what, and when.
import { isatty } from "node:tty";
import { destination, pino, type DestinationStream, type Logger } from "pino";
import { prettyFactory } from "pino-pretty";

export type { Logger } from "pino";

export type LogOptions = {
  readonly level: string;
  readonly pretty: "auto" | "on" | "off";
  /** Where the lines go instead of standard output. */
  readonly stream?: DestinationStream;
};

/** Field names that hold secrets, in our words and in those of charon, Neutron and the broker. */
const SECRET_NAMES = [
  "psk",
  "data",
  "secret",
  "transportUrl",
  "transport_url",
  "password",
  "passphrase",
  "credentials",
];
const REDACTED = "[secret]";
// Deeper than any log line of ours; what lies below is not printed at all.
const MAX_DEPTH = 8;
const MAX_CAUSES = 8;

export function createLog({ level, pretty, stream }: LogOptions): Logger {
  const isTerminal = stream === undefined && isatty(1);
  // Synchronous, so that the last line before an exit is not lost; pino-pretty's own stream is not.
  const target = stream ?? standardOutput();
  const isPretty = pretty === "on" || (pretty === "auto" && isTerminal);
  return pino(
    {
      level,
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }), log: redactFields },
      // The formatter has made errors into values already.
      serializers: { err: (err: unknown) => (err instanceof Error ? serializeError(err) : err) },
      // Bindings of child loggers do not pass the formatter above.
      redact: { paths: SECRET_NAMES.flatMap((name) => [name, `*.${name}`]), censor: REDACTED },
      hooks: {
        logMethod(args, method) {
          const [first, ...rest] = args;
          // An error alone would lend its message to the line as it is.
          if (first instanceof Error && rest.length === 0) args = [{ err: first }, first.message];
          method.apply(
            this,
            args.map((arg) => (typeof arg === "string" ? withoutCredentials(arg) : arg)) as typeof args,
          );
        },
      },
    },
    isPretty ? prettified(target, isTerminal) : target,
  );
}

function standardOutput(): DestinationStream {
  const output = destination({ dest: 1, sync: true });
  // A log that nobody takes (a closed pipe, a full disk) must not stop the work.
  output.on("error", () => undefined);
  return output;
}

function prettified(target: DestinationStream, colorize: boolean): DestinationStream {
  const prettify = prettyFactory({ colorize });
  return { write: (line) => target.write(prettify(line)) };
}

const redactFields = (fields: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, shown(name, value, 0)]));

function shown(name: string, value: unknown, depth: number): unknown {
  if (SECRET_NAMES.includes(name)) return REDACTED;
  if (typeof value === "string") return withoutCredentials(value);
  if (typeof value !== "object" || value === null) return typeof value === "bigint" ? String(value) : value;
  if (value instanceof Error) return serializeError(value);
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (hasToJson(value)) return shown(name, value.toJSON(), MAX_DEPTH);
  if (depth >= MAX_DEPTH) return "[deep]";
  if (Array.isArray(value)) return value.map((item: unknown) => shown("", item, depth + 1));
  const entries: Iterable<readonly [unknown, unknown]> = value instanceof Map ? value : Object.entries(value);
  return Object.fromEntries([...entries].map(([key, item]) => [String(key), shown(String(key), item, depth + 1)]));
}

const hasToJson = (value: object): value is { toJSON(): unknown } =>
  "toJSON" in value && typeof value.toJSON === "function";

export type SerializedError = {
  readonly class: string;
  readonly code?: string;
  readonly message: string;
  readonly stack?: string;
  readonly cause?: SerializedError;
};

/** Class, code, message, stack and the causes. Other properties stay out: drivers hang whole requests on their errors. */
function serializeError(err: unknown, depth = 0): SerializedError {
  if (!(err instanceof Error)) return { class: typeof err, message: withoutCredentials(String(err)) };
  return {
    class: err.name === "Error" ? err.constructor.name : err.name,
    ...("code" in err && typeof err.code === "string" ? { code: err.code } : {}),
    message: withoutCredentials(err.message),
    ...(err.stack === undefined ? {} : { stack: withoutCredentials(err.stack) }),
    ...(err.cause === undefined || depth >= MAX_CAUSES ? {} : { cause: serializeError(err.cause, depth + 1) }),
  };
}

/** `scheme://user:password@host` loses what is before the last @: libraries put URLs into their messages. */
const withoutCredentials = (text: string): string =>
  text.replaceAll(/(\b(?!file:)[a-z][a-z0-9+.-]*:\/\/)[^\s"']*@/gi, `$1${REDACTED}@`);
