// Tells the service manager what we are doing (sd_notify(3)), without a process: Node has no unix datagram sockets.
// It refuses to know when; without a socket name it does nothing.
import koffi from "koffi";

export type ServiceManagerNotifier = {
  ready(): void;
  stopping(): void;
  /** Must be called more often than the unit's WatchdogSec=. */
  watchdog(): void;
  /** One line for `systemctl status`. */
  status(line: string): void;
};

// sys/socket.h of Linux, the same on every architecture that Node supports but MIPS.
const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const MSG_NOSIGNAL = 0x4000;
const MSG_DONTWAIT = 0x40;
const PATH_BYTES = 108;

/** `@name` is an abstract socket: its first byte is NUL, and its length ends with the name (unix(7)). */
export function encodeUnixAddress(name: string): Buffer {
  const isAbstract = name.startsWith("@");
  const bytes = Buffer.from(isAbstract ? `\0${name.slice(1)}` : `${name}\0`);
  if (bytes.length > PATH_BYTES)
    throw new RangeError(`the socket name is ${bytes.length} bytes, allowed ${PATH_BYTES}`);
  const address = Buffer.alloc(2 + bytes.length);
  // sa_family is in host byte order; Node runs on little-endian machines and s390x.
  new Uint16Array(address.buffer, address.byteOffset, 1)[0] = AF_UNIX;
  bytes.copy(address, 2);
  return address;
}

/** `onFailure` hears of the first message that could not be sent: a deaf manager must not stop the work. */
export function createNotifier(
  socketName: string | undefined,
  onFailure: (err: Error) => void,
): ServiceManagerNotifier {
  let send: ((text: string) => void) | undefined;
  let hasFailed = false;
  const attempt = (text: string): void => {
    if (socketName === undefined || socketName === "") return;
    try {
      send ??= openSender(socketName);
      send(text);
    } catch (err) {
      if (hasFailed) return;
      hasFailed = true;
      onFailure(new Error("tell the service manager", { cause: err }));
    }
  };
  return {
    ready: () => attempt("READY=1"),
    stopping: () => attempt("STOPPING=1"),
    watchdog: () => attempt("WATCHDOG=1"),
    status: (line) => attempt(`STATUS=${line.replaceAll("\n", " ")}`),
  };
}

type Socket = (domain: number, type: number, protocol: number) => number;
type SendTo = (fd: number, text: Buffer, size: number, flags: number, address: Buffer, addressSize: number) => number;
type Close = (fd: number) => number;

function openSender(socketName: string): (text: string) => void {
  const libc = koffi.load("libc.so.6");
  const socket = libc.func("int socket(int, int, int)") as unknown as Socket;
  const sendTo = libc.func("intptr_t sendto(int, void *, size_t, int, void *, uint32_t)") as unknown as SendTo;
  const close = libc.func("int close(int)") as unknown as Close;
  const address = encodeUnixAddress(socketName);
  const refused = (call: string): Error => {
    const errno = koffi.errno();
    const name = Object.entries(koffi.os.errno).find(([, value]) => value === errno)?.[0] ?? String(errno);
    return Object.assign(new Error(`${call}: ${name}`), { code: name });
  };
  return (text) => {
    // Opened for each message: a few a minute, and nothing is left to close at the end.
    const fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) throw refused("socket");
    try {
      const bytes = Buffer.from(text);
      if (sendTo(fd, bytes, bytes.length, MSG_NOSIGNAL | MSG_DONTWAIT, address, address.length) < 0)
        throw refused("sendto");
    } finally {
      close(fd);
    }
  };
}

/**
 * Tells the service manager that we live, twice in each interval as sd_watchdog_enabled(3) advises, and that is: the
 * event loop turns, and `isAlive` says that the work goes on. Returns how to stop it; without an interval there is
 * nothing to tell.
 */
export function keepWatchdog(
  notifier: ServiceManagerNotifier,
  intervalMs: number | undefined,
  isAlive: () => boolean = () => true,
): () => void {
  if (intervalMs === undefined) return () => undefined;
  const timer = setInterval(() => {
    if (isAlive()) notifier.watchdog();
  }, intervalMs / 2);
  return () => clearInterval(timer);
}
