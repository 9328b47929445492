// One connection and its end: answers, updates, echoes, silence, nonsense.
import { expect, onTestFinished, test, vi } from "vitest";
import { openOvsdbSession, type SessionOptions } from "../../../src/ovsdb-client/session.ts";
import { eventually } from "../../support/eventually.ts";
import { startFakeOvsdb, type FakeMessage, type FakeOvsdb } from "../../support/fake-ovsdb.ts";
import { ovsdbMessage } from "../../support/ovsdb-golden.ts";

async function open(server: FakeOvsdb, options: Partial<SessionOptions> = {}) {
  const onClosed = vi.fn<(reason: Error) => void>();
  const session = await openOvsdbSession({ endpoint: { kind: "unix", path: server.path }, onClosed, ...options });
  onTestFinished(() => session.close());
  return { session, onClosed };
}

/** The recorded answer under the number of the request. */
const recorded = (caption: string, { id }: FakeMessage): string =>
  JSON.stringify({ ...(JSON.parse(ovsdbMessage(caption).toString()) as object), id });
const SPECS = { SB_Global: { columns: { nb_cfg: "integer" } } } as const;

test("answers belong to their requests, in whatever order they come", async () => {
  const waiting: FakeMessage[] = [];
  const server = await startFakeOvsdb((message) => {
    waiting.push(message);
    if (waiting.length < 2) return undefined;
    return waiting
      .reverse()
      .map(({ id, method }) => JSON.stringify({ id, result: method, error: null }))
      .join("");
  });
  const { session } = await open(server);
  expect(await Promise.all([session.request("one", []), session.request("two", [])])).toEqual(["one", "two"]);
});

test("the databases are those that the server lists", async () => {
  const server = await startFakeOvsdb((message) => recorded("list_dbs", message));
  const { session } = await open(server);
  expect(await session.listDatabases()).toEqual(["OVN_Southbound", "_Server"]);
  await session.requireDatabase("OVN_Southbound");
  await expect(session.requireDatabase("OVN_Northbound")).rejects.toMatchObject({
    code: "OVSDB_NO_DATABASE",
    message: "the server has no database OVN_Northbound, only OVN_Southbound",
  });
});

test.each([
  ["a transaction in a database that is not there", "unknown database"],
  ["a method that is none", "unknown method"],
])("%s is refused in the server's words", async (caption, error) => {
  const server = await startFakeOvsdb((message) => recorded(caption, message));
  const { session } = await open(server);
  const refused = expect.objectContaining({ code: "OVSDB_REFUSED", method: "transact", error }) as Error;
  await expect(session.transact("Nope", [])).rejects.toEqual(refused);
  expect(session.isOpen).toBe(true);
});

test("what is watched is told at once, and again with every update, also with one right behind the answer", async () => {
  const first = { SB_Global: { x: { initial: { nb_cfg: 7 } } } };
  const update = (id: unknown, nbCfg: number): string =>
    JSON.stringify({ id: null, method: "update2", params: [id, { SB_Global: { x: { modify: { nb_cfg: nbCfg } } } }] });
  const server = await startFakeOvsdb(
    ({ id, params }) => JSON.stringify({ id, result: first, error: null }) + update(params?.[1], 8),
  );
  const { session } = await open(server);
  const told: unknown[] = [];
  await session.monitor("OVN_Southbound", SPECS, ({ SB_Global: rows }) => told.push(rows.get("x")?.nb_cfg));
  expect(told).toEqual([7, 8]);
  server.send(update(server.received[0]?.params?.[1], 9));
  await eventually(() => told.length === 3, { what: "the update" });
  expect(told).toEqual([7, 8, 9]);
});

test("an echo of the server is answered with its own parameters", async () => {
  const server = await startFakeOvsdb();
  await open(server);
  server.send('{"id":"echo","method":"echo","params":["still","there"]}');
  await eventually(() => server.received.length > 0, { what: "an answer" });
  expect(server.received).toEqual([{ id: "echo", result: ["still", "there"], error: null }]);
});

test("another request of the server is refused, and other notifications are passed over", async () => {
  const server = await startFakeOvsdb();
  const { session } = await open(server);
  server.send('{"id":null,"method":"locked","params":["x"]}{"id":3,"method":"steal","params":[]}');
  await eventually(() => server.received.length > 0, { what: "an answer" });
  expect(server.received).toEqual([{ id: 3, result: null, error: "unknown method" }]);
  expect(session.isOpen).toBe(true);
});

test("a silent server is asked for an echo, and kept while it answers", async () => {
  const server = await startFakeOvsdb(({ id }) => JSON.stringify({ id, result: [], error: null }));
  const { session, onClosed } = await open(server, { probeIntervalMs: 30 });
  await eventually(() => server.received.length >= 3, { what: "echoes" });
  expect(server.received.every(({ method }) => method === "echo")).toBe(true);
  expect([session.isOpen, onClosed.mock.calls]).toEqual([true, []]);
});

test("a server that does not answer the echo is given up", async () => {
  const server = await startFakeOvsdb();
  const { session, onClosed } = await open(server, { probeIntervalMs: 30 });
  const waiting = expect(session.request("transact", [])).rejects.toMatchObject({ code: "OVSDB_TIMEOUT" });
  await eventually(() => onClosed.mock.calls.length > 0, { what: "the end" });
  await waiting;
  expect(onClosed.mock.calls).toEqual([[expect.objectContaining({ code: "OVSDB_TIMEOUT" })]]);
  expect(session.isOpen).toBe(false);
});

test("a deadline costs its own request only, and a late answer is passed over", async () => {
  let late: FakeMessage | undefined;
  const server = await startFakeOvsdb((message) => {
    if (message.method !== "slow") return JSON.stringify({ id: message.id, result: "quick", error: null });
    late = message;
    return undefined;
  });
  const { session } = await open(server);
  await expect(session.request("slow", [], { timeoutMs: 20 })).rejects.toMatchObject({ code: "OVSDB_TIMEOUT" });
  server.send(JSON.stringify({ id: late?.id, result: "slow", error: null }));
  expect(await session.request("quick", [])).toBe("quick");
});

test("an abort ends the wait with its reason", async () => {
  const server = await startFakeOvsdb();
  const { session } = await open(server);
  const stop = new AbortController();
  const waiting = session.request("x", [], { signal: stop.signal });
  stop.abort(new Error("enough"));
  await expect(waiting).rejects.toThrow("enough");
  await expect(session.request("x", [], { signal: stop.signal })).rejects.toThrow("enough");
  expect(session.isOpen).toBe(true);
});

test.each([
  ["no JSON", "{]"],
  ["no object", "[]"],
  ["an answer to nothing", '{"id":77,"result":1,"error":null}'],
  ["an update of what is not watched", '{"id":null,"method":"update2","params":[1,{}]}'],
  ["an update without its parts", '{"id":null,"method":"update2","params":[]}'],
  ["a request without parameters", '{"id":1,"method":"echo"}'],
  ["an answer without a number", '{"id":null,"result":1,"error":null}'],
])("%s ends the session as malformed", async (_what, text) => {
  const server = await startFakeOvsdb();
  const { session, onClosed } = await open(server);
  const waiting = expect(session.request("x", [])).rejects.toMatchObject({ code: "OVSDB_MALFORMED" });
  await eventually(() => server.received.length > 0, { what: "the request" });
  server.send(text);
  await waiting;
  expect(onClosed.mock.calls).toEqual([[expect.objectContaining({ code: "OVSDB_MALFORMED" })]]);
});

test("what a listener throws ends the session with it", async () => {
  const server = await startFakeOvsdb(({ id }) => JSON.stringify({ id, result: {}, error: null }));
  const { session, onClosed } = await open(server);
  const bug = new Error("a bug");
  const watching = session.monitor("OVN_Southbound", SPECS, () => {
    throw bug;
  });
  await expect(watching).rejects.toBe(bug);
  expect(onClosed.mock.calls).toEqual([[bug]]);
});

test("a server that hangs up ends what waits, and is told once", async () => {
  const server = await startFakeOvsdb();
  const { session, onClosed } = await open(server);
  const waiting = expect(session.request("x", [])).rejects.toMatchObject({ code: "OVSDB_CLOSED", sent: true });
  await eventually(() => server.received.length > 0, { what: "the request" });
  server.hangUp();
  await waiting;
  await expect(session.request("x", [])).rejects.toMatchObject({ code: "OVSDB_CLOSED", sent: false });
  expect(onClosed.mock.calls).toHaveLength(1);
});

test("a socket that is not there is told with its errno", async () => {
  const endpoint = { kind: "unix", path: "/nonexistent/db.sock" } as const;
  await expect(openOvsdbSession({ endpoint })).rejects.toMatchObject({
    code: "OVSDB_CLOSED",
    sent: false,
    message: "no connection to unix:/nonexistent/db.sock: ENOENT",
  });
});

test("TLS without its files, or with some that are none, is told without what is in them", async () => {
  const endpoint = { kind: "ssl", host: "127.0.0.1", port: 1 } as const;
  await expect(openOvsdbSession({ endpoint })).rejects.toThrow("wants a private key");
  const tls = { privateKey: "not a key: 5ecret", certificate: "none", caCertificate: "none" };
  const error: unknown = await openOvsdbSession({ endpoint, tls }).catch((reason: unknown) => reason);
  expect(error).toMatchObject({ code: "OVSDB_CLOSED", sent: false });
  expect(String(error)).not.toContain("5ecret");
});
