// What a client does when charon goes and comes, against a server in this process.
import { expect, onTestFinished, test, vi } from "vitest";
import {
  createViciClient,
  type Timer,
  type ViciClient,
  type ViciClientOptions,
} from "../../../src/vici-client/client.ts";
import { ViciClosedError, ViciTimeoutError } from "../../../src/vici-client/errors.ts";
import { aFakeVici, type FakeVici, type FakeViciOptions } from "../../support/fake-vici.ts";

function aClient(server: FakeVici, options: Partial<ViciClientOptions> = {}): ViciClient {
  const client = createViciClient({ path: server.path, ...options });
  onTestFinished(() => client.close());
  return client;
}

/** Retries happen when the test says so. */
function heldTimer() {
  const delaysMs: number[] = [];
  let pending: (() => void) | undefined;
  const timer: Timer = (delayMs, callback) => {
    delaysMs.push(delayMs);
    pending = callback;
    return () => (pending = undefined);
  };
  const fire = () => {
    const callback = pending;
    pending = undefined;
    if (callback === undefined) throw new Error("no retry is pending");
    callback();
  };
  return { timer, delaysMs, fire, isPending: () => pending !== undefined };
}

const answering: FakeViciOptions = { commands: { version: (_, peer) => peer.respond({ version: "5.9.8" }) } };

test("the first command opens the connection and later ones use it", async () => {
  const server = await aFakeVici(answering);
  const client = aClient(server);
  expect(server.connectionCount).toBe(0);
  await Promise.all([client.request("version"), client.request("version")]);
  await client.request("version");
  expect(server.connectionCount).toBe(1);
});

test("a command after charon came back works", async () => {
  const server = await aFakeVici(answering);
  const client = aClient(server);
  await client.request("version");
  await server.stop();
  await expect(client.request("version")).rejects.toThrow(ViciClosedError);
  await server.start();
  expect((await client.request("version")).get("version")).toBe("5.9.8");
});

test("a command that was sent is not repeated, those behind it are sent on a new connection", async () => {
  const server = await aFakeVici({ commands: { ...answering.commands, fatal: (_, peer) => peer.hangUp() } });
  const client = aClient(server);
  const [fatal, behind] = await Promise.allSettled([client.request("fatal"), client.request("version")]);
  expect(fatal).toMatchObject({ status: "rejected", reason: { code: "VICI_CLOSED", sent: true } });
  expect(behind).toMatchObject({ status: "fulfilled" });
  expect(server.log).toEqual(["command fatal", "command version"]);
});

test("a deadline costs the connection, not the client", async () => {
  const server = await aFakeVici({ commands: { ...answering.commands, slow: () => undefined } });
  const client = aClient(server, { commandTimeoutMs: 30 });
  await expect(client.request("slow")).rejects.toThrow(ViciTimeoutError);
  await client.request("version");
  expect(server.connectionCount).toBe(2);
});

test("nothing is sent after close", async () => {
  const server = await aFakeVici(answering);
  const client = aClient(server);
  await client.request("version");
  await client.close();
  await expect(client.request("version")).rejects.toThrow(/the client was closed/);
  await vi.waitFor(() => expect(server.openCount).toBe(0));
});

test("events come without a command, and the owner learns which ones do not exist", async () => {
  const server = await aFakeVici({ events: ["log"] });
  const [onEvent, onConnected] = [vi.fn(), vi.fn()];
  aClient(server, { events: ["log", "alert"], onEvent, onConnected });
  await vi.waitFor(() => expect(onConnected).toHaveBeenCalledWith({ unknownEvents: ["alert"] }));
  server.raise("log", { msg: "hello" });
  await vi.waitFor(() => expect(onEvent).toHaveBeenCalledWith("log", new Map([["msg", "hello"]])));
});

test("a lost subscription is told once, tried again with growing delays, and told when it stands", async () => {
  const server = await aFakeVici({ events: ["log"] });
  const held = heldTimer();
  const [onConnected, onDisconnected] = [vi.fn(), vi.fn()];
  aClient(server, {
    events: ["log"],
    onConnected,
    onDisconnected,
    timer: held.timer,
    random: () => 0,
    retryBaseMs: 100,
    retryCapMs: 300,
  });
  await vi.waitFor(() => expect(onConnected).toHaveBeenCalledOnce());

  await server.stop();
  for (let attempt = 0; attempt < 3; attempt += 1) {
    await vi.waitFor(() => expect(held.isPending()).toBe(true));
    held.fire();
  }
  await vi.waitFor(() => expect(held.isPending()).toBe(true));
  expect(held.delaysMs).toEqual([50, 100, 150, 150]);
  expect(onDisconnected).toHaveBeenCalledOnce();

  await server.start();
  held.fire();
  await vi.waitFor(() => expect(onConnected).toHaveBeenCalledTimes(2));
  await server.stop();
  await vi.waitFor(() => expect(onDisconnected).toHaveBeenCalledTimes(2));
  expect(held.delaysMs.at(-1)).toBe(50);
});

test("closing between two attempts ends them", async () => {
  const server = await aFakeVici({ events: ["log"] });
  await server.stop();
  const held = heldTimer();
  const client = aClient(server, { events: ["log"], timer: held.timer });
  await vi.waitFor(() => expect(held.isPending()).toBe(true));
  await client.close();
  expect(held.isPending()).toBe(false);
});

test("closing while charon does not answer the registration does not wait for it", async () => {
  const server = await aFakeVici({ onRegister: () => undefined });
  const onDisconnected = vi.fn();
  const client = aClient(server, { events: ["log"], onDisconnected });
  await vi.waitFor(() => expect(server.log).toEqual(["register log"]));
  await client.close();
  expect(onDisconnected).not.toHaveBeenCalled();
});
