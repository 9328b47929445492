// Topology `router`: charon in the router's own namespace, beside the packet filter and NAT of Neutron's L3 agent, which is
// played here.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { savedRules, writeNeutronChains, type NeutronRouter } from "../../../test/support/l3-agent.ts";
import type { LabSide } from "../../lab.ts";
import { QG_LINK, QR_LINK, routerNamespaceOf, type World } from "../../world.ts";
import { COMMON_FAULTS } from "../faults/common.ts";
import * as l3Faults from "../faults/l3-agent.ts";
import * as network from "../faults/network.ts";
import { addressOf, floatingAddressOf, hostAddressOf, lanOf, type Model, type SiteRouter } from "../model.ts";
import type { Ground, L3Agent, Place } from "./place.ts";

/** charon's routes to ESP in userland; in the kernel it has none. */
const CHARON_TABLE = "220";

const routerSide = (model: Model, router: SiteRouter): LabSide => ({
  host: model.hosts[router.side],
  routerId: router.id,
  ...lanOf(router),
  // The floating address is there all the time: what was translated to it goes on needing it.
  l3Agent: { addresses: [`${addressOf(router)}/24`, `${floatingAddressOf(router)}/32`], gateways: ["203.0.113.1"] },
});

const routerGround = (router: SiteRouter): Ground => ({
  kind: "router",
  charonNamespace: routerNamespaceOf(router.id),
  namespaces: [routerNamespaceOf(router.id)],
  isLink: (name) => name === "ipsec0",
  isRoute: ({ table }) => String(table) === CHARON_TABLE,
  isOwnLink: (name) => ["lo", QR_LINK, QG_LINK].includes(name),
  egressAddresses: [addressOf(router), floatingAddressOf(router)],
});

/** The L3 agent of both machines, as far as routers are concerned. */
class PlayedL3Agent implements L3Agent {
  readonly #haDirectory: string;
  readonly #chains = new Map<string, string>();
  readonly #floating = new Set<string>();
  #world: World | undefined;

  constructor(haDirectory: string) {
    this.#haDirectory = haDirectory;
  }

  async begin(world: World, routers: readonly SiteRouter[]): Promise<void> {
    this.#world = world;
    await Promise.all(routers.map((router) => this.writeChains(router, false)));
  }

  async remake(router: SiteRouter): Promise<void> {
    await this.#world?.remakeRouter(router.id);
    await this.writeChains(router, this.#floating.has(router.id));
  }

  async writeChains(router: SiteRouter, hasFloating: boolean): Promise<void> {
    const floating = { fixed: hostAddressOf(router, 0), external: floatingAddressOf(router) };
    const neutron: NeutronRouter = {
      namespace: routerNamespaceOf(router.id),
      external: addressOf(router),
      ...(hasFloating ? { floating } : {}),
    };
    await writeNeutronChains(neutron);
    this.#floating[hasFloating ? "add" : "delete"](router.id);
    this.#chains.set(router.id, await savedRules(neutron));
  }

  setRole(router: SiteRouter, role: string): void {
    const file = path.join(this.#haDirectory, router.id, "state");
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, role);
  }

  chainsOf(routerId: string): string | undefined {
    return this.#chains.get(routerId);
  }
}

export const router: Place = {
  routers: 20,
  faults: {
    ...COMMON_FAULTS,
    "namespace-delete": l3Faults.namespaceDelete,
    "link-delete": network.linkDelete,
    "link-down": network.linkDown,
    "link-moved": network.linkMoved,
    "route-delete": network.routeDelete,
    "rule-delete": network.ruleDelete,
    "neutron-chains": l3Faults.chainsWritten,
    "ha-role": l3Faults.roleChanged,
  },
  lacks: () => undefined,
  open: ({ model }) => {
    const haDirectory = mkdtempSync(path.join(tmpdir(), "swanherd-chaos-ha-"));
    const l3Agent = new PlayedL3Agent(haDirectory);
    return Promise.resolve({
      sideOf: (one) => routerSide(model, one),
      agentConfigOf: () => ({
        topology: "router",
        routerTopology: { haStateFile: path.join(haDirectory, "{id}", "state") },
      }),
      groundOf: routerGround,
      furnish: (world) => l3Agent.begin(world, model.routers),
      attend: () => Promise.resolve(),
      l3Agent,
      close: () => {
        rmSync(haDirectory, { recursive: true, force: true });
        return Promise.resolve();
      },
    });
  },
};
