// Why options of Neutron and of oslo.messaging are nothing here. Only words: what they are instead stands elsewhere.
import { sectionKey } from "./settings.ts";

const OWN_PAUSES = "pauses between tries are its own: half a second, growing to 10 s";
const ONE_CONNECTION = "one connection carries everything, there is no pool";
const IN_URL = "was taken out of oslo.messaging long ago: transport_url says it";
/** Of the broker, in both of the groups where it stood before there was a URL. */
const OLD_ADDRESS = {
  rabbit_host: IN_URL,
  rabbit_hosts: IN_URL,
  rabbit_port: IN_URL,
  rabbit_userid: IN_URL,
  rabbit_password: IN_URL,
  rabbit_virtual_host: IN_URL,
};
const TEMPLATE =
  "swanherd writes its own files and loads them over VICI: what a changed template adds must be looked at by hand";
const LIBRESWAN = "is LibreSwan's; strongSwan's charon is what runs here";
const LOG =
  "logs go to standard output, JSON lines, for the journal or whoever collects them; log.level and log.pretty";
const OVN_DATABASE = "ovn.southbound is as the local Open vSwitch says by default; the northbound database is not read";
const OVS =
  "with topology transit and attachment.kind: ovs links are ports of attachment.integrationBridge, written into ovn.localDatabase";
const NO_REPORTS = "the agent does not announce itself to Neutron's scheduler";
const ROOT = "the agent runs as root and starts no helper for it";
const TLS_VERSION = "TLS 1.2 or 1.3 is agreed on with the broker";

/** By section, then by option; `*` is every other of the section. Sections that are not here are other programs'. */
const REASONS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  oslo_messaging_rabbit: {
    rabbit_ha_queues: "mirroring is a policy of the broker since RabbitMQ 3.0; amqp.quorumQueue is what came after it",
    rabbit_quorum_delivery_limit: "nothing to set: a queue that stands with a limit is used as it is",
    rabbit_quorum_max_memory_length: "nothing to set: a queue that stands with a limit is used as it is",
    rabbit_quorum_max_memory_bytes: "nothing to set: a queue that stands with a limit is used as it is",
    rabbit_qos_prefetch_count: "requests are taken as they come; streams are read 100 messages at a time",
    rabbit_retry_interval: OWN_PAUSES,
    rabbit_retry_backoff: OWN_PAUSES,
    rabbit_interval_max: OWN_PAUSES,
    rabbit_max_retries: "the broker is tried for ever",
    kombu_reconnect_delay: OWN_PAUSES,
    kombu_reconnect_splay: OWN_PAUSES,
    kombu_reconnect_timeout: OWN_PAUSES,
    kombu_compression: "messages are sent as they are; those that gzip has compressed are read",
    kombu_missing_consumer_retry_timeout: "an answer is tried for 60 s, as oslo.messaging's default is",
    heartbeat_rate: "follows from amqp.heartbeatSeconds: three beats in it",
    heartbeat_in_pthread: "there are no threads to choose from",
    direct_mandatory_flag: "answers are always mandatory, as the default is",
    enable_cancel_on_failover: "a cancelled consumer consumes again in any case",
    use_queue_manager: "the queue of replies has a random name",
    hostname: "belongs to use_queue_manager: the queue of replies has a random name",
    processname: "belongs to use_queue_manager: the queue of replies has a random name",
    rpc_conn_pool_size: ONE_CONNECTION,
    conn_pool_min_size: ONE_CONNECTION,
    conn_pool_ttl: ONE_CONNECTION,
    ssl_version: TLS_VERSION,
    kombu_ssl_version: TLS_VERSION,
    ssl_enforce_fips_mode: "is a matter of how Node.js and OpenSSL are set up on the machine",
    ...OLD_ADDRESS,
    "*": "has no counterpart here",
  },
  DEFAULT: {
    rpc_backend: IN_URL,
    ...OLD_ADDRESS,
    rpc_response_max_timeout: "timeouts do not grow: rpcTimeoutSeconds is that of every call",
    rpc_conn_pool_size: ONE_CONNECTION,
    conn_pool_min_size: ONE_CONNECTION,
    conn_pool_ttl: ONE_CONNECTION,
    executor_thread_pool_size: "there is no pool of threads: each router has a queue of its own",
    interface_driver: OVS,
    ovs_integration_bridge: OVS,
    ovs_use_veth: "links to the router's namespace are veth pairs in any case",
    use_namespaces: "each router has a namespace in any case",
    external_network_bridge: "say which network it is: attachment.bridges is by the name or id of the external network",
    gateway_external_network_id: "say which Linux bridge leads to it: attachment.bridges",
    state_path: "stateDirectory keeps little, and is /var/lib/swanherd",
    periodic_interval:
      "nothing is done by such a clock: passIntervalSeconds and fetchIntervalSeconds say how often what is done",
    periodic_fuzzy_delay: "the agent begins at once",
    run_as_root: ROOT,
    root_helper: ROOT,
    verbose: "log.level says it",
    log_file: LOG,
    log_dir: LOG,
    logfile: LOG,
    logdir: LOG,
    use_syslog: LOG,
    use_journal: LOG,
    use_stderr: LOG,
    use_json: LOG,
    syslog_log_facility: LOG,
    log_config_append: LOG,
    log_config: LOG,
    default_log_levels: LOG,
    logging_context_format_string: LOG,
    logging_default_format_string: LOG,
    logging_debug_format_suffix: LOG,
    logging_exception_prefix: LOG,
    watch_log_file: LOG,
    log_rotation_type: LOG,
    "*": "belongs to the Neutron server or to another of its agents, or has no counterpart here",
  },
  ovs: { "*": OVS },
  linux_bridge: {
    bridge_mappings:
      "names physical networks; attachment.bridges wants these bridges by the name or id of the external network",
    "*": "is for Neutron's Linux bridge agent",
  },
  ovn: { "*": OVN_DATABASE },
  vpnagent: { "*": "has no counterpart here" },
  ipsec: {
    config_base_dir: "written files go to runDirectory, /run/swanherd",
    enable_detailed_logging: "charon logs to the journal; log.level debug repeats its lines",
    "*": "has no counterpart here",
  },
  strongswan: {
    ipsec_config_template: TEMPLATE,
    strongswan_config_template: TEMPLATE,
    ipsec_secret_template: TEMPLATE,
    default_config_area: TEMPLATE,
    "*": "has no counterpart here",
  },
  pluto: { "*": LIBRESWAN },
  libreswan: { "*": LIBRESWAN },
  openswan: { "*": LIBRESWAN },
  agent: {
    report_interval: NO_REPORTS,
    log_agent_heartbeats: NO_REPORTS,
    availability_zone: NO_REPORTS,
    root_helper: ROOT,
    root_helper_daemon: ROOT,
    use_helper_for_ns_read: ROOT,
    "*": "is not for this agent",
  },
};
/** Names come from files: one of them may be `constructor`. */
const ownOf = <Value>(table: Readonly<Record<string, Value>>, name: string): Value | undefined =>
  Object.hasOwn(table, name) ? table[name] : undefined;

/** Why this option becomes no setting of ours; undefined when its whole section is another program's. */
export function whyLeftOut(section: string, option: string): string | undefined {
  const reasons = ownOf(REASONS, sectionKey(section));
  return reasons === undefined ? undefined : (ownOf(reasons, option) ?? reasons["*"]);
}

/** What the device driver of the other agent means for who takes its place. */
export function whyNoDriver(driver: string): string {
  const isOvn = /ovn/i.test(driver);
  const isLibreSwan = /libreswan/i.test(driver);
  if (!isOvn) {
    return "is a driver of Neutron's L3 agents: swanherd is the driver, with topology router";
  }
  return isLibreSwan
    ? "swanherd is the driver, and runs strongSwan: compare what the policies ask for with README's known limits"
    : "swanherd is the driver: topology transit";
}
