// Which arguments queues and exchanges get; RabbitMQ refuses any that differ from the other side's.
import { expect, test } from "vitest";
import {
  defaultTopology,
  exchangeArguments,
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
