// Which options of [oslo_messaging_rabbit] have a setting here, and how their values are read.
import { expect, test } from "vitest";
import { AGENT_KEYS, CONTROLLER_KEYS } from "../../../../src/config.ts";
import {
  RABBIT_OPTIONS,
  rabbitOption,
  readBoolean,
  readQueryOptions,
  readWholeNumber,
} from "../../../../src/wire/oslo/rabbit-options.ts";

test("every setting of an option is a key of agent and controller, and every key of amqp has an option", () => {
  const settings = RABBIT_OPTIONS.map(({ setting }) => setting).sort();
  for (const keys of [AGENT_KEYS, CONTROLLER_KEYS]) {
    expect(keys.filter((key) => key.startsWith("amqp.")).sort()).toEqual(settings);
  }
});

test("truth is written in the ways of oslo.config", () => {
  expect(["true", "True", "1", "on", "YES", " true "].map(readBoolean)).toEqual(Array(6).fill(true));
  expect(["false", "0", "Off", "no"].map(readBoolean)).toEqual(Array(4).fill(false));
  expect(["", "2", "enabled"].map(readBoolean)).toEqual(Array(3).fill(undefined));
});

test("whole numbers are read, and nothing that only begins like one", () => {
  expect(["60", "0", " 7 ", "-1"].map(readWholeNumber)).toEqual([60, 0, 7, -1]);
  expect(["", "60s", "1.5", "1e3", "0x10"].map(readWholeNumber)).toEqual(Array(5).fill(undefined));
});

test("a name that oslo.messaging gave an option earlier is the option", () => {
  expect(rabbitOption("kombu_ssl_ca_certs")).toBe(rabbitOption("ssl_ca_file"));
  expect(rabbitOption("rabbit_durable_queues")?.setting).toBe("amqp.durableQueues");
  expect(rabbitOption("rpc_conn_pool_size")).toBeUndefined();
});

test("whether host names are compared is oslo's boolean and our degree", () => {
  const settingsOf = (text: string) =>
    readQueryOptions(new Map([["ssl_enforce_hostname_verification", text]])).settings.get("amqp.tls.verify");
  expect([settingsOf("true"), settingsOf("false"), settingsOf("perhaps")]).toEqual(["full", "chain", undefined]);
});

test("problems name options and quote no value", () => {
  const options = new Map([
    ["ssl", "hunter2"],
    ["kombu_failover_strategy", "hunter2"],
    ["surprise", "hunter2"],
  ]);
  expect(readQueryOptions(options).problems).toEqual([
    "has options that are not heeded here (surprise)",
    "has an option ssl that wants true or false",
    "has an option kombu_failover_strategy that wants round-robin or shuffle",
  ]);
});
