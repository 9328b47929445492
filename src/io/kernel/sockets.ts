// Netlink sockets kept open inside namespaces. A name that now means another namespace gets another socket.
import { UnavailableError } from "../../core/errors.ts";
import { Netlink, NETLINK_NETFILTER, NETLINK_ROUTE, NETLINK_XFRM, parseAttributes } from "./netlink.ts";
import { namespaceInode } from "./netns.ts";

// linux/netfilter/nfnetlink.h and nf_tables.h
const NFNL_SUBSYS_NFTABLES = 10;
const NFT_MSG_GETGEN = 16;
const NFTA_GEN_ID = 1;
const NFGENMSG_BYTES = 4;

type Held = {
  readonly inode: number;
  readonly route: Netlink;
  netfilter: Netlink | undefined;
  xfrm: Netlink | undefined;
};

export class Sockets {
  readonly #held = new Map<string, Held>();

  /** The socket for links, addresses, routes and rules of the namespace that has this name now. */
  route(namespace: string): Netlink {
    return this.#of(namespace).route;
  }

  /** The socket for IPsec states and policies; kernels without IPsec have none. */
  xfrm(namespace: string): Netlink {
    const held = this.#of(namespace);
    if (held.xfrm === undefined || held.xfrm.isClosed) held.xfrm = new Netlink(NETLINK_XFRM, namespace);
    return held.xfrm;
  }

  /** It is opened anew when it is asked for. */
  closeXfrm(namespace: string): void {
    const held = this.#held.get(namespace);
    held?.xfrm?.close();
    if (held !== undefined) held.xfrm = undefined;
  }

  netfilter(namespace: string): Netlink {
    const held = this.#of(namespace);
    if (held.netfilter === undefined || held.netfilter.isClosed) {
      held.netfilter = new Netlink(NETLINK_NETFILTER, namespace);
    }
    return held.netfilter;
  }

  /** Changes with every transaction on the namespace's nftables; it does not tell what changed. */
  async nftGeneration(namespace: string): Promise<number> {
    const type = (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETGEN;
    const what = `read the nftables generation of ${namespace}`;
    const [message] = await this.netfilter(namespace).request(what, type, [Buffer.alloc(NFGENMSG_BYTES)]);
    return message === undefined
      ? 0
      : (parseAttributes(message.data.subarray(NFGENMSG_BYTES)).get(NFTA_GEN_ID)?.readUInt32BE(0) ?? 0);
  }

  /** An open socket keeps a deleted namespace and the links in it alive. */
  forget(namespace: string): void {
    const held = this.#held.get(namespace);
    this.#held.delete(namespace);
    held?.route.close();
    held?.netfilter?.close();
    held?.xfrm?.close();
  }

  forgetVanished(name: string | undefined): void {
    for (const namespace of name === undefined ? [...this.#held.keys()] : [name]) {
      const held = this.#held.get(namespace);
      if (held !== undefined && namespaceInode(namespace) !== held.inode) this.forget(namespace);
    }
  }

  close(): void {
    for (const namespace of [...this.#held.keys()]) this.forget(namespace);
  }

  #of(namespace: string): Held {
    const inode = namespaceInode(namespace);
    const known = this.#held.get(namespace);
    if (known !== undefined && known.inode === inode && !known.route.isClosed) return known;
    this.forget(namespace);
    if (inode === undefined) {
      throw new UnavailableError("NAMESPACE_MISSING", `there is no network namespace ${namespace}`);
    }
    const held = { inode, route: new Netlink(NETLINK_ROUTE, namespace), netfilter: undefined, xfrm: undefined };
    this.#held.set(namespace, held);
    return held;
  }
}
