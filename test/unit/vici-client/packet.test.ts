// Types and names of packets, byte by byte, and names that charon would never answer.
import { expect, test } from "vitest";
import { decodeCharonPacket, encodeClientPacket } from "../../../src/vici-client/packet.ts";
import { hex } from "../../support/hex.ts";

test("a command is its type, its name with a u8 length, and the message", () => {
  expect(encodeClientPacket({ kind: "commandRequest", name: "unload-conn", message: { name: "gw" } })).toEqual(
    hex`00                        ${"CMD_REQUEST"}
        0b 756e6c6f61642d636f6e6e ${"unload-conn"}
        03 04 6e616d65 0002 6777  ${"name = gw"}`,
  );
});

test("registrations carry a name and nothing else", () => {
  expect(encodeClientPacket({ kind: "eventRegister", name: "log" })).toEqual(hex`03 03 6c6f67`);
  expect(encodeClientPacket({ kind: "eventUnregister", name: "log" })).toEqual(hex`04 03 6c6f67`);
});

test.each(["", "größe", "n".repeat(256), "a\nb"])(
  "the packet name %j, which charon never answers, is refused",
  (name) => {
    expect(() => encodeClientPacket({ kind: "eventRegister", name })).toThrow(/packet name .* is not/);
  },
);

test("what charon sends is told apart by its type", () => {
  expect(decodeCharonPacket(hex`01 03 01 6b 0001 76`)).toEqual({
    kind: "commandResponse",
    message: new Map([["k", "v"]]),
  });
  expect(decodeCharonPacket(hex`02`)).toEqual({ kind: "commandUnknown" });
  expect(decodeCharonPacket(hex`05`)).toEqual({ kind: "eventConfirm" });
  expect(decodeCharonPacket(hex`06`)).toEqual({ kind: "eventUnknown" });
  expect(decodeCharonPacket(hex`07 03 6c6f67 03 01 6b 0001 76`)).toEqual({
    kind: "event",
    name: "log",
    message: new Map([["k", "v"]]),
  });
});

test.each<[string, Buffer, RegExp]>([
  ["no byte at all", hex``, /empty packet/],
  ["a type that only clients send", hex`00 00`, /packet type 0 is not one that charon sends/],
  ["an unknown type", hex`2a`, /packet type 42/],
  ["trailing bytes", hex`05 00`, /1 trailing bytes after eventConfirm/],
  ["an event without a name", hex`07`, /event name truncated/],
  ["an event with half a name", hex`07 03 6c`, /event name truncated/],
])("%s is refused by name", (_case, frame, reason) => {
  expect(() => decodeCharonPacket(frame)).toThrow(reason);
});
