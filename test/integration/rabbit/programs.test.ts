// Agent and controller as programs, by their configuration files, at two brokers with TLS: both heed the keys of amqp and
// the query of the URL, and both go to the other broker when the first is stopped.
import { spawn } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { apiClient } from "../../../src/io/api/client.ts";
import { type Authority, createCertificates } from "../../support/certificates.ts";
import { createCleanup } from "../../support/broker.ts";
import { eventually } from "../../support/eventually.ts";
import { type PrivateRabbitmq, startPrivateRabbitmq } from "../../../scripts/private-rabbitmq.ts";

const MAIN = fileURLToPath(new URL("../../../src/main.ts", import.meta.url));
const SAMPLE = fileURLToPath(new URL("../../../etc/documents", import.meta.url));

const whole = createCleanup();
const cleanup = createCleanup();
const certificates = createCertificates();
whole.add(() => certificates.remove());
afterAll(() => whole.run());
afterEach(() => cleanup.run());

let authority: Authority;
let brokers: readonly PrivateRabbitmq[];
beforeAll(async () => {
  authority = certificates.authority("ca");
  const listener = { caFile: authority.certFile, wantsClientCertificate: true };
  const begun: PrivateRabbitmq[] = [];
  for (const name of ["mq1", "mq2"]) {
    const rabbit = await startPrivateRabbitmq({ tls: { ...authority.issue(name, "IP:127.0.0.1"), ...listener } });
    whole.add(() => rabbit.stop());
    begun.push(rabbit);
  }
  brokers = begun;
});

type State = { readonly brokerConnected?: boolean; readonly desired?: string };

/** A daemon from the sources; what it says goes nowhere unless it is asked for. */
function startProgram(role: "agent" | "controller", directory: string, config: Readonly<Record<string, unknown>>) {
  const file = path.join(directory, `${role}.yaml`);
  const socket = path.join(directory, `${role}.sock`);
  const common = { controlSocket: socket, http: { enabled: false }, log: { pretty: "off" } };
  writeFileSync(file, JSON.stringify({ ...common, ...config }), { mode: 0o600 });
  const child = spawn(process.execPath, ["--import", "tsx", MAIN, role, "--config", file], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  cleanup.add(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  const state = () =>
    apiClient(socket)
      .status()
      .catch(() => undefined) as Promise<State | undefined>;
  return {
    is: (what: string, holds: (state: State) => boolean) =>
      eventually(async () => holds((await state()) ?? {}), { timeoutMs: 60_000, what: `${role}: ${what}` }).catch(
        (cause: unknown) => {
          throw new Error(output.slice(-3000), { cause });
        },
      ),
    connectedTo: () =>
      output
        .split("\n")
        .filter((line) => line.includes('"connected to the broker"'))
        .map((line) => (JSON.parse(line) as { readonly broker?: string }).broker)
        .filter((broker) => broker !== undefined),
    output: () => output,
  };
}

test("agent and controller speak TLS with certificates of their own, and fail over together", async () => {
  const directory = mkdtempSync(path.join(tmpdir(), "swanherd-controller-"));
  cleanup.add(() => rmSync(directory, { recursive: true, force: true }));
  cpSync(SAMPLE, path.join(directory, "documents"), { recursive: true });
  const hosts = brokers.map(({ tlsPort }) => `guest:guest@127.0.0.1:${String(tlsPort)}`).join(",");
  const { certFile, keyFile } = authority.issue("controller", "DNS:controller");
  const controller = startProgram("controller", directory, {
    transportUrl: `rabbit://${hosts}/`,
    amqp: { transientQuorumQueue: true, tls: { enabled: true, caFile: authority.certFile, certFile, keyFile } },
    documents: path.join(directory, "documents"),
    stateDirectory: path.join(directory, "controller"),
  });
  const gateway = authority.issue("gw", "DNS:gw");
  const query = new URLSearchParams({
    ssl: "true",
    ssl_ca_file: authority.certFile,
    ssl_cert_file: gateway.certFile,
    ssl_key_file: gateway.keyFile,
    rabbit_transient_quorum_queue: "true",
    heartbeat_timeout_threshold: "30",
  });
  const agent = startProgram("agent", directory, {
    transportUrl: `rabbit://${hosts}/?${query.toString()}`,
    host: "gw-without-routers",
    espBackEnd: "userland",
    supervisor: "process",
    stateDirectory: path.join(directory, "agent"),
    runDirectory: path.join(directory, "run"),
    charonSocketDirectory: directory,
    fetchIntervalSeconds: 30,
  });
  await controller.is("connected", ({ brokerConnected }) => brokerConnected === true);
  await agent.is("connected", ({ brokerConnected }) => brokerConnected === true);
  const subjects = await Promise.all(
    brokers.map((rabbit) => rabbit.ctl("-q", "list_connections", "peer_cert_subject")),
  );
  expect(subjects.join()).toContain("CN=controller");
  expect(subjects.join()).toContain("CN=gw");

  // Two brokers that know nothing of each other: agent and controller meet when one of them is the only one there is.
  const [first, second] = brokers;
  await first?.stopBroker();
  const at = (rabbit: PrivateRabbitmq | undefined) => `127.0.0.1:${String(rabbit?.tlsPort)}`;
  for (const program of [controller, agent]) {
    await program.is("at the second broker", () => program.connectedTo().at(-1) === at(second));
  }
  await agent.is("it has fetched", ({ desired }) => desired === "fetched");
  await first?.startBroker();
  await second?.stopBroker();
  for (const program of [controller, agent]) {
    await program.is("at the first broker", () => program.connectedTo().at(-1) === at(first));
    expect(program.output()).not.toContain("guest:guest");
  }
});
