// The shipped units say what the code says: names, paths and exit codes. Whether systemd likes them is tested with systemd.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { readAgentConfig, validConfig } from "../../src/config.ts";
import { charonPaths } from "../../src/io/charon/files.ts";

const read = (name: string): string => readFileSync(new URL(`../../systemd/${name}`, import.meta.url), "utf8");
const settingsOf = (unit: string, key: string): string[] =>
  [...unit.matchAll(new RegExp(`^${key}=(.*)$`, "gm"))].map(([, value = ""]) => value);

function defaults() {
  const directory = mkdtempSync(path.join(tmpdir(), "swanherd-units-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const file = path.join(directory, "agent.yaml");
  writeFileSync(file, "transportUrl: rabbit://user:password@mq1:5672\n");
  return validConfig(readAgentConfig({ env: {}, file }));
}

test("the template has the name, the program and the paths of the agent's defaults", () => {
  const { charonUnit, charonPath, runDirectory, charonSocketDirectory } = defaults();
  const unit = read(charonUnit);
  const { strongswanConf, socket } = charonPaths(runDirectory, charonSocketDirectory, "%i");
  expect(settingsOf(unit, "ExecStart")).toEqual([charonPath]);
  expect(settingsOf(unit, "Environment")).toEqual([`STRONGSWAN_CONF=${strongswanConf}`]);
  expect(settingsOf(unit, "AssertPathExists")).toEqual([strongswanConf]);
  expect(settingsOf(unit, "BindReadOnlyPaths")).toEqual([strongswanConf]);
  expect(settingsOf(unit, "TemporaryFileSystem")).toEqual([`${runDirectory}:ro`]);
  expect(settingsOf(unit, "NetworkNamespacePath")).toEqual(["/run/netns/%i"]);
  expect(settingsOf(unit, "ReadWritePaths")[0]?.split(" ")).toContain(path.dirname(socket));
});

test("a charon is bound to nothing that ends with the agent", () => {
  const { charonUnit } = defaults();
  expect(read(charonUnit)).not.toMatch(/^(?:Requires|Requisite|BindsTo|PartOf|Upholds|Slice)=/m);
});

test("systemctl reload has the agent read its configuration again", () => {
  const unit = read("swanherd.service");
  expect(settingsOf(unit, "ExecReload")).toEqual(["kill -HUP $MAINPID"]);
  // notify-reload wants systemd 253, and Debian 12 has 252.
  expect(settingsOf(unit, "Type")).toEqual(["notify"]);
});

test("the agent's unit leaves charons alone, and is in the mount namespace of the machine", () => {
  const { stateDirectory, runDirectory } = defaults();
  const unit = read("swanherd.service");
  expect(settingsOf(unit, "KillMode")).toEqual(["process"]);
  expect(settingsOf(unit, "RestartPreventExitStatus")).toEqual(["78"]);
  expect(`/var/lib/${settingsOf(unit, "StateDirectory").join(" ")}`).toBe(stateDirectory);
  expect(`/run/${settingsOf(unit, "RuntimeDirectory").join(" ")}`).toBe(runDirectory);
  expect(settingsOf(unit, "RuntimeDirectoryPreserve")).toEqual(["yes"]);
  // systemd.exec(5): each of these makes a mount namespace.
  expect(unit).not.toMatch(
    /^(?:Protect(?:System|Home|Proc|Kernel|Control|Hostname)|Private(?!Network)|\w*Paths|TemporaryFileSystem|Mount|Root|ProcSubset|Load)/m,
  );
});
