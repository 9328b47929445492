// What the kernel tells of our tables of nftables: whether they are there, and whether they are still what we made.
// linux/netfilter/nfnetlink.h and nf_tables.h
import { createHash } from "node:crypto";
import { KernelError } from "../../core/errors.ts";
import { GUARD_TABLES } from "../../core/guard.ts";
import { attribute, text, type Netlink } from "./netlink.ts";

const NFNL_SUBSYS_NFTABLES = 10;
const NFPROTO_INET = 1;
const NFT_MSG_GETCHAIN = 4;
const NFT_MSG_GETRULE = 7;
/** NFTA_CHAIN_TABLE and NFTA_RULE_TABLE. */
const TABLE = 1;
const NFTA_CHAIN_NAME = 3;
const NFGENMSG_BYTES = 4;

const messageType = (message: number): number => (NFNL_SUBSYS_NFTABLES << 8) | message;
const inTable = (table: string): Buffer[] => [Buffer.from([NFPROTO_INET, 0, 0, 0]), attribute(TABLE, text(table))];

/** Changes with every chain and rule of the tables, and when one is made anew; undefined: there is none. */
export async function readTables(netlink: Netlink, namespace: string): Promise<string | undefined> {
  const hash = createHash("sha256");
  let count = 0;
  for (const table of GUARD_TABLES) {
    for (const type of [NFT_MSG_GETCHAIN, NFT_MSG_GETRULE]) {
      const messages = await dumpTable(netlink, namespace, table, type);
      count += messages.length;
      // Before the attributes stands the generation of the whole ruleset.
      for (const { data } of messages) hash.update(data.subarray(NFGENMSG_BYTES)).update("\n");
    }
  }
  return count === 0 ? undefined : hash.digest("hex");
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

async function dumpTable(netlink: Netlink, namespace: string, table: string, type: number) {
  const what = `read our table ${table} in ${namespace}`;
  const messages = await netlink.dump(what, messageType(type), inTable(table));
  // NFT_MSG_GETCHAIN does not choose by table before Linux 6.8 or so: others' chains are left out here.
  const own = attribute(TABLE, text(table));
  return messages.filter(({ data }) => data[0] === NFPROTO_INET && data.indexOf(own) === NFGENMSG_BYTES);
}
