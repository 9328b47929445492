// What this kernel can do, found out by trying in a namespace that vanishes.
import type { EspBackEnd } from "../../core/guard.ts";
import { KernelError } from "../../core/errors.ts";
import { attribute, Netlink, NETLINK_XFRM, NLM_F_CREATE, NLM_F_EXCL, u32 } from "./netlink.ts";
import { inScratchNamespace } from "./netns.ts";
import { AGENT_NAMESPACE } from "../../core/network.ts";

// linux/xfrm.h
const XFRM_MSG_NEWSA = 0x10;
const XFRMA_ALG_AUTH = 1;
const XFRMA_ALG_CRYPT = 2;
const XFRM_MODE_TUNNEL = 1;
const USERSA_BYTES = 224;
const ALGORITHM_NAME_BYTES = 64;

/** Adds one ESP state with the algorithms that every kernel with ESP has (RFC 8221: AES-CBC and HMAC-SHA are a must). */
export async function probeEspBackEnd(): Promise<EspBackEnd> {
  let netlink: Netlink | undefined;
  try {
    // Within the scratch namespace the agent's "own" is the scratch one.
    netlink = inScratchNamespace(() => new Netlink(NETLINK_XFRM, AGENT_NAMESPACE));
    const attributes = [algorithm(XFRMA_ALG_AUTH, "hmac(sha1)", 20), algorithm(XFRMA_ALG_CRYPT, "cbc(aes)", 16)];
    await netlink.request("add an ESP state", XFRM_MSG_NEWSA, [espState(), ...attributes], NLM_F_CREATE | NLM_F_EXCL);
    return "kernel";
  } catch (error) {
    // Not being allowed to ask is no answer.
    if (error instanceof KernelError && ["EPERM", "EACCES"].includes(error.code)) throw error;
    if (error instanceof KernelError || isUnsupported(error)) return "userland";
    throw error;
  } finally {
    netlink?.close();
  }
}

const isUnsupported = (error: unknown): boolean =>
  error instanceof Error && "code" in error && error.code === "EPROTONOSUPPORT";

function algorithm(type: number, name: string, keyBytes: number): Buffer {
  const header = Buffer.alloc(ALGORITHM_NAME_BYTES);
  header.write(name, "ascii");
  return attribute(type, header, u32(keyBytes * 8), Buffer.alloc(keyBytes, 1));
}

/** struct xfrm_usersa_info: from 192.0.2.1 to 192.0.2.2, SPI 0x1000, no limits. */
function espState(): Buffer {
  const out = Buffer.alloc(USERSA_BYTES);
  const AF_INET = 2;
  out.writeUInt16LE(AF_INET, 40); // sel.family
  Buffer.from([192, 0, 2, 2]).copy(out, 56); // id.daddr
  out.writeUInt32BE(0x1000, 72); // id.spi
  out.writeUInt8(50, 76); // id.proto: ESP
  Buffer.from([192, 0, 2, 1]).copy(out, 80); // saddr
  out.fill(0xff, 96, 128); // lft: the four limits of bytes and packets, XFRM_INF
  out.writeUInt16LE(AF_INET, 212);
  out.writeUInt8(XFRM_MODE_TUNNEL, 214);
  return out;
}
