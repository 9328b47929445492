// One socket and its order of commands, events and ends, against a server in this process.
import { expect, onTestFinished, test, vi } from "vitest";
import {
  MalformedMessageError,
  ViciClosedError,
  ViciTimeoutError,
  ViciUnknownCommandError,
  ViciUnknownEventError,
} from "../../../src/vici-client/errors.ts";
import { MAX_FRAME_BYTES } from "../../../src/vici-client/framing.ts";
import type { Section } from "../../../src/vici-client/message.ts";
import { openViciSession, type ViciSession, type ViciSessionOptions } from "../../../src/vici-client/session.ts";
import { subscribe } from "../../../src/vici-client/subscription.ts";
import { aFakeVici, type FakePeer, type FakeVici } from "../../support/fake-vici.ts";
import { hex, u32 } from "../../support/hex.ts";

async function aSession(server: FakeVici, options: Partial<ViciSessionOptions> = {}): Promise<ViciSession> {
  const session = await openViciSession({ path: server.path, ...options });
  onTestFinished(() => session.close());
  return session;
}

/** A command that keeps its peer and does not answer. */
function held(): { command: (request: unknown, peer: FakePeer) => void; peer: Promise<FakePeer> } {
  let resolve: (peer: FakePeer) => void = () => undefined;
  const peer = new Promise<FakePeer>((done) => (resolve = done));
  return { command: (_request, from) => resolve(from), peer };
}

test("commands are sent one at a time and answered in the order they were given", async () => {
  const first = held();
  const server = await aFakeVici({
    commands: { first: first.command, second: (_, peer) => peer.respond({ is: "second" }) },
  });
  const session = await aSession(server);

  const answers = [session.request("first"), session.request("second"), session.request("second")];
  const peer = await first.peer;
  expect(server.log).toEqual(["command first"]);
  peer.respond({ is: "first" });

  const got = await Promise.all(answers);
  expect(got.map((answer) => answer.get("is"))).toEqual(["first", "second", "second"]);
});

test("a streaming command registers, collects its events until the answer, and unregisters", async () => {
  const server = await aFakeVici({
    events: ["list-sa"],
    commands: {
      "list-sas": (_, peer) => {
        peer.event("list-sa", { a: {} });
        peer.event("log", { msg: "of no concern" });
        peer.event("list-sa", { b: {} });
        peer.respond({});
      },
    },
  });
  const session = await aSession(server);
  const seen: string[] = [];
  await session.stream("list-sas", "list-sa", {}, (message) => seen.push(...message.keys()));
  expect(seen).toEqual(["a", "b"]);
  expect(server.log).toEqual(["register list-sa", "command list-sas", "unregister list-sa"]);
});

test("events between a command and its answer do not disturb it", async () => {
  const server = await aFakeVici({
    commands: {
      version: (_, peer) => {
        peer.event("ike-updown", { up: "yes" });
        peer.respond({ version: "5.9.8" });
      },
    },
  });
  const session = await aSession(server);
  expect((await session.request("version")).get("version")).toBe("5.9.8");
});

test("an unknown command is refused by name and the session goes on", async () => {
  const server = await aFakeVici({ commands: { version: (_, peer) => peer.respond({}) } });
  const session = await aSession(server);
  await expect(session.request("get-wings")).rejects.toThrow(new ViciUnknownCommandError("get-wings"));
  await expect(session.request("version")).resolves.toBeDefined();
});

test("a streaming command whose event is unknown is not sent", async () => {
  const server = await aFakeVici({ commands: { version: (_, peer) => peer.respond({}) } });
  const session = await aSession(server);
  await expect(session.stream("list-sas", "list-sa", {}, vi.fn())).rejects.toThrow(
    new ViciUnknownEventError("list-sa"),
  );
  expect(server.log).toEqual(["register list-sa"]);
  await expect(session.request("version")).resolves.toBeDefined();
});

test("a streaming command that is unknown still unregisters", async () => {
  const server = await aFakeVici({ events: ["list-sa"] });
  const session = await aSession(server);
  await expect(session.stream("list-sas", "list-sa", {}, vi.fn())).rejects.toThrow(ViciUnknownCommandError);
  expect(server.log).toEqual(["register list-sa", "command list-sas", "unregister list-sa"]);
});

test("a message our encoder refuses leaves the session as it was", async () => {
  const server = await aFakeVici({ commands: { version: (_, peer) => peer.respond({}) } });
  const session = await aSession(server);
  await expect(session.request("load-conn", { größe: "x" })).rejects.toThrow(MalformedMessageError);
  await expect(session.request("version")).resolves.toBeDefined();
  expect(server.log).toEqual(["command version"]);
});

test("the deadline of the command in flight ends the session, since a late answer would go to the next command", async () => {
  const slow = held();
  const server = await aFakeVici({ commands: { slow: slow.command } });
  const onClosed = vi.fn();
  const session = await aSession(server, { onClosed });

  const inFlight = session.request("slow", {}, { timeoutMs: 30 });
  const queued = session.request("version");
  const settled = Promise.allSettled([inFlight, queued]);
  await expect(inFlight).rejects.toThrow(new ViciTimeoutError("slow", 30, true));
  await expect(queued).rejects.toMatchObject({ code: "VICI_CLOSED", sent: false });
  await settled;
  expect(session.isOpen).toBe(false);
  expect(onClosed).toHaveBeenCalledOnce();
  await expect(session.request("version")).rejects.toThrow(ViciClosedError);
});

test("the deadline of a queued command only takes it from the queue", async () => {
  const slow = held();
  const server = await aFakeVici({ commands: { slow: slow.command } });
  const session = await aSession(server);
  const inFlight = session.request("slow");
  await expect(session.request("version", {}, { timeoutMs: 20 })).rejects.toMatchObject({
    message: "version was not sent within 20 ms",
    sent: false,
  });
  (await slow.peer).respond({ is: "slow" });
  expect((await inFlight).get("is")).toBe("slow");
  expect(server.log).toEqual(["command slow"]);
});

test("aborting the command in flight ends the session, aborting a queued one does not", async () => {
  const slow = held();
  const server = await aFakeVici({ commands: { slow: slow.command } });
  const session = await aSession(server);
  const [flight, queue] = [new AbortController(), new AbortController()];
  const inFlight = session.request("slow", {}, { signal: flight.signal });
  const queued = session.request("version", {}, { signal: queue.signal });
  const settled = Promise.allSettled([inFlight, queued]);
  await slow.peer;

  const changedMind = new Error("changed my mind");
  queue.abort(changedMind);
  await expect(queued).rejects.toBe(changedMind);
  expect(session.isOpen).toBe(true);
  flight.abort(changedMind);
  await expect(inFlight).rejects.toBe(changedMind);
  expect(session.isOpen).toBe(false);
  await settled;
  await expect(session.request("version", {}, { signal: queue.signal })).rejects.toThrow(ViciClosedError);
});

test("a signal that is aborted already keeps the command from being sent", async () => {
  const server = await aFakeVici();
  const session = await aSession(server);
  await expect(session.request("version", {}, { signal: AbortSignal.abort() })).rejects.toThrow(/abort/);
  expect(server.log).toEqual([]);
});

test("a connection lost in the middle of a command says that it was sent", async () => {
  const server = await aFakeVici({ commands: { slow: (_, peer) => peer.hangUp() } });
  const session = await aSession(server);
  const [inFlight, queued] = await Promise.allSettled([session.request("slow"), session.request("version")]);
  expect(inFlight).toMatchObject({ reason: { code: "VICI_CLOSED", sent: true } });
  expect(queued).toMatchObject({ reason: { code: "VICI_CLOSED", sent: false } });
});

test("closing rejects what waits and resolves when the socket is gone", async () => {
  const slow = held();
  const server = await aFakeVici({ commands: { slow: slow.command } });
  const session = await aSession(server);
  const pending = Promise.allSettled([session.request("slow"), session.request("version")]);
  await slow.peer;
  await session.close();
  for (const result of await pending) expect(result).toMatchObject({ reason: { code: "VICI_CLOSED" } });
  await vi.waitFor(() => expect(server.openCount).toBe(0));
  await session.close();
});

test.each<[string, Buffer, RegExp]>([
  ["an oversize frame", u32(MAX_FRAME_BYTES + 1), /frame of 524289 bytes/],
  ["an empty packet", u32(0), /empty packet/],
  ["a packet type of the client", hex`00000002 0000`, /packet type 0/],
  ["a broken message", hex`00000003 01 01 05`, /name truncated/],
  ["an answer of the wrong kind", hex`00000001 05`, /answered commandRequest odd with eventConfirm/],
])("%s from charon ends the session with that reason", async (_case, bytes, reason) => {
  const server = await aFakeVici({ commands: { odd: (_, peer) => peer.raw(bytes) } });
  const session = await aSession(server);
  const pending = Promise.allSettled([session.request("odd"), session.request("version")]);
  const [inFlight, queued] = await pending;
  expect(inFlight).toMatchObject({
    reason: { code: "VICI_MALFORMED", message: expect.stringMatching(reason) as unknown },
  });
  expect(queued).toMatchObject({ reason: { code: "VICI_CLOSED" } });
  expect(session.isOpen).toBe(false);
});

test("an answer that nothing asked for ends the session", async () => {
  const onClosed = vi.fn<(reason: ViciClosedError) => void>();
  const server = await aFakeVici({
    commands: {
      twice: (_, peer) => {
        peer.respond({});
        peer.respond({});
      },
    },
  });
  const session = await aSession(server, { onClosed });
  await session.request("twice").catch(() => undefined); // both answers may come in one chunk
  await vi.waitFor(() => expect(onClosed).toHaveBeenCalledOnce());
  expect(onClosed.mock.calls[0]?.[0].message).toMatch(/that nothing asked for/);
});

test("answers may come in pieces of any size", async () => {
  const body = hex`00000009 01 03 01 6b 0003 6f6b21`;
  const server = await aFakeVici({
    commands: {
      slowly: (_, peer) => {
        let at = 0;
        const next = () => {
          if (at === body.length) return;
          peer.raw(body.subarray(at, (at += 1)));
          setImmediate(next);
        };
        next();
      },
    },
  });
  const session = await aSession(server);
  expect((await session.request("slowly")).get("k")).toBe("ok!");
});

test("a callback that throws ends its command with what it threw", async () => {
  const server = await aFakeVici({
    events: ["list-sa"],
    commands: {
      "list-sas": (_, peer) => {
        peer.event("list-sa", {});
        peer.respond({});
      },
    },
  });
  const session = await aSession(server);
  const bug = new TypeError("bug");
  const listing = session.stream("list-sas", "list-sa", {}, () => {
    throw bug;
  });
  await expect(listing).rejects.toBe(bug);
});

/** The names of the events in the order in which their handler was called, and a way to let it go on. */
function aSlowHandler() {
  const seen: string[] = [];
  let release: () => void = () => undefined;
  const onEvent = (message: Section) => {
    seen.push(...message.keys());
    return new Promise<void>((resolve) => (release = resolve));
  };
  return { seen, onEvent, release: () => release() };
}

const threeEvents = {
  events: ["list-sa"],
  commands: {
    "list-sas": (_: unknown, peer: FakePeer) => {
      for (const name of ["a", "b", "c"]) peer.event("list-sa", { [name]: {} });
      peer.respond({ is: "over" });
    },
  },
};

test("a promise of the handler holds back the events behind it, and the answer", async () => {
  const session = await aSession(await aFakeVici(threeEvents));
  const { seen, onEvent, release } = aSlowHandler();
  const onAnswer = vi.fn();
  const listing = session.stream("list-sas", "list-sa", {}, onEvent);
  void listing.then(onAnswer);
  for (const expected of [["a"], ["a", "b"], ["a", "b", "c"]]) {
    await vi.waitFor(() => expect(seen).toEqual(expected));
    expect(onAnswer).not.toHaveBeenCalled();
    release();
  }
  expect((await listing).get("is")).toBe("over");
});

test("while a handler is busy nothing more is read from charon's socket", async () => {
  const big = Buffer.alloc(60_000, "x");
  const eventCount = 400;
  const body = Buffer.concat([hex`07 07 6c6973742d7361 03 01 6b ea60 ${"list-sa, k = 60,000 bytes"}`, big]);
  const event = Buffer.concat([u32(body.length), body]);
  const server = await aFakeVici({
    events: ["list-sa"],
    commands: {
      "list-sas": (_, peer) => {
        for (let nth = 0; nth < eventCount; nth += 1) peer.raw(event);
        peer.respond({});
      },
    },
  });
  const session = await aSession(server);
  let release: () => void = () => undefined;
  let seenCount = 0;
  const heldBytesBefore = process.memoryUsage().arrayBuffers;
  const listing = session.stream("list-sas", "list-sa", {}, () => {
    seenCount += 1;
    return seenCount === 1 ? new Promise<void>((resolve) => (release = resolve)) : undefined;
  });
  await vi.waitFor(() => expect(seenCount).toBe(1));
  // What is not read stays with the writer, to whom all 24 MB are one buffer, but for what the kernel and a chunk hold.
  for (let turn = 0; turn < 50; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  expect(seenCount).toBe(1);
  expect(process.memoryUsage().arrayBuffers - heldBytesBefore).toBeLessThan(8_000_000);
  release();
  await listing;
  expect(seenCount).toBe(eventCount);
});

test("a handler whose promise fails ends its command with what it failed with", async () => {
  const session = await aSession(await aFakeVici(threeEvents));
  const bug = new TypeError("bug");
  await expect(session.stream("list-sas", "list-sa", {}, () => Promise.reject(bug))).rejects.toBe(bug);
  expect(session.isOpen).toBe(false);
});

test("the deadline does not wait for a busy handler, and its promise may be kept after it", async () => {
  const session = await aSession(await aFakeVici(threeEvents));
  const { seen, onEvent, release } = aSlowHandler();
  await expect(session.stream("list-sas", "list-sa", {}, onEvent, { timeoutMs: 30 })).rejects.toThrow(ViciTimeoutError);
  release();
  await new Promise((resolve) => setImmediate(resolve));
  expect(seen).toEqual(["a"]);
});

test("an abort does not wait for a busy handler", async () => {
  const session = await aSession(await aFakeVici(threeEvents));
  const { seen, onEvent } = aSlowHandler();
  const stop = new AbortController();
  const listing = session.stream("list-sas", "list-sa", {}, onEvent, { signal: stop.signal });
  await vi.waitFor(() => expect(seen).toEqual(["a"]));
  const reason = new Error("enough");
  stop.abort(reason);
  await expect(listing).rejects.toBe(reason);
});

test("closing does not wait for a busy handler", async () => {
  const session = await aSession(await aFakeVici(threeEvents));
  const { seen, onEvent } = aSlowHandler();
  const listing = session.stream("list-sas", "list-sa", {}, onEvent);
  const outcome = expect(listing).rejects.toThrow(ViciClosedError);
  await vi.waitFor(() => expect(seen).toEqual(["a"]));
  await session.close();
  await outcome;
});

test("what a handler returns that is no promise is ignored", async () => {
  const session = await aSession(await aFakeVici(threeEvents));
  const seen: string[] = [];
  await session.stream("list-sas", "list-sa", {}, (message) => seen.push(...message.keys()));
  expect(seen).toEqual(["a", "b", "c"]);
});

test("a socket that is not there is told with its path and errno", async () => {
  const server = await aFakeVici();
  await server.stop();
  await expect(openViciSession({ path: server.path })).rejects.toThrow(
    `no connection to charon at ${server.path}: ENOENT`,
  );
});

test("a subscription hears its events in order and reports those that charon does not have", async () => {
  const server = await aFakeVici({ events: ["ike-updown", "log"] });
  const heard: [string, Section][] = [];
  const subscription = await subscribe({
    path: server.path,
    events: ["ike-updown", "alert", "log"],
    onEvent: (name, message) => heard.push([name, message]),
  });
  onTestFinished(() => subscription.close());
  expect(subscription).toMatchObject({ confirmed: ["ike-updown", "log"], unknown: ["alert"] });

  server.raise("log", { msg: "one" });
  server.raise("ike-updown", { up: "yes" });
  await vi.waitFor(() => expect(heard).toHaveLength(2));
  expect(heard).toEqual([
    ["log", new Map([["msg", "one"]])],
    ["ike-updown", new Map([["up", "yes"]])],
  ]);
});

test("a subscription tells once that it is over", async () => {
  const server = await aFakeVici({ events: ["log"] });
  const onClosed = vi.fn();
  const subscription = await subscribe({ path: server.path, events: ["log"], onEvent: vi.fn(), onClosed });
  await server.stop();
  await vi.waitFor(() => expect(onClosed).toHaveBeenCalledOnce());
  await subscription.close();
  expect(onClosed).toHaveBeenCalledOnce();
});

test("subscribing fails when charon leaves instead of answering", async () => {
  const onClosed = vi.fn();
  const server = await aFakeVici({ onRegister: (_, peer) => peer.hangUp() });
  const subscribing = subscribe({ path: server.path, events: ["log"], onEvent: vi.fn(), onClosed });
  await expect(subscribing).rejects.toThrow(ViciClosedError);
  expect(onClosed).not.toHaveBeenCalled();
});

test("subscribing to a charon that accepts and never answers ends with its deadline", async () => {
  const server = await aFakeVici({ onRegister: () => undefined });
  const subscribing = subscribe({ path: server.path, events: ["log"], onEvent: vi.fn(), registerTimeoutMs: 20 });
  await expect(subscribing).rejects.toThrow(/event registration was not answered within 20 ms/);
  await vi.waitFor(() => expect(server.openCount).toBe(0));
});

test("garbage after the last confirmation still fails the subscription", async () => {
  const server = await aFakeVici({ onRegister: (_, peer) => peer.raw(hex`00000001 05 00000001 2a`) });
  await expect(subscribe({ path: server.path, events: ["log"], onEvent: vi.fn() })).rejects.toThrow(/packet type 42/);
});
