// What the kernel holds of IPsec: numbers of its messages, and states and policies as it tells them (linux/xfrm.h).
import { addressText } from "../../core/address.ts";
import { policyKey, type KernelPlane, type PolicyDirection } from "../../core/data-plane.ts";
import type { Cidr } from "../../core/model.ts";
import type { Message, Netlink } from "./netlink.ts";

export const XFRM_MSG_NEWSA = 0x10;
const XFRM_MSG_DELSA = 0x11;
const XFRM_MSG_GETSA = 0x12;
export const XFRM_MSG_NEWPOLICY = 0x13;
const XFRM_MSG_DELPOLICY = 0x14;
export const XFRM_MSG_GETPOLICY = 0x15;
export const XFRM_MSG_FLUSHSA = 0x1c;
export const XFRM_MSG_FLUSHPOLICY = 0x1d;

/** XFRMNLGRP_SA and XFRMNLGRP_POLICY. */
export const XFRM_GROUPS = [3, 4];

export const SELECTOR_BYTES = 56;
export const USERSA_BYTES = 224;
export const POLICY_BYTES = 168;
export const POLICY_ID_BYTES = 64;
export const POLICY_DIRECTIONS = { in: 0, out: 1, forward: 2 } as const;

const AF_INET = 2;

/** What was taken away, by charon or by others. */
export const takesStates = ({ type }: Message): boolean => [XFRM_MSG_DELSA, XFRM_MSG_FLUSHSA].includes(type);
export const takesPolicies = ({ type }: Message): boolean => [XFRM_MSG_DELPOLICY, XFRM_MSG_FLUSHPOLICY].includes(type);

/** All states and policies of the socket's namespace. */
export async function readKernelPlane(netlink: Netlink, namespace: string): Promise<KernelPlane> {
  const states = await netlink.dump(`list IPsec states of ${namespace}`, XFRM_MSG_GETSA, []);
  const policies = await netlink.dump(`list IPsec policies of ${namespace}`, XFRM_MSG_GETPOLICY, []);
  return {
    kind: "kernel",
    spis: new Set(states.filter(({ type }) => type === XFRM_MSG_NEWSA).map(takeSpi)),
    policies: new Set(policies.filter(({ type }) => type === XFRM_MSG_NEWPOLICY).flatMap(policyOf)),
  };
}

/** Its keys are in the message, too: nothing of it is left behind. */
function takeSpi({ data }: Message): string {
  const spi = data.toString("hex", 72, 76);
  data.fill(0);
  return spi;
}

/** Nothing for those of sockets, whose directions have numbers of their own. */
function policyOf({ data }: Message): readonly string[] {
  const direction = DIRECTION_NAMES.get(data.readUInt8(160));
  if (direction === undefined) return [];
  const addressBytes = data.readUInt16LE(40) === AF_INET ? 4 : 16;
  const cidr = (at: number, prefixAt: number): Cidr =>
    `${addressText([...data.subarray(at, at + addressBytes)])}/${data.readUInt8(prefixAt)}`;
  return [policyKey(direction, cidr(16, 43), cidr(0, 42))];
}

const DIRECTION_NAMES: ReadonlyMap<number, PolicyDirection> = new Map([
  [POLICY_DIRECTIONS.in, "in"],
  [POLICY_DIRECTIONS.out, "out"],
  [POLICY_DIRECTIONS.forward, "forward"],
]);
