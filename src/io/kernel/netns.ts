// Network namespaces: the only code that may enter one. It knows no netlink.
//
// setns changes the thread, and JavaScript has one: whatever is begun inside and goes on later would go on in the
// agent's namespace, and a thread that libuv starts meanwhile would stay in the wrong one. So only synchronous work.
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statfsSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { getSystemErrorName } from "node:util";
import koffi from "koffi";
import { KernelError, UnavailableError } from "../../core/errors.ts";
import { AGENT_NAMESPACE } from "../../core/network.ts";

export const NAMESPACE_DIRECTORY = "/run/netns";

// linux/sched.h, linux/mount.h, linux/magic.h
const CLONE_NEWNET = 0x4000_0000;
const MS_BIND = 0x1000;
const MS_REC = 0x4000;
const MS_PRIVATE = 0x4_0000;
const MS_SHARED = 0x10_0000;
const MNT_DETACH = 2;
const NSFS_MAGIC = 0x6e73_6673;

type Libc = {
  readonly setns: (fd: number, type: number) => number;
  readonly unshare: (flags: number) => number;
  readonly mount: (source: string, target: string, type: string, flags: number, data: null) => number;
  readonly umount2: (target: string, flags: number) => number;
};

let loaded: Libc | undefined;
function libc(): Libc {
  if (loaded === undefined) {
    const library = koffi.load("libc.so.6");
    loaded = {
      setns: library.func("int setns(int fd, int type)") as unknown as Libc["setns"],
      unshare: library.func("int unshare(int flags)") as unknown as Libc["unshare"],
      mount: library.func(
        "int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data)",
      ) as unknown as Libc["mount"],
      umount2: library.func("int umount2(const char *target, int flags)") as unknown as Libc["umount2"],
    };
  }
  return loaded;
}

let ownFd: number | undefined;
/** The agent's own namespace, open for as long as the process lives. */
export function agentNamespaceFd(): number {
  ownFd ??= openSync("/proc/thread-self/ns/net", "r");
  return ownFd;
}

const pathOf = (name: string): string => `${NAMESPACE_DIRECTORY}/${name}`;

export const errnoName = (errno: number): string => {
  try {
    return getSystemErrorName(-Math.abs(errno));
  } catch {
    return `errno ${Math.abs(errno)}`;
  }
};

export const codeOf = (error: unknown): string | undefined =>
  error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;

function refuse(operation: string): never {
  throw new KernelError(operation, errnoName(koffi.errno()));
}

/** Identity of the namespace that has this name now, undefined when there is none: a name may be used again. */
export function namespaceInode(name: string): number | undefined {
  if (name === AGENT_NAMESPACE) return 0;
  try {
    // After a killed run or in another mount namespace the name may be an ordinary file.
    return statfsSync(pathOf(name)).type === NSFS_MAGIC ? statSync(pathOf(name)).ino : undefined;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** Names in /run/netns, of other people's namespaces too. */
export function listNamespaces(): readonly string[] {
  try {
    return readdirSync(NAMESPACE_DIRECTORY);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return [];
    throw error;
  }
}

export function openNamespace(name: string): number {
  try {
    return openSync(pathOf(name), "r");
  } catch (error) {
    if (codeOf(error) !== "ENOENT") throw error;
    throw new UnavailableError("NAMESPACE_MISSING", `there is no network namespace ${name}`, { cause: error });
  }
}

type Synchronous<T> = T extends PromiseLike<unknown> ? never : T;

/** Runs `work` inside. It must be synchronous; what it opens stays in the namespace. */
export function inNamespace<T>(name: string, work: () => Synchronous<T>): Synchronous<T> {
  if (name === AGENT_NAMESPACE) return work();
  agentNamespaceFd();
  const fd = openNamespace(name);
  try {
    if (libc().setns(fd, CLONE_NEWNET) !== 0) refuse(`enter network namespace ${name}`);
    return andReturn(work);
  } finally {
    closeSync(fd);
  }
}

/** Runs `work` in a new namespace that vanishes with the last thing opened in it. */
export function inScratchNamespace<T>(work: () => Synchronous<T>): Synchronous<T> {
  agentNamespaceFd();
  if (libc().unshare(CLONE_NEWNET) !== 0) refuse("make a network namespace");
  return andReturn(work);
}

function andReturn<T>(work: () => Synchronous<T>): Synchronous<T> {
  try {
    return work();
  } finally {
    // Going on would do the work of one tenant in the namespace of another, or of the machine in a tenant's.
    if (libc().setns(agentNamespaceFd(), CLONE_NEWNET) !== 0) process.abort();
  }
}

export function createNamespace(name: string): void {
  if (namespaceInode(name) !== undefined) return;
  shareDirectory();
  // The mount needs a file to lie on; one that is there already is a leftover.
  writeFileSync(pathOf(name), "", { mode: 0o444 });
  inScratchNamespace(() => {
    if (libc().mount("/proc/thread-self/ns/net", pathOf(name), "none", MS_BIND, null) === 0) return;
    const errno = koffi.errno();
    unlinkSync(pathOf(name));
    throw new KernelError(`keep network namespace ${name}`, errnoName(errno));
  });
}

/** The name goes at once, what is inside when no process and no socket holds it any more. */
export function deleteNamespace(name: string): void {
  if (namespaceInode(name) !== undefined && libc().umount2(pathOf(name), MNT_DETACH) !== 0) {
    refuse(`let network namespace ${name} go`);
  }
  try {
    unlinkSync(pathOf(name));
  } catch (error) {
    if (codeOf(error) !== "ENOENT") throw error;
  }
}

/** As `ip netns` does, so that a namespace made or deleted here is so for every mount namespace. */
function shareDirectory(): void {
  mkdirSync(NAMESPACE_DIRECTORY, { recursive: true, mode: 0o755 });
  const isMounted = readFileSync("/proc/self/mountinfo", "utf8").includes(` ${NAMESPACE_DIRECTORY} `);
  const { mount } = libc();
  if (!isMounted) {
    if (mount(NAMESPACE_DIRECTORY, NAMESPACE_DIRECTORY, "none", MS_BIND | MS_REC, null) !== 0) {
      refuse(`bind ${NAMESPACE_DIRECTORY}`);
    }
    // As a peer of /run it would have each namespace mounted twice, in the mount namespace of every sandboxed charon too.
    if (mount("", NAMESPACE_DIRECTORY, "none", MS_PRIVATE, null) !== 0) refuse(`part ${NAMESPACE_DIRECTORY} from /run`);
  }
  if (mount("", NAMESPACE_DIRECTORY, "none", MS_SHARED | MS_REC, null) !== 0) refuse(`share ${NAMESPACE_DIRECTORY}`);
}
