// Laws of reading Neutron's list: whatever comes, no exception, no shown key, nothing left unguarded.
import fc from "fast-check";
import { expect, test } from "vitest";
import { decodeServiceList } from "../../src/wire/neutron/decode.ts";
import { decodePlumbing, subnetIdsOf } from "../../src/wire/neutron/plumbing.ts";
import { decodeServiceUpdatedArgs } from "../../src/wire/neutron/rpc.ts";
import { aWireConnection, aWireService, CONNECTION, PSK } from "../support/wire-connection.ts";

test("whatever JSON the server answers is a value or a problem, never an exception", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (json) => {
      const list = decodeServiceList(json);
      if (!Array.isArray(json) || json.length > 0) expect(list.complete).toBe(false);
      decodePlumbing(json, new Map([["x", json]]));
      subnetIdsOf(json);
      decodeServiceUpdatedArgs(json);
    }),
  );
});

test("any one spoilt key of a connection leaves the connection listed, guarded, and its key unseen", () => {
  const keys = Object.keys(aWireConnection()).filter((key) => key !== "id");
  fc.assert(
    fc.property(fc.constantFrom(...keys), fc.jsonValue(), (key, value) => {
      const list = decodeServiceList([aWireService({ ipsec_site_connections: [aWireConnection({ [key]: value })] })]);
      const connections = [...list.routers.values()].flatMap((router) => router.connections);
      expect(connections.map(({ id }) => id)).toEqual([CONNECTION]);
      expect(connections[0]?.guarded.localSubnets.length === 0 && key !== "local_cidrs").toBe(false);
      expect(JSON.stringify([list.problems, connections])).not.toContain(PSK);
    }),
  );
});
