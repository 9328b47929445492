// What a line of the log holds, and what must never be in one.
import { expect, test } from "vitest";
import { Secret } from "../../../src/core/secret.ts";
import { UnavailableError } from "../../../src/core/errors.ts";
import { createLog } from "../../../src/io/log.ts";

const PSK = "correct-horse-battery";

function recorder(pretty: "on" | "off" = "off") {
  const lines: string[] = [];
  const log = createLog({ level: "debug", pretty, stream: { write: (line: string) => void lines.push(line) } });
  const last = (): Record<string, unknown> => JSON.parse(lines.at(-1) ?? "{}") as Record<string, unknown>;
  return { log, lines, last };
}

test("a line has its level as a word, its time in ISO 8601, the fields and the sentence", () => {
  const { log, last } = recorder();
  log.info({ router: "r1" }, "router converged");
  expect(last()).toEqual({
    level: "info",
    time: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/) as string,
    router: "r1",
    msg: "router converged",
  });
});

test.each([
  ["a field", { psk: PSK }],
  ["a Secret under any name", { anything: new Secret(PSK) }],
  ["a field far down", { a: { b: { c: [{ d: { psk: PSK, data: PSK } }] } } }],
  ["a map", { tunnels: new Map([["t1", { psk: PSK }]]) }],
  ["bytes", { frame: Buffer.from(PSK) }],
  ["a URL of the broker", { transportUrl: `rabbit://u:${PSK}@mq` }],
  ["a URL inside a text", { said: `cannot reach rabbit://u:${PSK}@mq:5672/v` }],
  ["an error's message", { err: new Error(`connect amqp://u:p/${PSK}@@mq failed`) }],
  ["an error's own properties", { err: Object.assign(new Error("refused"), { options: { psk: PSK }, sent: PSK }) }],
  ["the cause of an error", { err: new Error("a", { cause: new Error(`amqps://u:${PSK}@mq`) }) }],
])("a PSK in %s is never printed", (_where, fields) => {
  for (const pretty of ["on", "off"] as const) {
    const { log, lines } = recorder(pretty);
    log.warn(fields, "will retry");
    expect(lines.join("")).toContain("will retry");
    expect(lines.join("")).not.toContain(PSK);
  }
});

test("an error logged alone does not lend its message to the line", () => {
  const { log, lines, last } = recorder();
  log.error(new Error(`connect amqp://u:${PSK}@mq failed`));
  log.error("connect amqp://u:%s@mq failed", PSK);
  expect(lines.join("")).not.toContain(PSK);
  expect(last()["msg"]).toBe("connect amqp://[secret]@mq failed");
});

test("a PSK bound to a child logger is never printed", () => {
  const { log, lines } = recorder();
  log.child({ psk: PSK, tunnel: { psk: PSK }, held: new Secret(PSK) }).info("loaded");
  expect(lines.join("")).not.toContain(PSK);
});

test("an error is told with class, code, message, stack and causes", () => {
  const { log, last } = recorder();
  const err = new UnavailableError("CHARON_DOWN", "read connections of r1", { cause: new TypeError("socket closed") });
  log.warn({ err }, "will retry");
  expect(last()["err"]).toEqual({
    class: "UnavailableError",
    code: "CHARON_DOWN",
    message: "read connections of r1",
    stack: expect.stringContaining("log.test.ts") as string,
    cause: {
      class: "TypeError",
      message: "socket closed",
      stack: expect.stringContaining("log.test.ts") as string,
    },
  });
});

test("a value that contains itself does not stop the log", () => {
  const { log, last } = recorder();
  const loop: Record<string, unknown> = { name: "a" };
  loop["self"] = loop;
  log.info({ loop }, "told");
  expect(last()["msg"]).toBe("told");
});
