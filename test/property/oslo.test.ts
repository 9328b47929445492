// Laws of the bus: bytes of any origin are a value or a problem, and what we write we read.
import fc from "fast-check";
import { expect, test } from "vitest";
import { PayloadError } from "../../src/core/errors.ts";
import { decodeReply, encodeReply } from "../../src/wire/oslo/reply.ts";
import { decodeRequest, encodeRequest } from "../../src/wire/oslo/request.ts";
import { parseTransportUrl } from "../../src/wire/oslo/transport-url.ts";

function isValueOrPayloadError(decode: () => unknown): boolean {
  try {
    decode();
    return true;
  } catch (error) {
    return error instanceof PayloadError;
  }
}

// Objects that look like messages reach deeper than random ones would.
const nearlyMessage = fc.record(
  {
    method: fc.jsonValue(),
    args: fc.jsonValue(),
    version: fc.jsonValue(),
    namespace: fc.jsonValue(),
    _msg_id: fc.jsonValue(),
    _reply_q: fc.jsonValue(),
    _timeout: fc.jsonValue(),
    _unique_id: fc.jsonValue(),
    result: fc.jsonValue(),
    failure: fc.jsonValue(),
    ending: fc.jsonValue(),
  },
  { requiredKeys: [] },
);
const body = fc.oneof(
  fc.uint8Array({ maxLength: 200 }),
  fc.json().map((text) => Buffer.from(text)),
  nearlyMessage.map((message) => Buffer.from(JSON.stringify(message))),
  fc
    .tuple(
      fc.oneof(fc.constant("2.0"), fc.string()),
      fc.oneof(
        nearlyMessage.map((m) => JSON.stringify(m)),
        fc.json(),
      ),
    )
    .map(([version, message]) => Buffer.from(JSON.stringify({ "oslo.version": version, "oslo.message": message }))),
);

test("any body is a request or a payload error", () => {
  fc.assert(fc.property(body, (bytes) => isValueOrPayloadError(() => decodeRequest(bytes))));
});

test("any body is a reply or a payload error", () => {
  fc.assert(fc.property(body, (bytes) => isValueOrPayloadError(() => decodeReply(bytes))));
});

// Through JSON once, because it has no negative zero.
const json = fc.jsonValue().map((value) => JSON.parse(JSON.stringify(value)) as unknown);
const jsonObject = fc.dictionary(fc.string({ maxLength: 8 }), json);
const id = fc.uuid().map((uuid) => uuid.replaceAll("-", ""));

test("a request is read as it was written", () => {
  const request = fc.record({
    method: fc.string(),
    args: jsonObject,
    namespace: fc.option(fc.string()),
    version: fc.string(),
    uniqueId: fc.option(id),
    replyTo: fc.option(
      fc.record({ messageId: id, queue: fc.string(), monitorTimeoutSeconds: fc.option(fc.nat({ max: 600 })) }),
    ),
    context: jsonObject,
  });
  fc.assert(
    fc.property(request, (sent) => {
      expect(decodeRequest(encodeRequest(sent))).toEqual(sent);
    }),
  );
});

test("a result is read as it was written", () => {
  fc.assert(
    fc.property(id, id, json, fc.boolean(), (messageId, uniqueId, result, ending) => {
      const part = { messageId, uniqueId, result, failure: null, ending };
      expect(decodeReply(encodeReply(part))).toEqual(part);
    }),
  );
});

test("any text is a transport URL or a problem that does not quote it", () => {
  const marked = fc.tuple(fc.string(), fc.oneof(fc.string(), fc.webUrl()));
  fc.assert(
    fc.property(marked, ([before, after]) => {
      const parsed = parseTransportUrl(`rabbit://${before}u:hunter2@${after}`);
      return parsed.kind === "valid" || !parsed.problem.includes("hunter2");
    }),
  );
});
