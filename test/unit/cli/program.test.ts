// Command lines as a user gives them, asking real control sockets whose states are made up.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { runCli, type CliOptions } from "../../../src/cli/program.ts";
import { connectionId, routerId, serviceId } from "../../../src/core/ids.ts";
import type { RouterViews } from "../../../src/core/views.ts";
import type { AgentState } from "../../../src/core/status.ts";
import { startControlServer, type ApiServer } from "../../../src/io/api/server.ts";

const ROUTER = routerId("7d3c2a52-4a55-4c1c-9a3b-0d1f6f1a2b01");
const OTHER = routerId("7d3c2a52-ffff-4c1c-9a3b-0d1f6f1a2b01");
const UP = connectionId("22222222-2222-4222-8222-222222222222");
const DOWN = connectionId("33333333-3333-4333-8333-333333333333");
const SERVICE = serviceId("44444444-4444-4444-8444-444444444444");
const NOW_MS = 1_800_000_000_000;

const state: AgentState = {
  version: 1,
  host: "gw-1",
  startedAtMs: NOW_MS - 7_500_000,
  espBackEnd: "kernel",
  brokerConnected: true,
  desired: "fetched",
  lastFetchAtMs: NOW_MS - 12_000,
  routers: [
    {
      id: ROUTER,
      namespace: `qvpn-${ROUTER}`,
      charon: "up",
      services: [],
      lastPassAtMs: NOW_MS - 3000,
      connections: [
        {
          id: UP,
          name: "to-right",
          service: SERVICE,
          status: "ACTIVE",
          inSync: true,
          localAddress: "203.0.113.10",
          peerAddress: "203.0.113.20",
          ikeVersion: 2,
          children: [
            {
              name: UP,
              localSubnets: ["10.1.0.0/24"],
              peerSubnets: ["10.2.0.0/24"],
              installed: true,
              bytesIn: 1229,
              bytesOut: 84,
              packetsIn: 10,
              packetsOut: 1,
            },
          ],
        },
        {
          id: DOWN,
          name: "to-\x1b[2Jevil",
          service: SERVICE,
          status: "DOWN",
          inSync: false,
          reason: { code: "peer-unreachable", text: "no answer from 203.0.113.99", sinceMs: NOW_MS - 192_000 },
          children: [],
        },
      ],
    },
    { id: OTHER, namespace: `qvpn-${OTHER}`, charon: "not-wanted", services: [], connections: [] },
  ],
};

const same = (value: string) => ({ value, verdict: "same" as const });
const VIEWS: readonly RouterViews[] = [
  {
    id: ROUTER,
    namespace: `qvpn-${ROUTER}`,
    network: [{ kind: "route", what: "route 0.0.0.0/0 via 203.0.113.1 dev vg1 is missing" }],
    connections: [
      { id: UP, name: "to-right", missing: [], rows: [{ key: "version", desired: "2", written: same("2") }] },
      {
        id: DOWN,
        name: "to-\x1b[2Jevil",
        missing: ["negotiated"],
        rows: [
          { key: "version", desired: "2", written: same("2"), loaded: same("2") },
          { key: "dpd_delay", desired: "30s", written: same("30s"), loaded: { value: "9s", verdict: "differs" } },
          { key: `children.${DOWN}.life_time`, desired: "60s", negotiated: { value: "3600s", verdict: "pending" } },
        ],
      },
    ],
  },
  {
    id: OTHER,
    namespace: `qvpn-${OTHER}`,
    network: [],
    connections: [{ id: UP, name: "off", unwanted: "switched off", missing: [], rows: [] }],
  },
];

let directory: string;
let socketPath: string;
let server: ApiServer | undefined;
let orders: string[];

beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), "swanherd-cli-"));
  socketPath = path.join(directory, "agent.sock");
  orders = [];
});

afterEach(async () => {
  await server?.close();
  server = undefined;
  rmSync(directory, { recursive: true, force: true });
});

const startAgent = async (answer: unknown = state): Promise<void> => {
  const taken = (name: string) => (router: string | undefined) => {
    orders.push(`${name} ${router ?? "all"}`);
    return router === undefined || router === ROUTER
      ? ({ kind: "done" } as const)
      : ({ kind: "unknownRouter" } as const);
  };
  const diff = (router: string | undefined) =>
    Promise.resolve({ version: 1, routers: VIEWS.filter(({ id }) => router === undefined || id === router) });
  const api = { state: () => answer, diff, sync: taken("sync"), teardown: taken("teardown") };
  server = await startControlServer(socketPath, api, { onFailure: () => undefined, drainMs: 50 });
};

async function run(argv: readonly string[], over: Partial<CliOptions> = {}, isInteractive = false) {
  let out = "";
  let err = "";
  const code = await runCli(argv, {
    version: "1.2.3",
    terminal: {
      out: (text) => (out += text),
      err: (text) => (err += text),
      isInteractive,
      hasColours: isInteractive,
      columns: isInteractive ? 80 : undefined,
    },
    defaultSocket: socketPath,
    signal: new AbortController().signal,
    nowMs: () => NOW_MS,
    runDaemon: () => Promise.resolve(),
    teardownOffline: () => Promise.reject(new Error("an agent runs")),
    checkConfig: (_role, file) => ({ file: file ?? "default", problems: [] }),
    checkDocuments: (directory) => Promise.resolve({ directory, problems: [], notes: [] }),
    importNeutron: { read: () => ({ kind: "invalid", problems: [] }), write: () => undefined },
    ...over,
  });
  return { code, out, err };
}

describe("status", () => {
  test("shows every connection with its reason, and a summary", async () => {
    await startAgent();
    const { code, out } = await run(["status"]);
    expect(code).toBe(0);
    expect(out).toMatchInlineSnapshot(`
      "gw-1: started 2h05m ago, ESP by kernel, broker connected, list fetched 12s ago

      ROUTER                                CONNECTION                            NAME         STATUS  SINCE  REASON
      7d3c2a52-4a55-4c1c-9a3b-0d1f6f1a2b01  22222222-2222-4222-8222-222222222222  to-right     ACTIVE  -      -
      7d3c2a52-4a55-4c1c-9a3b-0d1f6f1a2b01  33333333-3333-4333-8333-333333333333  to-?[2Jevil  DOWN    3m12s  peer-unreachable: no answer from 203.0.113.99; not in sync yet
      7d3c2a52-ffff-4c1c-9a3b-0d1f6f1a2b01  -                                     -            -       -      charon not wanted

      2 routers, 2 connections: 1 ACTIVE, 1 DOWN
      "
    `);
  });

  test("says under which name the agent is announced in OVN, or what is missing for it", async () => {
    await startAgent({ ...state, ovn: { registered: true, chassis: "gw-1", southbound: "tcp:192.0.2.1:6642" } });
    expect((await run(["status"])).out).toContain("broker connected, announced in OVN as gw-1, list fetched");
    await server?.close();
    await startAgent({ ...state, ovn: { registered: false, chassis: "gw-1", why: "no row of \x1b[2J" } });
    const { out } = await run(["status"]);
    expect(out).toContain("broker connected, NOT ANNOUNCED IN OVN, list fetched");
    expect(out).toContain("\nOVN: no row of ?[2J\n");
  });

  test("passes over what it does not understand of OVN", async () => {
    await startAgent({ ...state, ovn: { registered: "yes" } });
    expect((await run(["status"])).out).not.toContain("OVN");
  });

  test("on a terminal shortens ids as far as they stay apart, colours the status and stays within the width", async () => {
    await startAgent();
    const { out } = await run(["status"], {}, true);
    expect(out).toContain("\x1b[32mACTIVE\x1b[39m");
    expect(out).toContain("7d3c2a52-4 ");
    expect(out).toContain("7d3c2a52-f ");
    // eslint-disable-next-line no-control-regex -- colours are control characters
    for (const line of out.replaceAll(/\x1b\[\d+m/g, "").split("\n")) expect(line.length).toBeLessThanOrEqual(80);
  });

  test("shows one connection in full", async () => {
    await startAgent();
    expect((await run(["status", "2222"])).out).toMatchInlineSnapshot(`
      "connection    22222222-2222-4222-8222-222222222222 (to-right)
      service       44444444-4444-4444-8444-444444444444
      router        7d3c2a52-4a55-4c1c-9a3b-0d1f6f1a2b01
      namespace     qvpn-7d3c2a52-4a55-4c1c-9a3b-0d1f6f1a2b01
      charon        up
      status        ACTIVE
      in sync       yes
      local         203.0.113.10
      peer          203.0.113.20
      IKE           version 2
      last pass     3s ago
      child         22222222-2222-4222-8222-222222222222: installed
                    10.1.0.0/24 <-> 10.2.0.0/24
                    in 1.2 KiB (10 packets), out 84 B (1 packet)
      "
    `);
    expect((await run(["status", "to-right"])).out).toContain("203.0.113.20");
  });

  test("gives JSON to programs, whole or one part of it", async () => {
    await startAgent();
    expect(JSON.parse((await run(["status", "--json"])).out)).toEqual(state);
    const one = JSON.parse((await run(["status", "--json", DOWN])).out) as AgentState;
    expect(one.version).toBe(1);
    expect(one.routers.map(({ connections }) => connections.map(({ id }) => id))).toEqual([[DOWN]]);
  });

  test("refuses an id that nothing here has", async () => {
    await startAgent();
    expect(await run(["status", "beef"])).toMatchObject({ code: 1, err: expect.stringContaining("beef") as string });
  });

  test("says that the agent is not reachable with exit code 69", async () => {
    expect(await run(["status"])).toMatchObject({ code: 69, err: expect.stringContaining("no such socket") as string });
  });

  test("says what to do about a state of another version", async () => {
    await startAgent({ version: 2, routers: [] });
    expect(await run(["status"])).toMatchObject({ code: 1, err: expect.stringContaining("version 2") as string });
  });

  test("survives a state whose fields are odd", async () => {
    await startAgent({
      version: 1,
      routers: [{}, { id: 3, connections: [{ status: 1, reason: "x", children: [4, {}] }, null] }],
    });
    expect((await run(["status"])).code).toBe(0);
    expect((await run(["status", "?"])).code).toBe(0);
  });

  test("shows a controller's state, which has no broker of charons", async () => {
    await startAgent({
      version: 1,
      routers: [{ id: ROUTER, connections: [{ id: UP, name: "a", status: "PENDING_CREATE" }] }],
    });
    expect((await run(["status"])).out).toContain("PENDING_CREATE");
  });

  test("tells what a controller finds wrong with its documents", async () => {
    await startAgent({ version: 1, routers: [], problems: [{ file: "a.yaml", line: 3, text: "no such policy" }] });
    expect((await run(["status"])).out).toContain("problem: a.yaml:3: no such policy\n");
  });

  test("tells what a controller notes, and in whose place it stands by", async () => {
    const notes = [{ file: "b.yaml", line: 1, text: "look here" }];
    await startAgent({ version: 1, routers: [], notes, standingBy: "another controller serves this bus: gw-1" });
    const { out } = await run(["status"]);
    expect(out).toContain("standing by: another controller serves this bus: gw-1\nnote: b.yaml:1: look here\n");
  });

  test("watches until it is told to stop", async () => {
    await startAgent();
    const stop = new AbortController();
    stop.abort();
    expect((await run(["status", "--watch"], { signal: stop.signal })).code).toBe(0);
  });
});

describe("orders", () => {
  test("sync wakes all routers or one", async () => {
    await startAgent();
    expect((await run(["sync"])).code).toBe(0);
    expect((await run(["sync", ROUTER])).out).toBe(`woken: router ${ROUTER}\n`);
    expect(orders).toEqual(["sync all", `sync ${ROUTER}`]);
  });

  test("a router that the agent does not know is refused with its words", async () => {
    await startAgent();
    expect(await run(["sync", OTHER])).toMatchObject({ code: 1, err: `refused: router ${OTHER} is not known here\n` });
  });

  test("teardown without a yes only says what it would do", async () => {
    await startAgent();
    const { code, err } = await run(["teardown"]);
    expect({ code, err }).toEqual({
      code: 1,
      err: "this would take down 2 routers with 1 ACTIVE connection; add --yes to do it, swanherd sync brings them back\n",
    });
    expect(orders).toEqual([]);
  });

  test("teardown with a yes and no agent does it by the agent's configuration", async () => {
    const asked: unknown[] = [];
    const teardownOffline: CliOptions["teardownOffline"] = (file, router) => {
      asked.push([file, router]);
      return Promise.resolve(router === undefined ? [] : [router]);
    };
    const argv = ["teardown", "--yes", "--router", ROUTER, "--config", "a.yaml"];
    const { code, out } = await run(argv, { teardownOffline });
    expect([code, asked]).toEqual([0, [["a.yaml", ROUTER]]]);
    expect(out).toMatch(/^torn down without an agent: 1 router;/);
    expect((await run(["teardown"], { teardownOffline })).code).toBe(69);
  });

  test("teardown with a yes does it", async () => {
    await startAgent();
    expect((await run(["teardown", "--router", ROUTER, "--yes"])).code).toBe(0);
    expect(orders).toEqual([`teardown ${ROUTER}`]);
  });
});

describe("daemons and configuration", () => {
  test("agent and controller are started with the file that was named", async () => {
    const started: unknown[] = [];
    const runDaemon: CliOptions["runDaemon"] = (role, file) => {
      started.push([role, file]);
      return Promise.resolve();
    };
    expect((await run(["agent", "--config", "a.yaml"], { runDaemon })).code).toBe(0);
    expect((await run(["controller"], { runDaemon })).code).toBe(0);
    expect(started).toEqual([
      ["agent", "a.yaml"],
      ["controller", undefined],
    ]);
  });

  test("check-config tells all problems and exits with 78", async () => {
    const checkConfig: CliOptions["checkConfig"] = (role) => ({ file: "f", problems: [`f:1: ${role}`, "f:2: b"] });
    expect(await run(["check-config", "--controller"], { checkConfig })).toEqual({
      code: 78,
      out: "",
      err: "f:1: controller\nf:2: b\n2 problems\n",
    });
    expect(await run(["check-config", "f"])).toEqual({ code: 0, out: "f: fine\n", err: "" });
  });

  test("check-config warns of what is usable and better otherwise, with exit code 0", async () => {
    const checkConfig: CliOptions["checkConfig"] = () => ({ file: "f", warnings: ["f:1: a"] });
    expect(await run(["check-config", "f"], { checkConfig })).toEqual({
      code: 0,
      out: "f: fine\n",
      err: "warning: f:1: a\n",
    });
  });
});

describe("documents are checked without a controller", () => {
  const check = (problems: string[], notes: string[]) =>
    run(["controller", "--check", "docs"], {
      runDaemon: () => Promise.reject(new Error("nothing is run")),
      checkDocuments: (directory) => Promise.resolve({ directory, problems, notes }),
    });

  test("fine ones are said to be fine, after what is worth a note", async () => {
    expect(await check([], [])).toEqual({ code: 0, out: "docs: fine\n", err: "" });
    expect(await check([], ["docs/a:1: look"])).toEqual({
      code: 0,
      out: "note: docs/a:1: look\ndocs: fine\n",
      err: "",
    });
  });

  test("problems go to standard error with exit code 78, and no terminal is steered by them", async () => {
    expect(await check(["docs/a:1: bad", "docs/a:2: w\u001b[2Jorse"], ["docs/a:3: look"])).toEqual({
      code: 78,
      out: "note: docs/a:3: look\n",
      err: "docs/a:1: bad\ndocs/a:2: w?[2Jorse\n2 problems\n",
    });
  });
});

describe("help", () => {
  test.each(["agent", "controller", "status", "sync", "teardown", "check-config"])(
    "of %s teaches by an example",
    async (name) => {
      const { code, out } = await run([name, "--help"]);
      expect(code).toBe(0);
      expect(out).toContain(`$ swanherd ${name}`);
    },
  );

  test("of the program names every command and the exit codes", async () => {
    const { out } = await run(["--help"]);
    for (const name of ["agent", "controller", "status", "sync", "teardown", "check-config"])
      expect(out).toContain(`\n  ${name} `);
    expect(out).toContain("69 agent not reachable");
    expect((await run(["--version"])).out).toBe("1.2.3\n");
  });

  test("comes with a command that does not exist, and with what was probably meant", async () => {
    const { code, err } = await run(["statsu"]);
    expect(code).toBe(1);
    expect(err).toContain("Did you mean status?");
  });
});

describe("diff", () => {
  test("shows what differs, and what is pending, and that something does", async () => {
    await startAgent();
    const { code, out } = await run(["diff"]);
    expect(code).toBe(1);
    expect(out).toMatchInlineSnapshot(`
      "router 7d3c2a52-4a55-4c1c-9a3b-0d1f6f1a2b01 (qvpn-7d3c2a52-4a55-4c1c-9a3b-0d1f6f1a2b01)
        route 0.0.0.0/0 via 203.0.113.1 dev vg1 is missing
        connection 33333333-3333-4333-8333-333333333333 (to-?[2Jevil): no SA
                                       DESIRED  WRITTEN  LOADED  NEGOTIATED
          dpd_delay                    30s      30s      9s !    -
          children.33333333.life_time  60s      -        -       3600s (until rekeyed)

      1 connection and 1 object of the network differ
      "
    `);
  });

  test("of one connection shows every value when it is asked to", async () => {
    await startAgent();
    const { code, out } = await run(["diff", "to-right", "--all"]);
    expect([code, out.includes("version"), out.includes("dpd_delay")]).toEqual([1, true, false]);
  });

  test("of a router that is as it should be ends well", async () => {
    await startAgent();
    expect(await run(["diff", OTHER])).toMatchObject({ code: 0, out: "no difference in 1 router\n" });
  });

  test("gives programs the views themselves", async () => {
    await startAgent();
    const { out } = await run(["diff", "--json"]);
    expect(JSON.parse(out)).toEqual({ version: 1, routers: VIEWS });
  });

  test.each([
    [["diff", "no-such"], 1, "nothing here has the id or name no-such"],
    [["diff", "--socket", "/nowhere/x.sock"], 69, "no such socket"],
  ] as const)("%j ends with %i", async (argv, code, text) => {
    await startAgent();
    expect(await run(argv)).toMatchObject({ code, err: expect.stringContaining(text) as string });
  });
});

describe("import-neutron", () => {
  const YAML = "transportUrl: rabbit://u:hunter2@mq/\n";
  const NOTES = ["neutron.conf:3: [DEFAULT] state_path stays", "odd\x1b[2J.conf:1: [DEFAULT] (an odd name) stays"];

  async function runImport(argv: readonly string[], over: Partial<CliOptions["importNeutron"]> = {}) {
    const asked: unknown[] = [];
    const importNeutron: CliOptions["importNeutron"] = {
      read: (files) => {
        asked.push(files);
        return { kind: "ok", yaml: YAML, notes: NOTES };
      },
      write: (file, yaml) => void asked.push([file, yaml]),
      ...over,
    };
    return { ...(await run(["import-neutron", ...argv], { importNeutron })), asked };
  }

  test("prints the configuration, and on standard error what is left out, without its secrets", async () => {
    expect(await runImport(["neutron.conf", "l3_agent.ini"])).toEqual({
      code: 0,
      out: YAML,
      err:
        "Not taken over, or to be looked at:\nneutron.conf:3: [DEFAULT] state_path stays\n" +
        "odd?[2J.conf:1: [DEFAULT] (an odd name) stays\n",
      asked: [["neutron.conf", "l3_agent.ini"]],
    });
  });

  test("with a file to write prints nothing of it", async () => {
    const { code, out, err, asked } = await runImport(["neutron.conf", "--output", "agent.yaml"]);
    expect({ code, out, asked }).toEqual({ code: 0, out: "", asked: [["neutron.conf"], ["agent.yaml", YAML]] });
    expect(err).toContain("agent.yaml: written, mode 0600; swanherd check-config agent.yaml\n");
    expect(err).not.toContain("hunter2");
  });

  test.each([
    ["EEXIST", "agent.yaml: is there already and stays as it is: name another file\n"],
    ["EACCES", "agent.yaml: cannot be written (EACCES)\n"],
  ])("a file that cannot be made (%s) ends with 1 and a sentence", async (code, told) => {
    const write = (): never => {
      throw Object.assign(new Error(YAML), { code });
    };
    const result = await runImport(["neutron.conf", "-o", "agent.yaml"], { write });
    expect(result).toMatchObject({ code: 1, out: "", err: told });
  });

  test("what cannot be used ends with 78 and every problem", async () => {
    const read = () => ({ kind: "invalid", problems: ["neutron.conf:3: is odd", "l3.ini: cannot be read"] }) as const;
    expect(await runImport(["neutron.conf", "l3.ini"], { read })).toMatchObject({
      code: 78,
      out: "",
      err: "neutron.conf:3: is odd\nl3.ini: cannot be read\n2 problems, nothing is written\n",
    });
  });

  test("wants a file, and its help says which", async () => {
    expect(await runImport([])).toMatchObject({ code: 1, out: "" });
    const { out } = await runImport(["--help"]);
    expect(out).toContain("/etc/neutron/ovn_vpn_agent.ini -o /etc/swanherd/agent.yaml");
    expect(out).toMatch(/a later one overrides an earlier one/);
  });
});
