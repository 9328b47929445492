// How long an answer looks for its caller's queue, with a clock that is moved by hand.
import { expect, test } from "vitest";
import { UnavailableError } from "../../../../src/core/errors.ts";
import { createAnswerer } from "../../../../src/io/rabbit/answer.ts";
import type { Delivery, Publication } from "../../../../src/io/rabbit/publisher.ts";
import { decodeReply } from "../../../../src/wire/oslo/reply.ts";
import { fakeTiming } from "../../../support/fake-timing.ts";

const replyTo = { messageId: "m", queue: "reply_1", monitorTimeoutSeconds: null };
const { signal } = new AbortController();

/** A broker that knows the queues it is told of, or is away. */
function fakePublisher(queues: Set<string>) {
  const published: Publication[] = [];
  const state = { isAway: false };
  const publish = (publication: Publication): Promise<Delivery> => {
    if (state.isAway) return Promise.reject(new UnavailableError("BROKER_DOWN", "away"));
    published.push(publication);
    return Promise.resolve(queues.has(publication.routingKey) ? "routed" : "returned");
  };
  return { publish, published, state };
}

test("an answer goes to the caller's queue by the nameless exchange, mandatory", async () => {
  const publisher = fakePublisher(new Set(["reply_1"]));
  expect(await createAnswerer(publisher, fakeTiming()).answer(replyTo, 1, null, signal)).toBe(true);
  expect(publisher.published).toMatchObject([{ exchange: "", routingKey: "reply_1", mandatory: true }]);
});

test("an unroutable answer is tried every 250 ms until the queue is there", async () => {
  const queues = new Set<string>();
  const publisher = fakePublisher(queues);
  const timing = fakeTiming();
  const answered = createAnswerer(publisher, timing).answer(replyTo, 1, null, signal);
  await timing.advance(1000);
  expect(publisher.published).toHaveLength(5);
  queues.add("reply_1");
  await timing.advance(250);
  expect(await answered).toBe(true);
});

test("an answer outlives a broker that is away for a while", async () => {
  const publisher = fakePublisher(new Set(["reply_1"]));
  const timing = fakeTiming();
  publisher.state.isAway = true;
  const answered = createAnswerer(publisher, timing).answer(replyTo, 1, null, signal);
  await timing.advance(20_000);
  publisher.state.isAway = false;
  await timing.advance(250);
  expect(await answered).toBe(true);
});

test("after 60 s the queue counts as dead, for 60 s", async () => {
  const queues = new Set<string>();
  const publisher = fakePublisher(queues);
  const timing = fakeTiming();
  const answerer = createAnswerer(publisher, timing);
  const first = answerer.answer(replyTo, 1, null, signal);
  await timing.advance(60_000);
  expect(await first).toBe(false);
  queues.add("reply_1");
  const triesSoFar = publisher.published.length;
  expect(await answerer.answer(replyTo, 1, null, signal)).toBe(false);
  expect(publisher.published).toHaveLength(triesSoFar);
  await timing.advance(60_000);
  expect(await answerer.answer(replyTo, 1, null, signal)).toBe(true);
});

test("an answer that nobody waits for any more is given up when we stop", async () => {
  const timing = fakeTiming();
  const stop = new AbortController();
  const answered = createAnswerer(fakePublisher(new Set()), timing).answer(replyTo, 1, null, stop.signal);
  await timing.advance(100);
  stop.abort();
  expect(await answered).toBe(false);
});

test("a monitored caller hears a heartbeat at half its timeout until we are done", async () => {
  const publisher = fakePublisher(new Set(["reply_1"]));
  const timing = fakeTiming();
  const stopBeating = createAnswerer(publisher, timing).beat({ ...replyTo, monitorTimeoutSeconds: 10 });
  await timing.advance(16_000);
  stopBeating();
  await timing.advance(16_000);
  const parts = publisher.published.map(({ body }) => decodeReply(body));
  expect(parts).toHaveLength(3);
  expect(parts[0]).toMatchObject({ messageId: "m", result: null, failure: null, ending: false });
});

test("a caller without a monitor timeout hears none", async () => {
  const publisher = fakePublisher(new Set(["reply_1"]));
  const timing = fakeTiming();
  createAnswerer(publisher, timing).beat(replyTo);
  await timing.advance(600_000);
  expect(publisher.published).toEqual([]);
});
