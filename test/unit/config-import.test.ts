// Neutron's files as devstack, kolla and Debian write them, made into a configuration of ours, which our own reader takes.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { readAgentConfig, validConfig } from "../../src/config.ts";
import { readNeutronConfig, writeImported } from "../../src/config-import.ts";
import {
  DEBIAN_L3_AGENT,
  DEBIAN_NEUTRON,
  DEVSTACK_NEUTRON,
  DEVSTACK_OVN_VPN_AGENT,
  KOLLA_L3_AGENT,
  KOLLA_NEUTRON,
  PASSWORDS,
} from "../support/neutron-files.ts";

let directory: string;
beforeEach(() => void (directory = mkdtempSync(path.join(tmpdir(), "swanherd-import-"))));
afterEach(() => rmSync(directory, { recursive: true, force: true }));

type Files = Readonly<Record<string, string>>;
const at = (name: string): string => path.join(directory, name);

function put(files: Files): string[] {
  return Object.entries(files).map(([name, text]) => {
    writeFileSync(at(name), text);
    return at(name);
  });
}

function imported(files: Files) {
  const result = readNeutronConfig(put(files), "machine");
  if (result.kind === "invalid") throw new Error(result.problems.join("\n"));
  return result;
}

/** What our own reader makes of the result. */
function roundTrip(files: Files) {
  const { yaml, notes } = imported(files);
  const file = at("agent.yaml");
  writeImported(file, yaml);
  const config = validConfig(readAgentConfig({ env: {}, file, hostname: "machine" }));
  return { yaml, notes: notes.map((note) => note.replaceAll(`${directory}/`, "")), config };
}

const problemsOf = (files: Files): readonly string[] => {
  const result = readNeutronConfig(put(files), "machine");
  return result.kind === "ok" ? [] : result.problems.map((problem) => problem.replaceAll(`${directory}/`, ""));
};

const hostsOf = ({ transportUrl }: ReturnType<typeof roundTrip>["config"]) =>
  transportUrl.hosts.map(({ host, port, credentials }) => {
    const login = credentials === null ? "" : `${credentials.username}:${credentials.password.reveal()}@`;
    return `${login}${host}:${String(port)}`;
  });

describe("devstack's files", () => {
  const files = { "neutron.conf": DEVSTACK_NEUTRON, "ovn_vpn_agent.ini": DEVSTACK_OVN_VPN_AGENT };

  test("become an agent's configuration", () => {
    const { config } = roundTrip(files);
    expect(config).toMatchObject({ host: "devstack-1", exchange: "neutron", log: { level: "debug" } });
    expect(config.transportUrl.virtualHost).toBe("/");
    expect(hostsOf(config)).toEqual(["stackrabbit:stack-secret@127.0.0.1:5672"]);
    expect(config.warnings).toEqual([]);
  });

  test("leave out what has no counterpart, with a line and a reason each", () => {
    expect(roundTrip(files).notes).toMatchInlineSnapshot(`
      [
        "neutron.conf:3: [DEFAULT] l3_ha: belongs to the Neutron server or to another of its agents, or has no counterpart here",
        "neutron.conf:5: [DEFAULT] core_plugin: belongs to the Neutron server or to another of its agents, or has no counterpart here",
        "neutron.conf:6: [DEFAULT] service_plugins: belongs to the Neutron server or to another of its agents, or has no counterpart here",
        "neutron.conf:7: [DEFAULT] state_path: stateDirectory keeps little, and is /var/lib/swanherd",
        "neutron.conf:9: [DEFAULT] hostname_prefix: belongs to the Neutron server or to another of its agents, or has no counterpart here",
        "neutron.conf:10: [DEFAULT] logging_exception_prefix: logs go to standard output, JSON lines, for the journal or whoever collects them; log.level and log.pretty",
        "neutron.conf:11: [DEFAULT] logging_context_format_string: logs go to standard output, JSON lines, for the journal or whoever collects them; log.level and log.pretty",
        "neutron.conf:12: [DEFAULT] bind_host: belongs to the Neutron server or to another of its agents, or has no counterpart here",
        "neutron.conf:13: [DEFAULT] use_syslog: logs go to standard output, JSON lines, for the journal or whoever collects them; log.level and log.pretty",
        "neutron.conf:15: [DEFAULT] notify_nova_on_port_status_changes: belongs to the Neutron server or to another of its agents, or has no counterpart here",
        "neutron.conf:18: [oslo_concurrency] (1 option): is not for an agent of VPNs",
        "neutron.conf:21: [database] (1 option): is not for an agent of VPNs",
        "neutron.conf:24: [keystone_authtoken] (3 options): is not for an agent of VPNs",
        "neutron.conf:29: [oslo_messaging_rabbit] rabbit_userid: was taken out of oslo.messaging long ago: transport_url says it",
        "ovn_vpn_agent.ini:3: [DEFAULT] interface_driver: with topology transit and attachment.kind: ovs links are ports of attachment.integrationBridge, written into ovn.localDatabase",
        "ovn_vpn_agent.ini:6: [AGENT] root_helper_daemon: the agent runs as root and starts no helper for it",
        "ovn_vpn_agent.ini:7: [AGENT] root_helper: the agent runs as root and starts no helper for it",
        "ovn_vpn_agent.ini:8: [AGENT] report_interval: the agent does not announce itself to Neutron's scheduler",
        "ovn_vpn_agent.ini:11: [vpnagent] vpn_device_driver: swanherd is the driver: topology transit",
        "ovn_vpn_agent.ini:14: [ovs] ovsdb_connection: with topology transit and attachment.kind: ovs links are ports of attachment.integrationBridge, written into ovn.localDatabase",
        "ovn_vpn_agent.ini:17: [ovn] ovn_nb_connection: ovn.southbound is as the local Open vSwitch says by default; the northbound database is not read",
        "ovn_vpn_agent.ini:18: [ovn] ovn_sb_connection: ovn.southbound is as the local Open vSwitch says by default; the northbound database is not read",
      ]
    `);
  });
});

describe("kolla's files", () => {
  const files = () => {
    const [ca = ""] = put({ "ca.pem": "PEM" });
    return {
      "neutron.conf": KOLLA_NEUTRON.replace("/etc/ssl/certs/ca-certificates.crt", ca),
      "l3_agent.ini": KOLLA_L3_AGENT,
    };
  };

  test("bring a cluster with TLS, quorum queues and streams", () => {
    const { config } = roundTrip(files());
    expect(config).toMatchObject({
      host: "net-1",
      rpcTimeoutSeconds: 300,
      passIntervalSeconds: 45,
      log: { level: "info" },
      amqp: {
        quorumQueue: true,
        transientQuorumQueue: true,
        streamFanout: true,
        tls: { enabled: true, caFile: at("ca.pem"), verify: "full" },
      },
    });
    expect(hostsOf(config)).toEqual([11, 12, 13].map((last) => `openstack:kolla-hunter2@10.0.0.${String(last)}:5671`));
  });

  test("give the topology of L3 agents, whose drivers they name, and no other topology where OVN's is among them", () => {
    expect(roundTrip(files()).config.topology).toBe("router");
    const both = KOLLA_L3_AGENT.replace("libreswan_ipsec.LibreSwanDriver", "ovn_ipsec.OvnStrongSwanDriver");
    expect(imported({ ...files(), "l3_agent.ini": both }).yaml).not.toContain("topology: router");
    expect(imported({ "neutron.conf": files()["neutron.conf"] }).yaml).not.toContain("topology: router");
  });

  test("tell that both drivers are those of L3 agents", () => {
    const drivers = roundTrip(files()).notes.filter((note) => note.includes("vpn_device_driver"));
    expect(drivers).toEqual([
      expect.stringMatching(/^l3_agent.ini:8: \[vpnagent\] vpn_device_driver: is a driver of Neutron's L3 agents/),
      expect.stringMatching(/^l3_agent.ini:9: \[vpnagent\] vpn_device_driver: is a driver of Neutron's L3 agents/),
    ]);
  });

  test("without an authority keep that nothing is verified, and say so", () => {
    const neutron = KOLLA_NEUTRON.replace(/^ssl_ca_file.*$/m, "");
    const { config, notes } = roundTrip({ "neutron.conf": neutron });
    expect(config.amqp.tls).toMatchObject({ enabled: true, caFile: null, verify: "none" });
    expect(notes[0]).toMatch(/^neutron.conf:\d+: amqp.tls.verify as oslo.messaging does without ssl_ca_file/);
    expect(config.warnings).toEqual([expect.stringContaining("amqp.tls.verify is none")]);
  });
});

describe("Debian's files", () => {
  const files = { "neutron.conf": DEBIAN_NEUTRON, "l3_agent.ini": DEBIAN_L3_AGENT };

  test("bring the options in the query of the URL, which override those of the section", () => {
    const { config, yaml, notes } = roundTrip(files);
    expect(config).toMatchObject({
      host: "gw-debian",
      exchange: "neutron-region-one",
      amqp: { durableQueues: true, heartbeatSeconds: 30, failoverStrategy: "shuffle" },
      attachment: { bridges: { "5c2a4f2e-1a61-4b6f-9d55-3a4e5b8f2c10": "br-ex" } },
    });
    expect(config.transportUrl.virtualHost).toBe("openstack");
    expect(config.transportUrl.options.size).toBe(0);
    expect(yaml).not.toContain("kombu_compression=");
    expect(notes.join("\n")).toContain(
      "[DEFAULT] transport_url: has options that are not heeded here (kombu_compression)",
    );
  });

  test("are written with the origin of each key beside it", () => {
    const { yaml } = roundTrip(files);
    const own = yaml.replaceAll(`${directory}/`, "").replace(/^# Left out:[^]*$/m, "");
    expect(own).toMatchInlineSnapshot(`
      "# swanherd agent, from what is in force in:
      #   neutron.conf
      #   l3_agent.ini
      # Every key with its default: etc/agent.yaml. Check this one with swanherd check-config.

      # neutron.conf:25: [DEFAULT] transport_url
      transportUrl: rabbit://openstack:debian-correct-horse@localhost:5672/openstack
      # neutron.conf:28: [DEFAULT] control_exchange
      exchange: neutron-region-one
      amqp:
        # neutron.conf:32: [oslo_messaging_rabbit] amqp_durable_queues
        durableQueues: true
        # neutron.conf:25: [DEFAULT] transport_url
        heartbeatSeconds: 30
        # neutron.conf:38: [oslo_messaging_rabbit] kombu_failover_strategy
        failoverStrategy: shuffle
        # neutron.conf:37: [oslo_messaging_rabbit] rabbit_login_method
        loginMethod: AMQPLAIN
      # neutron.conf:16: [DEFAULT] host
      host: gw-debian
      attachment:
        # l3_agent.ini:3: [DEFAULT] external_network_bridge
        bridges:
          5c2a4f2e-1a61-4b6f-9d55-3a4e5b8f2c10: br-ex

      "
    `);
  });
});

test("nothing secret is in the notes or in a comment, whatever file it came from", () => {
  for (const files of [
    { "neutron.conf": DEVSTACK_NEUTRON, "ovn_vpn_agent.ini": DEVSTACK_OVN_VPN_AGENT },
    { "neutron.conf": KOLLA_NEUTRON },
    { "neutron.conf": DEBIAN_NEUTRON },
  ]) {
    const { yaml, notes } = imported(files);
    const comments = yaml.split("\n").filter((line) => line.trim().startsWith("#"));
    for (const secret of PASSWORDS) expect([...notes, ...comments].join("\n")).not.toContain(secret);
  }
});

test("a password with every odd character survives", () => {
  const password = `a:"b'#c{d}[e],&*!|>%@f`;
  const url = `rabbit://u:${encodeURIComponent(password)}@mq/`;
  const { config } = roundTrip({ "neutron.conf": `[DEFAULT]\ntransport_url = ${url}\n` });
  expect(hostsOf(config)).toEqual([`u:${password}@mq:5672`]);
});

test("names that mean something to JavaScript are names like others", () => {
  const text =
    "[DEFAULT]\ntransport_url = rabbit://u:p@mq/\nconstructor = 1\n[constructor]\nname = 1\n[__proto__]\na = 1\n";
  expect(roundTrip({ "neutron.conf": text }).notes).toEqual([
    expect.stringMatching(/^neutron.conf:3: \[DEFAULT\] constructor: belongs to the Neutron server/),
    "neutron.conf:5: [constructor] (1 option): is not for an agent of VPNs",
    "neutron.conf:7: [__proto__] (1 option): is not for an agent of VPNs",
  ]);
});

test("a later file overrides an earlier one, and a directory's files are read by their names", () => {
  mkdirSync(at("conf.d"));
  const [neutron = ""] = put({ "neutron.conf": "[DEFAULT]\ntransport_url = rabbit://u:p@mq\nhost = one\n" });
  put({
    "conf.d/20.conf": "[DEFAULT]\nhost = three\n",
    "conf.d/10.conf": "[DEFAULT]\nhost = two\n",
    "conf.d/x.ini": "?",
  });
  const result = readNeutronConfig([neutron, at("conf.d")], "machine");
  if (result.kind === "invalid") throw new Error(result.problems.join("\n"));
  expect(result.yaml).toContain("host: three");
  expect(result.notes.map((note) => note.replaceAll(`${directory}/`, ""))).toEqual([
    "neutron.conf:3: [DEFAULT] host: is overridden by conf.d/20.conf:2",
    "conf.d/10.conf:2: [DEFAULT] host: is overridden by conf.d/20.conf:2",
  ]);
});

test("what our own bounds refuse is left out with what they are", () => {
  const text = [
    "[DEFAULT]",
    "transport_url = rabbit://u:p@mq/",
    "rpc_response_timeout = 900",
    "debug = perhaps",
    "host = $my_ip",
    "[oslo_messaging_rabbit]",
    "rabbit_stream_fanout = yes",
    "ssl_cert_file = /etc/ssl/mq.pem",
    "heartbeat_timeout_threshold = soon",
    "[ipsec]",
    "ipsec_status_check_interval = 1",
  ].join("\n");
  const { config, notes } = roundTrip({ "neutron.conf": text });
  expect(notes).toEqual([
    "neutron.conf:3: [DEFAULT] rpc_response_timeout: would be rpcTimeoutSeconds, which must be at most 600",
    "neutron.conf:4: [DEFAULT] debug: is neither true nor false",
    "neutron.conf:5: [DEFAULT] host: refers to $my_ip, which no file sets: set it here by hand",
    "neutron.conf:7: [oslo_messaging_rabbit] rabbit_stream_fanout: would be amqp.streamFanout, which wants transientQuorumQueue: true, as rabbit_stream_fanout wants rabbit_transient_quorum_queue",
    "neutron.conf:8: [oslo_messaging_rabbit] ssl_cert_file: would be amqp.tls.certFile, which wants keyFile as well, its private key",
    "neutron.conf:9: [oslo_messaging_rabbit] heartbeat_timeout_threshold: wants a whole number",
    "neutron.conf:11: [ipsec] ipsec_status_check_interval: would be passIntervalSeconds, which must be at least 5",
  ]);
  expect(config).toMatchObject({ host: "machine", rpcTimeoutSeconds: 60, amqp: { heartbeatSeconds: 60 } });
});

describe("what cannot be used is told, with file and line", () => {
  test("a file that is not there, and one that is no INI", () => {
    put({ "broken.conf": "[DEFAULT]\nhost = a\nhunter2\n[oops\n" });
    const result = readNeutronConfig([at("none.conf"), at("broken.conf")], "machine");
    expect(result).toEqual({
      kind: "invalid",
      problems: [
        `${at("none.conf")}: cannot be read (ENOENT)`,
        `${at("broken.conf")}:3: is neither a section nor a comment, and has no = or : after an option`,
        `${at("broken.conf")}:4: begins a section, but does not end with ]`,
      ],
    });
  });

  test("a file that is no text", () => {
    writeFileSync(at("neutron.conf"), Buffer.from([0x5b, 0xff, 0xfe, 0x5d]));
    expect(readNeutronConfig([at("neutron.conf")], "machine")).toEqual({
      kind: "invalid",
      problems: [`${at("neutron.conf")}: is not UTF-8`],
    });
  });

  test("a password with a dollar that is not written as two", () => {
    const url = "transport_url = rabbit://u:hun$ter2@mq/";
    expect(problemsOf({ "neutron.conf": `[DEFAULT]\n${url}\n` })).toEqual([
      "neutron.conf:2: [DEFAULT] transport_url refers with a $ to an option that no file sets; a $ itself is written $$",
    ]);
    const { config } = roundTrip({ "neutron.conf": `[DEFAULT]\n${url.replace("$", "$$$$")}\n` });
    expect(hostsOf(config)).toEqual(["u:hun$ter2@mq:5672"]);
  });

  test("no broker, or one of another kind", () => {
    expect(problemsOf({ "ovn_vpn_agent.ini": DEVSTACK_OVN_VPN_AGENT })).toEqual([
      "no file has [DEFAULT] transport_url: give the one that has it as well, mostly neutron.conf",
    ]);
    expect(problemsOf({ "neutron.conf": "[DEFAULT]\n\ntransport_url = kafka://u:hunter2@mq/\n" })).toEqual([
      "neutron.conf:3: [DEFAULT] transport_url does not begin with rabbit://",
    ]);
  });
});

test("the written file is for its owner only, and none is overwritten", () => {
  const file = at("agent.yaml");
  writeImported(file, "host: a\n");
  expect((statSync(file).mode & 0o777).toString(8)).toBe("600");
  expect(() => writeImported(file, "host: b\n")).toThrow(/EEXIST/);
  expect(readFileSync(file, "utf8")).toBe("host: a\n");
  expect(existsSync(`${file}.new`)).toBe(false);
});
