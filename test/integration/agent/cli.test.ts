// The commands as an operator types them: the built program beside a running agent and controller.
import { execa } from "execa";
import { existsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { demoDocuments } from "../../../scripts/lab-documents.ts";
import { until } from "../../../scripts/lab.ts";
import type { AgentState } from "../../../src/core/status.ts";
import { connectionIs, labForThisFile } from "../../support/lab.ts";

const PROGRAM = fileURLToPath(new URL("../../../dist/main.js", import.meta.url));

type Answer = { readonly code: number | undefined; readonly out: string; readonly err: string };

const lab = await labForThisFile({ documents: demoDocuments });
const ROUTER = lab.routers.left;

async function run(...args: readonly string[]): Promise<Answer> {
  const options = { reject: false, env: { PATH: process.env["PATH"] ?? "" }, extendEnv: false };
  const { exitCode, stdout, stderr } = await execa(process.execPath, [PROGRAM, ...args], options);
  return { code: exitCode, out: stdout, err: stderr };
}
const ask = (...args: readonly string[]): Promise<Answer> => run(...args, "--socket", lab.left.socket);

test("status shows the host, the broker, and one line for the connection that is up", async () => {
  await connectionIs(lab.left, "to-right", "ACTIVE");
  const { code, out, err } = await ask("status");
  expect({ code, err }).toEqual({ code: 0, err: "" });
  const lines = out.split("\n");
  expect(lines[0]).toMatch(new RegExp(`^${lab.left.host}: .*list fetched \\d+s ago`));
  expect(lines.find((line) => line.startsWith(ROUTER))).toMatch(/ to-right +ACTIVE /);
  expect(lines.at(-1)).toBe("1 router, 1 connection: 1 ACTIVE");
});

test("status of a connection by name shows what was negotiated and what it carries", async () => {
  const state = await connectionIs(lab.left, "to-right", "ACTIVE");
  await lab.world.ping("left", "10.2.0.9", { count: 2 });
  const { out } = await ask("status", "to-right");
  expect(out).toContain(state.id);
  expect(out).toContain(state.ikeSpis);
  expect(out).toMatch(/10\.1\.0\.0\/24 <-> 10\.2\.0\.0\/24/);
  expect(out).toMatch(/^in sync +yes$/m);
});

test("status --json is one document of version 1 with the whole state", async () => {
  const { code, out } = await ask("status", "--json");
  expect(code).toBe(0);
  const state = JSON.parse(out) as AgentState;
  expect(state).toMatchObject({ version: 1, host: lab.left.host, brokerConnected: true, desired: "fetched" });
  expect(state.routers.map(({ id }) => id)).toEqual([ROUTER]);
  expect(state.routers[0]?.connections[0]).toMatchObject({ name: "to-right", status: "ACTIVE", inSync: true });
  expect(out).not.toContain("psk");
});

test("status of an unknown id says so and fails", async () => {
  const { code, err } = await ask("status", "nobody");
  expect(code).toBe(1);
  expect(err).toMatch(/^nothing here has the id or name nobody/);
});

test("status of the controller shows what agents told it", async () => {
  const { left, right } = await until("both have reported", 10_000, async () => {
    const { out } = await run("status", "--json", "--socket", lab.controller.socket);
    const { routers } = JSON.parse(out) as { routers: { host: string; connections: { status: string }[] }[] };
    const of = (host: string) => routers.find((router) => router.host === host)?.connections[0]?.status;
    const found = { left: of(lab.left.host), right: of(lab.right.host) };
    return found.left === "ACTIVE" && found.right === "ACTIVE" ? found : undefined;
  });
  expect([left, right]).toEqual(["ACTIVE", "ACTIVE"]);
  const { code, out } = await run("status", "--socket", lab.controller.socket);
  expect(code).toBe(0);
  expect(out).toMatch(/to-left +ACTIVE/);
  expect(out).toContain("2 routers, 2 connections: 2 ACTIVE");
});

test("sync makes the agent fetch the list now", async () => {
  const before = (await lab.left.status()).lastFetchAtMs ?? 0;
  expect(await ask("sync")).toEqual({ code: 0, out: "woken: all routers", err: "" });
  await until("it has fetched", 5_000, async () => ((await lab.left.status()).lastFetchAtMs ?? 0) > before);
  expect(await ask("sync", ROUTER)).toMatchObject({ code: 0, out: `woken: router ${ROUTER}` });
});

test("teardown without --yes says what it would do, and does nothing", async () => {
  const { code, err } = await ask("teardown", "--router", ROUTER);
  expect(code).toBe(1);
  expect(err).toMatch(/^this would take down 1 router with 1 ACTIVE connection; add --yes/);
  expect((await connectionIs(lab.left, "to-right", "ACTIVE")).status).toBe("ACTIVE");
});

test("teardown of a router takes it away and keeps it away, whatever changes, until sync", async () => {
  const torn = await ask("teardown", "--router", ROUTER, "--yes");
  expect(torn).toMatchObject({ code: 0, out: `torn down: router ${ROUTER}; paused until swanherd sync` });
  const namespace = `/run/netns/${lab.namespaces.left}`;
  await until("the namespace is gone", 10_000, () => !existsSync(namespace));
  expect(lab.left.charon(ROUTER)).toBeUndefined();

  // A change is taken up and still makes nothing.
  const before = (await lab.left.status()).lastFetchAtMs ?? 0;
  lab.write(demoDocuments(lab.routers, { leftPsk: "another secret", rightPsk: "another secret" }));
  await until("the change was fetched", 10_000, async () => ((await lab.left.status()).lastFetchAtMs ?? 0) > before);
  await until("a pass came after it", 10_000, async () => {
    const state = await lab.left.status();
    return (state.routers[0]?.lastPassAtMs ?? 0) > (state.lastFetchAtMs ?? 0);
  });
  expect(existsSync(namespace)).toBe(false);

  expect((await ask("sync")).code).toBe(0);
  await connectionIs(lab.left, "to-right", "ACTIVE");
  expect((await lab.world.ping("left", "10.2.0.9", { count: 2 })).received).toBe(2);
});

test("sync and teardown of a router that nobody has are refused", async () => {
  const nobody = "00000000-0000-4000-8000-000000000000";
  expect(await ask("sync", nobody)).toMatchObject({ code: 1, err: `refused: router ${nobody} is not known here` });
  expect(await ask("teardown", "--router", nobody, "--yes")).toMatchObject({ code: 1 });
  expect(await ask("sync", "not-a-uuid")).toMatchObject({ code: 1, err: "refused: router must be a lower-case UUID" });
});

test.each([["status"], ["sync"]])("%s without an agent exits 69 and says where it asked", async (...args) => {
  const socket = path.join(lab.directory, "nobody.sock");
  const { code, err } = await run(...args, "--socket", socket);
  expect(code).toBe(69);
  expect(err).toBe(`${socket}: there is no such socket; is the agent running?`);
});

test("check-config tells every problem of a file by its line, and exits 78", async () => {
  const file = path.join(lab.directory, "wrong.yaml");
  const lines = [
    "transportUrl: amqp://guest:letmein@127.0.0.1/",
    "hots: gw-left",
    "passIntervalSeconds: 1",
    "retry: {baseMs: 500, capMs: 100}",
    "log: {level: loud}",
  ];
  writeFileSync(file, `${lines.join("\n")}\n`);
  const { code, out, err } = await run("check-config", file);
  expect({ code, out }).toEqual({ code: 78, out: "" });
  const told = err.split("\n");
  expect(told.slice(0, -1).map((line) => line.split(" ")[0])).toEqual(
    lines.map((_, at) => `${file}:${String(at + 1)}:`),
  );
  expect(told.at(-1)).toBe("5 problems");
  expect(err).not.toContain("letmein");
});

test("check-config finds the configurations of the running agent and controller fine", async () => {
  const agent = path.join(lab.left.directory, "agent.yaml");
  expect(await run("check-config", agent)).toEqual({ code: 0, out: `${agent}: fine`, err: "" });
  const controller = path.join(lab.controller.directory, "controller.yaml");
  expect(await run("check-config", "--controller", controller)).toMatchObject({ code: 0 });
});

test("an agent whose configuration is wrong does not start, and exits 78 with the same lines", async () => {
  const file = path.join(lab.directory, "wrong.yaml");
  const [checked, started] = await Promise.all([run("check-config", file), run("agent", "--config", file)]);
  expect(started.code).toBe(78);
  expect(started.err.split("\n")).toEqual(checked.err.split("\n").slice(0, -1));
});

test("a second agent on the same control socket does not start", async () => {
  const { code, err, out } = await run("agent", "--config", path.join(lab.left.directory, "agent.yaml"));
  expect(code).toBe(70);
  expect(`${out}${err}`).toContain("another process answers there");
  expect((await connectionIs(lab.left, "to-right", "ACTIVE")).status).toBe("ACTIVE");
});

test.each(["agent", "controller", "status", "sync", "teardown", "check-config"])(
  "%s --help shows how it is used, with an example",
  async (command) => {
    const { code, out } = await run(command, "--help");
    expect(code).toBe(0);
    expect(out).toMatch(new RegExp(`^Usage: swanherd ${command} `));
    expect(out).toContain(`$ swanherd ${command}`);
  },
);

test("--help lists the commands and the exit codes, and --version is that of the package", async () => {
  const { out } = await run("--help");
  for (const command of ["agent", "controller", "status", "sync", "teardown", "check-config"]) {
    expect(out).toMatch(new RegExp(`^ +${command}\\b`, "m"));
  }
  expect(out).toMatch(/69 agent not reachable.*\n70 internal error, 78 configuration or documents unusable/);
  expect((await run("--version")).out).toMatch(/^\d+\.\d+\.\d+$/);
});
