// What many routers are told: made-up ports and networks that must not meet.
import { expect, test } from "vitest";
import { buildPayloads, routerTexts, transitDetails } from "../../../src/controller/payload.ts";
import { readCatalogue } from "../../../src/wire/documents/build.ts";
import { derivedId } from "../../../src/wire/documents/uuid.ts";
import { BASE, CONNECTION, SERVICE } from "../../support/documents.ts";

function manyRouters(count: number) {
  const read = readCatalogue([{ path: "all.yaml", text: [BASE, SERVICE, CONNECTION].join("---\n") }]);
  if (read.kind === "invalid") throw new Error(JSON.stringify(read.problems));
  const [service] = read.catalogue.services;
  if (service === undefined) throw new Error("no service");
  const services = Array.from({ length: count }, (_, at) => ({
    ...service,
    id: derivedId("service", `${at}`),
    routerId: derivedId("router", `${at}`),
  }));
  return { services };
}

const macAddressesOf = (details: unknown): string[] => {
  const ports = details as Record<"gw_port" | "transit_port", { mac_address: string }>;
  return [ports.gw_port.mac_address, ports.transit_port.mac_address];
};

test("no two ports have one MAC address, although 24 bits of a hash are not enough for that", () => {
  const payloads = buildPayloads(manyRouters(6_000), new Map());
  const all = [...payloads.routers.keys()].flatMap((router) => macAddressesOf(transitDetails(payloads, router)));
  expect(new Set(all).size).toBe(12_000);
});

test("what one router is told does not depend on the others", () => {
  const few = routerTexts(buildPayloads(manyRouters(10), new Map()));
  const more = routerTexts(buildPayloads(manyRouters(20), new Map()));
  expect([...few].map(([router]) => more.get(router))).toEqual([...few.values()]);
});
