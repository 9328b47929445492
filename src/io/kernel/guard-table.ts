// What the kernel tells of our tables of nftables: whether they are there, and whether they are still what we made.
// linux/netfilter/nfnetlink.h and nf_tables.h
import { createHash } from "node:crypto";
import { KernelError } from "../../core/errors.ts";
import { GUARD_TABLES } from "../../core/guard.ts";
import { attribute, text, type Message, type Netlink } from "./netlink.ts";

const NFNL_SUBSYS_NFTABLES = 10;
const NFPROTO_INET = 1;
const NFT_MSG_GETCHAIN = 4;
const NFT_MSG_GETRULE = 7;
/** NFTA_CHAIN_TABLE and NFTA_RULE_TABLE. */
const TABLE = 1;
const NFTA_CHAIN_NAME = 3;
const NFGENMSG_BYTES = 4;

const messageType = (message: number): number => (NFNL_SUBSYS_NFTABLES << 8) | message;
/** Of all tables: NFT_MSG_GETCHAIN does not choose one before Linux 6.8 or so. */
const NO_TABLE = [Buffer.from([NFPROTO_INET, 0, 0, 0])];
const inTable = (table: string): Buffer[] => [...NO_TABLE, attribute(TABLE, text(table))];

/** Changes with every chain and rule of the tables, and when one is made anew; undefined: there is none. */
export async function readTables(netlink: Netlink, namespace: string): Promise<string | undefined> {
  const chains = await dump(netlink, namespace, NFT_MSG_GETCHAIN, NO_TABLE);
  const found: Message[] = [];
  for (const table of GUARD_TABLES) {
    const own = chains.filter(isIn(table));
    if (own.length === 0) continue;
    const rules = await dump(netlink, namespace, NFT_MSG_GETRULE, inTable(table));
    found.push(...own, ...rules.filter(isIn(table)));
  }
  if (found.length === 0) return undefined;
  const hash = createHash("sha256");
  // Before the attributes stands the generation of the whole ruleset.
  for (const { data } of found) hash.update(data.subarray(NFGENMSG_BYTES)).update("\n");
  return hash.digest("hex");
}

/** In any of the tables. */
export async function hasChain(netlink: Netlink, namespace: string, chain: string): Promise<boolean> {
  const name = attribute(NFTA_CHAIN_NAME, text(chain));
  for (const table of GUARD_TABLES) {
    const what = `look for our table ${table} in ${namespace}`;
    try {
      await netlink.request(what, messageType(NFT_MSG_GETCHAIN), [...inTable(table), name]);
      return true;
    } catch (error) {
      if (!(error instanceof KernelError && error.code === "ENOENT")) throw error;
    }
  }
  return false;
}

const dump = (netlink: Netlink, namespace: string, type: number, of: readonly Buffer[]): Promise<readonly Message[]> =>
  netlink.dump(`read our tables in ${namespace}`, messageType(type), of);

/** Of a dump: which messages are of the table. */
function isIn(table: string): (message: Message) => boolean {
  const own = attribute(TABLE, text(table));
  return ({ data }) => data[0] === NFPROTO_INET && data.indexOf(own) === NFGENMSG_BYTES;
}
