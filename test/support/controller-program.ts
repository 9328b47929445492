// Controllers as programs, run from the sources as an operator would run them, each with directories of its own.
import { spawn, type ChildProcess } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { apiClient } from "../../src/io/api/client.ts";
import type { Cleanup } from "./broker.ts";
import { eventually } from "./eventually.ts";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const SAMPLE = fileURLToPath(new URL("../../etc/documents", import.meta.url));

type LogLine = { readonly level: string; readonly msg: string } & Readonly<Record<string, unknown>>;
type Ended = { readonly code: number | null; readonly stderr: string };

export class ControllerProgram {
  readonly documents: string;
  readonly stateDirectory: string;
  readonly socket: string;
  readonly #configFile: string;
  readonly #url: string;
  #child: ChildProcess | undefined;
  #ended: Promise<Ended> | undefined;
  #output = "";

  constructor(cleanup: Cleanup, url: string) {
    const directory = mkdtempSync(path.join(tmpdir(), "swanherd-controller-"));
    cleanup.add(() => rmSync(directory, { recursive: true, force: true }));
    cleanup.add(() => this.kill());
    this.documents = path.join(directory, "documents");
    this.stateDirectory = path.join(directory, "state");
    this.socket = path.join(directory, "controller.sock");
    this.#configFile = path.join(directory, "controller.yaml");
    this.#url = url;
    mkdirSync(this.documents);
    cpSync(SAMPLE, this.documents, { recursive: true });
    const config = {
      transportUrl: { env: "TEST_BROKER_URL" },
      documents: this.documents,
      stateDirectory: this.stateDirectory,
      controlSocket: this.socket,
      http: { enabled: false },
      log: { level: "debug", pretty: "off" },
    };
    writeFileSync(this.#configFile, JSON.stringify(config), { mode: 0o600 });
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  start(): this {
    this.#output = "";
    const child = spawn(process.execPath, ["--import", "tsx", MAIN, "controller", "--config", this.#configFile], {
      env: { ...process.env, TEST_BROKER_URL: this.#url },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    let stderr = "";
    child.stdout.on("data", (chunk: Buffer) => (this.#output += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
    this.#ended = new Promise((resolve) => child.once("close", (code) => resolve({ code, stderr })));
    return this;
  }

  /** Resolves when it has ended by itself. */
  ended(): Promise<Ended> {
    if (this.#ended === undefined) throw new Error("it was never started");
    return this.#ended;
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    this.#child?.kill(signal);
    await this.#ended;
    this.#child = undefined;
  }

  kill(): Promise<void> {
    return this.stop("SIGKILL");
  }

  status(): Promise<unknown> {
    return apiClient(this.socket).status();
  }

  /** Whether the bus is its own. */
  async serves(): Promise<boolean> {
    if (!existsSync(this.socket)) return false;
    const state = (await this.status().catch(() => undefined)) as { brokerConnected?: boolean } | undefined;
    return state?.brokerConnected === true;
  }

  isServing(what: string): Promise<unknown> {
    return eventually(() => this.serves(), { timeoutMs: 40_000, what: `${what} serves the bus` });
  }

  log(): readonly LogLine[] {
    const whole = this.#output.slice(0, this.#output.lastIndexOf("\n") + 1);
    return whole
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as LogLine);
  }
}
