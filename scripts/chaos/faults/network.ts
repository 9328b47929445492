// Faults of the kernel's objects: namespaces, links, addresses, routes, rules and packet filters that somebody removes.
import { existsSync } from "node:fs";
import { execa } from "execa";
import type { SiteRouter } from "../model.ts";
import type { Ground } from "../places/place.ts";
import type { Applied, Fault, Scene } from "./fault.ts";

/** An object of `ip -j`; which keys it has depends on what was listed. */
type Json = Readonly<Record<string, string | number | undefined>>;

const ip = async (...args: readonly string[]): Promise<string> => (await execa("ip", args)).stdout;
async function listed(...args: readonly string[]): Promise<readonly Json[]> {
  const text = await ip(...args).catch(() => ""); // a namespace that is gone has nothing
  return text.trim() === "" ? [] : (JSON.parse(text) as Json[]);
}

/**
 * The network of one router is taken for the round: what lies outside its VPN namespace holds back clear text when
 * something inside is gone, and the reverse.
 */
export function someRouter({ world, random, claim }: Scene): SiteRouter | undefined {
  const router = random.pick(world.model.routers);
  if (!existsSync(`/run/netns/${world.site.groundOf(router).charonNamespace}`)) return undefined;
  return claim(`network ${router.number}`) ? router : undefined;
}

export const inRouter =
  (apply: (router: SiteRouter, scene: Scene, ground: Ground) => Promise<string | undefined>): Fault =>
  async (scene): Promise<Applied | undefined> => {
    const router = someRouter(scene);
    if (router === undefined) return undefined;
    // What is found may be gone when it is to be removed: the agent works on it, too.
    const text = await apply(router, scene, scene.world.site.groundOf(router)).catch(() => undefined);
    return text === undefined ? undefined : { text: `router ${router.number}: ${text}` };
  };

export const deleteNamespace = (router: SiteRouter, { world }: Scene): Promise<string> =>
  ip("netns", "delete", world.site.groundOf(router).charonNamespace);

export const namespaceDelete = inRouter(async (router, scene) => {
  await deleteNamespace(router, scene);
  return "its VPN namespace";
});

type LinkAt = { readonly namespace: string; readonly link: string };

async function someLink({ namespaces, isLink }: Ground, { random }: Scene): Promise<LinkAt> {
  const all: LinkAt[] = [];
  for (const namespace of namespaces) {
    const links = await listed("-n", namespace, "-j", "link", "show");
    all.push(...links.map(({ ifname }) => ({ namespace, link: String(ifname) })));
  }
  return random.pick(all.filter(({ link }) => isLink(link)));
}

const onLink = (what: string, command: (at: LinkAt, scene: Scene) => readonly string[]): Fault =>
  inRouter(async (_, scene, ground) => {
    const at = await someLink(ground, scene);
    await ip(...command(at, scene));
    return `${at.link} ${what}`;
  });

export const linkDelete = onLink("deleted", ({ namespace, link }) => ["-n", namespace, "link", "delete", link]);
export const linkDown = onLink("down", ({ namespace, link }) => ["-n", namespace, "link", "set", link, "down"]);
export const linkMoved = onLink("moved to another namespace", ({ namespace, link }, { world }) => [
  ...["-n", namespace, "link", "set", link, "netns", world.lab.builtWorld().internetNamespace],
]);

export const addressDelete = inRouter(async (_, { random }, { charonNamespace: vpn }) => {
  const links = (await listed("-n", vpn, "-j", "-4", "addr", "show")) as unknown as readonly {
    ifname: string;
    addr_info: readonly Json[];
  }[];
  const all = links.flatMap(({ ifname, addr_info: addresses }) =>
    addresses.map(({ local, prefixlen }) => ({
      link: ifname,
      address: `${String(local)}/${String(prefixlen)}`,
    })),
  );
  const { link, address } = random.pick(all.filter((one) => !one.address.startsWith("127.")));
  await ip("-n", vpn, "addr", "delete", address, "dev", link);
  return `${address} of ${link}`;
});

export const routeDelete = inRouter(async (_, { random }, { namespaces, isRoute }) => {
  const namespace = random.pick(namespaces);
  const found = await listed("-n", namespace, "-j", "-d", "route", "show", "table", "all");
  const { type, dst, dev, metric, table } = random.pick(found.filter(isRoute));
  const named = [String(type ?? "unicast"), String(dst)];
  const where = dev === undefined ? [] : ["dev", String(dev)];
  await ip(
    "-n",
    namespace,
    "route",
    "delete",
    ...named,
    ...where,
    ...(metric === undefined ? [] : ["metric", String(metric)]),
    ...(table === undefined ? [] : ["table", String(table)]),
  );
  return `route ${named.join(" ")} in ${namespace}`;
});

/** The kernel's own three rules are not the agent's or charon's. */
const KERNEL_PRIORITIES = new Set([0, 100, 32766, 32767]);

export const ruleDelete = inRouter(async (_, { random }, { namespaces }) => {
  const namespace = random.pick(namespaces);
  const rules = await listed("-n", namespace, "-j", "rule", "show");
  const { priority, dst } = random.pick(rules.filter((rule) => !KERNEL_PRIORITIES.has(Number(rule["priority"]))));
  const to = dst === undefined ? [] : ["to", String(dst)];
  await ip("-n", namespace, "rule", "delete", "priority", String(priority), ...to);
  return `rule ${String(priority)} ${to.join(" ")} in ${namespace}`;
});

const nft = async ({ charonNamespace }: Ground, ...args: readonly string[]): Promise<string> =>
  (await execa("ip", ["netns", "exec", charonNamespace, "nft", ...args])).stdout;

type Listing = {
  readonly nftables: readonly {
    readonly table?: { name: string };
    readonly rule?: { chain: string; handle: number };
  }[];
};
const nftListing = async (ground: Ground, ...what: readonly string[]): Promise<Listing["nftables"]> =>
  (JSON.parse(await nft(ground, "-j", "-a", "list", ...what)) as Listing).nftables;

/** There are two. */
async function someTable(ground: Ground, { random }: Scene): Promise<string> {
  const tables = await nftListing(ground, "tables", "inet");
  return random.pick(tables.flatMap(({ table }) => (table?.name.startsWith("swanherd") === true ? [table.name] : [])));
}

export const nftDelete = inRouter(async (_, scene, ground) => {
  const table = await someTable(ground, scene);
  await nft(ground, "delete", "table", "inet", table);
  return `table inet ${table}`;
});

export const nftFlush = inRouter(async (_, scene, ground) => {
  const table = await someTable(ground, scene);
  await nft(ground, "flush", "table", "inet", table);
  return `all rules of table inet ${table}`;
});

export const nftRuleDelete = inRouter(async (_, scene, ground) => {
  const table = await someTable(ground, scene);
  const listing = await nftListing(ground, "table", "inet", table);
  const { chain, handle } = scene.random.pick(listing.flatMap(({ rule }) => rule ?? []));
  await nft(ground, "delete", "rule", "inet", table, chain, "handle", String(handle));
  return `a rule of chain ${chain} in table ${table}`;
});
