// How the parts of an answer make one.
import { expect, test } from "vitest";
import { DeadlineError, PayloadError } from "../../../../src/core/errors.ts";
import { decodeFailure, encodeFailure, failureOf, remoteErrorOf } from "../../../../src/wire/oslo/failure.ts";
import { addPart, decodeReply, noAnswerYet, type ReplyPart } from "../../../../src/wire/oslo/reply.ts";

const part = (fields: Partial<ReplyPart>): ReplyPart => ({
  messageId: "m",
  uniqueId: "u",
  result: null,
  failure: null,
  ending: false,
  ...fields,
});

test("a result comes in one part", () => {
  expect(addPart(noAnswerYet, part({ result: 7, ending: true }))).toEqual({ kind: "result", result: 7 });
});

test("a legacy result comes before an empty ending", () => {
  const answer = addPart(noAnswerYet, part({ result: [1] }));
  expect(answer.kind).toBe("incomplete");
  expect(addPart(answer, part({ ending: true }))).toEqual({ kind: "result", result: [1] });
});

test("heartbeats add nothing", () => {
  const answer = addPart(addPart(noAnswerYet, part({})), part({}));
  expect(addPart(answer, part({ result: false, ending: true }))).toEqual({ kind: "result", result: false });
});

test("what comes after the ending is ignored", () => {
  const answer = addPart(noAnswerYet, part({ result: 1, ending: true }));
  expect(addPart(answer, part({ result: 2, ending: true }))).toBe(answer);
});

test("a reply without an ending is not the last", () => {
  expect(decodeReply(Buffer.from('{"_msg_id":"m","result":1}'))).toMatchObject({ ending: false, failure: null });
});

test("a reply that names no call is a payload error", () => {
  expect(() => decodeReply(Buffer.from('{"result":1}'))).toThrow(PayloadError);
});

test("an error of ours travels under a neutral module with its name and message", () => {
  const failure = JSON.parse(encodeFailure(failureOf(new DeadlineError("too late")))) as unknown;
  expect(failure).toEqual({
    class: "DeadlineError",
    module: "swanherd.errors",
    message: "too late",
    tb: ["swanherd.errors.DeadlineError: too late\n"],
    args: ["too late"],
    kwargs: {},
  });
});

test("the text of an unforeseen error stays here", () => {
  expect(encodeFailure(failureOf(new TypeError("psk is hunter2")))).not.toContain("hunter2");
  expect(failureOf("hunter2")).toMatchObject({ class: "InternalError", module: "swanherd.errors" });
});

test.each([["not json"], ["[]"], [42], [{}], ['{"class": 1, "tb": "x"}']])(
  "a failure that reads %j is still a failure",
  (raw) => {
    expect(remoteErrorOf(decodeFailure(raw))).toMatchObject({ remoteClass: "Unknown", code: "RPC_REMOTE_ERROR" });
  },
);
