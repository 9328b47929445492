// Which arguments queues and exchanges get; RabbitMQ refuses any that differ from the other side's.
import { expect, test } from "vitest";
import {
  defaultTopology,
  exchangeArguments,
  fanoutStreamArguments,
  replyQueueArguments,
  serverQueueArguments,
} from "../../../../src/io/rabbit/topology.ts";

test("oslo's defaults declare nothing durable and no arguments but the expiry of reply queues", () => {
  expect(exchangeArguments(defaultTopology)).toEqual({ durable: false, autoDelete: false });
  expect(serverQueueArguments(defaultTopology)).toEqual({ durable: false, autoDelete: false, arguments: {} });
  expect(replyQueueArguments(defaultTopology)).toEqual({
    durable: false,
    autoDelete: false,
    arguments: { "x-expires": 1_800_000 },
  });
});

test("quorum queues are durable, and so is the exchange then", () => {
  const options = { ...defaultTopology, quorumQueue: true };
  expect(exchangeArguments(options).durable).toBe(true);
  expect(serverQueueArguments(options)).toMatchObject({ durable: true, arguments: { "x-queue-type": "quorum" } });
});

test("durable and auto-delete concern exchange and server queue, not the reply queue", () => {
  const options = { ...defaultTopology, durableQueues: true, autoDelete: true };
  expect(exchangeArguments(options)).toEqual({ durable: true, autoDelete: true });
  expect(serverQueueArguments(options)).toMatchObject({ durable: true, autoDelete: true });
  expect(replyQueueArguments(options)).toMatchObject({ durable: false, autoDelete: false });
});

test("a time to live of zero leaves the expiry out", () => {
  expect(replyQueueArguments({ ...defaultTopology, transientQueuesTtlSeconds: 0 }).arguments).toEqual({});
});

test("reply queues are quorum queues where transient ones are, and expire all the same", () => {
  expect(replyQueueArguments({ ...defaultTopology, transientQuorumQueue: true })).toEqual({
    durable: true,
    autoDelete: false,
    arguments: { "x-queue-type": "quorum", "x-expires": 1_800_000 },
  });
});

test("a stream has its type and, as a text, the age to which it keeps messages, and nothing else", () => {
  const options = { ...defaultTopology, transientQuorumQueue: true, streamFanout: true };
  expect(fanoutStreamArguments(options)).toEqual({
    durable: true,
    autoDelete: false,
    arguments: { "x-queue-type": "stream", "x-max-age": "1800s" },
  });
  const forever = { ...options, transientQueuesTtlSeconds: 0 };
  expect(fanoutStreamArguments(forever).arguments).toEqual({ "x-queue-type": "stream" });
});
