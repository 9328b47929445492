// The options of [oslo_messaging_rabbit] that have a setting here, and how oslo writes their values. They stand in the
// section of that name or in the query of a transport_url. It refuses to know where they were found.

export type SettingValue = string | number | boolean;

export type RabbitOption = {
  readonly option: string;
  /** Names that oslo.messaging gave it earlier and still reads. */
  readonly formerly?: readonly string[];
  /** Ours, dotted. */
  readonly setting: string;
  /** What its text means; undefined when oslo.config would refuse it. Bounds are not looked at. */
  readonly read: (text: string) => SettingValue | undefined;
  /** What `read` takes, for people. */
  readonly wants: string;
};

// oslo_config.types.Boolean, which looks at no case.
const TRUE_WORDS = new Set(["true", "1", "on", "yes"]);
const FALSE_WORDS = new Set(["false", "0", "off", "no"]);

/** oslo_config.types.Boolean: true, 1, on, yes and their opposites; undefined for everything else. */
export function readBoolean(text: string): boolean | undefined {
  const word = text.trim().toLowerCase();
  return TRUE_WORDS.has(word) ? true : FALSE_WORDS.has(word) ? false : undefined;
}

/** oslo_config.types.Integer, as far as it can be a setting: undefined for what is no whole number. */
export const readWholeNumber = (text: string): number | undefined =>
  /^[+-]?\d{1,15}$/.test(text.trim()) ? Number(text) : undefined;

const boolean = { read: readBoolean, wants: "true or false" };
const wholeNumber = { read: readWholeNumber, wants: "a whole number" };
const file = { read: (text: string) => (text === "" ? undefined : text), wants: "a file" };
const oneOf = (...values: readonly string[]) => ({
  read: (text: string) => values.find((value) => value.toLowerCase() === text.trim().toLowerCase()),
  wants: values.join(" or "),
});

/** Read this with the driver's own source (oslo_messaging/_drivers/impl_rabbit.py and amqp.py). */
export const RABBIT_OPTIONS: readonly RabbitOption[] = [
  {
    option: "amqp_durable_queues",
    formerly: ["rabbit_durable_queues"],
    setting: "amqp.durableQueues",
    ...boolean,
  },
  { option: "amqp_auto_delete", setting: "amqp.autoDelete", ...boolean },
  { option: "rabbit_quorum_queue", setting: "amqp.quorumQueue", ...boolean },
  { option: "rabbit_transient_quorum_queue", setting: "amqp.transientQuorumQueue", ...boolean },
  { option: "rabbit_transient_queues_ttl", setting: "amqp.transientQueuesTtlSeconds", ...wholeNumber },
  { option: "rabbit_stream_fanout", setting: "amqp.streamFanout", ...boolean },
  { option: "heartbeat_timeout_threshold", setting: "amqp.heartbeatSeconds", ...wholeNumber },
  {
    option: "kombu_failover_strategy",
    setting: "amqp.failoverStrategy",
    ...oneOf("round-robin", "shuffle"),
  },
  {
    option: "rabbit_login_method",
    setting: "amqp.loginMethod",
    ...oneOf("PLAIN", "AMQPLAIN", "EXTERNAL"),
  },
  { option: "ssl", formerly: ["rabbit_use_ssl"], setting: "amqp.tls.enabled", ...boolean },
  { option: "ssl_ca_file", formerly: ["kombu_ssl_ca_certs"], setting: "amqp.tls.caFile", ...file },
  { option: "ssl_cert_file", formerly: ["kombu_ssl_certfile"], setting: "amqp.tls.certFile", ...file },
  { option: "ssl_key_file", formerly: ["kombu_ssl_keyfile"], setting: "amqp.tls.keyFile", ...file },
  {
    option: "ssl_enforce_hostname_verification",
    setting: "amqp.tls.verify",
    // Off, it still wants a certificate that the authorities of ssl_ca_file have signed.
    read(text) {
      const isEnforced = readBoolean(text);
      return isEnforced === undefined ? undefined : isEnforced ? "full" : "chain";
    },
    wants: "true or false",
  },
];

/** The option of that name, or that had it earlier; undefined where no setting says the same. */
export const rabbitOption = (name: string): RabbitOption | undefined =>
  RABBIT_OPTIONS.find(({ option, formerly = [] }) => option === name || formerly.includes(name));

/** Settings by their dotted names, and what of the options is unusable. Values are not quoted: they stand beside a password. */
export type ReadOptions = {
  readonly settings: ReadonlyMap<string, SettingValue>;
  readonly problems: readonly string[];
};

/** What the query of a transport_url sets. An option that is not heeded must not look as if it were: it is a problem. */
export function readQueryOptions(options: ReadonlyMap<string, string>): ReadOptions {
  const settings = new Map<string, SettingValue>();
  const problems: string[] = [];
  const unknown = [...options.keys()].filter((name) => rabbitOption(name) === undefined);
  if (unknown.length > 0) problems.push(`has options that are not heeded here (${unknown.join(", ")})`);
  for (const [name, text] of options) {
    const found = rabbitOption(name);
    if (found === undefined) continue;
    const value = found.read(text);
    if (value === undefined) problems.push(`has an option ${name} that wants ${found.wants}`);
    else settings.set(found.setting, value);
  }
  return { settings, problems };
}
