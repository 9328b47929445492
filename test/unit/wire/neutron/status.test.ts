// What update_status carries, and what a server reads from it.
import { expect, test } from "vitest";
import { connectionId, serviceId } from "../../../../src/core/ids.ts";
import { decodeStatusReport, encodeStatusReport } from "../../../../src/wire/neutron/status.ts";
import { fixtureArgs } from "../../../support/neutron-fixtures.ts";

const service = serviceId("764a65aa-113a-4dba-bd58-f6812b98b3b1");
const connection = connectionId("66156e04-c1d5-49ce-b211-7e108a890dcd");

test("a report has the shape that the stock agent sends, with all keys", () => {
  const report = encodeStatusReport([
    {
      id: service,
      status: "ACTIVE",
      fetchedStatus: "ACTIVE",
      connections: [{ id: connection, status: "ACTIVE", fetchedStatus: "PENDING_CREATE" }],
    },
  ]);
  expect({ status: report }).toEqual(fixtureArgs("ovn", "026"));
});

test("a service that was fetched as PENDING_CREATE is reported with updated_pending_status", () => {
  const [report] = encodeStatusReport([
    { id: service, status: "DOWN", fetchedStatus: "PENDING_CREATE", connections: [] },
  ]);
  expect(report).toEqual({ id: service, status: "DOWN", updated_pending_status: true, ipsec_site_connections: {} });
});

test("a report that is read back names every service and connection", () => {
  expect(decodeStatusReport((fixtureArgs("ovn", "024") as { status: unknown }).status)).toEqual({
    services: [{ id: service, status: "ACTIVE", overwritesPending: false }],
    connections: [{ id: connection, status: "DOWN", overwritesPending: false }],
  });
});

test("a report without one of the mandatory keys is refused", () => {
  expect(() => decodeStatusReport([{ id: service, status: "ACTIVE" }])).toThrow(/updated_pending_status/);
});
