// HTTP for people and probes: the control socket (a unix socket that only its owner may use) and the health port.
// It owns sockets, deadlines and status codes; what the answers mean is handed in as functions.
import { chmod, mkdir, rename, rm, stat } from "node:fs/promises";
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from "node:http";
import { connect } from "node:net";
import path from "node:path";
import { AgentError } from "../../core/errors.ts";
import { isUuid, routerId, type RouterId } from "../../core/ids.ts";

/** What an order about a router, or about all of them, came to. */
export type OrderAnswer =
  | { readonly kind: "done" }
  | { readonly kind: "unknownRouter" }
  /** Not done yet, and tried again. */
  | { readonly kind: "failed"; readonly why: string };

/** About one router, or about all of them. */
export type Order = (router: RouterId | undefined, signal: AbortSignal) => Promise<OrderAnswer> | OrderAnswer;

/** Behind the control socket. The controller has no orders to give; it leaves them out. */
export type ControlApi = {
  state(): unknown;
  /** Undefined: there is no such router. */
  readonly diff?: (router: RouterId | undefined) => Promise<unknown>;
  readonly sync?: Order;
  readonly teardown?: Order;
};

/** `missing` says what is not there, one short text each; nothing missing is the answer 200. */
export type HealthAnswer = { readonly missing: readonly string[] };

/** Behind the health port. `health`: is the process worth keeping; `ready`: does it do its work. */
export type HealthApi = {
  readonly metricsContentType: string;
  metrics(): Promise<string>;
  health(): HealthAnswer;
  ready(): HealthAnswer;
};

export type ApiServer = {
  /** Where it listens: the path, or the port that was given. */
  readonly at: string | number;
  /** Takes no more requests, lets those under way finish, and cuts them off when their time is up. */
  close(): Promise<void>;
};

export type ApiOptions = {
  /** Hears of failures inside the functions that were handed in; the asker gets 500. */
  readonly onFailure: (err: unknown, request: string) => void;
  readonly drainMs?: number;
};

/** Another process answers on the control socket: two agents must not share one machine's tunnels. */
export class SocketInUseError extends AgentError {
  override readonly name = "SocketInUseError";
  readonly code = "SOCKET_IN_USE";
  readonly disposition = "fatal";

  constructor(socketPath: string) {
    super(`listen on ${socketPath}: another process answers there`);
  }
}

const HEADER_DEADLINE_MS = 5000;
const REQUEST_DEADLINE_MS = 10_000;
const IDLE_DEADLINE_MS = 5000;
// A teardown of a thousand routers; what takes longer goes on by itself.
const ORDER_DEADLINE_MS = 300_000;
const DEFAULT_DRAIN_MS = 3000;
const OWNER_ONLY = 0o600;

export async function startControlServer(socketPath: string, api: ControlApi, options: ApiOptions): Promise<ApiServer> {
  await mkdir(path.dirname(socketPath), { recursive: true });
  if (await isAnswered(socketPath)) throw new SocketInUseError(socketPath);
  const server = httpServer(controlListener(api), options);
  // Bound beside its place and moved there: nobody can connect before the mode is set, and the move replaces what a
  // dead process left.
  const ownPath = `${socketPath}.${process.pid}`;
  await rm(ownPath, { force: true });
  await listening(server, () => server.listen(ownPath));
  await chmod(ownPath, OWNER_ONLY);
  const { ino } = await stat(ownPath);
  await rename(ownPath, socketPath);
  return {
    at: socketPath,
    async close() {
      const current = await stat(socketPath).catch(() => undefined);
      // A successor may have put its own there already.
      if (current?.ino === ino) await rm(socketPath, { force: true });
      await drained(server, options);
    },
  };
}

export async function startHealthServer(
  address: string,
  port: number,
  api: HealthApi,
  options: ApiOptions,
): Promise<ApiServer> {
  const server = httpServer(healthListener(api), options);
  await listening(server, () => server.listen(port, address));
  const bound = server.address();
  return {
    at: typeof bound === "object" && bound !== null ? bound.port : port,
    close: () => drained(server, options),
  };
}

type Answer = { readonly code: number; readonly body: string; readonly contentType: string };
type Route = { readonly method: "GET" | "POST"; answer(url: URL): Promise<Answer> | Answer };

const json = (code: number, value: unknown): Answer => ({
  code,
  body: `${JSON.stringify(value)}\n`,
  contentType: "application/json",
});

const failure = (code: number, error: string): Answer => json(code, { error });

function controlListener(api: ControlApi): Routes {
  const aboutRouters = (
    method: Route["method"],
    answer: (router: RouterId | undefined) => Promise<Answer | undefined>,
  ): Route => ({
    method,
    async answer(url) {
      const raw = url.searchParams.get("router") ?? undefined;
      if (raw !== undefined && !isUuid(raw)) return failure(400, "router must be a lower-case UUID");
      const given = await answer(raw === undefined ? undefined : routerId(raw));
      return given ?? failure(404, `router ${raw ?? ""} is not known here`);
    },
  });
  const order = (run: Order | undefined): Route =>
    aboutRouters("POST", async (router) => {
      if (run === undefined) return failure(404, "there is nothing of this kind to order here");
      const answer = await run(router, AbortSignal.timeout(ORDER_DEADLINE_MS));
      if (answer.kind === "failed") return failure(503, `not done yet, and tried again: ${answer.why}`);
      return answer.kind === "done" ? json(200, { done: true }) : undefined;
    });
  const { diff } = api;
  const look = aboutRouters("GET", async (router) => {
    if (diff === undefined) return failure(404, "only an agent has tunnels to compare");
    const views = await diff(router);
    return views === undefined ? undefined : json(200, views);
  });
  return new Map<string, Route>([
    ["/status", { method: "GET", answer: () => json(200, api.state()) }],
    ["/diff", look],
    ["/sync", order(api.sync)],
    ["/teardown", order(api.teardown)],
  ]);
}

function healthListener(api: HealthApi): Routes {
  const judged = (judge: () => HealthAnswer): Route => ({
    method: "GET",
    answer() {
      const { missing } = judge();
      const ok = missing.length === 0;
      return json(ok ? 200 : 503, { ok, missing });
    },
  });
  return new Map<string, Route>([
    [
      "/metrics",
      {
        method: "GET",
        answer: async () => ({ code: 200, body: await api.metrics(), contentType: api.metricsContentType }),
      },
    ],
    ["/healthz", judged(() => api.health())],
    ["/readyz", judged(() => api.ready())],
  ]);
}

type Routes = ReadonlyMap<string, Route>;

function httpServer(routes: Routes, { onFailure }: ApiOptions): Server {
  const listener: RequestListener = (request, response) => {
    // No request of ours has a body; what comes is thrown away, within the request's deadline.
    request.resume();
    request.on("error", () => response.destroy());
    answerTo(request, routes)
      .catch((err: unknown) => {
        onFailure(err, `${request.method ?? ""} ${request.url ?? ""}`);
        return failure(500, "internal error; the log says more");
      })
      .then((answer) => respond(response, answer, request.method === "HEAD"))
      .catch((err: unknown) => {
        onFailure(err, "answer");
        response.destroy();
      });
  };
  const server = createServer(
    {
      headersTimeout: HEADER_DEADLINE_MS,
      requestTimeout: REQUEST_DEADLINE_MS,
      keepAliveTimeout: IDLE_DEADLINE_MS,
      // Node looks for late requests this often (default 30 s), so it bounds the deadlines above.
      connectionsCheckingInterval: 1000,
    },
    listener,
  );
  server.on("clientError", (_err, socket) => {
    if (socket.writable) socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    else socket.destroy();
  });
  return server;
}

async function answerTo(request: IncomingMessage, routes: Routes): Promise<Answer> {
  const url = URL.canParse(request.url ?? "", "http://local") ? new URL(request.url ?? "", "http://local") : undefined;
  const route = url === undefined ? undefined : routes.get(url.pathname);
  if (url === undefined || route === undefined) return failure(404, `there is only ${[...routes.keys()].join(", ")}`);
  const method = request.method === "HEAD" ? "GET" : request.method;
  if (method !== route.method) return failure(405, `use ${route.method}`);
  return route.answer(url);
}

function respond(response: ServerResponse, { code, body, contentType }: Answer, isHead: boolean): void {
  if (response.destroyed) return;
  response.writeHead(code, {
    "content-type": contentType,
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-store",
  });
  response.end(isHead ? undefined : body);
}

function listening(server: Server, listen: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.once("listening", () => {
      server.off("error", reject);
      resolve();
    });
    listen();
  });
}

function drained(server: Server, { drainMs = DEFAULT_DRAIN_MS }: ApiOptions): Promise<void> {
  return new Promise((resolve) => {
    const cut = setTimeout(() => server.closeAllConnections(), drainMs);
    server.close(() => {
      clearTimeout(cut);
      resolve();
    });
    server.closeIdleConnections();
  });
}

/** Whether a live process holds the socket; what is not a socket at all is refused by the connect with ECONNREFUSED. */
function isAnswered(socketPath: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", (err: NodeJS.ErrnoException) => {
      socket.destroy();
      // EAGAIN: its backlog is full, so somebody lives there.
      if (err.code === "EAGAIN") resolve(true);
      else if (err.code === "ECONNREFUSED" || err.code === "ENOENT") resolve(false);
      else reject(err);
    });
  });
}
