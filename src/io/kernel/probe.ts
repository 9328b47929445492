// What this kernel's IPsec can do, found out by trying in a namespace that vanishes.
import { AUTH_ALGORITHMS, ENCRYPTION_ALGORITHMS, isAead, type KernelEsp } from "../../core/algorithms.ts";
import { KernelError } from "../../core/errors.ts";
import { AGENT_NAMESPACE } from "../../core/network.ts";
import { attribute, Netlink, NETLINK_XFRM, NLM_F_CREATE, NLM_F_EXCL, u32 } from "./netlink.ts";
import { inScratchNamespace } from "./netns.ts";
import { USERSA_BYTES, XFRM_MSG_NEWSA } from "./xfrm.ts";

// linux/xfrm.h
const XFRMA_ALG_CRYPT = 2;
const XFRMA_ALG_AEAD = 18;
const XFRMA_ALG_AUTH_TRUNC = 20;
const XFRM_MODE_TUNNEL = 1;
const ALGORITHM_NAME_BYTES = 64;
const IPPROTO_ESP = 50;
const IPPROTO_AH = 51;

type Cipher = { readonly name: string; readonly keyBytes: number; readonly icvBits: number };

/** As charon asks for them (kernel_netlink_ipsec.c). Salt and nonce are part of the key (RFC 3686, 4106, 4309). */
function cipherOf(word: string): Cipher {
  if (word === "3des") return { name: "cbc(des3_ede)", keyBytes: 24, icvBits: 0 };
  const [, keyBits = "128", mode, icvBytes = "0"] = /^aes-(\d+)(?:-(ctr|ccm|gcm))?(?:-(\d+))?$/.exec(word) ?? [];
  const keyBytes = Number(keyBits) / 8;
  const icvBits = Number(icvBytes) * 8;
  switch (mode) {
    case "ctr":
      return { name: "rfc3686(ctr(aes))", keyBytes: keyBytes + 4, icvBits };
    case "ccm":
      return { name: "rfc4309(ccm(aes))", keyBytes: keyBytes + 3, icvBits };
    case "gcm":
      return { name: "rfc4106(gcm(aes))", keyBytes: keyBytes + 4, icvBits };
    default:
      return { name: "cbc(aes)", keyBytes, icvBits };
  }
}

/** Key and truncated length: RFC 2404, 4868, 3566, 4494. */
const AUTHENTICATION: Readonly<Record<string, Cipher>> = {
  sha1: { name: "hmac(sha1)", keyBytes: 20, icvBits: 96 },
  sha256: { name: "hmac(sha256)", keyBytes: 32, icvBits: 128 },
  sha384: { name: "hmac(sha384)", keyBytes: 48, icvBits: 192 },
  sha512: { name: "hmac(sha512)", keyBytes: 64, icvBits: 256 },
  "aes-xcbc": { name: "xcbc(aes)", keyBytes: 16, icvBits: 96 },
  "aes-cmac": { name: "cmac(aes)", keyBytes: 16, icvBits: 96 },
};
/** Every kernel with ESP has it (RFC 8221: a must). */
const SHA1: Cipher = { name: "hmac(sha1)", keyBytes: 20, icvBits: 96 };

/** Adds a state for each of our words; undefined when there is none that the kernel takes. */
export async function probeKernelEsp(): Promise<KernelEsp | undefined> {
  let netlink: Netlink | undefined;
  try {
    // Within the scratch namespace the agent's "own" is the scratch one.
    netlink = inScratchNamespace(() => new Netlink(NETLINK_XFRM, AGENT_NAMESPACE));
    const socket = netlink;
    let spi = 0x1000;
    const takes = async (protocol: number, ...attributes: readonly Buffer[]): Promise<boolean> => {
      spi += 1;
      try {
        const data = [stateOf(protocol, spi), ...attributes];
        await socket.request("add an IPsec state", XFRM_MSG_NEWSA, data, NLM_F_CREATE | NLM_F_EXCL);
        return true;
      } catch (error) {
        // Not being allowed to ask is no answer.
        if (error instanceof KernelError && !["EPERM", "EACCES"].includes(error.code)) return false;
        throw error;
      }
    };
    if (!(await takes(IPPROTO_ESP, authentication(SHA1), encryption("aes-128")))) return undefined;
    const ciphers = new Set<string>();
    for (const word of ENCRYPTION_ALGORITHMS) {
      const attributes = isAead(word) ? [encryption(word)] : [authentication(SHA1), encryption(word)];
      if (await takes(IPPROTO_ESP, ...attributes)) ciphers.add(word);
    }
    const hashes = new Set<string>();
    for (const word of AUTH_ALGORITHMS) {
      const cipher = AUTHENTICATION[word];
      if (cipher !== undefined && (await takes(IPPROTO_ESP, authentication(cipher), encryption("aes-128")))) {
        hashes.add(word);
      }
    }
    const hasAh = await takes(IPPROTO_AH, authentication(SHA1));
    return { encryption: ciphers, authentication: hashes, hasAh };
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EPROTONOSUPPORT") return undefined;
    throw error;
  } finally {
    netlink?.close();
  }
}

const authentication = (cipher: Cipher): Buffer => algorithm(XFRMA_ALG_AUTH_TRUNC, cipher);
const encryption = (word: string): Buffer => algorithm(isAead(word) ? XFRMA_ALG_AEAD : XFRMA_ALG_CRYPT, cipherOf(word));

/** struct xfrm_algo, and xfrm_algo_auth and xfrm_algo_aead, which have the length of the ICV besides. */
function algorithm(type: number, { name, keyBytes, icvBits }: Cipher): Buffer {
  const header = Buffer.alloc(ALGORITHM_NAME_BYTES);
  header.write(name, "ascii");
  // 3DES refuses a key whose three parts are equal.
  const key = Buffer.from(Array.from({ length: keyBytes }, (_, index) => index + 1));
  return attribute(type, header, u32(keyBytes * 8), ...(type === XFRMA_ALG_CRYPT ? [] : [u32(icvBits)]), key);
}

/** struct xfrm_usersa_info: from 192.0.2.1 to 192.0.2.2, no limits. */
function stateOf(protocol: number, spi: number): Buffer {
  const out = Buffer.alloc(USERSA_BYTES);
  const AF_INET = 2;
  out.writeUInt16LE(AF_INET, 40); // sel.family
  Buffer.from([192, 0, 2, 2]).copy(out, 56); // id.daddr
  out.writeUInt32BE(spi, 72); // id.spi
  out.writeUInt8(protocol, 76); // id.proto
  Buffer.from([192, 0, 2, 1]).copy(out, 80); // saddr
  out.fill(0xff, 96, 128); // lft: the four limits of bytes and packets, XFRM_INF
  out.writeUInt16LE(AF_INET, 212);
  out.writeUInt8(XFRM_MODE_TUNNEL, 214);
  return out;
}
