// IPsec policies of ours beside charon's: coding, reading, adding and removing (linux/xfrm.h).
import { familyOf, parseCidr } from "../../core/address.ts";
import type { PolicyDirection } from "../../core/data-plane.ts";
import { KernelError } from "../../core/errors.ts";
import type { Cidr } from "../../core/model.ts";
import { ownPolicyKey, type OwnPolicy } from "../../core/network.ts";
import { attribute, parseAttributes, type Message, type Netlink } from "./netlink.ts";
import {
  AF_INET,
  isBlocking,
  POLICY_BYTES,
  POLICY_DIRECTIONS,
  POLICY_ID_BYTES,
  selectorOf,
  SELECTOR_BYTES,
  XFRM_MSG_DELPOLICY,
  XFRM_MSG_GETPOLICY,
  XFRM_MSG_UPDPOLICY,
  XFRM_POLICY_ALLOW,
  XFRM_POLICY_BLOCK,
  XFRMA_MARK,
} from "./xfrm.ts";

const AF_INET6 = 10;
const IPPROTO_ICMPV6 = 58;
/** charon's priorities lie between (kernel_netlink_ipsec.c, PRIO_BASE): exemptions come before, blocks after them. */
const PRIORITY = { exemption: 1, block: 0x7fffffff } as const;
/**
 * The kernel takes two policies of the same selector for one, whatever their priorities, but where their marks differ. Nobody
 * sets this bit, Neutron neither, so that it matches all packets.
 */
const BLOCK_MARK = { value: 0, mask: 0x80000000 } as const;

/** Those of a namespace. */
export async function readOwnPolicies(
  netlink: Netlink,
  namespace: string,
  wanted: readonly OwnPolicy[],
): Promise<readonly OwnPolicy[]> {
  const messages = await netlink.dump(`list IPsec policies of ${namespace}`, XFRM_MSG_GETPOLICY, []);
  const found = messages.flatMap((message) => decodePolicy(message, namespace));
  const keys = new Set(found.map(ownPolicyKey));
  // A dump during which policies come and go may miss some.
  const missed = wanted.filter((policy) => !keys.has(ownPolicyKey(policy)));
  const there = await Promise.all(missed.map(async (policy) => ((await isThere(netlink, policy)) ? [policy] : [])));
  return [...found, ...there.flat()];
}

async function isThere(netlink: Netlink, policy: OwnPolicy): Promise<boolean> {
  try {
    const found = await netlink.request(`read ${named(policy)}`, XFRM_MSG_GETPOLICY, encodePolicyId(policy));
    const key = ownPolicyKey(policy);
    return found.some((one) => decodePolicy(one, policy.namespace).some((held) => ownPolicyKey(held) === key));
  } catch (error) {
    if (error instanceof KernelError && error.code === "ENOENT") return false;
    throw error;
  }
}

/** Also in the place of one with the same selector and mark that does something else. */
export async function addPolicy(netlink: Netlink, policy: OwnPolicy): Promise<void> {
  await netlink.request(`add ${named(policy)}`, XFRM_MSG_UPDPOLICY, encodePolicy(policy));
}

export async function removePolicy(netlink: Netlink, policy: OwnPolicy): Promise<void> {
  try {
    await netlink.request(`remove ${named(policy)}`, XFRM_MSG_DELPOLICY, encodePolicyId(policy));
  } catch (error) {
    if (!(error instanceof KernelError && error.code === "ENOENT")) throw error;
  }
}

const named = (policy: OwnPolicy): string => `the IPsec policy ${ownPolicyKey(policy)} in ${policy.namespace}`;

const directionOf = (policy: OwnPolicy): "in" | "out" => (policy.kind === "exemption" ? policy.direction : "out");

/** struct xfrm_selector; of an exemption any IPv6 address, and ICMP's type where other protocols have the source port. */
function encodeSelector(policy: OwnPolicy): Buffer {
  const out = Buffer.alloc(SELECTOR_BYTES);
  if (policy.kind === "exemption") {
    out.writeUInt16BE(policy.icmpv6Type, 36);
    out.writeUInt16BE(0xffff, 38);
    out.writeUInt16LE(AF_INET6, 40);
    out.writeUInt8(IPPROTO_ICMPV6, 44);
    return out;
  }
  return encodeSubnets(policy);
}

export function encodeSubnets(of: { readonly source: Cidr; readonly destination: Cidr }): Buffer {
  const out = Buffer.alloc(SELECTOR_BYTES);
  const [source, destination] = [parseCidr(of.source), parseCidr(of.destination)];
  out.set(destination.bytes, 0);
  out.set(source.bytes, 16);
  out.writeUInt16LE(encodeFamily(of.source), 40);
  out.writeUInt8(destination.prefixLength, 42);
  out.writeUInt8(source.prefixLength, 43);
  return out;
}

export const encodeFamily = (address: string): number => (familyOf(address) === 4 ? AF_INET : AF_INET6);

/** struct xfrm_mark. */
function encodeMark({ kind }: OwnPolicy): readonly Buffer[] {
  if (kind === "exemption") return [];
  const mark = Buffer.alloc(8);
  mark.writeUInt32LE(BLOCK_MARK.value, 0);
  mark.writeUInt32LE(BLOCK_MARK.mask, 4);
  return [attribute(XFRMA_MARK, mark)];
}

/** struct xfrm_userpolicy_info. */
function encodePolicy(policy: OwnPolicy): readonly Buffer[] {
  const out = Buffer.alloc(POLICY_BYTES);
  encodeSelector(policy).copy(out);
  out.fill(0xff, SELECTOR_BYTES, SELECTOR_BYTES + 32); // lft: the four limits of bytes and packets, XFRM_INF
  out.writeUInt32LE(PRIORITY[policy.kind], 152);
  out.writeUInt8(POLICY_DIRECTIONS[directionOf(policy)], 160);
  out.writeUInt8(policy.kind === "exemption" ? XFRM_POLICY_ALLOW : XFRM_POLICY_BLOCK, 161);
  return [out, ...encodeMark(policy)];
}

const encodePolicyId = (policy: OwnPolicy): readonly Buffer[] => [
  encodePolicyName(encodeSelector(policy), directionOf(policy)),
  ...encodeMark(policy),
];

/** struct xfrm_userpolicy_id. */
export function encodePolicyName(selector: Buffer, direction: PolicyDirection): Buffer {
  const out = Buffer.alloc(POLICY_ID_BYTES);
  selector.copy(out);
  out.writeUInt8(POLICY_DIRECTIONS[direction], 60);
  return out;
}

/** Nothing for one that is not ours. */
function decodePolicy(message: Message, namespace: string): readonly OwnPolicy[] {
  const { data } = message;
  const priority = data.readUInt32LE(152);
  const direction = data.readUInt8(160);
  if (priority === PRIORITY.exemption && data.readUInt8(44) === IPPROTO_ICMPV6) {
    const name = (["in", "out"] as const).find((one) => POLICY_DIRECTIONS[one] === direction);
    return name === undefined
      ? []
      : [{ kind: "exemption", namespace, direction: name, icmpv6Type: data.readUInt16BE(36) }];
  }
  const mark = parseAttributes(data.subarray(POLICY_BYTES)).get(XFRMA_MARK);
  const isOurs =
    priority === PRIORITY.block &&
    direction === POLICY_DIRECTIONS.out &&
    isBlocking(message) &&
    mark?.readUInt32LE(4) === BLOCK_MARK.mask;
  return isOurs ? [{ kind: "block", namespace, ...selectorOf(data) }] : [];
}
