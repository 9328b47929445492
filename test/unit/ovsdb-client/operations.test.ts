// Operations as RFC 7047 writes them, and results as a real server gave them.
import { expect, test } from "vitest";
import { decodeServerMessage } from "../../../src/ovsdb-client/message.ts";
import { countOf, decodeResults, encodeMapChange } from "../../../src/ovsdb-client/operations.ts";
import { ovsdbMessage } from "../../support/ovsdb-golden.ts";

function resultOf(caption: string): unknown {
  const message = decodeServerMessage(ovsdbMessage(caption));
  return message.kind === "response" ? message.result : undefined;
}

test("a change of a map takes out first and puts in then, in one row", () => {
  const change = { table: "T", row: "8d3d", column: "ids", remove: ["a"], insert: new Map([["a", "1"]]) };
  expect(encodeMapChange(change)).toEqual({
    op: "mutate",
    table: "T",
    where: [["_uuid", "==", ["uuid", "8d3d"]]],
    mutations: [
      ["ids", "delete", ["set", ["a"]]],
      ["ids", "insert", ["map", [["a", "1"]]]],
    ],
  });
});

test("a mutation tells how many rows it met", () => {
  const [result] = decodeResults(resultOf("a mutation of one row"), 1);
  expect(countOf(result)).toBe(1);
});

test("an operation that is none fails the transaction, with the server's words", () => {
  expect(() => decodeResults(resultOf("an operation that is none"), 2)).toThrow(
    'the server refused transact: syntax error: Parsing ovsdb operation 1 of 2 failed: No operation "frobnicate"',
  );
});

test("a commit that fails has its error behind the results", () => {
  expect(() => decodeResults(resultOf("a transaction whose commit fails"), 1)).toThrow(
    expect.objectContaining({ code: "OVSDB_REFUSED", error: "constraint violation" }),
  );
});

test.each<[string, unknown]>([
  ["too few results", [{ count: 1 }]],
  ["a result that is no object", [{ count: 1 }, 3]],
  ["no list", { count: 1 }],
])("%s are refused", (_what, answer) => {
  expect(() => decodeResults(answer, 2)).toThrow(expect.objectContaining({ code: "OVSDB_MALFORMED" }));
});

test("a result without a count is refused where a count is wanted", () => {
  expect(() => countOf({})).toThrow(expect.objectContaining({ code: "OVSDB_MALFORMED" }));
  expect(() => countOf(undefined)).toThrow(expect.objectContaining({ code: "OVSDB_MALFORMED" }));
});
