// Asks an agent or a controller over its control socket. It refuses to know what the answers are used for.
import { request } from "node:http";

/** Nobody answers on the socket, or we may not ask. `code` is the errno. */
export class UnreachableError extends Error {
  override readonly name = "UnreachableError";
  readonly code: string;

  constructor(socketPath: string, code: string, options?: ErrorOptions) {
    super(`${socketPath}: ${WHY[code] ?? code}`, options);
    this.code = code;
  }
}

/** It answered, and the answer was no. */
export class RefusedError extends Error {
  override readonly name = "RefusedError";
  readonly statusCode: number;

  constructor(statusCode: number, message: string) {
    super(message);
    this.statusCode = statusCode;
  }
}

const WHY: Readonly<Record<string, string>> = {
  ENOENT: "there is no such socket; is the agent running?",
  ECONNREFUSED: "nobody answers; the agent has ended",
  EACCES: "not allowed; the socket belongs to root",
  ETIMEDOUT: "no answer in time",
};

const STATUS_DEADLINE_MS = 10_000;
const ORDER_DEADLINE_MS = 300_000;
/** A thousand routers with ten connections each are about 10 MiB. */
const MAX_ANSWER_BYTES = 256 * 1024 * 1024;

export type ApiClient = {
  /** The state as JSON gave it: its writer may be another version than we are. */
  status(): Promise<unknown>;
  /** All views of one router, or of all; as `status`. */
  diff(router?: string): Promise<unknown>;
  sync(router?: string): Promise<void>;
  teardown(router?: string): Promise<void>;
};

export function apiClient(socketPath: string, signal?: AbortSignal): ApiClient {
  const about = (router: string | undefined): string =>
    router === undefined ? "" : `?router=${encodeURIComponent(router)}`;
  const order = async (name: string, router: string | undefined): Promise<void> => {
    await ask(socketPath, "POST", `/${name}${about(router)}`, ORDER_DEADLINE_MS, signal);
  };
  return {
    status: () => ask(socketPath, "GET", "/status", STATUS_DEADLINE_MS, signal),
    diff: (router) => ask(socketPath, "GET", `/diff${about(router)}`, ORDER_DEADLINE_MS, signal),
    sync: (router) => order("sync", router),
    teardown: (router) => order("teardown", router),
  };
}

function ask(
  socketPath: string,
  method: string,
  path: string,
  deadlineMs: number,
  signal: AbortSignal | undefined,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const deadline = AbortSignal.timeout(deadlineMs);
    const fail = (err: NodeJS.ErrnoException): void => {
      if (signal?.aborted === true) reject(err);
      else
        reject(new UnreachableError(socketPath, deadline.aborted ? "ETIMEDOUT" : (err.code ?? "EIO"), { cause: err }));
    };
    const asked = request(
      {
        socketPath,
        method,
        path,
        agent: false,
        signal: signal === undefined ? deadline : AbortSignal.any([signal, deadline]),
      },
      (response) => {
        const chunks: Buffer[] = [];
        let size = 0;
        response.on("data", (chunk: Buffer) => {
          size += chunk.length;
          if (size > MAX_ANSWER_BYTES) response.destroy(new Error("the answer is too long"));
          chunks.push(chunk);
        });
        response.on("error", fail);
        response.on("end", () => {
          const answer = parsed(Buffer.concat(chunks).toString());
          const code = response.statusCode ?? 0;
          if (code >= 200 && code < 300 && answer !== undefined) resolve(answer);
          else reject(new RefusedError(code, messageOf(answer) ?? `answer ${code} to ${method} ${path}`));
        });
      },
    );
    asked.on("error", fail);
    asked.end();
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Not one of ours; the caller names the status code instead.
    return undefined;
  }
}

const messageOf = (answer: unknown): string | undefined =>
  typeof answer === "object" && answer !== null && "error" in answer && typeof answer.error === "string"
    ? answer.error
    : undefined;
