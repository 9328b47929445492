// Real charons, each in a network namespace of its own. Everything made here is undone by dispose(), and by the exit of
// the process if that comes first.
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createConnection } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { patiently } from "../../scripts/patience.ts";

const CHARON = "/usr/sbin/charon-systemd";
const START_TIMEOUT_MS = patiently(10_000);
const STOP_TIMEOUT_MS = patiently(5_000);

/** Why real charons cannot be run here; undefined when they can. */
export function whyNoCharon(): string | undefined {
  if (process.getuid?.() !== 0) return "needs root";
  if (!existsSync(CHARON)) return `${CHARON} is not installed`;
  return undefined;
}

export type Charon = {
  readonly namespace: string;
  readonly viciPath: string;
  readonly pid: number;
  /** Ends the process, keeps the namespace. */
  stop(signal?: NodeJS.Signals): Promise<void>;
  /** Starts it again after stop(). */
  start(): Promise<void>;
};

export class CharonLab {
  readonly #directory = mkdtempSync(join(tmpdir(), "charon-lab-"));
  readonly #namespaces: string[] = [];
  readonly #charons: RunningCharon[] = [];
  readonly #onExit = () => this.#disposeNow();

  constructor() {
    process.once("exit", this.#onExit);
  }

  addNamespace(): string {
    const name = `t-${randomBytes(4).toString("hex")}`;
    this.#namespaces.push(name);
    ip("netns", "add", name);
    ip("-n", name, "link", "set", "lo", "up");
    return name;
  }

  /** Joins two namespaces by a veth named `name` on both ends; addresses come with their prefix length. */
  joinByVeth(
    name: string,
    left: { namespace: string; address: string },
    right: { namespace: string; address: string },
  ) {
    ip("-n", left.namespace, "link", "add", name, "type", "veth", "peer", "name", name, "netns", right.namespace);
    for (const { namespace, address } of [left, right]) {
      ip("-n", namespace, "address", "add", address, "dev", name, "nodad");
      ip("-n", namespace, "link", "set", name, "up");
    }
  }

  /** kernel-libipsec installs a child only if the namespace has an address inside the local selector. */
  addLoopbackAddress(namespace: string, address: string): void {
    ip("-n", namespace, "address", "add", address, "dev", "lo");
  }

  /** `configured`: the text of its strongswan.conf, for a VICI socket at the given path. */
  async startCharon(namespace: string, configured?: (viciPath: string) => string): Promise<Charon> {
    const charon = new RunningCharon(this.#directory, namespace, configured);
    this.#charons.push(charon);
    await charon.start();
    return charon;
  }

  async dispose(): Promise<void> {
    await Promise.all(this.#charons.map((charon) => charon.stop()));
    this.#disposeNow();
    process.removeListener("exit", this.#onExit);
  }

  #disposeNow(): void {
    for (const charon of this.#charons.splice(0)) charon.kill();
    for (const name of this.#namespaces.splice(0)) {
      if (existsSync(`/run/netns/${name}`)) ip("netns", "delete", name);
    }
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

class RunningCharon implements Charon {
  readonly namespace: string;
  readonly viciPath: string;
  readonly #conf: string;
  #process: ChildProcess | undefined;

  constructor(directory: string, namespace: string, configured?: (viciPath: string) => string) {
    this.namespace = namespace;
    this.viciPath = `/run/charon.${namespace}.vici`;
    this.#conf = join(directory, `${namespace}.conf`);
    const log = join(directory, `${namespace}.log`);
    writeFileSync(this.#conf, configured?.(this.viciPath) ?? strongswanConf(this.viciPath, log));
  }

  get pid(): number {
    if (this.#process?.pid === undefined) throw new Error("charon is not running");
    return this.#process.pid;
  }

  async start(): Promise<void> {
    // `ip netns exec` replaces itself by charon, so the pid is charon's.
    const child = spawn("ip", ["netns", "exec", this.namespace, CHARON], {
      env: { ...process.env, STRONGSWAN_CONF: this.#conf },
      stdio: "ignore",
    });
    this.#process = child;
    const deadline = performance.now() + START_TIMEOUT_MS;
    while (!(await accepts(this.viciPath))) {
      if (child.exitCode !== null) throw new Error(`charon ended with code ${child.exitCode}`);
      if (performance.now() > deadline) throw new Error(`charon did not open ${this.viciPath}`);
      await delay(5);
    }
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    const child = this.#process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    child.kill(signal);
    const escalation = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
    await ended;
    clearTimeout(escalation);
    rmSync(this.viciPath, { force: true });
  }

  kill(): void {
    const child = this.#process;
    if (child !== undefined && child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
    rmSync(this.viciPath, { force: true });
  }
}

function accepts(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ path });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

function ip(...args: string[]): void {
  execFileSync("ip", args, { stdio: ["ignore", "ignore", "pipe"] });
}

// 16 threads: with kernel-libipsec 8 leave no worker for VICI, which then accepts and never answers (5.9.8).
function strongswanConf(viciPath: string, log: string): string {
  return `charon-systemd {
  load = random nonce aes sha1 sha2 hmac kdf gcm pem openssl counters kernel-libipsec kernel-netlink socket-default vici updown
  threads = 16
  make_before_break = yes
  plugins {
    vici {
      socket = unix://${viciPath}
    }
  }
  filelog {
    test {
      path = ${log}
      default = 1
    }
  }
  syslog {
  }
}
`;
}
