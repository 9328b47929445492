// Layouts are those of the VICI README ("Message format", "Encoding example").
import { describe, expect, test } from "vitest";
import { MalformedMessageError } from "../../../src/vici-client/errors.ts";
import { decodeMessage, encodeMessage, MAX_DEPTH, type SectionInput } from "../../../src/vici-client/message.ts";
import { hex } from "../../support/hex.ts";

const readmeExample = hex`
  03 04 6b657931 0006 76616c756531        ${"key1 = value1"}
  01 08 73656374696f6e31                  ${"section1 = {"}
    01 0b 7375622d73656374696f6e          ${"sub-section = {"}
      03 04 6b657932 0006 76616c756532    ${"key2 = value2"}
    02                                    ${"}"}
    04 05 6c69737431                      ${"list1 = ["}
      05 0005 6974656d31                  ${"item1"}
      05 0005 6974656d32                  ${"item2"}
    06                                    ${"]"}
  02                                      ${"}"}
`;

describe("decoding", () => {
  test("the README's example becomes its tree", () => {
    expect(decodeMessage(readmeExample)).toEqual(
      new Map<string, unknown>([
        ["key1", "value1"],
        [
          "section1",
          new Map<string, unknown>([
            ["sub-section", new Map([["key2", "value2"]])],
            ["list1", ["item1", "item2"]],
          ]),
        ],
      ]),
    );
  });

  test("a message of no bytes is an empty section", () => {
    expect(decodeMessage(Buffer.alloc(0)).size).toBe(0);
  });

  test("empty lists, empty sections and empty values are kept apart", () => {
    const message = decodeMessage(hex`04 01 6c 06 ${"list"} 01 01 73 02 ${"section"} 03 01 76 0000 ${"value"}`);
    expect([...message]).toEqual([
      ["l", []],
      ["s", new Map()],
      ["v", ""],
    ]);
  });

  test("keys keep the order of the wire, also those that look like numbers", () => {
    const message = decodeMessage(hex`03 02 3130 0001 61 ${"10"} 03 01 39 0001 62 ${"9"} 03 01 61 0001 63 ${"a"}`);
    expect([...message.keys()]).toEqual(["10", "9", "a"]);
  });

  test("a key called __proto__ is a key", () => {
    const message = decodeMessage(hex`03 09 5f5f70726f746f5f5f 0001 78`);
    expect([...message]).toEqual([["__proto__", "x"]]);
  });

  test("a section may have an empty name, as the global counters of get-counters do", () => {
    expect([...decodeMessage(hex`01 00 02`).keys()]).toEqual([""]);
  });

  test("values that are UTF-8 are strings", () => {
    expect(decodeMessage(hex`03 01 6d 0008 6772c3b6c39f6521`).get("m")).toBe("größe!");
  });

  test("values that are not UTF-8 stay bytes, and their own", () => {
    const bytes = hex`03 01 6d 0003 ff0041`;
    const value = decodeMessage(bytes).get("m");
    bytes.fill(0);
    expect(value).toEqual(Buffer.from([0xff, 0x00, 0x41]));
  });

  test("a replacement character that was sent as such is a string", () => {
    expect(decodeMessage(hex`03 01 6d 0003 efbfbd`).get("m")).toBe("\ufffd");
  });

  test.each<[string, Buffer, RegExp]>([
    ["a section that is never ended", hex`01 01 73`, /ends inside a section, 1 deep/],
    ["a section end without a start", hex`02`, /section end without start at byte 0/],
    ["a list that is never ended", hex`04 01 6c 05 0000`, /ends inside the list l/],
    ["a list inside a list", hex`04 01 6c 04 01 6d`, /list inside the list l/],
    ["a section inside a list", hex`04 01 6c 01 01 6d 02 06`, /element type 1 inside the list l/],
    ["an item outside a list", hex`05 0000`, /list item outside a list at byte 0/],
    ["a list end outside a list", hex`06`, /list end outside a list/],
    ["an unknown element type", hex`03 01 6b 0000 2a`, /unknown element type 42 at byte 5/],
    ["element type 0", hex`00`, /unknown element type 0/],
    ["a name that goes past the end", hex`03 05 6b`, /name truncated/],
    ["a missing name length", hex`01`, /name truncated/],
    ["a value that goes past the end", hex`03 01 6b 0002 61`, /value of k truncated/],
    ["half a value length", hex`03 01 6b 00`, /value of k truncated/],
    ["an item that goes past the end", hex`04 01 6c 05 0003 6161`, /item of l truncated/],
    ["a key that occurs twice", hex`03 02 7570 0003 796573 01 02 7570 02`, /up occurs twice/],
  ])("%s is refused by name", (_case, bytes, reason) => {
    expect(() => decodeMessage(bytes)).toThrow(MalformedMessageError);
    expect(() => decodeMessage(bytes)).toThrow(reason);
  });

  test("sections nest up to the limit and no deeper", () => {
    const nested = (depth: number) => Buffer.concat([Buffer.from("010173".repeat(depth) + "02".repeat(depth), "hex")]);
    expect(decodeMessage(nested(MAX_DEPTH)).size).toBe(1);
    expect(() => decodeMessage(nested(MAX_DEPTH + 1))).toThrow(/nest deeper than 32/);
  });
});

describe("encoding", () => {
  test("the README's example is laid out as the README says", () => {
    const tree = { key1: "value1", section1: { "sub-section": { key2: "value2" }, list1: ["item1", "item2"] } };
    expect(encodeMessage(tree)).toEqual(readmeExample);
  });

  test("a Map is laid out in its own order, where an object would move numbers to the front", () => {
    const section = new Map([
      ["b", "1"],
      ["1", "2"],
    ]);
    expect(encodeMessage(section)).toEqual(hex`03 01 62 0001 31 ${"b"} 03 01 31 0001 32 ${"1"}`);
  });

  test("strings become UTF-8 and bytes stay as they are", () => {
    expect(encodeMessage({ k: "ß", l: [Uint8Array.of(0xff)] })).toEqual(
      hex`03 01 6b 0002 c39f ${"k"} 04 01 6c 05 0001 ff 06 ${"l"}`,
    );
  });

  test("an undefined member is left out", () => {
    expect(encodeMessage({ id: undefined, type: "IKE" })).toEqual(hex`03 04 74797065 0003 494b45`);
  });

  test.each<[string, SectionInput, RegExp]>([
    ["a value one byte over the u16 limit", { cert: Buffer.alloc(0x10000) }, /value of cert is 65536 bytes/],
    ["an item one byte over the u16 limit", { ids: ["x".repeat(0x10000)] }, /item of ids is 65536 bytes/],
    ["a name one byte over the u8 limit", { ["n".repeat(256)]: "" }, /key is 256 bytes, allowed 1..255/],
    ["an empty name", { "": "x" }, /key is 0 bytes/],
    ["a name that charon would drop the message over", { größe: "x" }, /key "größe" is not printable ASCII/],
  ])("%s is refused by name", (_case, message, reason) => {
    expect(() => encodeMessage(message)).toThrow(MalformedMessageError);
    expect(() => encodeMessage(message)).toThrow(reason);
  });

  test("the largest name and value pass", () => {
    const message = { ["n".repeat(255)]: "v".repeat(0xffff) };
    expect(decodeMessage(encodeMessage(message))).toEqual(new Map(Object.entries(message)));
  });

  test("a refused secret does not show in the message", () => {
    const secret = "hunter2".repeat(10_000);
    expect(() => encodeMessage({ data: secret })).toThrow(/^value of data is 70000 bytes, allowed 0..65535$/);
  });

  test("sections nested deeper than the limit are refused", () => {
    let message: SectionInput = {};
    for (let depth = 0; depth <= MAX_DEPTH; depth += 1) message = { s: message };
    expect(() => encodeMessage(message)).toThrow(/nest deeper than 32/);
  });
});
