// The shipped units with real agents in them: the left gateway's charon is a unit, the right one's a process. It installs
// services of this machine, so it runs in the kernel lab's guest only.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { baseDocuments, connectionPair } from "../../../scripts/lab-documents.ts";
import { superviseBy, UNIT_DIRECTORY } from "../../../scripts/lab-units.ts";
import { until, type Agent } from "../../../scripts/lab.ts";
import { patiently } from "../../../scripts/patience.ts";
import { createCleanup } from "../../support/broker.ts";
import { areActive, areSettled, labForThisFile, worthReading, type TestLab } from "../../support/lab.ts";
import { propertyOf, systemctl, whyNoSystemd } from "../../support/systemd.ts";
import { expectNothingLost, startTraffic } from "../../support/traffic.ts";

const isGuest = process.env["KERNEL_LAB"] === "1" && whyNoSystemd() === undefined;

const PROGRAM = fileURLToPath(new URL("../../../dist/main.js", import.meta.url));
const UNITS = fileURLToPath(new URL("../../../systemd", import.meta.url));
const COMMAND = "/usr/bin/swanherd";
const PSK = "in no property of a unit: 5ecret";
const SERVICES = { left: "swanherd.service", right: "swanherd-right.service" } as const;
type Side = keyof typeof SERVICES;
const SIDES = ["left", "right"] as const;

const lab = isGuest
  ? await labForThisFile({
      documents: (routers) => [
        ...baseDocuments(routers),
        ...connectionPair({ name: "site", left: ["10.1.0.0/24"], right: ["10.2.0.0/24"], psk: PSK }),
      ],
    })
  : undefined;

if (lab === undefined) test.skip("agents as services (in the kernel lab only)", () => undefined);
else describe("as a service", () => serviceTests(lab));

function serviceTests(lab: TestLab): void {
  const cleanup = createCleanup();
  afterAll(() => cleanup.run());
  const pidOf = (side: Side): number => Number(propertyOf(SERVICES[side], "MainPID"));
  const charonOf = (side: Side) => lab[side].charon(lab.routers[side]);
  /** Of every SA of either side: one line for each IKE SA and each of its children. */
  const spis = (): Promise<readonly (readonly string[])[]> =>
    Promise.all(
      SIDES.map(async (side) =>
        (await lab[side].ikeSas(lab.routers[side])).flatMap(({ initiatorSpi, responderSpi, childSas }) => [
          `IKE ${initiatorSpi}:${responderSpi}`,
          ...childSas.map(({ spiIn, spiOut }) => `ESP ${String(spiIn)}:${String(spiOut)}`),
        ]),
      ),
    );
  const isUp = async (side: Side): Promise<boolean> =>
    (await lab[side].status().catch(() => undefined))?.supervisor !== undefined;
  const dropIn = (service: string, name: string, text: string): void => {
    mkdirSync(path.join(UNIT_DIRECTORY, `${service}.d`), { recursive: true });
    writeFileSync(path.join(UNIT_DIRECTORY, `${service}.d`, `${name}.conf`), text);
    systemctl("daemon-reload");
  };
  const agentOf = (agent: Agent, config = agent.configFile): string =>
    `[Service]\nExecStart=\nExecStart=${COMMAND} agent --config ${config}\n`;

  /** Nothing of it may show in the tunnel. */
  async function underTraffic(what: () => Promise<void>): Promise<void> {
    await areActive(lab, "site");
    await areSettled(lab);
    const before = await spis();
    const charons = SIDES.map((side) => charonOf(side)?.pid);
    const traffic = startTraffic(lab.world, "left", "10.2.0.9");
    await until("traffic flows", 5_000, async () => (await lab.world.ping("left", "10.2.0.9")).received > 0);
    await what();
    await areActive(lab, "site");
    await expectNothingLost(traffic);
    expect(await spis()).toEqual(before);
    expect(SIDES.map((side) => charonOf(side)?.pid)).toEqual(charons);
  }

  test("the units install without a complaint, and systemctl start returns when the agents are ready", async () => {
    for (const side of SIDES) {
      const agent = lab[side];
      await agent.stop();
      expect(await agent.run("teardown", "--yes")).toMatchObject({ exitCode: 0 });
      const config = parse(readFileSync(agent.configFile, "utf8")) as Record<string, unknown>;
      const kind = side === "left" ? "systemd" : "process";
      const supervised = superviseBy(kind, agent.host, agent.runDirectory);
      writeFileSync(agent.configFile, stringify({ ...config, ...supervised }), { mode: 0o600 });
    }
    // What the units have systemd make: RuntimeDirectory=, StateDirectory=, ConfigurationDirectory=.
    for (const made of [COMMAND, "/run/swanherd", "/var/lib/swanherd", "/etc/swanherd"]) {
      if (existsSync(made)) throw new Error(`${made} is somebody's`);
      cleanup.add(() => rmSync(made, { recursive: true, force: true }));
    }
    symlinkSync(PROGRAM, COMMAND);
    for (const side of SIDES) {
      const service = SERVICES[side];
      cleanup.add(() => {
        systemctl("stop", service);
        rmSync(path.join(UNIT_DIRECTORY, service), { force: true });
        rmSync(path.join(UNIT_DIRECTORY, `${service}.d`), { recursive: true, force: true });
        systemctl("daemon-reload");
      });
      writeFileSync(path.join(UNIT_DIRECTORY, service), readFileSync(path.join(UNITS, "swanherd.service")));
      dropIn(service, "lab", agentOf(lab[side]));
    }
    systemctl("start", ...Object.values(SERVICES));
    for (const side of SIDES) {
      expect(await isUp(side)).toBe(true);
      expect(propertyOf(SERVICES[side], "ActiveState")).toBe("active");
      expect(propertyOf(SERVICES[side], "Type")).toBe("notify");
    }
    await areActive(lab, "site").catch((error: unknown) => {
      throw new Error(`${worthReading(lab.left)}\n${systemctl("status", ...Object.values(SERVICES))}`, {
        cause: error,
      });
    });
    expect(charonOf("left")?.unit).toBe(`${lab.left.host}-charon@${lab.namespaces.left}.service`);
    expect(charonOf("right")?.unit).toBeUndefined();
    expect(readFileSync(`/proc/${String(charonOf("right")?.pid)}/cgroup`, "utf8")).toContain(SERVICES.right);
  });

  test("an agent is in the mount namespace of the machine", () => {
    for (const side of SIDES) {
      expect(readlinkSync(`/proc/${String(pidOf(side))}/ns/mnt`)).toBe(readlinkSync("/proc/1/ns/mnt"));
    }
  });

  test("stopped and started again, the services lose no packet and keep the SAs", async () => {
    await underTraffic(async () => {
      systemctl("stop", ...Object.values(SERVICES));
      expect((await lab.world.ping("left", "10.2.0.9", { count: 20 })).received).toBe(20);
      systemctl("start", ...Object.values(SERVICES));
    });
  });

  test("restarted, likewise", async () => {
    await underTraffic(async () => {
      systemctl("restart", ...Object.values(SERVICES));
      await Promise.resolve();
    });
  });

  test("killed, they are back by themselves, likewise", async () => {
    await underTraffic(async () => {
      const before = SIDES.map(pidOf);
      for (const pid of before) process.kill(pid, "SIGKILL");
      for (const [index, side] of SIDES.entries()) {
        await until("another agent runs", 20_000, async () => ![0, before[index]].includes(pidOf(side)) && isUp(side));
      }
    });
  });

  test("an agent that hangs is ended by the watchdog and started again, likewise", async () => {
    // Long enough for an agent that works on a machine where everything is slow, which a shorter one would end as well.
    dropIn(SERVICES.left, "watchdog", `[Service]\nWatchdogSec=${String(patiently(5_000))}ms\n`);
    systemctl("restart", SERVICES.left);
    await underTraffic(async () => {
      const before = pidOf("left");
      process.kill(before, "SIGSTOP");
      await until("another agent runs", 30_000, async () => ![0, before].includes(pidOf("left")) && isUp("left"));
      expect(systemctl("show", "--property=NRestarts", "--value", SERVICES.left)).toBe("1");
    });
    rmSync(path.join(UNIT_DIRECTORY, `${SERVICES.left}.d`, "watchdog.conf"));
    systemctl("daemon-reload");
    systemctl("restart", SERVICES.left);
  });

  test("a configuration that cannot be used is exit code 78 and no loop of restarts, likewise", async () => {
    await underTraffic(async () => {
      const broken = path.join(lab.left.directory, "broken.yaml");
      writeFileSync(broken, "transportUrl: nonsense\n");
      dropIn(SERVICES.left, "lab", agentOf(lab.left, broken));
      expect(() => systemctl("restart", SERVICES.left)).toThrow();
      expect(propertyOf(SERVICES.left, "ExecMainStatus")).toBe("78");
      expect(propertyOf(SERVICES.left, "SubState")).toBe("failed");
      dropIn(SERVICES.left, "lab", agentOf(lab.left));
      systemctl("reset-failed", SERVICES.left);
      systemctl("start", SERVICES.left);
      await Promise.resolve();
    });
  });

  test("a unit that does not fit the agent's run directory is a mistake of configuration that names both", () => {
    const other = path.join(lab.left.directory, "other.yaml");
    const config = parse(readFileSync(lab.left.configFile, "utf8")) as Record<string, unknown>;
    const controlSocket = path.join(lab.left.directory, "other.sock");
    writeFileSync(other, stringify({ ...config, runDirectory: "/run/elsewhere", controlSocket }), { mode: 0o600 });
    let said = "";
    try {
      execFileSync(COMMAND, ["agent", "--config", other], { encoding: "utf8", stdio: ["ignore", "ignore", "pipe"] });
    } catch (error) {
      const { status, stderr } = error as { status: number; stderr: string };
      said = `${String(status)} ${stderr}`;
    }
    expect(said).toMatch(
      /^78 charonUnit: \S+ has Environment=STRONGSWAN_CONF=\/\S+, and this agent needs \/run\/elsewhere/,
    );
    expect(said).toContain(`systemctl edit ${lab.left.host}-charon@.service`);
  });

  test("no property of a unit holds a secret", () => {
    const units = [...Object.values(SERVICES), charonOf("left")?.unit ?? ""];
    const shown = systemctl("show", "--all", ...units);
    expect(shown).toContain(`Id=${SERVICES.left}`);
    expect(shown).not.toContain(PSK);
    expect(shown).not.toContain(lab.rabbitmq.url);
  });

  test("systemd has nothing to say against the shipped units", () => {
    const files = ["swanherd.service", "swanherd-charon@.service"].map((name) => path.join(UNITS, name));
    // It says what it has to say on standard error and ends with 0 all the same.
    const said = execFileSync("sh", ["-c", 'systemd-analyze verify "$@" 2>&1', "sh", ...files], { encoding: "utf8" });
    expect(said).toBe("");
    for (const unit of [SERVICES.left, charonOf("left")?.unit ?? ""]) {
      const exposure = execFileSync("systemd-analyze", ["security", "--no-pager", unit], { encoding: "utf8" });
      console.log(exposure.trim().split("\n").at(-1));
    }
  });
}
