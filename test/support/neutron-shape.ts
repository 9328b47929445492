// Whether a live Neutron server says what was recorded of one: the same keys in the same places, whatever the values.
import { expect, test } from "vitest";
import { createCleanup, startBroker } from "./broker.ts";
import { namedResult } from "./neutron-fixtures.ts";
import type { SiteView } from "./neutron-site.ts";

/** Where there is what; members of a list are as one, and what is empty or null has no more to tell. */
function pathsOf(value: unknown, where = "$"): readonly string[] {
  if (Array.isArray(value)) return value.flatMap((member) => pathsOf(member, `${where}[]`));
  if (typeof value !== "object" || value === null) return [where];
  return Object.entries(value).flatMap(([key, member]) => [`${where}.${key}`, ...pathsOf(member, `${where}.${key}`)]);
}

const shapeOf = (value: unknown): readonly string[] => [...new Set(pathsOf(value))].sort();

export function testMessages(view: () => SiteView, variant: "l3" | "ovn"): void {
  test("what the server answers has the keys of what was recorded", async () => {
    const cleanup = createCleanup();
    try {
      const { rabbitmq, agents, networks } = view().site;
      const { broker } = await startBroker(cleanup, rabbitmq.url);
      const ask = (method: string, args: Readonly<Record<string, unknown>>): Promise<unknown> =>
        broker.call("ipsec_driver", method, args, { timeoutMs: 30_000 });
      const isLike = async (method: string, args: Readonly<Record<string, unknown>>, name: string): Promise<void> =>
        expect(shapeOf(await ask(method, args)), method).toEqual(
          shapeOf(namedResult(variant, `${name}--${method}.reply.json`)),
        );
      const step = "create-v4-epgroups";
      const list = variant === "l3" ? `015-${step}` : `017-${step}`;
      await isLike("get_vpn_services_on_host", { host: agents.left.host }, list);
      if (variant === "l3") return;
      await isLike("get_vpn_transit_network_details", { router_id: networks.left.router }, `019-${step}`);
      await isLike("get_subnet_info", { subnet_id: networks.left.subnet }, `021-${step}`);
    } finally {
      await cleanup.run();
    }
  });
}
