// Configuration files as operators write them, well and badly: values, defaults, and every problem with its line.
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { parse } from "yaml";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { TransportUrl } from "../../src/wire/oslo/transport-url.ts";
import { AGENT_KEYS, CONTROLLER_KEYS, readAgentConfig, readControllerConfig, validConfig } from "../../src/config.ts";

const URL_TEXT = "rabbit://neutron:correct-horse@mq1:5672,mq2:5672/openstack";
const directory = mkdtempSync(path.join(tmpdir(), "swanherd-config-"));
afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});

/** The URL put together again, as URL_TEXT is written: credentials before the first host only. */
function textOf({ hosts, virtualHost }: TransportUrl): string {
  const list = hosts.map(({ host, port, credentials }) => {
    const login = credentials === null ? "" : `${credentials.username}:${credentials.password.reveal()}@`;
    return `${login}${host}:${String(port)}`;
  });
  return `rabbit://${list.join(",")}/${virtualHost}`;
}

let written = 0;
function fileOf(text: string): string {
  written += 1;
  const file = path.join(directory, `${written}.yaml`);
  writeFileSync(file, text);
  return file;
}

const readAgent = (text: string, env: Record<string, string> = {}) =>
  readAgentConfig({ env, file: fileOf(text), hostname: "gw-1" });

function agentOf(text: string, env?: Record<string, string>) {
  const result = readAgent(text, env);
  if (result.kind === "invalid") throw new Error(result.problems.join("\n"));
  return result.value;
}

function problemsOf(text: string, env?: Record<string, string>): string[] {
  const result = readAgent(text, env);
  return result.kind === "ok"
    ? []
    : result.problems.map((problem) => problem.replace(`${result.file}:`, "").replaceAll(directory, "DIR"));
}

test("a file with nothing but the broker gives the documented defaults", () => {
  const value = agentOf(`transportUrl: ${URL_TEXT}\n`);
  expect(value).toMatchObject({
    host: "gw-1",
    exchange: "neutron",
    topology: "transit",
    attachment: { kind: "bridge", bridges: {}, routerNamespace: "qrouter-{id}", integrationBridge: "br-int" },
    amqp: {
      durableQueues: false,
      autoDelete: false,
      quorumQueue: false,
      transientQuorumQueue: false,
      transientQueuesTtlSeconds: 1800,
      streamFanout: false,
      heartbeatSeconds: 60,
      failoverStrategy: "round-robin",
      loginMethod: "PLAIN",
      tls: { enabled: false, caFile: null, certFile: null, keyFile: null, verify: "full" },
    },
    passIntervalSeconds: 60,
    retry: { baseMs: 500, capMs: 30_000 },
    removal: { absenceConfirmSeconds: 10, massCount: 3, massPercent: 25 },
    http: { enabled: true, address: "127.0.0.1", port: 9720 },
    log: { level: "info", pretty: "auto" },
    retransmit: {},
  });
  expect(textOf(value.transportUrl)).toBe(URL_TEXT);
});

test("every problem is told at once, each with its line and its key", () => {
  const text = [
    "transportUrl: {env: MQ_URL}",
    "passIntervalSecond: 60",
    "fetchIntervalSeconds: 5",
    "retry: {baseMs: 1000, capMs: 500}",
    "log:",
    "  levle: debug",
    "http:",
    "  port: many",
    "espBackEnd: kernal",
    "stateDirectory: var/lib",
    "attachment: bridge",
  ].join("\n");
  expect(problemsOf(text)).toMatchInlineSnapshot(`
    [
      "1: transportUrl wants the environment variable MQ_URL, which is not set",
      "2: passIntervalSecond is not a key here; did you mean passIntervalSeconds?",
      "3: fetchIntervalSeconds must be at least 30",
      "4: retry.capMs must not be below baseMs",
      "6: log.levle is not a key here; did you mean level?",
      "8: http.port wants a whole number from 1 to 65535",
      "9: espBackEnd must be auto or kernel or userland",
      "10: stateDirectory must be an absolute path",
      "11: attachment wants a map of keys and values",
    ]
  `);
});

test("OVN is off unless it is asked for, and then needs nothing more", () => {
  expect(agentOf(`transportUrl: ${URL_TEXT}\n`).ovn.enabled).toBe(false);
  expect(agentOf(`transportUrl: ${URL_TEXT}\novn: {enabled: true}\n`).ovn).toEqual({
    enabled: true,
    localDatabase: "unix:/var/run/openvswitch/db.sock",
    southbound: "auto",
    privateKey: "/etc/swanherd/ovn-key.pem",
    certificate: "/etc/swanherd/ovn-cert.pem",
    caCertificate: "/etc/swanherd/ovn-ca.pem",
  });
});

test("topology router knows where Neutron's L3 agent has its routers, and goes with nothing of OVN's or of units", () => {
  expect(agentOf(`transportUrl: ${URL_TEXT}\ntopology: router\n`)).toMatchObject({
    topology: "router",
    routerTopology: {
      namespace: "qrouter-{id}",
      snatNamespace: "snat-{id}",
      haStateFile: "/var/lib/neutron/ha_confs/{id}/state",
    },
  });
  const text = [
    `transportUrl: ${URL_TEXT}`,
    "topology: router",
    "supervisor: systemd",
    "ovn: {enabled: true}",
    "routerTopology:",
    "  namespace: qrouter",
    "  snatNamespace: snat/{id}",
    "  haStateFile: /var/{id}",
    "attachment:",
    "  kind: ovs",
  ];
  expect(problemsOf(text.join("\n"))).toEqual([
    expect.stringMatching(/^2: topology router is of Neutron's L3 agent/),
    expect.stringMatching(/^3: supervisor systemd cannot run charons of topology router/),
    "6: routerTopology.namespace must contain {id} once, where the router's id goes",
    "7: routerTopology.snatNamespace must be a namespace name, without a slash",
    "8: routerTopology.haStateFile must have {id} in the name of a directory",
    "10: attachment.kind ovs is for the links of topology transit: topology router has none to plug",
  ]);
});

test("only topology router reports as an L3 agent", () => {
  expect(agentOf(`transportUrl: ${URL_TEXT}\ntopology: router\nreportState: {enabled: true}\n`).reportState).toEqual({
    enabled: true,
    intervalSeconds: 30,
    agentMode: "legacy",
    availabilityZone: "nova",
  });
  expect(problemsOf(`transportUrl: ${URL_TEXT}\nreportState: {enabled: true}\n`)).toEqual([
    expect.stringMatching(/^2: reportState.enabled is for topology router/),
  ]);
});

test("databases that cannot be found are problems", () => {
  const text = [
    `transportUrl: ${URL_TEXT}`,
    "ovn:",
    "  localDatabase: auto",
    "  southbound: ssl:192.0.2.1:6642,192.0.2.2:6642",
    "  privateKey: key.pem",
  ];
  const endpoints = "must be unix:PATH, tcp:HOST:PORT or ssl:HOST:PORT, or several with commas between them (ovsdb(7))";
  expect(problemsOf(text.join("\n"))).toEqual([
    "3: ovn.localDatabase must say where the local database is",
    `4: ovn.southbound ${endpoints}`,
    "5: ovn.privateKey must be an absolute path",
  ]);
});

test("an unknown key without a near neighbour gets the list of what is known, where that is short", () => {
  expect(problemsOf(`transportUrl: ${URL_TEXT}\nretry: {jitter: 3}\n`)).toEqual([
    "2: retry.jitter is not a key here; known here: baseMs, capMs",
  ]);
});

test("a missing broker is a problem", () => {
  expect(problemsOf("host: a\n")).toEqual(["1: transportUrl is missing: wants a text, {file: PATH} or {env: NAME}"]);
  expect(problemsOf("")).toEqual(["1: transportUrl is missing: wants a text, {file: PATH} or {env: NAME}"]);
});

test("broken YAML is told with its line", () => {
  expect(problemsOf("host: a\nhost: b\n")).toEqual([expect.stringMatching(/^2: .*unique/i)]);
  expect(problemsOf("host: *nowhere\n")).toEqual([expect.stringMatching(/^1: .*nowhere/)]);
  expect(problemsOf("- a\n")).toEqual(["1: wants a map of keys and values"]);
});

test("a missing file is told with the ways to name another", () => {
  const file = path.join(directory, "absent.yaml");
  expect(readAgentConfig({ env: {}, file })).toEqual({
    kind: "invalid",
    file,
    problems: [`${file}: cannot be read (ENOENT); --config or SWANHERD_CONFIG names another file`],
  });
});

test("the file is the option's, else the environment's, else the default", () => {
  const file = fileOf(`transportUrl: ${URL_TEXT}\n`);
  expect(readAgentConfig({ env: { SWANHERD_CONFIG: file } }).file).toBe(file);
  expect(readAgentConfig({ env: { SWANHERD_CONFIG: "/nowhere" }, file }).kind).toBe("ok");
});

describe("a secret", () => {
  test("is taken from a file beside the configuration, without its last newline", () => {
    writeFileSync(path.join(directory, "url"), `${URL_TEXT}\n`);
    expect(textOf(agentOf("transportUrl: {file: url}\n").transportUrl)).toBe(URL_TEXT);
  });

  test("is taken from the environment", () => {
    expect(textOf(agentOf("transportUrl: {env: MQ}\n", { MQ: URL_TEXT }).transportUrl)).toBe(URL_TEXT);
  });

  test("that cannot be had is a problem", () => {
    expect(problemsOf("transportUrl: {file: none}\n")).toEqual([
      "1: transportUrl names the file DIR/none, which cannot be read (ENOENT)",
    ]);
    expect(problemsOf("transportUrl: {env: MQ}\n")).toEqual([
      "1: transportUrl wants the environment variable MQ, which is not set",
    ]);
  });

  test("is never part of a problem or of the printed configuration", () => {
    expect(problemsOf("transportUrl: amqp://user:correct-horse@mq\n")).toEqual([
      "1: transportUrl must look like rabbit://user:password@host:5672/vhost: does not begin with rabbit://",
    ]);
    expect(problemsOf("transportUrl: rabbit://user:correct-horse@mq:port/\n").join()).not.toContain("correct-horse");
    const query = "heartbeat_timeout_threshold=correct-horse";
    const problems = problemsOf(`transportUrl: rabbit://user:correct-horse@mq/v?${query}\n`);
    expect(problems).toEqual(["1: transportUrl has an option heartbeat_timeout_threshold that wants a whole number"]);
    expect(problemsOf("transportUrl: {text: correct-horse}\nhost: 3\n").join("\n")).not.toContain("correct-horse");
    expect(JSON.stringify(agentOf(`transportUrl: ${URL_TEXT}\n`))).not.toContain("correct-horse");
  });
});

describe("options in the query of the transport URL", () => {
  const withQuery = (query: string, more = ""): string => `transportUrl: ${URL_TEXT}?${query}\n${more}`;

  test("override the keys, and leave the others as the file has them", () => {
    const query = "rabbit_quorum_queue=True&kombu_failover_strategy=shuffle&heartbeat_timeout_threshold=30";
    const { amqp } = agentOf(withQuery(query, "amqp: {quorumQueue: false, heartbeatSeconds: 10, autoDelete: true}\n"));
    expect(amqp).toMatchObject({
      quorumQueue: true,
      failoverStrategy: "shuffle",
      heartbeatSeconds: 30,
      autoDelete: true,
      durableQueues: false,
    });
  });

  test("are refused by name where no key says the same", () => {
    expect(problemsOf(withQuery("kombu_compression=gzip&ssl=0&heartbeat=3"))).toEqual([
      "1: transportUrl has options that are not heeded here (kombu_compression, heartbeat)",
    ]);
  });

  test("that are out of bounds are told as what they set", () => {
    expect(problemsOf(withQuery("heartbeat_timeout_threshold=4000", "amqp: {durableQueues: perhaps}\n"))).toEqual([
      "1: transportUrl sets amqp.heartbeatSeconds, which must be at most 3600",
      "2: amqp.durableQueues wants true or false",
    ]);
    expect(problemsOf(withQuery("rabbit_stream_fanout=1"))).toEqual([
      "1: transportUrl sets amqp.streamFanout, which wants transientQuorumQueue: true, as rabbit_stream_fanout wants " +
        "rabbit_transient_quorum_queue",
    ]);
  });

  test("do not hide that what stands under their key is no map", () => {
    expect(problemsOf(withQuery("ssl=1", "amqp: nothing\n"))).toEqual(["2: amqp wants a map of keys and values"]);
    expect(problemsOf(withQuery("ssl=1", "amqp: {tls: nothing}\n"))).toEqual([
      "2: amqp.tls wants a map of keys and values",
    ]);
  });
});

describe("TLS to the broker", () => {
  const withTls = (tls: string): string => `transportUrl: ${URL_TEXT}\namqp: {tls: ${tls}}\n`;
  const put = (name: string, mode = 0o600): string => {
    writeFileSync(path.join(directory, name), "PEM", { mode });
    return path.join(directory, name);
  };

  test("has files beside the configuration, named absolutely from then on", () => {
    const [caFile, certFile, keyFile] = [put("ca.pem"), put("gw.pem"), put("gw.key")];
    expect(agentOf(withTls("{enabled: true, caFile: ca.pem, certFile: gw.pem, keyFile: gw.key}")).amqp.tls).toEqual({
      enabled: true,
      caFile,
      certFile,
      keyFile,
      verify: "full",
    });
  });

  test("wants both files of a pair, and files that can be read", () => {
    expect(problemsOf(withTls("{enabled: true, certFile: none.pem}"))).toEqual([
      "2: amqp.tls.certFile wants keyFile as well, its private key",
    ]);
    expect(problemsOf(withTls("{enabled: true, keyFile: none.key}"))).toEqual([
      "2: amqp.tls.keyFile wants certFile as well, its certificate",
    ]);
    expect(problemsOf(withTls("{enabled: true, caFile: none.pem}"))).toEqual([
      "2: amqp.tls.caFile names the file DIR/none.pem, which cannot be read (ENOENT)",
    ]);
    expect(problemsOf(`transportUrl: ${URL_TEXT}?ssl=1&ssl_ca_file=/nowhere/ca.pem\n`)).toEqual([
      "1: transportUrl sets amqp.tls.caFile, which names the file /nowhere/ca.pem, which cannot be read (ENOENT)",
    ]);
  });

  test("is wanted, with a certificate, by a login that is the certificate", () => {
    const problem = "amqp.loginMethod EXTERNAL wants tls.enabled: true and tls.certFile: the certificate is the login";
    expect(problemsOf(`transportUrl: ${URL_TEXT}\namqp: {loginMethod: EXTERNAL}\n`)).toEqual([`2: ${problem}`]);
  });

  test("that protects nobody, or is not spoken, is worth a warning", () => {
    const warningsOf = (tls: string) =>
      agentOf(withTls(tls)).warnings.map((warning) => warning.replace(/^.*yaml:/, ""));
    expect(warningsOf("{enabled: true}")).toEqual([]);
    expect(warningsOf("{enabled: true, verify: none}")).toEqual([expect.stringMatching(/^2: amqp.tls.verify is none/)]);
    expect(warningsOf("{caFile: absent.pem}")).toEqual([
      "2: amqp.tls has caFile, but enabled is false: no TLS is spoken",
    ]);
  });

  test("with a private key that everybody may read is worth a warning", () => {
    put("open.pem");
    put("open.key", 0o644);
    chmodSync(directory, 0o755);
    const { warnings } = agentOf(withTls("{enabled: true, certFile: open.pem, keyFile: open.key}"));
    chmodSync(directory, 0o700);
    expect(warnings.filter((warning) => warning.includes("keyFile"))).toEqual([
      expect.stringMatching(/:2: amqp.tls.keyFile names the file .*open.key, which everybody may read \(mode 0644\)/),
    ]);
  });
});

describe("a secret that everybody on the machine may read", () => {
  const open = path.join(directory, "open");
  beforeAll(() => {
    mkdirSync(open);
    chmodSync(directory, 0o755);
  });
  afterAll(() => chmodSync(directory, 0o700));

  /** Warnings about a configuration of this mode in a directory that everybody may enter. */
  function warningsOf(text: string, mode: number, secretMode = 0o600): readonly string[] {
    const file = path.join(open, "agent.yaml");
    writeFileSync(file, text);
    chmodSync(file, mode);
    writeFileSync(path.join(open, "url"), URL_TEXT);
    chmodSync(path.join(open, "url"), secretMode);
    const { warnings } = validConfig(readAgentConfig({ env: { MQ: URL_TEXT }, file }));
    return warnings.map((warning) => warning.replaceAll(open, "DIR"));
  }

  test("is worth a warning when it stands in the configuration", () => {
    const text = `host: a\ntransportUrl: ${URL_TEXT}\n`;
    expect(warningsOf(text, 0o644)).toEqual([
      "DIR/agent.yaml:2: transportUrl is a text in a file that everybody may read (mode 0644): chmod 600 it, or move the text to {file: PATH}",
    ]);
    expect(warningsOf(text, 0o640)).toEqual([]);
  });

  test("is worth a warning when it stands in a file of its own", () => {
    const text = "transportUrl: {file: url}\n";
    expect(warningsOf(text, 0o644, 0o604)).toEqual([
      "DIR/agent.yaml:1: transportUrl names the file DIR/url, which everybody may read (mode 0604): chmod 600 it",
    ]);
    expect(warningsOf(text, 0o644, 0o640)).toEqual([]);
  });

  test("is not one of the environment, and no file in a directory that is closed to others", () => {
    expect(warningsOf("transportUrl: {env: MQ}\n", 0o644)).toEqual([]);
    chmodSync(open, 0o750);
    expect(warningsOf(`transportUrl: ${URL_TEXT}\n`, 0o644)).toEqual([]);
    chmodSync(open, 0o755);
  });
});

test("what the service manager says reaches the configuration, if it is meant for this process", () => {
  const own = { NOTIFY_SOCKET: "@sock", WATCHDOG_USEC: "30000000", WATCHDOG_PID: String(process.pid) };
  const text = `transportUrl: ${URL_TEXT}\n`;
  expect(agentOf(text, own).serviceManager).toEqual({ notifySocket: "@sock", watchdogMs: 30_000 });
  expect(agentOf(text, { ...own, WATCHDOG_PID: "1" }).serviceManager).toEqual({ notifySocket: "@sock" });
  expect(agentOf(text).serviceManager).toEqual({});
});

/** Prose starts with `# ` and a letter; what remains behind a # is a default. */
const uncommented = (text: string): string => text.replaceAll(/^#(?! \S|$)/gm, "");

function flatKeys(value: unknown, known: readonly string[], prefix = ""): string[] {
  if (known.includes(prefix) || typeof value !== "object" || value === null) return [prefix];
  return Object.entries(value).flatMap(([key, below]) =>
    flatKeys(below, known, prefix === "" ? key : `${prefix}.${key}`),
  );
}

describe.each([
  ["agent", AGENT_KEYS, readAgentConfig],
  ["controller", CONTROLLER_KEYS, readControllerConfig],
] as const)("the sample configuration of the %s", (name, keys, read) => {
  const sample = readFileSync(new URL(`../../etc/${name}.yaml`, import.meta.url), "utf8");

  test("shows every key that may be set and no other", () => {
    expect(flatKeys(parse(uncommented(sample)), keys).sort()).toEqual([...keys].sort());
  });

  test("shows the defaults", () => {
    const url = JSON.stringify(URL_TEXT);
    const shown = fileOf(uncommented(sample).replace(/^transportUrl: .*$/m, `transportUrl: ${url}`));
    const bare = fileOf(`transportUrl: ${url}\n`);
    const valueOf = (file: string) => {
      const result = read({ env: {}, file, hostname: "gw-1" });
      if (result.kind === "invalid") throw new Error(result.problems.join("\n"));
      // Without a default of ours: strongSwan's own are shown.
      return { ...result.value, retransmit: undefined, transportUrl: JSON.stringify(result.value.transportUrl) };
    };
    expect(valueOf(shown)).toEqual(valueOf(bare));
  });

  test("is usable as it stands", () => {
    const file = fileOf(sample.replace(/^transportUrl: .*$/m, `transportUrl: ${URL_TEXT}`));
    expect(read({ env: {}, file }).kind).toBe("ok");
  });
});
