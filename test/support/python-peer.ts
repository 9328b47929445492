// A Python program of test/support/python as a peer: JSON lines out of it, commands into it.
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { eventually } from "./eventually.ts";

// Debian's own: python3-oslo.messaging is a package of it, other interpreters on the machine do not see it.
const PYTHON = "/usr/bin/python3";
const START_TIMEOUT_MS = 30_000;

export type PeerEvent = Readonly<Record<string, unknown>> & { readonly event: string };

export type PythonPeer = {
  /** Everything it has said so far. */
  readonly events: readonly PeerEvent[];
  send(line: string): void;
  /** The first event for which `matches` holds, waited for. */
  waitFor(what: string, matches: (event: PeerEvent) => boolean, timeoutMs?: number): Promise<PeerEvent>;
  stop(): Promise<void>;
};

export async function startPythonPeer(
  script: "neutron_server.py" | "oslo_client.py" | "vpn_agent.py",
  args: readonly string[],
): Promise<PythonPeer> {
  const path = fileURLToPath(new URL(`python/${script}`, import.meta.url));
  // -B: no __pycache__ beside the sources.
  const child: ChildProcess = spawn(PYTHON, ["-B", path, ...args], {
    stdio: ["pipe", "pipe", "pipe"],
    env: { PATH: "/usr/bin:/bin", LANG: "C.UTF-8" },
  });
  const events: PeerEvent[] = [];
  let complaints = "";
  const exited = new Promise<void>((resolve) => child.once("close", () => resolve()));
  child.stderr?.on("data", (chunk: Buffer) => (complaints = (complaints + chunk.toString()).slice(-4000)));
  if (child.stdout !== null) {
    createInterface({ input: child.stdout }).on("line", (line) => events.push(JSON.parse(line) as PeerEvent));
  }
  const endNow = () => child.kill("SIGKILL");
  process.once("exit", endNow);

  const peer: PythonPeer = {
    events,
    send: (line) => void child.stdin?.write(`${line}\n`),
    waitFor: (what, matches, timeoutMs = 10_000) =>
      eventually(() => events.find(matches), { timeoutMs, what: `${script}: ${what}` }).catch((cause: unknown) => {
        throw new Error(`${script}: ${what}; stderr: ${complaints}`, { cause });
      }),
    async stop() {
      process.removeListener("exit", endNow);
      child.kill("SIGKILL");
      await exited;
    },
  };
  try {
    await peer.waitFor("it is ready", ({ event }) => event === "ready", START_TIMEOUT_MS);
  } catch (error) {
    await peer.stop();
    throw error;
  }
  return peer;
}
