// Netlink requests on one socket, one after the other, and the coding of attributes. It knows no families of messages.
import { closeSync, openSync } from "node:fs";
import koffi from "koffi";
import { createNetlink, type NetlinkSocket } from "netlink";
import { DeadlineError, KernelError } from "../../core/errors.ts";
import { errnoName, inNamespace } from "./netns.ts";

// linux/netlink.h
export const NETLINK_ROUTE = 0;
export const NETLINK_XFRM = 6;
export const NETLINK_NETFILTER = 12;
export const NLM_F_CREATE = 0x400;
export const NLM_F_EXCL = 0x200;
const NLM_F_DUMP = 0x300;
const NLM_F_DUMP_INTR = 0x10;
const NLMSG_ERROR = 2;
const NLA_TYPE_MASK = 0x3fff;
const NLA_F_NESTED = 0x8000;
const HEADER_BYTES = 4;

const REQUEST_TIMEOUT_MS = 5_000;
const MAX_DUMPS = 8;

export type Attributes = ReadonlyMap<number, Buffer>;

export function attribute(type: number, ...values: readonly Uint8Array[]): Buffer {
  const value = Buffer.concat(values);
  const out = Buffer.alloc((HEADER_BYTES + value.length + 3) & ~3);
  out.writeUInt16LE(HEADER_BYTES + value.length, 0);
  out.writeUInt16LE(type, 2);
  value.copy(out, HEADER_BYTES);
  return out;
}

export const nested = (type: number, ...attributes: readonly Uint8Array[]): Buffer =>
  attribute(type | NLA_F_NESTED, ...attributes);

export function u32(value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeUInt32LE(value);
  return out;
}

/** Text with its NUL. */
export const text = (value: string): Buffer => Buffer.from(`${value}\0`, "utf8");
export const readText = (value: Buffer | undefined): string | undefined =>
  value?.toString("utf8").replace(/\0.*$/s, "");
export const readU32 = (value: Buffer | undefined): number | undefined => value?.readUInt32LE(0);

/** Throws on a length that the bytes do not have: a kernel that says so is not understood. */
export function parseAttributes(bytes: Buffer): Attributes {
  const found = new Map<number, Buffer>();
  let at = 0;
  while (at + HEADER_BYTES <= bytes.length) {
    const length = bytes.readUInt16LE(at);
    if (length < HEADER_BYTES || at + length > bytes.length) {
      throw new KernelError(`read a netlink attribute of ${length} bytes, ${bytes.length - at} left`, "EBADMSG");
    }
    found.set(bytes.readUInt16LE(at + 2) & NLA_TYPE_MASK, bytes.subarray(at + HEADER_BYTES, at + length));
    at += (length + 3) & ~3;
  }
  return found;
}

// linux/socket.h, linux/netlink.h
const SOL_NETLINK = 270;
const NETLINK_NO_ENOBUFS = 5;
const ON = Buffer.from([1, 0, 0, 0]);

type SetSocketOption = (fd: number, level: number, name: number, value: Buffer, length: number) => number;
let setSocketOption: SetSocketOption | undefined;

/**
 * A socket in the namespace. It keeps silent about messages it had no room for, which come in bursts while the event loop
 * is busy: the addon (netlink 0.3.0) ends the process on any error of receiving. What is lost so is seen by the next pass.
 */
export function openNetlink(protocol: number, namespace: string): NetlinkSocket {
  setSocketOption ??= koffi
    .load("libc.so.6")
    .func(
      "int setsockopt(int fd, int level, int name, const void *value, unsigned int length)",
    ) as unknown as SetSocketOption;
  const setOption = setSocketOption;
  return inNamespace(namespace, () => {
    // The addon does not tell its descriptor. It is the lowest free one (POSIX), as this one is.
    const fd = openSync("/dev/null", "r");
    closeSync(fd);
    const socket = createNetlink(protocol);
    // Where another thread was quicker it is the one after; any other file refuses the option.
    const isSet = [fd, fd + 1].some((one) => setOption(one, SOL_NETLINK, NETLINK_NO_ENOBUFS, ON, ON.length) === 0);
    if (isSet) return socket;
    socket.close();
    throw new KernelError("prepare a netlink socket", errnoName(koffi.errno()));
  });
}

export type Message = { readonly type: number; readonly flags: number; readonly data: Buffer };

/** One socket. A second dump beside a running one would be EBUSY, so requests wait for each other. */
export class Netlink {
  readonly #socket: NetlinkSocket;
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(protocol: number, namespace: string) {
    this.#socket = openNetlink(protocol, namespace);
    // Receive errors show as the timeout of the request that waits.
    this.#socket.on("error", () => undefined);
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.close();
  }

  /** The answer's messages; `operation` says in an error what was tried. */
  request(operation: string, type: number, data: readonly Uint8Array[], flags = 0): Promise<readonly Message[]> {
    return this.#queue(() => this.#exchange(operation, type, data, flags));
  }

  /** All objects of a kind, from one consistent dump. */
  dump(operation: string, type: number, data: readonly Uint8Array[]): Promise<readonly Message[]> {
    return this.#queue(async () => {
      for (let dumps = 0; dumps < MAX_DUMPS; dumps += 1) {
        const messages = await this.#exchange(operation, type, data, NLM_F_DUMP);
        if (!messages.some((message) => (message.flags & NLM_F_DUMP_INTR) !== 0)) return messages;
      }
      throw new KernelError(operation, "EINTR");
    });
  }

  #queue<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work, work);
    this.#last = result.catch(() => undefined);
    return result;
  }

  async #exchange(operation: string, type: number, data: readonly Uint8Array[], flags: number): Promise<Message[]> {
    if (this.#closed) throw new KernelError(operation, "EBADF");
    const startedAt = performance.now();
    try {
      const options = { flags, timeout: REQUEST_TIMEOUT_MS, checkError: false };
      const [messages] = await this.#socket.request(type, [Buffer.concat(data)], options);
      for (const message of messages) {
        const errno = message.type === NLMSG_ERROR ? message.data.readInt32LE(0) : 0;
        if (errno !== 0) throw new KernelError(operation, errnoName(errno));
      }
      return messages.filter((message) => message.type !== NLMSG_ERROR);
    } catch (error) {
      if (error instanceof KernelError) throw error;
      // Whatever comes on this socket now may belong to the request that was given up.
      this.close();
      if (performance.now() - startedAt >= REQUEST_TIMEOUT_MS - 1) {
        throw new DeadlineError(`${operation}: no answer in ${REQUEST_TIMEOUT_MS} ms`, { cause: error });
      }
      throw new KernelError(operation, error instanceof Error && "code" in error ? String(error.code) : "EIO", {
        cause: error,
      });
    }
  }
}
