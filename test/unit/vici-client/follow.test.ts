// Commands that are followed line by line, against a server in this process.
import { expect, onTestFinished, test, vi } from "vitest";
import type { LogLine } from "../../../src/vici-client/events.ts";
import { followInitiate, followTerminate } from "../../../src/vici-client/follow.ts";
import type { SectionInput } from "../../../src/vici-client/message.ts";
import { openViciSession, type ViciSession } from "../../../src/vici-client/session.ts";
import { aFakeVici, type FakePeer, type FakeVici } from "../../support/fake-vici.ts";
import { aCharon, askedBySwanctl, recorded } from "./requesters.ts";

const line = (msg: string) => ({ group: "IKE", level: "1", msg });
const yes = { success: "yes" };
const no = { success: "no", errmsg: "establishing CHILD_SA 'net' failed" };

async function aSession(server: FakeVici): Promise<ViciSession> {
  const session = await openViciSession({ path: server.path });
  onTestFinished(() => session.close());
  return session;
}

/** A charon that says its lines and answers in one go. */
function saying(lines: readonly string[], answer: SectionInput) {
  const say = (_: unknown, peer: FakePeer) => {
    for (const text of lines) peer.event("control-log", line(text));
    peer.respond(answer);
  };
  return aFakeVici({
    events: ["control-log"],
    commands: { initiate: say, terminate: say, version: (_, peer) => peer.respond({}) },
  });
}

async function collect(lines: AsyncIterable<LogLine>): Promise<readonly string[]> {
  const texts: string[] = [];
  for await (const { text } of lines) texts.push(text);
  return texts;
}

test("every line comes, in order, and then the end", async () => {
  const session = await aSession(await saying(["one", "two", "three"], yes));
  expect(await collect(followInitiate(session, { child: "net" }, { waitMs: 1_000 }))).toEqual(["one", "two", "three"]);
});

test("a refusal is thrown after the last line", async () => {
  const session = await aSession(await saying(["one", "two"], no));
  const lines = followInitiate(session, { child: "net" }, { waitMs: 1_000 });
  expect([(await lines.next()).value?.text, (await lines.next()).value?.text]).toEqual(["one", "two"]);
  await expect(lines.next()).rejects.toThrow("charon refused initiate: establishing CHILD_SA 'net' failed");
});

test("what a terminate met is returned after the last line", async () => {
  const session = await aSession(await saying(["gone"], { ...yes, matches: "2", terminated: "2" }));
  const lines = followTerminate(session, { ike: "peer-1" }, { waitMs: 1_000 });
  expect(await lines.next()).toMatchObject({ done: false, value: { text: "gone" } });
  expect(await lines.next()).toEqual({ done: true, value: { matchCount: 2, terminatedCount: 2 } });
});

test("the lines and the end of a real terminate", async () => {
  const lines: string[] = [];
  const following = followTerminate(recorded("terminate"), { ike: "peer-1" }, { waitMs: 1_000 });
  for (;;) {
    const next = await following.next();
    if (next.done === true) {
      expect(next.value).toEqual({ matchCount: 2, terminatedCount: 2 });
      break;
    }
    lines.push(next.value.text);
  }
  expect(lines).toHaveLength(8);
  expect(lines.at(-1)).toBe("IKE_SA deleted");
});

test("the wait, the level and the event are those that swanctl asks for", async () => {
  const { vici, sent } = aCharon(yes);
  const target = { ike: "child-proposal", child: "child-proposal" };
  await collect(followInitiate(vici, target, { waitMs: 15_000, logLevel: 1 }));
  expect(sent.map(({ command, event, args }) => ({ command, event, args }))).toEqual(
    askedBySwanctl("initiate-refused"),
  );
});

test("nothing is asked of charon before the first line is", async () => {
  const server = await saying(["one"], yes);
  const lines = followInitiate(await aSession(server), { child: "net" }, { waitMs: 1_000 });
  expect(server.log).toEqual([]);
  await lines.next();
  expect(server.log).toEqual(["register control-log", "command initiate"]);
});

test("a loop that takes its time gets every line and the answer all the same", async () => {
  const texts = Array.from({ length: 20 }, (_, nth) => `line ${nth}`);
  const session = await aSession(await saying(texts, yes));
  const seen: string[] = [];
  for await (const { text } of followInitiate(session, { child: "net" }, { waitMs: 1_000 })) {
    await new Promise((resolve) => setImmediate(resolve));
    seen.push(text);
  }
  expect(seen).toEqual(texts);
});

test("lines of a requester that does not wait are kept", async () => {
  const { vici } = aCharon(yes);
  const hasty = {
    ...vici,
    stream: (...[command, , args, onEvent, options]: Parameters<typeof vici.stream>) => {
      for (const text of ["one", "two", "three"]) onEvent(new Map(Object.entries(line(text))));
      return vici.request(command, args, options);
    },
  };
  expect(await collect(followInitiate(hasty, { child: "net" }, { waitMs: 1_000 }))).toEqual(["one", "two", "three"]);
});

test("a loop that is left lets the command go on, and the session serves the next", async () => {
  const server = await saying(["one", "two", "three"], no);
  const session = await aSession(server);
  for await (const { text } of followInitiate(session, { child: "net" }, { waitMs: 1_000 })) {
    expect(text).toBe("one");
    break;
  }
  await session.request("version");
  expect(server.log).toEqual(["register control-log", "command initiate", "unregister control-log", "command version"]);
});

test("an abort is thrown at the loop, also while it waits for a line", async () => {
  const server = await aFakeVici({
    events: ["control-log"],
    commands: { initiate: (_, peer) => peer.event("control-log", line("one")) },
  });
  const stop = new AbortController();
  const lines = followInitiate(await aSession(server), { child: "net" }, { waitMs: 60_000, signal: stop.signal });
  await lines.next();
  const next = lines.next();
  const reason = new Error("enough");
  stop.abort(reason);
  await expect(next).rejects.toBe(reason);
});

test("an abort while the loop is busy with a line is thrown at its next", async () => {
  const stop = new AbortController();
  const session = await aSession(await saying(["one", "two"], yes));
  const lines = followInitiate(session, { child: "net" }, { waitMs: 60_000, signal: stop.signal });
  await lines.next();
  const reason = new Error("enough");
  stop.abort(reason);
  await vi.waitFor(() => expect(session.isOpen).toBe(false));
  await expect(lines.next()).rejects.toBe(reason);
});

test("a charon that leaves in the middle is told as such", async () => {
  const server = await aFakeVici({
    events: ["control-log"],
    commands: {
      initiate: (_, peer) => {
        peer.event("control-log", line("one"));
        peer.hangUp();
      },
    },
  });
  const following = collect(followInitiate(await aSession(server), { child: "net" }, { waitMs: 1_000 }));
  await expect(following).rejects.toMatchObject({ code: "VICI_CLOSED", sent: true });
});
