// Bodies that are messages, and bodies that are refused without being quoted.
import { expect, test } from "vitest";
import { PayloadError } from "../../../../src/core/errors.ts";
import { decodeEnvelope } from "../../../../src/wire/oslo/envelope.ts";

const body = (value: unknown) => Buffer.from(JSON.stringify(value));

test("an object without envelope keys is the message itself", () => {
  expect(decodeEnvelope(body({ method: "m", args: {} }))).toEqual({ method: "m", args: {} });
});

test.each(["1.0", "2.1", "3.0", "two", ""])("an envelope of version %s is refused", (version) => {
  expect(() => decodeEnvelope(body({ "oslo.version": version, "oslo.message": "{}" }))).toThrow(PayloadError);
});

test.each([
  ["bytes that are no UTF-8", Buffer.from([0xff, 0xfe])],
  ["text that is no JSON", Buffer.from("{'a': 1}")],
  ["an array", body([])],
  ["a message that is no string", body({ "oslo.version": "2.0", "oslo.message": {} })],
  ["a message that is no object", body({ "oslo.version": "2.0", "oslo.message": "[]" })],
  ["a message that is no JSON", body({ "oslo.version": "2.0", "oslo.message": "{" })],
  ["nothing", Buffer.alloc(0)],
])("%s is a payload error", (_what, bytes) => {
  expect(() => decodeEnvelope(bytes)).toThrow(PayloadError);
});

test("a refusal does not quote the body", () => {
  const bytes = Buffer.from('{"psk": "hunter2" nonsense');
  expect(() => decodeEnvelope(bytes)).toThrow(expect.not.stringContaining("hunter2") as string);
});
