// The supervisors with a real charon in a namespace: both keep the same promises.
import { execFileSync } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { installTemplate, listUnits, removeTemplate, UNIT_DIRECTORY } from "../../../scripts/lab-units.ts";
import { environmentOf, readProcesses } from "../../../scripts/processes.ts";
import { ConfigError } from "../../../src/core/errors.ts";
import { routerId, type RouterId } from "../../../src/core/ids.ts";
import { AGENT_NAMESPACE } from "../../../src/core/network.ts";
import { namespaceName } from "../../../src/core/names.ts";
import type { CharonEvent, Ike } from "../../../src/core/ports.ts";
import { createIke } from "../../../src/io/charon/ike.ts";
import { findCharons, type CharonProcess } from "../../../src/io/charon/process.ts";
import { processSupervisor } from "../../../src/io/charon/process-supervisor.ts";
import { chooseSupervisor, type ChoiceOptions } from "../../../src/io/charon/supervisor-choice.ts";
import type { Supervisor } from "../../../src/io/charon/supervisor.ts";
import { systemdSupervisor } from "../../../src/io/charon/systemd-supervisor.ts";
import { namespaceInode, NAMESPACE_DIRECTORY } from "../../../src/io/kernel/netns.ts";
import { emptyMemory } from "../../../src/reconcile/memory.ts";
import { Reconciler } from "../../../src/reconcile/reconcile.ts";
import { aRouterWith, aTunnel } from "../../support/builders.ts";
import { whyNoCharon } from "../../support/charon.ts";
import { charonOptions, NODE_KEY } from "../../support/charon-options.ts";
import { eventually } from "../../support/eventually.ts";
import { FakeNetwork } from "../../support/fake-network.ts";
import { propertyOf, systemctl, whyNoSystemd } from "../../support/systemd.ts";

const reason = whyNoCharon();
if (reason !== undefined && process.env["REQUIRE_NETNS"] === "1") throw new Error(`no charon here: ${reason}`);
const noSystemd = whyNoSystemd();

type Kind = Supervisor["kind"];
const CHARON = "/usr/sbin/charon-systemd";
const never = new AbortController().signal;
const namespacePath = (name: string): string => `${NAMESPACE_DIRECTORY}/${name}`;
const ip = (...args: readonly string[]): void => void execFileSync("ip", args, { stdio: ["ignore", "ignore", "pipe"] });

let router: RouterId;
let namespace: string;
let runDirectory: string;
let template: string;
const ikes: Ike[] = [];

/** A namespace that the check for leftovers knows to be a test's. */
function addNamespace(): void {
  ip("netns", "add", namespace);
  ip("-n", namespace, "link", "set", "lo", "alias", `swanherd:${template.slice(0, 7)}`);
  ip("-n", namespace, "link", "set", "lo", "up");
}

const supervisorOf = (kind: Kind, program = CHARON): Supervisor =>
  kind === "systemd"
    ? systemdSupervisor({ template, executable: program })
    : processSupervisor({ executable: program, namespacePath });

/** What an agent has; a new one knows nothing of what an earlier one has started. */
function newIke(supervisor: Supervisor): Ike {
  const ike = createIke({
    key: NODE_KEY,
    executable: CHARON,
    supervisor,
    runDirectory,
    socketDirectory: "/run",
    // In userland it starts on every kernel.
    espBackEnd: "userland",
    retransmission: {},
    namespaceInode,
    onCommand: () => undefined,
    onTakeOver: () => undefined,
    takesOver: false,
    onLog: () => undefined,
    nowMs: () => Date.now(),
  });
  ikes.push(ike);
  return ike;
}

const confPath = (): string => path.join(runDirectory, namespace, "strongswan.conf");
const socketPath = (): string => `/run/charon.${namespace}.vici`;
/** All of them, where there should be one at most. */
const charonPids = (): readonly number[] =>
  readProcesses()
    .filter(
      ({ command, pid }) =>
        command === "charon-systemd" && environmentOf(pid).includes(`STRONGSWAN_CONF=${confPath()}`),
    )
    .map(({ pid }) => pid);
const theCharon = (): CharonProcess => {
  const found = findCharons(CHARON).get(confPath());
  if (found === undefined) throw new Error("no charon runs");
  return found;
};
const instance = async (ike: Ike): Promise<string | undefined> => {
  const observed = await ike.observe(router, never);
  return observed.kind === "up" ? observed.instance : undefined;
};
/** An agent looks before it starts one; systemd may be quicker. */
const hasEnded = async (ike: Ike, first: string | undefined): Promise<boolean> => {
  const observed = await ike.observe(router, never);
  return observed.kind === "absent" || (observed.kind === "up" && observed.instance !== first);
};
const units = (): readonly string[] => (noSystemd === undefined ? listUnits(template.replace("@.", "@*.")) : []);
const traces = (): readonly unknown[] => [
  ...charonPids(),
  ...units(),
  ...[path.dirname(confPath()), socketPath()].filter((file) => existsSync(file)),
];

/** From now on charons end as soon as they are started. */
function breakCharon(kind: Kind): Supervisor {
  if (kind === "process") return supervisorOf(kind, "/usr/bin/false");
  mkdirSync(path.join(UNIT_DIRECTORY, `${template}.d`));
  writeFileSync(
    path.join(UNIT_DIRECTORY, `${template}.d`, "broken.conf"),
    "[Service]\nExecStart=\nExecStart=/usr/bin/false\n",
  );
  systemctl("daemon-reload");
  return supervisorOf(kind);
}

beforeEach(() => {
  const host = `t${randomBytes(3).toString("hex")}-gw`;
  template = `${host}-charon@.service`;
  router = routerId(randomUUID());
  namespace = namespaceName(router);
  runDirectory = mkdtempSync(path.join(tmpdir(), "swanherd-supervisor-"));
  if (noSystemd === undefined) installTemplate(host, runDirectory);
  addNamespace();
});

afterEach(async () => {
  await Promise.all(ikes.splice(0).map((ike) => ike.close()));
  if (noSystemd === undefined) removeTemplate(template);
  for (const pid of charonPids()) process.kill(pid, "SIGKILL");
  if (existsSync(namespacePath(namespace))) ip("netns", "delete", namespace);
  rmSync(runDirectory, { recursive: true, force: true });
  rmSync(socketPath(), { force: true });
});

const kinds: readonly { readonly kind: Kind; readonly other: Kind; readonly why: string | undefined }[] = [
  { kind: "process", other: "systemd", why: reason },
  { kind: "systemd", other: "process", why: reason ?? noSystemd },
];

describe.each(kinds)("under $kind", ({ kind, other, why }) => {
  const supervised = describe.skipIf(why !== undefined);

  supervised(why === undefined ? "a charon" : `(${why}) a charon`, () => {
    test("runs in its namespace when the start returns, and another start changes nothing", async () => {
      const ike = newIke(supervisorOf(kind));
      expect(await ike.observe(router, never)).toEqual({ kind: "absent" });
      await ike.start(router, never);
      const first = await instance(ike);
      expect(first).toMatch(/^\d+:\d+$/);
      expect(theCharon().namespaceInode).toBe(namespaceInode(namespace));
      expect(theCharon().unit).toBe(kind === "systemd" ? template.replace("@", `@${namespace}`) : undefined);
      await ike.start(router, never);
      expect(await instance(ike)).toBe(first);
      expect(charonPids()).toHaveLength(1);
    });

    test("outlives who started it, and is found by the next agent", async () => {
      const before = newIke(supervisorOf(kind));
      await before.start(router, never);
      const first = await instance(before);
      await before.close();
      const after = newIke(supervisorOf(kind));
      expect(await instance(after)).toBe(first);
      await after.start(router, never);
      expect(await instance(after)).toBe(first);
    });

    test("that is killed is seen at once, and started again by one call", async () => {
      const ike = newIke(supervisorOf(kind));
      const events: CharonEvent["kind"][] = [];
      ike.watch(router, ({ kind: event }) => events.push(event));
      await ike.start(router, never);
      const first = await instance(ike);
      await eventually(() => events.includes("connected"), { what: "events are heard" });
      const killedAt = performance.now();
      process.kill(theCharon().pid, "SIGKILL");
      await eventually(() => events.includes("lost"), { what: "the end is seen", timeoutMs: 1_000 });
      expect(performance.now() - killedAt).toBeLessThan(1_000);
      await eventually(() => hasEnded(ike, first), { what: "it is gone" });
      await ike.start(router, never);
      expect(await instance(ike)).not.toBe(first);
      expect(await instance(ike)).toBeDefined();
      expect(charonPids()).toHaveLength(1);
    });

    test("that ends whenever it is started is told with the reason, and is not tried without pause", async () => {
      const real = breakCharon(kind);
      let starts = 0;
      const counted: Supervisor = {
        ...real,
        start: (place, signal) => {
          starts += 1;
          return real.start(place, signal);
        },
      };
      const network = new FakeNetwork();
      network.addLink(AGENT_NAMESPACE, "br-ex", {});
      network.addNamespace(`qrouter-${router}`);
      const clock = { nowMs: () => Date.now(), after: () => () => undefined, random: () => 1 };
      const reconciler = new Reconciler(
        { network, ike: newIke(counted), clock },
        {
          host: template.slice(0, 7),
          espBackEnd: "userland",
          kernelEsp: undefined,
          charonPlan: charonOptions({}, "userland"),
          initiateRetry: { baseMs: 1_000, capMs: 1_000 },
          restart: { baseMs: 200, capMs: 30_000 },
          attachment: (id) => ({ attachedBy: "bridge", bridge: "br-ex", routerNamespace: `qrouter-${id}` }),
        },
        {
          onStep: () => undefined,
          onCharonRestart: () => undefined,
          onInternalError: () => undefined,
          onDrift: () => undefined,
        },
        pino({ level: "silent" }),
      );
      const memory = emptyMemory(router);
      const desired = aRouterWith([aTunnel()], { id: router });
      await eventually(
        async () => {
          await reconciler.pass(desired, "fetched", "everything", memory, never);
          return memory.fault?.cause.code === "charon-crash-looping";
        },
        { what: "it is a crash loop", timeoutMs: 20_000 },
      );
      expect(memory.fault?.cause.text).toMatch(
        kind === "process"
          ? // Whether it is still there at the first look is chance.
            /^charon ended \d times within a minute; (?:\/usr\/bin\/false ended at once: exit code 1|charon ended while starting)$/
          : /^charon ended \d times within a minute; t\S+-charon@qvpn-\S+\.service did not start \(Result=exit-code, ExecMainStatus=1\): see journalctl -u t\S+$/,
      );
      // Passes came as fast as they could.
      expect(starts).toBeLessThan(8);
      await reconciler.remove(router, memory, never);
      expect(traces()).toEqual([]);
    });

    test("B-31: that was removed leaves no process, unit or file, also when it had just been killed or hangs", async () => {
      const ike = newIke(supervisorOf(kind));
      await ike.start(router, never);
      await ike.remove(router, never);
      expect(traces()).toEqual([]);
      await ike.start(router, never);
      process.kill(theCharon().pid, "SIGKILL");
      await ike.remove(router, never);
      expect(traces()).toEqual([]);
      await ike.remove(router, never);
      // It lives, and does not tell how it is.
      await ike.start(router, never);
      process.kill(theCharon().pid, "SIGSTOP");
      await ike.remove(router, never);
      expect(traces()).toEqual([]);
    });

    test("whose namespace was removed counts for nothing, and is ended when the next one starts", async () => {
      const ike = newIke(supervisorOf(kind));
      await ike.start(router, never);
      ip("netns", "delete", namespace);
      const stray = theCharon();
      expect(await ike.observe(router, never)).toEqual({ kind: "absent" });
      expect(theCharon()).toEqual(stray);
      addNamespace();
      await ike.start(router, never);
      expect(theCharon().namespaceInode).toBe(namespaceInode(namespace));
      ip("netns", "delete", namespace);
      await ike.remove(router, never);
      expect(traces()).toEqual([]);
    });

    test("gets nothing from the agent's environment", async () => {
      const secret = randomBytes(8).toString("hex");
      process.env["SWANHERD_TEST_SECRET"] = secret;
      try {
        await newIke(supervisorOf(kind)).start(router, never);
      } finally {
        delete process.env["SWANHERD_TEST_SECRET"];
      }
      expect(environmentOf(theCharon().pid).join("\n")).not.toContain(secret);
      for (const unit of units()) expect(systemctl("show", "--all", unit)).not.toContain(secret);
    });
  });

  describe.skipIf(reason !== undefined || noSystemd !== undefined)("a charon that was started by the other", () => {
    test("is adopted, and ended for good when it must end", async () => {
      const before = newIke(supervisorOf(other));
      await before.start(router, never);
      const first = await instance(before);
      await before.close();
      const ike = newIke(supervisorOf(kind));
      await ike.start(router, never);
      expect(await instance(ike)).toBe(first);
      await ike.remove(router, never);
      expect(traces()).toEqual([]);
    });

    test("and was killed has one successor", async () => {
      const before = newIke(supervisorOf(other));
      await before.start(router, never);
      await before.close();
      const ike = newIke(supervisorOf(kind));
      const first = await instance(ike);
      process.kill(theCharon().pid, "SIGKILL");
      await eventually(() => hasEnded(ike, first), { what: "its end is seen" });
      await ike.start(router, never);
      expect(await instance(ike)).toBeDefined();
      expect(charonPids()).toEqual([theCharon().pid]);
      await ike.remove(router, never);
      expect(traces()).toEqual([]);
    });
  });
});

describe.skipIf(reason !== undefined || noSystemd !== undefined)("with systemd, a charon", () => {
  test("that is killed comes back by itself, and is another one to who looks", async () => {
    const ike = newIke(supervisorOf("systemd"));
    const events: CharonEvent["kind"][] = [];
    ike.watch(router, ({ kind }) => events.push(kind));
    await ike.start(router, never);
    const first = await instance(ike);
    await eventually(() => events.includes("connected"), { what: "events are heard" });
    process.kill(theCharon().pid, "SIGKILL");
    await eventually(() => events.includes("lost") && events.lastIndexOf("connected") > events.indexOf("lost"), {
      what: "it is back",
    });
    expect(await instance(ike)).not.toBe(first);
    expect(await instance(ike)).toBeDefined();
  });

  test("that systemd has given up is started all the same", async () => {
    const ike = newIke(supervisorOf("systemd"));
    await ike.start(router, never);
    const unit = theCharon().unit ?? "";
    await eventually(
      () => {
        for (const pid of charonPids()) process.kill(pid, "SIGKILL");
        return propertyOf(unit, "ActiveState") === "failed";
      },
      { what: "it is given up", timeoutMs: 30_000 },
    );
    await newIke(supervisorOf("systemd")).start(router, never);
    expect(propertyOf(unit, "ActiveState")).toBe("active");
    await ike.remove(router, never);
    expect(traces()).toEqual([]);
  });

  test("sees of its router what it needs, and nothing of others or of the agent", async () => {
    const ike = newIke(supervisorOf("systemd"));
    mkdirSync(path.join(runDirectory, "qvpn-other"));
    await ike.start(router, never);
    const seen = execFileSync("nsenter", ["-m", "-t", String(theCharon().pid), "find", runDirectory], {
      encoding: "utf8",
    });
    expect(seen.trim().split("\n")).toEqual([runDirectory, path.dirname(confPath()), confPath()]);
    const status = execFileSync("grep", [
      "-E",
      "^(CapBnd|NoNewPrivs|Seccomp):",
      `/proc/${String(theCharon().pid)}/status`,
    ]);
    // CAP_NET_BIND_SERVICE (10) and CAP_NET_ADMIN (12), a filter of system calls.
    expect(status.toString().replaceAll(/\s+/g, " ")).toBe("CapBnd: 0000000000001400 NoNewPrivs: 1 Seccomp: 2 ");
  });
});

describe("the choice of a supervisor", () => {
  const choose = (more: Partial<ChoiceOptions>) => {
    const fixed = { executable: CHARON, socketDirectory: "/run", namespacePath };
    return chooseSupervisor({ wanted: "auto", template, runDirectory, ...fixed, ...more }, never);
  };
  const unknown = { template: "nobody-charon@.service" };

  test("is process when that is asked for, and then nothing is to be said", async () => {
    expect(await choose({ wanted: "process" })).toMatchObject({ supervisor: { kind: "process" }, why: undefined });
  });

  test("without a usable unit is process, with the reason, and an error when systemd was asked for", async () => {
    const { supervisor, why } = await choose(unknown);
    expect(supervisor.kind).toBe("process");
    expect(why).toMatch(
      noSystemd === undefined ? /nobody-charon@\.service \(LoadState=not-found\)/ : /systemd does not run/,
    );
    await expect(choose({ ...unknown, wanted: "systemd" })).rejects.toThrow(ConfigError);
    await expect(choose({ ...unknown, wanted: "systemd" })).rejects.toThrow(/or set supervisor: process$/);
  });

  test.skipIf(noSystemd !== undefined)("is systemd where the unit fits, and an error where it does not", async () => {
    expect((await choose({})).supervisor.kind).toBe("systemd");
    for (const wanted of ["auto", "systemd"] as const) {
      const refusal = choose({ wanted, runDirectory: "/run/elsewhere" });
      await expect(refusal).rejects.toThrow(ConfigError);
      await expect(refusal).rejects.toThrow(
        /STRONGSWAN_CONF=\/\S+, and this agent needs \/run\/elsewhere\/\S+; .*systemctl edit/,
      );
    }
  });
});
