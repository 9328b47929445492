// The program as a process: exit codes and what goes to which output.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));
const directory = mkdtempSync(path.join(tmpdir(), "swanherd-main-"));
afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});

function swanherd(argv: readonly string[], env: Record<string, string> = {}) {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [path.join(root, "node_modules/tsx/dist/cli.mjs"), path.join(root, "src/main.ts"), ...argv],
    // Another directory than the project's: nothing may depend on where it is started.
    { cwd: directory, env: { PATH: process.env["PATH"] ?? "", ...env }, encoding: "utf8", timeout: 15_000 },
  );
  return { code: status, out: stdout, err: stderr };
}

test("help goes to standard output and ends with 0", () => {
  const { code, out, err } = swanherd(["--help"]);
  expect({ code, err }).toEqual({ code: 0, err: "" });
  expect(out).toContain("Usage: swanherd [options] [command]");
});

test("check-config tells every problem and ends with 78", () => {
  const file = path.join(directory, "agent.yaml");
  writeFileSync(file, "transportUrl: {env: MQ}\nhots: gw-1\nexchange: 3\n");
  expect(swanherd(["check-config"], { SWANHERD_CONFIG: file })).toEqual({
    code: 78,
    out: "",
    err: [
      `${file}:1: transportUrl wants the environment variable MQ, which is not set`,
      `${file}:2: hots is not a key here; did you mean host?`,
      `${file}:3: exchange wants a text`,
      "3 problems",
      "",
    ].join("\n"),
  });
  expect(swanherd(["check-config", file], { MQ: "rabbit://a:b@c" }).err).toContain("2 problems");
});

test.each(["agent", "controller"])("the %s refuses to start without a usable configuration, with 78", (role) => {
  const { code, err } = swanherd([role, "--config", "absent.yaml"]);
  expect(code).toBe(78);
  expect(err).toContain("absent.yaml: cannot be read (ENOENT)");
});

test("status of an agent that is not there ends with 69 and names the socket that was asked", () => {
  const socket = path.join(directory, "none.sock");
  expect(swanherd(["status"], { SWANHERD_SOCKET: socket })).toEqual({
    code: 69,
    out: "",
    err: `${socket}: there is no such socket; is the agent running?\n`,
  });
});

test("import-neutron prints a configuration that check-config takes", () => {
  const from = path.join(directory, "neutron.conf");
  writeFileSync(from, "[DEFAULT]\ntransport_url = rabbit://u:hunter2@mq1,u:hunter2@mq2/\nstate_path = /srv\n");
  const { code, out, err } = swanherd(["import-neutron", from]);
  expect(code).toBe(0);
  expect(err).toContain(`${from}:3: [DEFAULT] state_path: `);
  expect(err).not.toContain("hunter2");
  const file = path.join(directory, "imported.yaml");
  writeFileSync(file, out, { mode: 0o600 });
  expect(swanherd(["check-config", file])).toEqual({ code: 0, out: `${file}: fine\n`, err: "" });
});
