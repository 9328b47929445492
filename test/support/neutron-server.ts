// A real neutron-server of scripts/neutron-lab: its database, its processes and its REST interface. All of it is private,
// below a directory of its own, and ended by its pids. Authentication is off.
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, openSync } from "node:fs";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { freePort } from "../../scripts/free-port.ts";
import type { Cleanup } from "./broker.ts";
import { eventually } from "./eventually.ts";

const LAB = fileURLToPath(new URL("../../scripts/neutron-lab", import.meta.url));
const L3_AGENT_STATE = fileURLToPath(new URL("python/l3_agent_state.py", import.meta.url));
/** What the lab's programs call the directory of a run. */
const INSIDE = "/lab";
const START_TIMEOUT_MS = 60_000;

/** Why there can be no server here; undefined when there can be one. */
export async function whyNoNeutron(): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return "it needs root";
  const { exitCode, stdout } = await execa(LAB, ["check"], { reject: false });
  return exitCode === 0 ? undefined : stdout;
}

type Fields = Readonly<Record<string, unknown>>;
export type Resource = Fields & { readonly id: string };

/** Collections, and what one member is called in a body. */
const SINGULAR = {
  networks: "network",
  subnets: "subnet",
  ports: "port",
  routers: "router",
  agents: "agent",
  "vpn/ikepolicies": "ikepolicy",
  "vpn/ipsecpolicies": "ipsecpolicy",
  "vpn/endpoint-groups": "endpoint_group",
  "vpn/vpnservices": "vpnservice",
  "vpn/ipsec-site-connections": "ipsec_site_connection",
} as const;
export type Collection = keyof typeof SINGULAR;

/** What an answer other than 2xx is. */
export class RestError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** The REST interface, version 2.0. */
export class NeutronApi {
  readonly #base: string;

  constructor(port: number) {
    this.#base = `http://127.0.0.1:${String(port)}/v2.0`;
  }

  async request(method: string, where: string, body?: Fields): Promise<unknown> {
    const response = await fetch(`${this.#base}/${where}`, {
      method,
      headers: { "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(60_000),
    });
    const text = await response.text();
    if (!response.ok) throw new RestError(response.status, `${method} ${where}: ${String(response.status)} ${text}`);
    return text === "" ? undefined : JSON.parse(text);
  }

  async create(of: Collection, fields: Fields): Promise<Resource> {
    return this.#member(of, await this.request("POST", of, { [SINGULAR[of]]: fields }));
  }

  async show(of: Collection, id: string): Promise<Resource> {
    return this.#member(of, await this.request("GET", `${of}/${id}`));
  }

  async update(of: Collection, id: string, fields: Fields): Promise<Resource> {
    return this.#member(of, await this.request("PUT", `${of}/${id}`, { [SINGULAR[of]]: fields }));
  }

  async remove(of: Collection, id: string): Promise<void> {
    await this.request("DELETE", `${of}/${id}`);
  }

  async list(of: Collection): Promise<readonly Resource[]> {
    const answer = (await this.request("GET", of)) as Readonly<Record<string, readonly Resource[]>>;
    return Object.values(answer)[0] ?? [];
  }

  #member(of: Collection, answer: unknown): Resource {
    const member = (answer as Readonly<Record<string, Resource>>)[SINGULAR[of]];
    if (member === undefined) throw new Error(`no ${SINGULAR[of]} in ${JSON.stringify(answer)}`);
    return member;
  }
}

export type NeutronServer = {
  readonly api: NeutronApi;
  /** The end of what the server has to say, without its routine. */
  readonly log: (lines?: number) => string;
  /** Reports L3 agents of these hosts as alive, until the end. */
  readonly reportL3Agents: (...hosts: readonly string[]) => Promise<void>;
};

type Ini = Readonly<Record<string, Fields>>;
const ini = (sections: Ini): string =>
  Object.entries(sections)
    .map(([name, keys]) => [
      `[${name}]`,
      ...Object.entries(keys).map(([key, value]) => `${key} = ${String(value)}`),
      "",
    ])
    .flat()
    .join("\n");

/** Into the folder that NEUTRON_LAB_LOGS names, if it names one. */
export function keepLogs(directory: string): void {
  const folder = process.env["NEUTRON_LAB_LOGS"];
  if (folder === undefined) return;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  for (const name of readdirSync(directory).filter((one) => one === "log" || one.endsWith(".log"))) {
    const of = name === "log" ? `${path.basename(directory)}.log` : name;
    copyFileSync(path.join(directory, name), path.join(folder, of));
  }
}

/** Started with an empty database; ended, with all that it started, by the clean-up. `config` is merged over ours. */
export async function startNeutron(cleanup: Cleanup, transportUrl: string, config: Ini): Promise<NeutronServer> {
  const directory = mkdtempSync(path.join(tmpdir(), "swanherd-neutron-"));
  const inDirectory = (name: string): string => path.join(directory, name);
  cleanup.add(() => {
    keepLogs(directory);
    rmSync(directory, { recursive: true, force: true });
  });

  const run = (name: string, ...command: readonly string[]): ChildProcess => {
    const log = openSync(inDirectory(`${name}.log`), "a", 0o600);
    const child = spawn(LAB, ["enter", directory, ...command], { stdio: ["ignore", log, log] });
    closeSync(log);
    cleanup.add(async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, "exit");
      // Of its namespace of processes: nothing in it outlives this.
      child.kill("SIGKILL");
      await ended;
    });
    return child;
  };
  const logOf = (name: string): string => readFileSync(inDirectory(`${name}.log`), "utf8");
  const waitFor = async (
    name: string,
    child: ChildProcess,
    isReady: () => Promise<boolean> | boolean,
  ): Promise<void> => {
    await eventually(
      async () => (child.exitCode !== null || child.signalCode !== null ? "ended" : (await isReady()) && "ready"),
      { timeoutMs: START_TIMEOUT_MS, what: `${name} is ready` },
    )
      .then((state) => {
        if (state === "ended") throw new Error(`${name} ended`);
      })
      .catch((cause: unknown) => {
        throw new Error(`${name} did not start:\n${logOf(name).slice(-4_000)}`, { cause });
      });
  };

  const cache = execFileSync(LAB, ["where"], { encoding: "utf8" }).trim();
  cpSync(path.join(cache, "database"), inDirectory("data"), { recursive: true });
  const database = run(
    "mariadbd",
    ...["mariadbd", "--no-defaults", "--user=root", `--datadir=${INSIDE}/data`, `--socket=${INSIDE}/sock`],
    // Whoever reaches the socket is in a directory of root's; what a crash would lose matters to nobody.
    ...["--skip-networking", "--skip-grant-tables", "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0"],
    // Neutron takes what newer MariaDB calls a changed record (error 1020) for an inconsistent database.
    "--innodb-snapshot-isolation=OFF",
  );
  await waitFor("mariadbd", database, () => existsSync(inDirectory("sock")));

  const port = await freePort();
  const base: Ini = {
    DEFAULT: {
      auth_strategy: "noauth",
      core_plugin: "ml2",
      transport_url: transportUrl,
      bind_host: "127.0.0.1",
      bind_port: port,
      api_workers: 1,
      rpc_workers: 1,
      rpc_state_report_workers: 1,
      state_path: `${INSIDE}/state`,
      notify_nova_on_port_status_changes: false,
      notify_nova_on_port_data_changes: false,
    },
    oslo_concurrency: { lock_path: `${INSIDE}/lock` },
    database: { connection: `mysql+pymysql://root@localhost/neutron?unix_socket=${INSIDE}/sock` },
  };
  const names = new Set([...Object.keys(base), ...Object.keys(config)]);
  const merged = Object.fromEntries([...names].map((name) => [name, { ...base[name], ...config[name] }]));
  writeFileSync(inDirectory("neutron.conf"), ini(merged), { mode: 0o600 });
  mkdirSync(inDirectory("state"));
  const server = run("neutron-server", "neutron-server", "--config-file", `${INSIDE}/neutron.conf`);
  const api = new NeutronApi(port);
  await waitFor("neutron-server", server, () =>
    api.list("networks").then(
      () => true,
      () => false,
    ),
  );

  return {
    api,
    log: (lines = 40) =>
      logOf("neutron-server")
        .split("\n")
        .filter((line) => !/ (?:DEBUG|neutron\.api\.wsgi) /.test(line))
        .slice(-lines)
        .join("\n"),
    async reportL3Agents(...hosts) {
      copyFileSync(L3_AGENT_STATE, inDirectory("l3_agent_state.py"));
      const command = ["python3", `${INSIDE}/l3_agent_state.py`, `${INSIDE}/neutron.conf`, ...hosts];
      const reporter = run("l3-agent-state", ...command);
      await waitFor("l3-agent-state", reporter, () => /^reported/m.test(logOf("l3-agent-state")));
    },
  };
}
