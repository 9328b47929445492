// The demo: what it shows, step by step. What is inside `qvpn-*` is made by the agents; this makes only what Neutron, OVN
// and the world would make, and enters those namespaces only to look.
import { closeSync, existsSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { Listr, PRESET_TIMER, type ListrTask } from "listr2";
import picocolors from "picocolors";
import { demoDocuments, sidesOf, type Settings } from "./lab-documents.ts";
import { LabBuilder, until, type Agent } from "./lab.ts";
import { isRunning, ownId, type ProcessId } from "./processes.ts";
import { startCapture, type Capture } from "./world.ts";

const ROUTERS = {
  left: "7d3c2a52-4a55-4c1c-9a3b-0d1f6f1a2b01",
  right: "7d3c2a52-4a55-4c1c-9a3b-0d1f6f1a2b02",
};
const KEEPER_FILE = "/run/swanherd-demo.json";
const CONNECTIONS = { "gw-left": "to-right", "gw-right": "to-left" } as const;
const NEW_PSK = "another shared secret, longer than before";

type Host = keyof typeof CONNECTIONS;
const HOSTS: readonly Host[] = ["gw-left", "gw-right"];

const stop = new AbortController();
for (const name of ["SIGINT", "SIGTERM"] as const) process.on(name, () => stop.abort(new Error(`ended by ${name}`)));

const lab = new LabBuilder({
  prefix: "demo",
  sides: sidesOf(ROUTERS),
  documents: [],
  // A failed attempt is repeated soon: nobody wants to watch a minute of backoff.
  agentConfig: { initiateRetry: { baseMs: 500, capMs: 2000 } },
});
let settings: Partial<Settings> = {};

const agent = (host: Host): Agent => {
  const found = lab.agents.get(host);
  if (found === undefined) throw new Error(`${host} is not running`);
  return found;
};

function change(more: Partial<Settings>): void {
  settings = { ...settings, ...more };
  lab.write(demoDocuments(ROUTERS, settings));
}

/** Waits until both sides report one status, and says what the last one was when they do not. */
async function bothAre(status: "ACTIVE" | "DOWN", reason?: string): Promise<string> {
  const texts = await Promise.all(
    HOSTS.map(async (host) => {
      let last = "nothing";
      const found = await until(
        `${host} says ${status}`,
        20_000,
        async () => {
          const connection = await agent(host).connection(CONNECTIONS[host]);
          last = `${connection?.status ?? "nothing"} ${connection?.reason?.code ?? ""}`;
          const isIt = connection?.status === status && connection.inSync;
          return isIt && (reason === undefined || connection.reason?.code === reason) ? connection : undefined;
        },
        stop.signal,
      ).catch((error: unknown) => {
        throw new Error(`${host} says ${last}, expected ${status}`, { cause: error });
      });
      return `${host}: ${found.status}${found.reason === undefined ? "" : ` (${found.reason.code}: ${found.reason.text})`}`;
    }),
  );
  return texts.join("\n");
}

async function ping(from: string, to: string, count = 3): Promise<string> {
  const { received, output } = await lab.builtWorld().ping(from, to, { count });
  if (received === 0) throw new Error(`no answer from ${to} to ${from}:\n${output}`);
  const time = /min\/avg\/max\S* = [\d.]+\/([\d.]+)/.exec(output)?.[1] ?? "?";
  return `${from} -> ${to}: ${String(received)} of ${String(count)} answered, ${time} ms`;
}

/** Pings while everything that crosses the internet bridge is captured: only IKE and ESP may be seen. */
async function pingAndLook(): Promise<string> {
  const capture: Capture = await startCapture({ interface: lab.builtWorld().bridge, filter: "ip or ip6" });
  const pings: string[] = [];
  let lines: readonly string[];
  try {
    pings.push(await ping("left", "10.2.0.9"), await ping("right", "10.1.0.9"));
  } finally {
    lines = await capture.stop();
  }
  const clear = lines.filter((line) => /ICMP6?,? echo/.test(line) || /\b10\.[123]\.0\./.test(line));
  if (clear.length > 0) throw new Error(`seen in clear on the internet bridge:\n${clear.join("\n")}`);
  const encrypted = lines.filter((line) => line.includes("UDP-encap: ESP") || line.includes("ESP(spi"));
  return [
    ...pings,
    `on the internet bridge: ${String(encrypted.length)} ESP packets, 0 pings in clear, for instance`,
    ...encrypted.slice(0, 2).map((line) => `  ${line}`),
  ].join("\n");
}

async function statusTable(): Promise<string> {
  const tables = await Promise.all(
    HOSTS.map(async (host) => {
      const { stdout } = await execa(process.execPath, ["dist/main.js", "status", "--socket", agent(host).socket]);
      return stdout;
    }),
  );
  return tables.join("\n");
}

type Step = readonly [title: string, run: () => Promise<unknown>];

const STEPS: readonly (Step | readonly Step[])[] = [
  [
    ["start a private RabbitMQ", () => lab.startBroker()],
    ["build the world: two sites, two routers, an internet bridge", () => lab.buildWorld()],
  ],
  [
    ["start the controller", () => lab.startController()],
    ["start the agents gw-left and gw-right", () => lab.startAgents()],
  ],
  [
    "create a VPN service with a connection on both sides",
    () => {
      change({});
      return bothAre("ACTIVE");
    },
  ],
  ["ping host to host through the tunnel, and look at the internet", pingAndLook],
  ["the status table", statusTable],
  [
    "change the pre-shared key on the left side only",
    () => {
      change({ leftPsk: NEW_PSK });
      return bothAre("DOWN", "authentication-failed");
    },
  ],
  [
    "change it on the right side too",
    async () => {
      change({ rightPsk: NEW_PSK });
      return `${await bothAre("ACTIVE")}\n${await ping("left", "10.2.0.9")}`;
    },
  ],
  [
    "change the peer's subnet to 10.3.0.0/24: another host answers",
    async () => {
      change({ rightSubnets: ["10.3.0.0/24"] });
      await bothAre("ACTIVE");
      await until(
        "the other host answers",
        10_000,
        async () => (await lab.builtWorld().ping("left", "10.3.0.9")).received > 0,
        stop.signal,
      );
      const { received } = await lab.builtWorld().ping("left", "10.2.0.9");
      return `${await ping("left", "10.3.0.9")}\nleft -> 10.2.0.9: ${received === 0 ? "no answer, as it should be" : "ANSWERED"}`;
    },
  ],
];

const task = ([title, run]: Step): ListrTask => ({
  title,
  task: async (_context, wrapper) => {
    stop.signal.throwIfAborted();
    const said = await run();
    if (typeof said === "string") wrapper.output = said;
  },
  rendererOptions: { persistentOutput: true },
});

const isGroup = (entry: Step | readonly Step[]): entry is readonly Step[] => Array.isArray(entry[0]);

function lookHints(): string {
  const swanherd = (host: Host, command: string): string =>
    `  node dist/main.js ${command} --socket ${agent(host).socket}`;
  return [
    picocolors.bold("It goes on running. To look at it:"),
    swanherd("gw-left", "status"),
    swanherd("gw-right", "status --watch"),
    `  ip netns exec demo-left ping 10.3.0.9`,
    `  ip -n qvpn-${ROUTERS.left} address`,
    `  ip netns exec qvpn-${ROUTERS.right} nft list table inet swanherd`,
    `  swanctl --list-sas --uri unix:///run/charon.qvpn-${ROUTERS.left}.vici`,
    `  curl -s 127.0.0.1:${String(agent("gw-left").httpPort)}/metrics | grep ^swanherd_`,
    `  the documents: ${lab.documentsDirectory}/documents.yaml (edit them, and watch the status)`,
    picocolors.bold("To end it:"),
    "  ./scripts/demo --down",
  ].join("\n");
}

/** Runs the steps; what was made goes away at the end, on a failure, and on Ctrl-C at any moment. */
async function show(readyFile: string | undefined): Promise<number> {
  const startedAt = performance.now();
  const list = new Listr(
    STEPS.map((entry) =>
      isGroup(entry)
        ? {
            title: entry.map(([title]) => title).join("; "),
            task: (_c, t) => t.newListr(entry.map(task), { concurrent: true }),
          }
        : task(entry),
    ),
    {
      renderer: process.stdout.isTTY ? "default" : "simple",
      registerSignalListeners: false,
      rendererOptions: { timer: PRESET_TIMER, collapseSubtasks: false, outputBar: Infinity, formatOutput: "wrap" },
      fallbackRendererOptions: { timer: PRESET_TIMER },
    },
  );
  let code = 0;
  try {
    await Promise.race([list.run(), whenStopped()]);
    if (readyFile !== undefined) await keep(readyFile);
  } catch (error) {
    code = stop.signal.aborted ? 130 : 1;
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    if (code === 1) tellLogs();
  } finally {
    if (readyFile === undefined || code !== 0) process.stdout.write("removing everything that was made\n");
    await lab.destroy();
    rmSync(KEEPER_FILE, { force: true });
  }
  if (code === 0 && readyFile === undefined) {
    process.stdout.write(`done in ${((performance.now() - startedAt) / 1000).toFixed(1)} s\n`);
  }
  return code;
}

const whenStopped = (): Promise<never> =>
  new Promise((_resolve, reject) => {
    stop.signal.addEventListener("abort", () => reject(stop.signal.reason as Error), { once: true });
  });

async function keep(readyFile: string): Promise<void> {
  writeFileSync(KEEPER_FILE, JSON.stringify(ownId()));
  process.stdout.write(`${lookHints()}\n`, () => {
    // Whoever reads our output through a pipe is to see its end.
    for (const descriptor of [1, 2]) {
      closeSync(descriptor);
      openSync("/dev/null", "w");
    }
    writeFileSync(readyFile, "ready");
  });
  await whenStopped().catch(() => undefined);
}

/** The last lines of each log, since they go away with everything else. */
function tellLogs(): void {
  for (const program of [...lab.agents.values(), ...(lab.controller === undefined ? [] : [lab.controller])]) {
    const lines = program
      .log()
      .split("\n")
      .filter((line) => !line.includes('"level":20'));
    process.stderr.write(`${picocolors.bold(program.logFile)}\n${lines.slice(-15).join("\n")}\n`);
  }
}

async function down(): Promise<number> {
  if (!existsSync(KEEPER_FILE)) {
    process.stderr.write("nothing is kept running\n");
    return 1;
  }
  const keeper = JSON.parse(readFileSync(KEEPER_FILE, "utf8")) as ProcessId;
  if (isRunning(keeper)) process.kill(keeper.pid, "SIGTERM");
  while (isRunning(keeper)) await sleep(50);
  rmSync(KEEPER_FILE, { force: true });
  process.stdout.write("removed\n");
  return 0;
}

const [mode, readyFile] = process.argv.slice(2);
if (mode === "--down") {
  await lab.destroy();
  process.exitCode = await down();
} else if (existsSync(KEEPER_FILE)) {
  await lab.destroy();
  process.stderr.write("a kept demo is running already: ./scripts/demo --down ends it\n");
  process.exitCode = 1;
} else process.exitCode = await show(mode === "--keep" ? readyFile : undefined);
