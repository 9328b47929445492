// What the kernel holds of IPsec: numbers of its messages, and states and policies as it tells them (linux/xfrm.h).
import { addressText } from "../../core/address.ts";
import { policyKey, type IpsecEntry, type KernelPlane, type PolicyDirection } from "../../core/data-plane.ts";
import type { Cidr } from "../../core/model.ts";
import { parseAttributes, type Message, type Netlink } from "./netlink.ts";

export const XFRM_MSG_NEWSA = 0x10;
export const XFRM_MSG_DELSA = 0x11;
const XFRM_MSG_GETSA = 0x12;
export const XFRM_MSG_NEWPOLICY = 0x13;
export const XFRM_MSG_DELPOLICY = 0x14;
export const XFRM_MSG_GETPOLICY = 0x15;
export const XFRM_MSG_UPDPOLICY = 0x19;
export const XFRM_MSG_FLUSHSA = 0x1c;
export const XFRM_MSG_FLUSHPOLICY = 0x1d;
const XFRM_MSG_GETSADINFO = 0x23;
const XFRM_MSG_GETSPDINFO = 0x25;

/** XFRMNLGRP_SA and XFRMNLGRP_POLICY. */
export const XFRM_GROUPS = [3, 4];

export const SELECTOR_BYTES = 56;
export const USERSA_BYTES = 224;
export const POLICY_BYTES = 168;
export const POLICY_ID_BYTES = 64;
export const POLICY_DIRECTIONS = { in: 0, out: 1, forward: 2 } as const;

export const XFRM_POLICY_ALLOW = 0;
export const XFRM_POLICY_BLOCK = 1;
const XFRMA_TMPL = 5;
export const XFRMA_MARK = 21;
const XFRMA_IF_ID = 31;

export const AF_INET = 2;
const INFO_COUNTS = 1;
/** XFRMA_ALG_AUTH, _CRYPT, _AEAD and _AUTH_TRUNC: one of them has every state that carries something. */
const ALGORITHMS = [1, 2, 18, 20];
const MAX_LOOKS = 3;

/** Whether states, or policies of charon's, were taken away; by charon, too. */
export const takesFromSas = ({ type }: Message): boolean =>
  [XFRM_MSG_DELSA, XFRM_MSG_FLUSHSA, XFRM_MSG_DELPOLICY, XFRM_MSG_FLUSHPOLICY].includes(type);

/** Whether policies of ours may have been, too: charon's have neither a protocol nor a mark. */
export const takesOwnPolicies = ({ type, data }: Message): boolean =>
  type === XFRM_MSG_FLUSHPOLICY ||
  (type === XFRM_MSG_DELPOLICY &&
    (protocolOf(data) !== 0 || parseAttributes(data.subarray(POLICY_ID_BYTES)).has(XFRMA_MARK)));

/**
 * All states and policies of the socket's namespace. Undefined where they change all the time: a dump that ends early does not
 * tell (netlink 0.3.0), and one during which entries are replaced may miss them, so they are counted.
 */
export async function readKernelPlane(netlink: Netlink, namespace: string): Promise<KernelPlane | undefined> {
  for (let looks = 0; looks < MAX_LOOKS; looks += 1) {
    const states = await netlink.dump(`list IPsec states of ${namespace}`, XFRM_MSG_GETSA, []);
    const spis = states.map(spiOf);
    const keyed = states.flatMap(takeState);
    const policies = await netlink.dump(`list IPsec policies of ${namespace}`, XFRM_MSG_GETPOLICY, []);
    const entries = [...keyed, ...policies.flatMap(policyOf)];
    const [stateCount] = await readInfo(netlink, `count IPsec states of ${namespace}`, XFRM_MSG_GETSADINFO);
    const policyCounts = await readInfo(netlink, `count IPsec policies of ${namespace}`, XFRM_MSG_GETSPDINFO);
    if (spis.length !== stateCount || policies.length !== policyCounts.reduce((sum, one) => sum + one, 0)) continue;
    return { kind: "kernel", spis: new Set(spis), policies: new Set(keysOf(entries)), entries };
  }
  return undefined;
}

const spiOf = ({ data }: Message): string => data.toString("hex", 72, 76);

/** struct xfrm_usersa_info. Its keys are in the message, too: nothing of it is left behind. */
function takeState(message: Message): readonly IpsecEntry[] {
  const { data } = message;
  const attributes = parseAttributes(data.subarray(USERSA_BYTES));
  const isCharons = !isApart(attributes) && ALGORITHMS.some((type) => attributes.has(type));
  const address = (at: number): string => addressText([...data.subarray(at, at + bytesOf(data.readUInt16LE(212)))]);
  const entry: IpsecEntry = {
    kind: "state",
    spi: spiOf(message),
    protocol: data.readUInt8(76),
    source: address(80),
    destination: address(56),
    addedAtMs: secondsAt(data, 176),
  };
  data.fill(0);
  return isCharons ? [entry] : [];
}

/**
 * struct xfrm_userpolicy_info. Nothing for one of a socket's, whose directions have numbers of their own, for one of ours, and
 * for what cannot be charon's.
 */
function policyOf(message: Message): readonly IpsecEntry[] {
  const { data } = message;
  const direction = DIRECTION_NAMES.get(data.readUInt8(160));
  if (direction === undefined || protocolOf(data) !== 0 || isBlocking(message)) return [];
  const attributes = parseAttributes(data.subarray(POLICY_BYTES));
  if (isApart(attributes) || !attributes.has(XFRMA_TMPL)) return [];
  return [{ kind: "policy", direction, ...selectorOf(data), addedAtMs: secondsAt(data, 136) }];
}

/** charon's have neither a mark nor an interface's id. */
const isApart = (attributes: ReadonlyMap<number, Buffer>): boolean =>
  attributes.has(XFRMA_MARK) || attributes.has(XFRMA_IF_ID);

const keysOf = (entries: readonly IpsecEntry[]): readonly string[] =>
  entries.flatMap((one) => (one.kind === "policy" ? [policyKey(one.direction, one.source, one.destination)] : []));

const secondsAt = (data: Buffer, at: number): number => Number(data.readBigUInt64LE(at)) * 1_000;

/** Of an address. */
const bytesOf = (family: number): number => (family === AF_INET ? 4 : 16);

export const isBlocking = ({ data }: Message): boolean => data.readUInt8(161) === XFRM_POLICY_BLOCK;

/** Of a message that begins with a selector. */
export function selectorOf(data: Buffer): { readonly source: Cidr; readonly destination: Cidr } {
  const addressBytes = bytesOf(data.readUInt16LE(40));
  const cidr = (at: number, prefixAt: number): Cidr =>
    `${addressText([...data.subarray(at, at + addressBytes)])}/${data.readUInt8(prefixAt)}`;
  return { source: cidr(16, 43), destination: cidr(0, 42) };
}

/** Of a message that begins with a selector. */
const protocolOf = (data: Buffer): number => data.readUInt8(44);

/** XFRMA_SAD_CNT, or the numbers of XFRMA_SPD_INFO: policies in, out and forward, and those of sockets. */
async function readInfo(netlink: Netlink, operation: string, type: number): Promise<readonly number[]> {
  const FLAGS_BYTES = 4;
  const [answer] = await netlink.request(operation, type, [Buffer.alloc(FLAGS_BYTES)]);
  const info = answer === undefined ? undefined : parseAttributes(answer.data.subarray(FLAGS_BYTES)).get(INFO_COUNTS);
  return Array.from({ length: (info?.length ?? 0) / 4 }, (_, index) => info?.readUInt32LE(4 * index) ?? 0);
}

const DIRECTION_NAMES: ReadonlyMap<number, PolicyDirection> = new Map([
  [POLICY_DIRECTIONS.in, "in"],
  [POLICY_DIRECTIONS.out, "out"],
  [POLICY_DIRECTIONS.forward, "forward"],
]);
