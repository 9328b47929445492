// Laws of what VICI's messages are decoded into: any answer, any damage, any member that a newer charon adds; and of the
// order in which a slow reader gets them.
import { readdirSync } from "node:fs";
import fc from "fast-check";
import { expect, onTestFinished, test } from "vitest";
import { getAlgorithms } from "../../src/vici-client/algorithms.ts";
import { getAuthorities, listAuthorities } from "../../src/vici-client/authorities.ts";
import { listCerts } from "../../src/vici-client/certs.ts";
import {
  getConns,
  getShared,
  initiate,
  listConns,
  listSas,
  redirect,
  rekey,
  terminate,
} from "../../src/vici-client/commands.ts";
import { getAllConnCounters, getConnCounters, getCounters } from "../../src/vici-client/counters.ts";
import { stats, version } from "../../src/vici-client/daemon.ts";
import { MalformedMessageError, ViciCommandError } from "../../src/vici-client/errors.ts";
import { COMMAND_EVENTS, decodeEvent, SUBSCRIBABLE_EVENTS } from "../../src/vici-client/events.ts";
import { followTerminate } from "../../src/vici-client/follow.ts";
import { emptyFramer, encodeFrame, feed } from "../../src/vici-client/framing.ts";
import { getKeys, loadKey, loadToken } from "../../src/vici-client/keys.ts";
import { encodeMessage, type Section, type Value } from "../../src/vici-client/message.ts";
import { type CharonPacket, decodeCharonPacket } from "../../src/vici-client/packet.ts";
import { listPolicies } from "../../src/vici-client/policies.ts";
import { getPoolLeases, getPools } from "../../src/vici-client/pools.ts";
import { openViciSession, type ViciRequester } from "../../src/vici-client/session.ts";
import { aFakeVici, type FakePeer } from "../support/fake-vici.ts";
import { readHexFile } from "../support/hex.ts";

const goldens = new URL("../golden/vici/", import.meta.url);

type Recording = { readonly name: string; readonly packets: readonly CharonPacket[] };
const recordings: readonly Recording[] = readdirSync(goldens)
  .filter((file) => file.endsWith("-reply.hex"))
  .map((file) => {
    const { frames } = feed(emptyFramer, readHexFile(new URL(file, goldens)));
    return {
      name: file.replace(/(-[\d.]+)?-reply\.hex$/, ""),
      packets: frames.map((frame) => decodeCharonPacket(frame)),
    };
  });
const events = recordings.flatMap(({ packets }) =>
  packets.flatMap((packet) => (packet.kind === "event" ? [packet] : [])),
);
const answers = recordings.flatMap(({ name, packets }) =>
  packets.flatMap((packet) => (packet.kind === "commandResponse" ? [{ name, message: packet.message }] : [])),
);

/** What is asked of charon by name of the recording, or of the command. */
const asks: Readonly<Record<string, (vici: ViciRequester) => Promise<unknown>>> = {
  version,
  stats,
  "get-conns": getConns,
  "get-shared": getShared,
  "get-keys": getKeys,
  "get-authorities": getAuthorities,
  "get-algorithms": getAlgorithms,
  "get-counters": getCounters,
  "get-counters-missing": (vici) => getConnCounters(vici, "nobody"),
  "get-counters-all": getAllConnCounters,
  "get-pools": getPoolLeases,
  "get-pools-without-leases": getPools,
  "load-key": (vici) => loadKey(vici, { type: "any", data: "x" }),
  "load-token": (vici) => loadToken(vici, { handle: "0a" }),
  "list-sas": listSas,
  "list-conns": listConns,
  "list-policies": listPolicies,
  "list-certs": listCerts,
  "list-authorities": listAuthorities,
  initiate: (vici) => initiate(vici, { ike: "a" }),
  terminate: (vici) => terminate(vici, { ike: "a" }),
  rekey: (vici) => rekey(vici, { ike: "a" }),
  redirect: (vici) => redirect(vici, { ike: "a", gateway: "b" }),
};

/** Answers with one message, and streams it as well. */
const saying = (message: Section): ViciRequester => ({
  request: () => Promise.resolve(message),
  stream: async (_command, _event, _args, onEvent) => {
    await onEvent(message);
    return message;
  },
});

async function onlyOurErrors(run: () => unknown): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (!(error instanceof ViciCommandError)) expect(error).toBeInstanceOf(MalformedMessageError);
  }
}

// Keys that decoders look for, so that they get past the first.
const key = fc.oneof(
  fc.constantFrom(...new Set([...events, ...answers].flatMap(({ message }) => allKeys(message)))),
  fc.constantFrom("__proto__", "constructor", ""),
);
const text = fc.oneof(fc.constantFrom("yes", "no", "0", "-1", "1e9", "0000002a", "PASS", "X509", ""), fc.string());
const atom = fc.oneof(
  { weight: 4, arbitrary: text },
  fc.uint8Array({ maxLength: 8 }).map((bytes) => Buffer.from(bytes)),
);
const { section, value } = fc.letrec<{ section: Section; value: Value }>((tie) => ({
  section: fc.array(fc.tuple(key, tie("value")), { maxLength: 25 }).map((entries): Section => new Map(entries)),
  value: fc.oneof({ maxDepth: 3 }, atom, fc.array(atom, { maxLength: 3 }), tie("section")),
}));

function isSection(of: Value): of is Section {
  return of instanceof Map;
}

function allKeys(of: Section): readonly string[] {
  return [...of].flatMap(([name, member]) => (isSection(member) ? [name, ...allKeys(member)] : [name]));
}

/** A copy in which the nth section, counted from the outside, has been changed. */
function changed(of: Section, nth: number, change: (members: Map<string, Value>) => void): Section {
  let seen = 0;
  const copy = (source: Section): Section => {
    const own = seen;
    seen += 1;
    const members = new Map<string, Value>();
    for (const [name, member] of source) members.set(name, isSection(member) ? copy(member) : member);
    if (own === nth) change(members);
    return members;
  };
  return copy(of);
}

const sectionCount = (of: Section): number =>
  1 + [...of.values()].reduce((sum, member) => sum + (isSection(member) ? sectionCount(member) : 0), 0);

const eventNames = [...SUBSCRIBABLE_EVENTS, ...COMMAND_EVENTS];

test("any message under the name of any event ends in an event or in MalformedMessageError", async () => {
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...eventNames), section, (name, message) =>
      onlyOurErrors(() => decodeEvent(name, message)),
    ),
    { numRuns: 2_000 },
  );
});

test("any answer to any command ends in a value, in charon's refusal or in MalformedMessageError", async () => {
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...Object.values(asks)), section, (ask, message) =>
      onlyOurErrors(() => ask(saying(message))),
    ),
    { numRuns: 2_000 },
  );
});

test("a recorded event of which one member is gone or another ends in an event or in MalformedMessageError", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...events),
      fc.nat(),
      fc.nat(),
      fc.option(value),
      (event, where, which, instead) => {
        const damaged = changed(event.message, where % sectionCount(event.message), (members) => {
          const name = [...members.keys()][which % Math.max(1, members.size)];
          if (name === undefined) return;
          if (instead === null) members.delete(name);
          else members.set(name, instead);
        });
        return onlyOurErrors(() => decodeEvent(event.name, damaged));
      },
    ),
    { numRuns: 2_000 },
  );
});

const outcome = (run: () => Promise<unknown>): Promise<unknown> =>
  run().catch((error: unknown) => (error instanceof Error ? error.message : "not an error"));

/** Of a recorded message: proposals and algorithms are the sections whose keys are all of them charon's to choose. */
const isOpen = (message: Section): boolean =>
  ["proposals", "encryption"].some((name) => allKeys(message).includes(name));

test("a member that a newer charon adds, in whatever section, changes no event", () => {
  const closed = events.filter(({ message }) => !isOpen(message));
  fc.assert(
    fc.property(fc.constantFrom(...closed), fc.nat(), text, (event, where, added) => {
      const newer = changed(event.message, where % sectionCount(event.message), (members) =>
        members.set("of-a-newer-charon", added),
      );
      expect(decodeEvent(event.name, newer)).toEqual(decodeEvent(event.name, event.message));
    }),
    { numRuns: 1_000 },
  );
});

test("a member that a newer charon adds, in whatever section, changes no answer", async () => {
  const closed = answers.flatMap(({ name, message }) => {
    const ask = asks[name];
    return ask === undefined || isOpen(message) ? [] : [{ ask, message }];
  });
  expect(closed.length).toBeGreaterThan(10);
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...closed), fc.nat(), text, async ({ ask, message }, where, added) => {
      const newer = changed(message, where % sectionCount(message), (members) =>
        members.set("of-a-newer-charon", added),
      );
      expect(await outcome(() => ask(saying(newer)))).toEqual(await outcome(() => ask(saying(message))));
    }),
    { numRuns: 500 },
  );
});

const turns = async (count: number): Promise<void> => {
  for (let turn = 0; turn < count; turn += 1) await new Promise((resolve) => setImmediate(resolve));
};

test("a handler gets every event in order and before the answer, however slow it is and wherever the stream is cut", async () => {
  let script: { readonly eventCount: number; readonly cuts: readonly number[] } = { eventCount: 0, cuts: [] };
  const say = async (_: unknown, peer: FakePeer): Promise<void> => {
    const packet = (nth: number) =>
      Buffer.concat([Buffer.from([7, 1]), Buffer.from("e"), encodeMessage({ nth: String(nth) })]);
    const all = [
      ...Array.from({ length: script.eventCount }, (_gap, nth) => encodeFrame(packet(nth))),
      encodeFrame(Buffer.concat([Buffer.from([1]), encodeMessage({ is: "over" })])),
    ];
    let rest = Buffer.concat(all);
    for (const cut of script.cuts) {
      peer.raw(rest.subarray(0, cut));
      rest = rest.subarray(cut);
      await turns(1);
    }
    peer.raw(rest);
  };
  const server = await aFakeVici({ events: ["e"], commands: { go: (request, peer) => void say(request, peer) } });
  const session = await openViciSession({ path: server.path });
  onTestFinished(() => session.close());

  const pauses = fc.array(fc.option(fc.nat(3)), { maxLength: 12 });
  const cuts = fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(pauses, cuts, async (waits, at) => {
      script = { eventCount: waits.length, cuts: at };
      const begun: number[] = [];
      const done: number[] = [];
      const answer = await session.stream("go", "e", {}, (message) => {
        const nth = Number(message.get("nth"));
        begun.push(nth);
        const wait = waits[nth] ?? null;
        if (wait === null) return done.push(nth);
        return turns(wait).then(() => done.push(nth));
      });
      expect(answer.get("is")).toBe("over");
      expect(begun).toEqual(waits.map((_wait, nth) => nth));
      expect(done).toEqual(begun);
    }),
    { numRuns: 60 },
  );
});

test("a loop over a command's log gets every line in order until it leaves, and what it does not take holds up nothing", async () => {
  const lines = fc.array(fc.tuple(fc.string(), fc.nat(2)), { maxLength: 10 });
  await fc.assert(
    fc.asyncProperty(lines, fc.nat(12), fc.nat(2), async (said, leaveAfter, pace) => {
      let sayer: Promise<void> | undefined;
      const vici: ViciRequester = {
        request: () => Promise.reject(new Error("a log is streamed")),
        stream: async (_command, _event, _args, onEvent) => {
          const say = async () => {
            for (const [msg, pause] of said) {
              await turns(pause);
              await onEvent(new Map(Object.entries({ group: "IKE", level: "1", msg })));
            }
          };
          sayer = say();
          await sayer;
          return new Map(Object.entries({ success: "yes", matches: "1", terminated: "1" }));
        },
      };
      const seen: string[] = [];
      for await (const line of followTerminate(vici, { ike: "a" }, { waitMs: 1 })) {
        seen.push(line.text);
        await turns(pace);
        if (seen.length === leaveAfter) break;
      }
      const expected = said.map(([msg]) => msg);
      expect(seen).toEqual(leaveAfter === 0 ? expected : expected.slice(0, leaveAfter));
      await sayer;
    }),
    { numRuns: 100 },
  );
});
