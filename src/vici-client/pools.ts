// Pools of virtual addresses, and the attributes given out with them: load-pool, unload-pool, get-pools.
import { readSection, requireInteger, requireOneOf, requireText, sectionsOf } from "./fields.ts";
import type { Section, ValueInput } from "./message.ts";
import { printable, run } from "./run.ts";
import type { CommandOptions, ViciRequester } from "./session.ts";

/** Those that charon has a name for, with addresses or subnets as values (vici_attribute.c). */
export type PoolAttribute =
  "address" | "dns" | "nbns" | "dhcp" | "netmask" | "server" | "subnet" | "p_cscf" | "split_include" | "split_exclude";

export type PoolConfig = {
  /** A subnet ("10.3.0.0/24") or a range ("10.3.0.10-10.3.0.19"). */
  readonly addrs: string;
  readonly attributes?: { readonly [Name in PoolAttribute]?: readonly string[] };
  /** By type (IANA, "IKEv2 Configuration Payload Attribute Types"); a value that is no address goes out as it is. */
  readonly numberedAttributes?: ReadonlyMap<number, readonly (string | Uint8Array)[]>;
};

/**
 * Replaces the one of the same name; with the same addresses only its attributes, so that leases stay. Refused when the
 * addresses change while leases are online.
 */
export async function loadPool(
  vici: ViciRequester,
  name: string,
  config: PoolConfig,
  options?: CommandOptions,
): Promise<void> {
  const { addrs, attributes = {}, numberedAttributes = new Map<number, readonly string[]>() } = config;
  const section = new Map<string, ValueInput | undefined>([["addrs", addrs], ...Object.entries(attributes)]);
  for (const [type, values] of numberedAttributes) section.set(type.toString(), values);
  await run(vici, "load-pool", new Map([[name, section]]), options);
}

/** Refused while leases are online, and when there is none of that name. */
export async function unloadPool(vici: ViciRequester, name: string, options?: CommandOptions): Promise<void> {
  await run(vici, "unload-pool", { name: printable("name", name) }, options);
}

export type Pool = {
  readonly name: string;
  /** Of a range the first address, of a subnet its own (5.9.8) or the first that is given out (6.0.1). */
  readonly baseAddress: string;
  /** Addresses it can give out: of a subnet neither its own nor the last, and not more than 2^31. */
  readonly addressCount: number;
  /** Leases in use, and those kept for a client that may come back. */
  readonly onlineCount: number;
  readonly offlineCount: number;
};

export type PoolLease = {
  readonly address: string;
  readonly identity: string;
  readonly isOnline: boolean;
};

export type PoolFilter = {
  /** A name that no pool has selects nothing. */
  readonly name?: string;
};

export async function getPools(
  vici: ViciRequester,
  filter: PoolFilter = {},
  options?: CommandOptions,
): Promise<readonly Pool[]> {
  return decodePools(await vici.request("get-pools", { name: printable("name", filter.name) }, options));
}

/** As getPools, with every lease: they share one answer, which charon discards above 512 KiB. */
export async function getPoolLeases(
  vici: ViciRequester,
  filter: PoolFilter = {},
  options?: CommandOptions,
): Promise<readonly (Pool & { readonly leases: readonly PoolLease[] })[]> {
  const args = { name: printable("name", filter.name), leases: "yes" };
  const answer = await vici.request("get-pools", args, options);
  return sectionsOf(answer).map(([name, section]) => ({
    ...decodePool(name, section),
    leases: sectionsOf(readSection(section, "leases")).map(([, lease]) => decodeLease(lease)),
  }));
}

export function decodePools(answer: Section): readonly Pool[] {
  return sectionsOf(answer).map(([name, section]) => decodePool(name, section));
}

function decodePool(name: string, section: Section): Pool {
  return {
    name,
    baseAddress: requireText(section, "base"),
    addressCount: requireInteger(section, "size"),
    onlineCount: requireInteger(section, "online"),
    offlineCount: requireInteger(section, "offline"),
  };
}

function decodeLease(section: Section): PoolLease {
  return {
    address: requireText(section, "address"),
    identity: requireText(section, "identity"),
    isOnline: requireOneOf(section, "status", ["online", "offline"]) === "online",
  };
}
