// Rows of both databases in our words, and our writes in theirs.
import { expect, test } from "vitest";
import { encodeMapChange } from "../../../../src/ovsdb-client/operations.ts";
import { decodeLocal } from "../../../../src/wire/ovn/local.ts";
import { decodeSouthbound, encodeWrite, southboundTables } from "../../../../src/wire/ovn/southbound.ts";

const local = (ids: Readonly<Record<string, string>>) =>
  decodeLocal({ Open_vSwitch: new Map([["x", { external_ids: new Map(Object.entries(ids)) }]]) });

test("the local database tells the chassis' name and where the southbound database is", () => {
  const ids = { "system-id": "gw-left", "ovn-remote": " tcp:192.0.2.1:6642\n", hostname: "gw-left.example" };
  expect(local(ids)).toEqual({ chassis: "gw-left", southbound: "tcp:192.0.2.1:6642" });
});

test("what is not set, or empty, is not told", () => {
  expect(local({ "system-id": "" })).toEqual({ chassis: undefined, southbound: undefined });
  expect(decodeLocal({ Open_vSwitch: new Map() })).toEqual({ chassis: undefined, southbound: undefined });
});

test("only our chassis' rows are asked for", () => {
  const { Chassis_Private: own, Chassis: chassis } = southboundTables("gw-left");
  expect([own.where, chassis.where]).toEqual([[["name", "==", "gw-left"]], [["name", "==", "gw-left"]]]);
});

test("the southbound database tells the generation, our row and the chassis' host name", () => {
  const ids = new Map([
    ["neutron:ovn-vpnagent-id", "id"],
    ["neutron:ovn-vpnagent-sb-cfg", "6"],
    ["neutron:ovn-metadata-sb-cfg", "7"],
  ]);
  const tables = {
    SB_Global: new Map([["a", { nb_cfg: 7 }]]),
    Chassis_Private: new Map([["b", { external_ids: ids }]]),
    Chassis: new Map([["c", { hostname: "gw-left.example" }]]),
  };
  expect(decodeSouthbound(tables)).toEqual({
    generation: 7,
    row: { uuid: "b", announcement: { agentId: "id", answer: "6" } },
    hostname: "gw-left.example",
  });
});

test("an empty southbound database tells nothing, which is not the generation 0", () => {
  expect(decodeSouthbound({ SB_Global: new Map(), Chassis_Private: new Map(), Chassis: new Map() })).toEqual({
    generation: undefined,
    row: undefined,
    hostname: undefined,
  });
});

const mutations = (step: Parameters<typeof encodeWrite>[0]): unknown =>
  (encodeMapChange(encodeWrite(step, "b", "id")) as { readonly mutations: unknown }).mutations;

test("an introduction writes the id and the answer together, over what stands there", () => {
  expect(mutations({ kind: "introduce", answer: "7" })).toEqual([
    ["external_ids", "delete", ["set", ["neutron:ovn-vpnagent-id", "neutron:ovn-vpnagent-sb-cfg"]]],
    [
      "external_ids",
      "insert",
      [
        "map",
        [
          ["neutron:ovn-vpnagent-id", "id"],
          ["neutron:ovn-vpnagent-sb-cfg", "7"],
        ],
      ],
    ],
  ]);
});

test("an introduction without an answer takes the old one away", () => {
  expect(mutations({ kind: "introduce", answer: undefined })).toEqual([
    ["external_ids", "delete", ["set", ["neutron:ovn-vpnagent-id", "neutron:ovn-vpnagent-sb-cfg"]]],
    ["external_ids", "insert", ["map", [["neutron:ovn-vpnagent-id", "id"]]]],
  ]);
});

test("an answer leaves the id alone", () => {
  expect(mutations({ kind: "answer", answer: "8" })).toEqual([
    ["external_ids", "delete", ["set", ["neutron:ovn-vpnagent-sb-cfg"]]],
    ["external_ids", "insert", ["map", [["neutron:ovn-vpnagent-sb-cfg", "8"]]]],
  ]);
});
