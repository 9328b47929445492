// Recorded messages of a real Neutron (test/golden/neutron), read, and compared with what we write.
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { adminContext } from "../../../../src/wire/oslo/context.ts";
import { decodeEnvelope } from "../../../../src/wire/oslo/envelope.ts";
import { decodeFailure, noSuchMethod } from "../../../../src/wire/oslo/failure.ts";
import { callProperties, plainProperties, type MessageProperties } from "../../../../src/wire/oslo/properties.ts";
import { decodeReply, encodeHeartbeat, encodeReply, isHeartbeat } from "../../../../src/wire/oslo/reply.ts";
import { decodeRequest, encodeRequest } from "../../../../src/wire/oslo/request.ts";

type Recorded = {
  readonly publish: {
    readonly exchange: string;
    readonly routing_key: string;
    readonly properties: Readonly<Record<string, unknown>>;
  };
  readonly body_bytes: string;
  readonly oslo_message: Readonly<Record<string, unknown>>;
  readonly failure_decoded?: Readonly<Record<string, unknown>>;
};

const root = fileURLToPath(new URL("../../../golden/neutron/", import.meta.url));
const all = ["ovn", "l3"].flatMap((variant) =>
  readdirSync(`${root}${variant}`)
    .filter((file) => file.endsWith(".json"))
    .map((file) => {
      const recorded = JSON.parse(readFileSync(`${root}${variant}/${file}`, "utf8")) as Recorded;
      const kind = file.split(".").at(-2) ?? "";
      return { name: `${variant}/${file}`, kind, recorded };
    }),
);
const ofKind = (...kinds: string[]) => all.filter(({ kind }) => kinds.includes(kind));
const bodyOf = ({ body_bytes }: Recorded) => Buffer.from(body_bytes);

const jsonType = (value: unknown) => (value === null ? "null" : Array.isArray(value) ? "array" : typeof value);

// Keys of the context that other releases of Neutron add or drop; oslo.context ignores what it does not know.
const OLDER_CONTEXT_KEYS = ["_context_tenant_id", "_context_tenant_name"];
const NEWER_CONTEXT_KEYS = ["_context_has_global_access", "_context_can_set_project_id"];
// A tenant's context names the tenant where an admin's has null.
const TENANT_CONTEXT_KEYS = ["_context_project_id", "_context_project"];

function kombuProperties(properties: MessageProperties): Record<string, unknown> {
  return {
    content_type: properties.contentType,
    content_encoding: properties.contentEncoding,
    delivery_mode: properties.deliveryMode,
    priority: properties.priority,
    headers: properties.headers,
    ...(properties.expiration === undefined ? {} : { expiration: properties.expiration }),
  };
}

test("there are recordings of every kind", () => {
  expect(new Set(all.map(({ kind }) => kind))).toEqual(new Set(["call", "cast", "reply", "error-reply", "heartbeat"]));
});

test.each(all)("the body of $name decodes to its recorded inner message", ({ recorded }) => {
  expect(decodeEnvelope(bodyOf(recorded))).toEqual(recorded.oslo_message);
});

describe("requests", () => {
  test.each(ofKind("call", "cast"))("$name decodes key by key", ({ kind, recorded }) => {
    const request = decodeRequest(bodyOf(recorded));
    const inner = recorded.oslo_message;
    expect(request).toMatchObject({
      method: inner["method"],
      args: inner["args"],
      namespace: null,
      version: inner["version"] ?? "1.0",
      uniqueId: inner["_unique_id"],
    });
    expect(request.context["request_id"]).toBe(inner["_context_request_id"]);
    expect(request.replyTo).toEqual(
      kind === "cast"
        ? null
        : { messageId: inner["_msg_id"], queue: inner["_reply_q"], monitorTimeoutSeconds: inner["_timeout"] },
    );
  });

  test.each(ofKind("call", "cast"))("ours has the keys of $name, in its order and with its types", ({ recorded }) => {
    const request = decodeRequest(bodyOf(recorded));
    const context = adminContext("req-5b0c1f6e-3c7f-4c5e-9a53-000000000001", new Date(0));
    const ours = decodeEnvelope(encodeRequest({ ...request, context }));
    const theirs = recorded.oslo_message;
    const lacksVersion = theirs["version"] === undefined; // we always say 1.0, which a receiver would assume
    const comparable = (message: Readonly<Record<string, unknown>>) =>
      Object.keys(message).filter(
        (key) =>
          !OLDER_CONTEXT_KEYS.includes(key) &&
          !NEWER_CONTEXT_KEYS.includes(key) &&
          !(lacksVersion && key === "version") &&
          // What else a context may hold differs from caller to caller.
          (!key.startsWith("_context_") || key in theirs),
      );
    expect(comparable(ours)).toEqual(comparable(theirs).filter((key) => key in ours));
    const missing = comparable(theirs).filter((key) => !(key in ours));
    expect(missing).toEqual([]);
    for (const key of comparable(theirs)) {
      if (!TENANT_CONTEXT_KEYS.includes(key)) expect([key, jsonType(ours[key])]).toEqual([key, jsonType(theirs[key])]);
    }
  });

  test.each(ofKind("call", "cast"))("$name is published as we publish", ({ kind, recorded }) => {
    const { expiration } = recorded.publish.properties;
    const ours = kind === "call" && expiration !== undefined ? callProperties(Number(expiration)) : plainProperties;
    expect(kombuProperties(ours)).toEqual(recorded.publish.properties);
    expect(recorded.publish.exchange).toBe("neutron");
  });

  test.each(ofKind("cast"))("$name names no reply and never expires", ({ recorded }) => {
    expect(recorded.oslo_message).not.toHaveProperty("_msg_id");
    expect(recorded.publish.properties).not.toHaveProperty("expiration");
  });
});

describe("replies", () => {
  test.each(ofKind("reply"))("$name decodes to its result", ({ recorded }) => {
    const { result, _msg_id, _unique_id } = recorded.oslo_message;
    expect(decodeReply(bodyOf(recorded))).toEqual({
      messageId: _msg_id,
      uniqueId: _unique_id,
      result,
      failure: null,
      ending: true,
    });
  });

  test.each(ofKind("error-reply"))("$name decodes to its failure", ({ recorded }) => {
    const { failure, ending } = decodeReply(bodyOf(recorded));
    const { class: className, module, message, tb } = recorded.failure_decoded ?? {};
    expect(failure).toEqual({ class: className, module, message, traceback: tb });
    expect(ending).toBe(true);
  });

  test.each(ofKind("heartbeat"))("$name is a heartbeat and equals ours", ({ recorded }) => {
    const part = decodeReply(bodyOf(recorded));
    expect(isHeartbeat(part)).toBe(true);
    expect(decodeEnvelope(encodeHeartbeat(part.messageId, part.uniqueId ?? ""))).toEqual(recorded.oslo_message);
  });

  test.each(ofKind("reply", "error-reply", "heartbeat"))("ours has exactly the keys of $name", ({ recorded }) => {
    const part = decodeReply(bodyOf(recorded));
    const ours = decodeEnvelope(encodeReply({ ...part, uniqueId: part.uniqueId ?? "" }));
    expect(Object.keys(ours)).toEqual(Object.keys(recorded.oslo_message));
    expect({ ...ours, failure: null }).toEqual({ ...recorded.oslo_message, failure: null });
    expect(kombuProperties(plainProperties)).toEqual(recorded.publish.properties);
    expect(recorded.publish.exchange).toBe("");
  });

  test.each(ofKind("error-reply"))("our failure has the keys and types of that in $name", ({ recorded }) => {
    const part = decodeReply(bodyOf(recorded));
    const encoded = decodeEnvelope(encodeReply({ ...part, uniqueId: "" }))["failure"];
    const ours = JSON.parse(String(encoded)) as Record<string, unknown>;
    const theirs = recorded.failure_decoded ?? {};
    expect(Object.keys(ours)).toEqual(Object.keys(theirs));
    expect(Object.values(ours).map(jsonType)).toEqual(Object.values(theirs).map(jsonType));
  });

  test("the answer to an unknown method is worded as the stock agent words it", () => {
    const stock = all.find(({ name }) => name.startsWith("ovn/103-"));
    const theirs = decodeFailure(stock?.recorded.oslo_message["failure"]);
    const { class: className, module, message } = noSuchMethod("no_such_method");
    expect({ className, module, message }).toEqual({
      className: theirs.class,
      module: theirs.module,
      message: theirs.message,
    });
  });
});
