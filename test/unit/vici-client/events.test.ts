// Events that no recording has.
import { expect, test } from "vitest";
import { ALERT_TYPES } from "../../../src/vici-client/alerts.ts";
import { COMMAND_EVENTS, decodeEvent, SUBSCRIBABLE_EVENTS } from "../../../src/vici-client/events.ts";
import { decodeMessage, encodeMessage, type SectionInput } from "../../../src/vici-client/message.ts";
import { anIkeSa } from "./requesters.ts";

const event = (name: string, message: SectionInput) => decodeEvent(name, decodeMessage(encodeMessage(message)));

test("an alert may be about an IKE SA or about none", () => {
  expect(event("alert", { type: "parse-error-header" })).toEqual({
    kind: "alert",
    type: "parse-error-header",
    ikeSa: undefined,
  });
  expect(event("alert", { type: "peer-auth-failed", "ike-sa": { "peer-1": anIkeSa } })).toMatchObject({
    kind: "alert",
    type: "peer-auth-failed",
    ikeSa: { name: "peer-1", uniqueId: 3 },
  });
});

test("an address update has the new addresses beside the SA with its old ones", () => {
  const moved = { "local-host": "192.0.2.9", "local-port": "4500", "remote-host": "192.0.2.2", "remote-port": "4500" };
  expect(event("ike-update", { ...moved, "peer-1": anIkeSa })).toMatchObject({
    kind: "ikeUpdate",
    localHost: "192.0.2.9",
    localPort: 4500,
    ikeSa: { localHost: "192.0.2.1" },
  });
});

test("an event of another name is handed on as it is", () => {
  expect(event("ike-cooked", { a: "b" })).toEqual({
    kind: "other",
    name: "ike-cooked",
    message: new Map([["a", "b"]]),
  });
});

test("an event that should be about one SA and is about none is refused", () => {
  expect(() => event("ike-updown", { up: "yes" })).toThrow(/ike-updown holds 0 sections, expected one/);
  expect(() => event("child-updown", { "peer-1": anIkeSa })).toThrow(/child-updown without a child/);
});

test.each(ALERT_TYPES)("an alert of type %s is one that is known", (type) => {
  expect(event("alert", { type })).toEqual({ kind: "alert", type, ikeSa: undefined });
});

test("an alert of a newer charon is told apart, with its SA", () => {
  expect(event("alert", { type: "coffee-missing", "ike-sa": { "peer-1": anIkeSa } })).toMatchObject({
    kind: "unknownAlert",
    type: "coffee-missing",
    ikeSa: { name: "peer-1" },
  });
});

test("an alert before the configuration is known has an SA without a name", () => {
  const alert = event("alert", { type: "proposal-mismatch-ike", "ike-sa": { "(unnamed)": anIkeSa } });
  expect(alert).toMatchObject({ kind: "alert", ikeSa: { name: "(unnamed)", state: "CONNECTING" } });
});

test("an event that should hold one policy or authority and holds more is refused", () => {
  const policy = { child: "net", mode: "DROP" };
  expect(() => event("list-policy", { a: policy, b: policy })).toThrow(/list-policy holds 2 sections, expected one/);
  expect(() => event("list-authority", {})).toThrow(/list-authority holds 0 sections, expected one/);
});

test("every event of the README is one to subscribe to, or one of a command's", () => {
  expect([...SUBSCRIBABLE_EVENTS, ...COMMAND_EVENTS].sort()).toEqual([
    "alert",
    "child-rekey",
    "child-updown",
    "control-log",
    "ike-rekey",
    "ike-update",
    "ike-updown",
    "list-authority",
    "list-cert",
    "list-conn",
    "list-policy",
    "list-sa",
    "log",
  ]);
});
