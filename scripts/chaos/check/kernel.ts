// Links, routes and rules of a namespace, as `ip` lists them.
import { runJson } from "./run.ts";
import type { Finding } from "./subject.ts";

export type Link = {
  readonly ifname: string;
  readonly address?: string;
  readonly mtu: number;
  readonly operstate: string;
  readonly flags: readonly string[];
  readonly addr_info?: readonly { readonly local: string; readonly prefixlen: number; readonly family: string }[];
};
export type Route = {
  readonly dst: string;
  readonly type?: string;
  readonly gateway?: string;
  readonly dev?: string;
  readonly protocol?: string;
  readonly table?: string;
};
type RoutingRule = {
  readonly priority: number;
  readonly table: string;
  readonly src?: string;
  readonly srclen?: number;
  readonly dst?: string;
  readonly dstlen?: number;
  readonly iif?: string;
  readonly suppress_prefixlen?: number;
};

/** What the program marks its routes with, those that block otherwise. */
const PROTOCOLS = ["215", "216"];
/** strongSwan's TUN device is charon's own. */
export const CHARON_LINK = "ipsec0";

export const networkFinding = (about: string, text: string): Finding => ({ invariant: "network", about, text });

export const readLinks = async (namespace: string): Promise<readonly Link[] | undefined> =>
  (await runJson("ip", "-n", namespace, "-j", "-d", "addr", "show")) as readonly Link[] | undefined;

/** Those of the program; undefined: there is no such namespace. */
export async function readOurRoutes(
  namespace: string,
  ...tables: readonly string[]
): Promise<readonly string[] | undefined> {
  const routes = (await runJson("ip", "-n", namespace, "-j", "-d", "-4", "route", "show", ...tables)) as
    readonly Route[] | undefined;
  return routes?.filter(({ protocol }) => protocol !== undefined && PROTOCOLS.includes(protocol)).map(routeText);
}

const routeText = ({ dst, type = "unicast", gateway, dev, table = "main" }: Route): string =>
  [
    type === "unicast" ? `${dst} via ${String(gateway)} dev ${String(dev)}` : `${type} ${dst}`,
    ...(table === "main" ? [] : [`table ${table}`]),
  ].join(" ");

/** Those that are not the kernel's. */
export async function readRules(namespace: string): Promise<readonly string[] | undefined> {
  const rules = (await runJson("ip", "-n", namespace, "-j", "-4", "rule", "show")) as
    readonly RoutingRule[] | undefined;
  return rules?.filter(({ priority }) => ![0, 32_766, 32_767].includes(priority)).map(ruleText);
}

const ruleText = ({ priority, table, iif, suppress_prefixlen: suppressed, ...of }: RoutingRule): string =>
  [
    `${priority}: ${table}`,
    of.src === undefined || of.srclen === undefined ? "" : ` from ${of.src}/${of.srclen}`,
    of.dst === undefined || of.dstlen === undefined ? "" : ` to ${of.dst}/${of.dstlen}`,
    iif === undefined ? "" : ` iif ${iif}`,
    suppressed === 0 ? " but its default" : "",
  ].join("");

export const has = (link: Link, address: string, prefix: number): boolean =>
  (link.addr_info ?? []).some(({ local, prefixlen }) => local === address && prefixlen === prefix);

export const unique = (texts: readonly string[]): readonly string[] => [...new Set(texts)];

export function missing(expected: readonly string[], are: readonly string[], where: string): readonly string[] {
  return [
    ...expected.filter((one) => !are.includes(one)).map((one) => `no ${one} in ${where}`),
    ...are.filter((one) => !expected.includes(one)).map((one) => `${one} in ${where}, unwanted`),
  ];
}
