// The texts are formats of strongSwan 5.9.8's sources (src/libcharon), filled in.
import { expect, test } from "vitest";
import type { ReasonCode } from "../../../../src/core/reason.ts";
import {
  changeFromLog,
  failureFromLog,
  ForgottenQuickModes,
  tellsOfUnknownMessage,
  UnknownDeletes,
  UnreadableQuickModes,
} from "../../../../src/wire/swanctl/log.ts";

test.each<[string, ReasonCode]>([
  // sa/ikev2/tasks/ike_auth.c, sa/ikev1/tasks/main_mode.c
  ["received AUTHENTICATION_FAILED notify error", "authentication-failed"],
  ["received AUTHENTICATION_FAILED error notify", "authentication-failed"],
  // sa/ikev2/authenticators/psk_authenticator.c
  ["tried 1 shared key for '203.0.113.10' - '203.0.113.20', but MAC mismatched", "authentication-failed"],
  ["tried 2 shared keys for 'a' - 'b', but MAC mismatched", "authentication-failed"],
  ["no shared key found for '203.0.113.10' - '203.0.113.20'", "authentication-failed"],
  ["authentication of '203.0.113.10' (myself) failed", "authentication-failed"],
  // sa/ikev1/phase1.c
  ["no shared key found for 203.0.113.10 - 203.0.113.20", "authentication-failed"],
  // sa/ikev1/task_manager_v1.c, encoding/message.c, encoding/payloads/encrypted_payload.c
  ["invalid HASH_V1 payload length, decryption failed?", "authentication-failed"],
  ["could not decrypt payloads", "authentication-failed"],
  ["decryption failed, invalid length", "authentication-failed"],
  ["QUICK_MODE request with message ID 624172489 processing failed", "negotiating"],
  ["QUICK_MODE response with message ID 624172489 processing failed", "negotiating"],
  // sa/ikev1/authenticators/psk_v1_authenticator.c
  ["calculated HASH does not match HASH payload", "authentication-failed"],
  // sa/ikev2/tasks/ike_auth.c, sa/ike_sa.c
  ["constraint check failed: identity 'x' required ", "authentication-failed"],
  ["no matching peer config found", "authentication-failed"],
  // sa/ikev2/tasks/child_create.c
  ["received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built", "no-proposal-chosen"],
  ["no acceptable proposal found", "no-proposal-chosen"],
  ["TRANSPORT mode requested by responder is unacceptable", "no-proposal-chosen"],
  // sa/ikev2/tasks/ike_init.c, sa/ikev2/task_manager_v2.c
  ["received NO_PROPOSAL_CHOSEN notify error", "no-proposal-chosen"],
  ["received NO_PROPOSAL_CHOSEN error notify", "no-proposal-chosen"],
  ["received proposals unacceptable", "no-proposal-chosen"],
  ["no IKE config found for 203.0.113.10...203.0.113.20, sending NO_PROPOSAL_CHOSEN", "no-proposal-chosen"],
  // sa/ikev2/tasks/child_create.c, sa/ikev1/tasks/quick_mode.c
  ["received TS_UNACCEPTABLE notify, no CHILD_SA built", "selectors-refused"],
  ["traffic selectors 10.1.0.0/24 === 10.2.0.0/24 unacceptable", "selectors-refused"],
  ["no acceptable traffic selectors found", "selectors-refused"],
  ["no matching CHILD_SA config found for 10.1.0.0/24 === 10.2.0.0/24", "selectors-refused"],
  ["received INVALID_ID_INFORMATION error notify", "selectors-refused"],
  // sa/ikev2/task_manager_v2.c, sa/ikev1/task_manager_v1.c, sa/ike_sa.c
  ["retransmit 2 of request with message ID 0", "peer-unreachable"],
  ["giving up after 5 retransmits", "peer-unreachable"],
  ["peer not responding, trying again (2/0)", "peer-unreachable"],
  ["establishing IKE_SA failed, peer not responding", "peer-unreachable"],
  // sa/ikev2/tasks/child_create.c; plugins/kernel_netlink
  ["unable to install inbound and outbound IPsec SA (SAD) in kernel", "child-refused"],
  ["unable to install IPsec policies (SPD) in kernel", "child-refused"],
  ["unable to add SAD entry with SPI c1234567: No such file or directory (2)", "child-refused"],
])("%s", (message, code) => {
  const failure = failureFromLog(message);
  expect(failure?.code).toBe(code);
  expect(failure?.text).toContain(`(charon: ${message})`);
  const isOurs = code === "selectors-refused" && !message.startsWith("received");
  expect(failure?.refuses).toBe(isOurs ? "the peer's selectors" : undefined);
});

test.each([
  "initiating IKE_SA peer-0123456789ab[1] to 203.0.113.20",
  "IKE_SA peer-0123456789ab[1] established between 203.0.113.10[a]...203.0.113.20[b]",
  "authentication of '203.0.113.20' with pre-shared key successful",
  "retransmit 1 of request with message ID 0",
  "received INITIAL_CONTACT notify",
  "sending retransmit 1 of request message ID 0, seq 1",
  "closing CHILD_SA c{1} with SPIs c1_i (0 bytes) c2_o (0 bytes) and TS 10.1.0.0/24 === 10.2.0.0/24",
])("%s is no failure", (message) => {
  expect(failureFromLog(message)).toBeUndefined();
});

test.each([
  // plugins/vici/vici_config.c
  ["added vici connection: peer-0123456789ab", "config"],
  ["updated vici connection: peer-0123456789ab", "config"],
  ["replaced vici connection: peer-0123456789ab", "config"],
  // 6.0
  ["removed vici connection: peer-0123456789ab", "config"],
  // plugins/vici/vici_cred.c
  ["loaded IKE shared key with id 'ike-x' for: '203.0.113.10', '203.0.113.20'", "secret"],
  ["loaded NTLM shared key with id 'ntlm-x' for: 'x'", "secret"],
  ["unloaded shared key with id 'ike-x'", "secret"],
  ["loaded certificate 'CN=x'", undefined],
  ["received end entity cert", undefined],
  ["vici initiating CHILD_SA 'c'", undefined],
])("whether %s tells that something was loaded: %s", (message, expected) => {
  expect(changeFromLog(message)).toBe(expected);
});

test("Quick Modes that charon has forgotten since it refused another one, and not made since", () => {
  const heard = new ForgottenQuickModes();
  const hear = (ikeSaUniqueId: number, ...lines: readonly string[]): (number | undefined)[] =>
    lines.map((text) => heard.hear({ ikeSaUniqueId, text }));
  const answer = (id: number): string => `generating QUICK_MODE response ${String(id)} [ HASH SA No KE ID ID ]`;
  const last = (id: number): string => `parsed QUICK_MODE request ${String(id)} [ HASH ]`;
  const up = "CHILD_SA c1{2} established with SPIs 872b455e_i 704b4e20_o and TS 10.1.0.0/24 === 10.2.0.0/24";
  const refusal = "generating INFORMATIONAL_V1 request 3937603226 [ HASH N(INVAL_ID) ]";
  const dpd = "generating INFORMATIONAL_V1 request 3937603227 [ HASH N(DPD) ]";
  expect(hear(1, answer(7), last(7), up, dpd, refusal)).toEqual(Array.from({ length: 5 }, () => undefined));
  expect(hear(2, answer(1), answer(2), answer(3), last(2), up)).toEqual(Array.from({ length: 5 }, () => undefined));
  expect(hear(1, refusal)).toEqual([undefined]);
  expect(hear(2, dpd, refusal, last(1), refusal)).toEqual([undefined, 2, undefined, undefined]);
  expect(hear(1, up)).toEqual([undefined]);
  expect(hear(2, answer(4), last(4), up, up, up)).toEqual([undefined, undefined, 1, 0, undefined]);
});

test("a Quick Mode whose retransmission the peer cannot read, until it is answered after all", () => {
  const heard = new UnreadableQuickModes();
  const hear = (ikeSaUniqueId: number, ...lines: readonly string[]): (boolean | undefined)[] =>
    lines.map((text) => heard.hear({ ikeSaUniqueId, text }));
  const again = (id: number): string => `sending retransmit 1 of request message ID ${String(id)}, seq 1`;
  const malformed = "received PAYLOAD_MALFORMED error notify";
  const answered = (id: number): string => `parsed QUICK_MODE response ${String(id)} [ HASH SA No KE ID ID ]`;
  expect(hear(1, malformed, again(0), malformed, again(7), answered(7), malformed)).toEqual(
    Array.from({ length: 6 }, () => undefined),
  );
  expect(hear(2, again(7), "received INVALID_HASH_INFORMATION error notify")).toEqual([undefined, true]);
  expect(hear(1, malformed)).toEqual([undefined]);
  expect(hear(2, again(7), malformed, answered(8), answered(7), malformed)).toEqual([
    undefined,
    true,
    undefined,
    false,
    undefined,
  ]);
  const asked = (id: number): string => `generating QUICK_MODE request ${String(id)} [ HASH SA No KE ID ID ]`;
  for (const over of [asked(8), "received INVALID_ID_INFORMATION error notify"]) {
    expect(hear(3, again(7), over, malformed)).toEqual([undefined, undefined, undefined]);
    expect(hear(3, again(7), asked(7), malformed, over, malformed)).toEqual([
      undefined,
      undefined,
      true,
      false,
      undefined,
    ]);
  }
});

test.each([
  // sa/ikev1/tasks/informational.c
  ["received UNSUPPORTED_CRITICAL_PAYLOAD error notify", true],
  ["received PAYLOAD_MALFORMED error notify", true],
  ["received INVALID_ID_INFORMATION error notify", false],
])("a message of ours that the peer cannot place: %s", (text, isTold) => {
  expect(tellsOfUnknownMessage(text)).toBe(isTold);
});

test("the SPIs of CHILD SAs that a peer ends and charon does not hold", () => {
  const heard = new UnknownDeletes();
  const hear = (threadId: number, text: string): string | undefined => heard.hear({ threadId, text });
  // sa/ikev2/tasks/child_delete.c
  expect(hear(1, "received DELETE for unknown ESP CHILD_SA with SPI 5a77c38e")).toBe("5a77c38e");
  expect(hear(1, "received DELETE for unknown AH CHILD_SA with SPI 0077c38e")).toBe("0077c38e");
  expect(hear(1, "received DELETE for ESP CHILD_SA with SPI 4cd8a25a")).toBeUndefined();
  expect(hear(1, "closing CHILD_SA c1{6} with SPIs 94a75691_i (0 bytes) 60920e77_o (0 bytes)")).toBeUndefined();
  // sa/ikev1/tasks/quick_delete.c: the second line is of the thread's last one
  expect(hear(1, "received DELETE for ESP CHILD_SA with SPI f38bb205")).toBeUndefined();
  expect(hear(2, "received DELETE for ESP CHILD_SA with SPI f38bb206")).toBeUndefined();
  expect(hear(1, "CHILD_SA not found, ignored")).toBe("f38bb205");
  expect(hear(1, "CHILD_SA not found, ignored")).toBeUndefined();
  expect(hear(2, "CHILD_SA not found, ignored")).toBe("f38bb206");
});
