// The control socket and the health port over real sockets, asked well and badly.
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { routerId } from "../../../../src/core/ids.ts";
import { apiClient, RefusedError, UnreachableError } from "../../../../src/io/api/client.ts";
import {
  SocketInUseError,
  startControlServer,
  startHealthServer,
  type ApiServer,
  type ControlApi,
  type HealthAnswer,
} from "../../../../src/io/api/server.ts";

const ROUTER = routerId("11111111-1111-4111-8111-111111111111");

let directory: string;
let socketPath: string;
let closers: (() => Promise<unknown> | undefined)[];
let failures: string[];

beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), "swanherd-api-"));
  socketPath = path.join(directory, "run", "agent.sock");
  closers = [];
  failures = [];
});

afterEach(async () => {
  for (const close of closers.reverse()) await close();
  rmSync(directory, { recursive: true, force: true });
});

const onFailure = (err: unknown, request: string): void => {
  failures.push(`${request}: ${String(err)}`);
};

async function start(api: Partial<ControlApi> = {}, drainMs = 200): Promise<ApiServer> {
  const server = await startControlServer(
    socketPath,
    { state: () => ({ version: 1 }), ...api },
    { onFailure, drainMs },
  );
  closers.push(() => server.close());
  return server;
}

/** Sends bytes as they are and gives everything that comes back until the other side ends. */
function exchange(bytes: string, at: string | number = socketPath): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket: Socket = typeof at === "string" ? connect(at) : connect(at, "127.0.0.1");
    let got = "";
    socket.on("data", (chunk) => (got += chunk.toString()));
    socket.on("close", () => resolve(got));
    socket.on("error", reject);
    socket.write(bytes);
  });
}

function gate() {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { open: () => open(), opened };
}

const plainRequest = (method: string, target: string): string =>
  `${method} ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`;

describe("the control socket", () => {
  test("gives the state as JSON", async () => {
    await start({ state: () => ({ version: 1, host: "gw-1" }) });
    expect(await apiClient(socketPath).status()).toEqual({ version: 1, host: "gw-1" });
  });

  test("may be used by its owner only and goes away with its server", async () => {
    const server = await start();
    expect(statSync(socketPath).mode & 0o777).toBe(0o600);
    await server.close();
    expect(existsSync(socketPath)).toBe(false);
  });

  test("passes orders on, for all routers or for one", async () => {
    const orders: unknown[] = [];
    await start({
      sync: (router) => {
        orders.push(["sync", router]);
        return { kind: "done" };
      },
      teardown: (router) => {
        orders.push(["teardown", router]);
        return { kind: "done" };
      },
    });
    const client = apiClient(socketPath);
    await client.sync();
    await client.sync(ROUTER);
    await client.teardown(ROUTER);
    expect(orders).toEqual([
      ["sync", undefined],
      ["sync", ROUTER],
      ["teardown", ROUTER],
    ]);
  });

  test("refuses an order about a router that is unknown, that is no id, or that nobody takes", async () => {
    await start({ sync: () => ({ kind: "unknownRouter" }) });
    const client = apiClient(socketPath);
    await expect(client.sync(ROUTER)).rejects.toThrow(new RefusedError(404, `router ${ROUTER} is not known here`));
    await expect(client.sync("R1")).rejects.toThrow("router must be a lower-case UUID");
    await expect(client.teardown()).rejects.toThrow("nothing of this kind to order here");
  });

  test("says of an order that failed that it is not done, and why", async () => {
    await start({ teardown: () => ({ kind: "failed", why: "delete namespace: EBUSY" }) });
    const why = "not done yet, and tried again: delete namespace: EBUSY";
    await expect(apiClient(socketPath).teardown(ROUTER)).rejects.toThrow(new RefusedError(503, why));
  });

  test("replaces the socket that a dead process left", async () => {
    const first = await start();
    await first.close();
    writeFileSync(socketPath, "");
    await start();
    expect(await apiClient(socketPath).status()).toEqual({ version: 1 });
  });

  test("of a live process is refused and left alone", async () => {
    await start();
    await expect(start()).rejects.toThrow(SocketInUseError);
    expect(await apiClient(socketPath).status()).toEqual({ version: 1 });
  });

  test("of a successor is left alone when the first one closes", async () => {
    const first = await start();
    rmSync(socketPath);
    await start();
    await first.close();
    expect(await apiClient(socketPath).status()).toEqual({ version: 1 });
  });
});

describe("a bad request", () => {
  test.each([
    ["that is no HTTP", "\x00\x01garbage\r\n\r\n", "400"],
    ["with endless headers", `GET / HTTP/1.1\r\n${`X: ${"a".repeat(1000)}\r\n`.repeat(100)}\r\n`, "400"],
    ["for an unknown path", plainRequest("GET", "/nothing"), "404"],
    ["with a target that is no URL", plainRequest("GET", "http://[::"), "404"],
    ["with the wrong method", plainRequest("GET", "/sync"), "405"],
    [
      "with a body that nobody wants",
      `POST /status HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc`,
      "405",
    ],
  ])("%s is answered and does not end the server", async (_kind, bytes, code) => {
    await start();
    expect(await exchange(bytes)).toContain(`HTTP/1.1 ${code}`);
    expect(await apiClient(socketPath).status()).toEqual({ version: 1 });
  });

  test("to a function that throws is answered with 500, without the reason, and the reason is told", async () => {
    await start({
      state: () => {
        throw new Error("inner matter");
      },
    });
    await expect(apiClient(socketPath).status()).rejects.toThrow("internal error");
    expect(failures).toEqual(["GET /status: Error: inner matter"]);
  });
});

describe("closing", () => {
  test("lets a request under way finish", async () => {
    const entered = gate();
    const finish = gate();
    const server = await start(
      {
        sync: async () => {
          entered.open();
          await finish.opened;
          return { kind: "done" };
        },
      },
      5000,
    );
    const asked = apiClient(socketPath).sync();
    await entered.opened;
    const closed = server.close();
    finish.open();
    await asked;
    await closed;
  });

  test("cuts off a request that never ends", async () => {
    const entered = gate();
    const server = await start(
      {
        sync: () => {
          entered.open();
          return new Promise(() => undefined);
        },
      },
      50,
    );
    const asked = apiClient(socketPath).sync();
    const outcome = expect(asked).rejects.toThrow(UnreachableError);
    await entered.opened;
    await server.close();
    await outcome;
  });
});

describe("the client", () => {
  test("tells an absent agent from one that has ended", async () => {
    await expect(apiClient(path.join(directory, "none.sock")).status()).rejects.toMatchObject({ code: "ENOENT" });
    writeFileSync(path.join(directory, "dead.sock"), "");
    await expect(apiClient(path.join(directory, "dead.sock")).status()).rejects.toMatchObject({ code: "ECONNREFUSED" });
  });

  test("does not take a foreign answer for a state", async () => {
    const odd = path.join(directory, "odd.sock");
    const server = createServer((socket) => socket.resume().end("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"));
    await new Promise<void>((resolve) => server.listen(odd, resolve));
    closers.push(() => new Promise((resolve) => server.close(resolve)));
    await expect(apiClient(odd).status()).rejects.toThrow("answer 200 to GET /status");
  });

  test("stops asking when it is told to", async () => {
    await start({ sync: () => new Promise(() => undefined) }, 50);
    const stop = new AbortController();
    const asked = apiClient(socketPath, stop.signal).sync();
    stop.abort();
    await expect(asked).rejects.toMatchObject({ name: "AbortError" });
  });
});

describe("the health port", () => {
  const startHealth = async (health: HealthAnswer, ready: HealthAnswer): Promise<number> => {
    const api = {
      metricsContentType: "text/plain; version=0.0.4",
      metrics: () => Promise.resolve("swanherd_up 1\n"),
      health: () => health,
      ready: () => ready,
    };
    const server = await startHealthServer("127.0.0.1", 0, api, { onFailure, drainMs: 50 });
    closers.push(() => server.close());
    return Number(server.at);
  };
  const get = async (port: number, target: string) => {
    const response = await fetch(`http://127.0.0.1:${port}${target}`);
    return { code: response.status, type: response.headers.get("content-type"), body: await response.text() };
  };

  test("gives the metrics in their own content type", async () => {
    const port = await startHealth({ missing: [] }, { missing: [] });
    expect(await get(port, "/metrics")).toEqual({
      code: 200,
      type: "text/plain; version=0.0.4",
      body: "swanherd_up 1\n",
    });
  });

  test("says 200 or 503, and what is missing", async () => {
    const port = await startHealth({ missing: [] }, { missing: ["broker", "first fetch"] });
    expect(await get(port, "/healthz")).toMatchObject({ code: 200, body: '{"ok":true,"missing":[]}\n' });
    expect(await get(port, "/readyz")).toMatchObject({
      code: 503,
      body: '{"ok":false,"missing":["broker","first fetch"]}\n',
    });
  });

  test("answers HEAD without a body and knows none of the orders", async () => {
    const port = await startHealth({ missing: [] }, { missing: [] });
    expect(await exchange(plainRequest("HEAD", "/healthz"), port)).toMatch(/^HTTP\/1.1 200 [^]*\r\n\r\n$/);
    expect((await get(port, "/status")).code).toBe(404);
  });
});
