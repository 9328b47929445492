// What the kernel tells of our table of nftables: whether it is there, and whether it is still the one that we made.
// linux/netfilter/nfnetlink.h and nf_tables.h
import { createHash } from "node:crypto";
import { KernelError } from "../../core/errors.ts";
import { GUARD_TABLE } from "../../core/guard.ts";
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
const inTable = (): Buffer[] => [Buffer.from([NFPROTO_INET, 0, 0, 0]), attribute(TABLE, text(GUARD_TABLE))];

/** Changes with every chain and rule of the table, and when it is made anew; undefined: there is none. */
export async function readTable(netlink: Netlink, namespace: string): Promise<string | undefined> {
  const hash = createHash("sha256");
  let count = 0;
  for (const type of [NFT_MSG_GETCHAIN, NFT_MSG_GETRULE]) {
    const messages = await dumpTable(netlink, namespace, type);
    count += messages.length;
    // Before the attributes stands the generation of the whole ruleset.
    for (const { data } of messages) hash.update(data.subarray(NFGENMSG_BYTES)).update("\n");
  }
  return count === 0 ? undefined : hash.digest("hex");
}

export async function hasChain(netlink: Netlink, namespace: string, chain: string): Promise<boolean> {
  const name = attribute(NFTA_CHAIN_NAME, text(chain));
  try {
    await netlink.request(`look for our table in ${namespace}`, messageType(NFT_MSG_GETCHAIN), [...inTable(), name]);
    return true;
  } catch (error) {
    if (error instanceof KernelError && error.code === "ENOENT") return false;
    throw error;
  }
}

async function dumpTable(netlink: Netlink, namespace: string, type: number) {
  const messages = await netlink.dump(`read our table in ${namespace}`, messageType(type), inTable());
  // NFT_MSG_GETCHAIN does not choose by table before Linux 6.8 or so: others' chains are left out here.
  const own = attribute(TABLE, text(GUARD_TABLE));
  return messages.filter(({ data }) => data[0] === NFPROTO_INET && data.indexOf(own) === NFGENMSG_BYTES);
}
