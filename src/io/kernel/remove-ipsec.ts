// Taking away what is charon's in the kernel, where no charon does (linux/xfrm.h).
import { addressBytes } from "../../core/address.ts";
import { policyKey, type IpsecEntry } from "../../core/data-plane.ts";
import { KernelError } from "../../core/errors.ts";
import type { Netlink } from "./netlink.ts";
import { addPolicy, encodeFamily, encodePolicyName, encodeSubnets, readOwnPolicies } from "./policy.ts";
import { XFRM_MSG_DELPOLICY, XFRM_MSG_DELSA, XFRM_MSG_FLUSHPOLICY, XFRM_MSG_FLUSHSA } from "./xfrm.ts";

/** Those that are gone already are. */
export async function removeIpsec(netlink: Netlink, namespace: string, entries: readonly IpsecEntry[]): Promise<void> {
  for (const entry of entries) {
    try {
      if (entry.kind === "state") {
        const what = `remove the IPsec state with SPI ${entry.spi} in ${namespace}`;
        await netlink.request(what, XFRM_MSG_DELSA, [encodeStateId(entry)]);
      } else {
        const { direction, source, destination } = entry;
        const what = `remove the IPsec policy ${policyKey(direction, source, destination)} in ${namespace}`;
        await netlink.request(what, XFRM_MSG_DELPOLICY, [encodePolicyName(encodeSubnets(entry), direction)]);
      }
    } catch (error) {
      if (!(error instanceof KernelError && ["ENOENT", "ESRCH"].includes(error.code))) throw error;
    }
  }
}

/** All of the namespace; `keepsBlocks`: those of ours are back at once. */
export async function flushIpsec(netlink: Netlink, namespace: string, keepsBlocks: boolean): Promise<void> {
  const ours = keepsBlocks ? await readOwnPolicies(netlink, namespace, []) : [];
  // struct xfrm_usersa_flush: 0 is every protocol.
  await netlink.request(`flush the IPsec states of ${namespace}`, XFRM_MSG_FLUSHSA, [Buffer.alloc(4)]);
  await netlink.request(`flush the IPsec policies of ${namespace}`, XFRM_MSG_FLUSHPOLICY, []);
  for (const policy of ours) await addPolicy(netlink, policy);
}

/** struct xfrm_usersa_id. */
function encodeStateId({ destination, spi, protocol }: Extract<IpsecEntry, { kind: "state" }>): Buffer {
  const out = Buffer.alloc(24);
  out.set(addressBytes(destination), 0);
  out.write(spi, 16, "hex");
  out.writeUInt16LE(encodeFamily(destination), 20);
  out.writeUInt8(protocol, 22);
  return out;
}
