// Tables kept up from updates as a real server sent them.
import { describe, expect, test } from "vitest";
import { decodeServerMessage } from "../../../src/ovsdb-client/message.ts";
import { applyUpdates, emptyTables, monitorRequests } from "../../../src/ovsdb-client/tables.ts";
import { ovsdbMessage } from "../../support/ovsdb-golden.ts";

const SPECS = {
  SB_Global: { columns: { nb_cfg: "integer" } },
  Chassis_Private: { columns: { external_ids: "stringMap" }, where: [["name", "==", "gw-left"]] },
  Chassis: { columns: { hostname: "string" } },
} as const;
const ROW = "d8f923ab-08c3-4efd-bd34-5fb606539a99";

function updatesOf(caption: string): unknown {
  const message = decodeServerMessage(ovsdbMessage(caption));
  if (message.kind === "response") return message.result;
  return message.params[1];
}

/** The tables after the recorded messages, in their order. */
function after(...captions: readonly string[]) {
  let tables = emptyTables(SPECS);
  for (const caption of captions) tables = applyUpdates(SPECS, tables, updatesOf(caption));
  return tables;
}

test("what is asked for is columns and conditions of each table", () => {
  expect(monitorRequests(SPECS)).toEqual({
    SB_Global: [{ columns: ["nb_cfg"] }],
    Chassis_Private: [{ columns: ["external_ids"], where: [["name", "==", "gw-left"]] }],
    Chassis: [{ columns: ["hostname"] }],
  });
});

test("columns that a first look leaves out have their default", () => {
  const tables = after("first look");
  expect([...tables.SB_Global.values()]).toEqual([{ nb_cfg: 7 }]);
  expect([...tables.Chassis.values()]).toEqual([{ hostname: "gw-left" }]);
  expect([...tables.Chassis_Private]).toEqual([[ROW, { external_ids: new Map() }]]);
});

test("a changed number is the new one, also when that is the default", () => {
  expect([...after("first look", "nb_cfg became 8").SB_Global.values()]).toEqual([{ nb_cfg: 8 }]);
  expect([...after("first look", "nb_cfg became 8", "nb_cfg became 0").SB_Global.values()]).toEqual([{ nb_cfg: 0 }]);
});

describe("a changed map", () => {
  const ids = (...captions: readonly string[]) =>
    Object.fromEntries(after("first look", ...captions).Chassis_Private.get(ROW)?.external_ids ?? []);
  const changes = ["a=1 and b=2 were put in", "a became 3, c=4 was put in", "b was taken out"];

  test("gets what was put in", () => {
    expect(ids(...changes.slice(0, 1))).toEqual({ a: "1", b: "2" });
  });

  test("has the new value of a key that it had, and the keys that were not mentioned", () => {
    expect(ids(...changes.slice(0, 2))).toEqual({ a: "3", b: "2", c: "4" });
  });

  test("loses the pair that is told as it is", () => {
    expect(ids(...changes)).toEqual({ a: "3", c: "4" });
  });
});

test("a row that is deleted is gone, and one that is made again is another", () => {
  expect(after("first look", "the row was deleted").Chassis_Private.size).toBe(0);
  const again = after("first look", "the row was deleted", "it was made again, with x=y");
  expect([...again.Chassis_Private]).toEqual([
    ["c87740fd-59ad-4552-89ac-6259eb482595", { external_ids: new Map([["x", "y"]]) }],
  ]);
});

test("tables given are not changed, and those that no update mentions stay the same object", () => {
  const before = after("first look");
  const next = applyUpdates(SPECS, before, updatesOf("nb_cfg became 8"));
  expect([...before.SB_Global.values()]).toEqual([{ nb_cfg: 7 }]);
  expect(next.Chassis).toBe(before.Chassis);
});

test.each<[string, unknown]>([
  ["a table that is not watched", { Encap: {} }],
  ["a change of a row that was never told", { Chassis: { x: { modify: { hostname: "a" } } } }],
  ["a number that is a text", { SB_Global: { x: { initial: { nb_cfg: "7" } } } }],
  ["a number that is none of OVSDB's integers", { SB_Global: { x: { initial: { nb_cfg: 7.5 } } } }],
  ["a map with numbers in it", { Chassis_Private: { x: { insert: { external_ids: ["map", [["a", 1]]] } } } }],
  ["a set for a map", { Chassis_Private: { x: { insert: { external_ids: ["set", []] } } } }],
  ["no change of a row", { Chassis: { x: {} } }],
  ["no object", []],
])("an update with %s is refused", (_what, updates) => {
  expect(() => applyUpdates(SPECS, emptyTables(SPECS), updates)).toThrow(
    expect.objectContaining({ code: "OVSDB_MALFORMED" }),
  );
});

describe("sets", () => {
  const specs = {
    Bridge: { columns: { ports: "uuids", ofport: "optionalInteger", error: "optionalString" } },
  } as const;
  const of = (...changes: readonly unknown[]) => {
    let tables = emptyTables(specs);
    for (const change of changes) tables = applyUpdates(specs, tables, { Bridge: { [ROW]: change } });
    return tables.Bridge.get(ROW);
  };

  test("of one element come as that element, and left out they are empty", () => {
    expect(of({ initial: { ports: ["uuid", "a"], ofport: -1 } })).toEqual({
      ports: new Set(["a"]),
      ofport: -1,
      error: undefined,
    });
  });

  test("change by what is in one of the two, and those of at most one as a whole", () => {
    const first = { insert: { ports: ["set", [["uuid", "a"], ["uuid", "b"]]], error: "No such device" } }; // prettier-ignore
    const second = { modify: { ports: ["set", [["uuid", "b"], ["uuid", "c"]]], error: ["set", []], ofport: 7 } }; // prettier-ignore
    expect(of(first, second)).toEqual({ ports: new Set(["a", "c"]), ofport: 7, error: undefined });
  });
});
