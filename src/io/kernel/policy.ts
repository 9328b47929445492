// IPsec policies of ours, which exempt traffic from charon's: coding, reading and adding (linux/xfrm.h). Those of charon
// are none of our business.
import { KernelError } from "../../core/errors.ts";
import type { Exemption } from "../../core/network.ts";
import { NLM_F_CREATE, NLM_F_EXCL, type Netlink } from "./netlink.ts";
import {
  POLICY_BYTES,
  POLICY_DIRECTIONS,
  POLICY_ID_BYTES,
  SELECTOR_BYTES,
  XFRM_MSG_FLUSHPOLICY,
  XFRM_MSG_FLUSHSA,
  XFRM_MSG_GETPOLICY,
  XFRM_MSG_NEWPOLICY,
} from "./xfrm.ts";

const XFRM_POLICY_ALLOW = 0;
const AF_INET6 = 10;
const IPPROTO_ICMPV6 = 58;
/** Before whatever charon installs: its priorities begin far above (kernel_netlink_ipsec.c, PRIO_BASE). */
const PRIORITY = 1;

export async function hasExemption(netlink: Netlink, exemption: Exemption): Promise<boolean> {
  try {
    await netlink.request(`read ${named(exemption)}`, XFRM_MSG_GETPOLICY, [encodePolicyId(exemption)]);
    return true;
  } catch (error) {
    if (error instanceof KernelError && error.code === "ENOENT") return false;
    throw error;
  }
}

export async function addExemption(netlink: Netlink, exemption: Exemption): Promise<void> {
  try {
    const flags = NLM_F_CREATE | NLM_F_EXCL;
    await netlink.request(`add ${named(exemption)}`, XFRM_MSG_NEWPOLICY, [encodePolicy(exemption)], flags);
  } catch (error) {
    if (!(error instanceof KernelError && error.code === "EEXIST")) throw error;
  }
}

/** All of the namespace. */
export async function flushIpsec(netlink: Netlink, namespace: string): Promise<void> {
  // struct xfrm_usersa_flush: 0 is every protocol.
  await netlink.request(`flush the IPsec states of ${namespace}`, XFRM_MSG_FLUSHSA, [Buffer.alloc(4)]);
  await netlink.request(`flush the IPsec policies of ${namespace}`, XFRM_MSG_FLUSHPOLICY, []);
}

const named = ({ namespace, direction, icmpv6Type }: Exemption): string =>
  `the IPsec exemption of ICMPv6 type ${icmpv6Type} ${direction} in ${namespace}`;

/** struct xfrm_selector: any IPv6 address; ICMP's type stands where other protocols have the source port. */
function encodeSelector({ icmpv6Type }: Exemption): Buffer {
  const out = Buffer.alloc(SELECTOR_BYTES);
  out.writeUInt16BE(icmpv6Type, 36);
  out.writeUInt16BE(0xffff, 38);
  out.writeUInt16LE(AF_INET6, 40);
  out.writeUInt8(IPPROTO_ICMPV6, 44);
  return out;
}

/** struct xfrm_userpolicy_info. */
function encodePolicy(exemption: Exemption): Buffer {
  const out = Buffer.alloc(POLICY_BYTES);
  encodeSelector(exemption).copy(out);
  out.fill(0xff, SELECTOR_BYTES, SELECTOR_BYTES + 32); // lft: the four limits of bytes and packets, XFRM_INF
  out.writeUInt32LE(PRIORITY, 152);
  out.writeUInt8(POLICY_DIRECTIONS[exemption.direction], 160);
  out.writeUInt8(XFRM_POLICY_ALLOW, 161);
  return out;
}

/** struct xfrm_userpolicy_id. */
function encodePolicyId(exemption: Exemption): Buffer {
  const out = Buffer.alloc(POLICY_ID_BYTES);
  encodeSelector(exemption).copy(out);
  out.writeUInt8(POLICY_DIRECTIONS[exemption.direction], 60);
  return out;
}
