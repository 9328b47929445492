// Whether a link leaves checksums to whoever takes its packets over. rtnetlink does not tell, so this is ethtool's ioctl.
import koffi from "koffi";
import { KernelError } from "../../core/errors.ts";
import { codeOf, errnoName, inNamespace } from "./netns.ts";

// linux/sockios.h, linux/ethtool.h, bits/socket.h
const SIOCETHTOOL = 0x8946;
const ETHTOOL_GTXCSUM = 0x16;
const ETHTOOL_STXCSUM = 0x17;
const AF_INET = 2;
const SOCK_DGRAM_CLOEXEC = 2 | 0x8_0000;

type Libc = {
  readonly socket: (family: number, type: number, protocol: number) => number;
  readonly close: (fd: number) => number;
  readonly ioctl: (fd: number, request: number, argument: { readonly name: string; readonly data: Buffer }) => number;
};

let loaded: Libc | undefined;
function libc(): Libc {
  if (loaded !== undefined) return loaded;
  const library = koffi.load("libc.so.6");
  // The rest of the union that struct ifreq ends with: it is read by its size.
  koffi.struct("ifreq", { name: koffi.array("char", 16), data: "void *", rest: koffi.array("uint8_t", 16) });
  loaded = {
    socket: library.func("int socket(int family, int type, int protocol)") as unknown as Libc["socket"],
    close: library.func("int close(int fd)") as unknown as Libc["close"],
    ioctl: library.func("int ioctl(int fd, unsigned long request, ifreq *argument)") as unknown as Libc["ioctl"],
  };
  return loaded;
}

/** Undefined when there is no such link, or not any more. */
export function offloadsChecksums(namespace: string, link: string): boolean | undefined {
  try {
    return ask(namespace, link, ETHTOOL_GTXCSUM, 0) !== 0;
  } catch (error) {
    if (["ENODEV", "NAMESPACE_MISSING"].includes(codeOf(error) ?? "")) return undefined;
    throw error;
  }
}

/** From now on the kernel computes them itself. */
export function computeChecksums(namespace: string, link: string): void {
  ask(namespace, link, ETHTOOL_STXCSUM, 0);
}

function ask(namespace: string, link: string, command: number, value: number): number {
  const what = `${command === ETHTOOL_STXCSUM ? "set" : "read"} the offload of checksums of ${link} of ${namespace}`;
  // struct ethtool_value
  const data = Buffer.alloc(8);
  data.writeUInt32LE(command, 0);
  data.writeUInt32LE(value, 4);
  inNamespace(namespace, () => {
    const { socket, close, ioctl } = libc();
    const fd = socket(AF_INET, SOCK_DGRAM_CLOEXEC, 0);
    if (fd < 0) throw new KernelError(what, errnoName(koffi.errno()));
    try {
      if (ioctl(fd, SIOCETHTOOL, { name: link, data }) !== 0) throw new KernelError(what, errnoName(koffi.errno()));
    } finally {
      close(fd);
    }
  });
  return data.readUInt32LE(4);
}
