// A configuration that is read again beside the one in force: what differs, key by key, and what of it can be put in
// force without a restart. It refuses to know how that is done.
import {
  readAgentConfig,
  readControllerConfig,
  type AgentConfig,
  type AgentKey,
  type ConfigResult,
  type ConfigSource,
  type ControllerConfig,
  type ControllerKey,
} from "./config.ts";
import { Secret } from "./core/secret.ts";

/** `live`: the composition root hands it on when it changes. A key that is not here does not compile. */
type KeyClass = "live" | "restart";

/** Of the broker, which both programs have. */
const BUS_CLASSES = {
  transportUrl: "restart",
  exchange: "restart",
  "amqp.durableQueues": "restart",
  "amqp.autoDelete": "restart",
  "amqp.quorumQueue": "restart",
  "amqp.transientQuorumQueue": "restart",
  "amqp.transientQueuesTtlSeconds": "restart",
  "amqp.streamFanout": "restart",
  "amqp.heartbeatSeconds": "restart",
  "amqp.failoverStrategy": "restart",
  "amqp.loginMethod": "restart",
  "amqp.tls.enabled": "restart",
  "amqp.tls.caFile": "restart",
  "amqp.tls.certFile": "restart",
  "amqp.tls.keyFile": "restart",
  "amqp.tls.verify": "restart",
} as const satisfies Readonly<Partial<Record<AgentKey & ControllerKey, KeyClass>>>;

const AGENT_CLASSES: Readonly<Record<AgentKey, KeyClass>> = {
  ...BUS_CLASSES,
  host: "restart",
  rpcTimeoutSeconds: "live",
  topology: "restart",
  "attachment.kind": "restart",
  "attachment.bridges": "live",
  "attachment.routerNamespace": "restart",
  "attachment.integrationBridge": "restart",
  "routerTopology.namespace": "restart",
  "routerTopology.snatNamespace": "restart",
  "routerTopology.haStateFile": "restart",
  "reportState.enabled": "restart",
  "reportState.intervalSeconds": "restart",
  "reportState.agentMode": "restart",
  "reportState.availabilityZone": "restart",
  espBackEnd: "restart",
  stateDirectory: "restart",
  runDirectory: "restart",
  charonSocketDirectory: "restart",
  charonPath: "restart",
  supervisor: "restart",
  charonUnit: "restart",
  passIntervalSeconds: "live",
  fetchIntervalSeconds: "live",
  listSasIntervalSeconds: "live",
  "retry.baseMs": "live",
  "retry.capMs": "live",
  "initiateRetry.baseMs": "live",
  "initiateRetry.capMs": "live",
  "retransmit.tries": "restart",
  "retransmit.timeoutSeconds": "restart",
  "retransmit.base": "restart",
  pskReauthTimeoutSeconds: "live",
  "removal.absenceConfirmSeconds": "live",
  "removal.massCount": "live",
  "removal.massPercent": "live",
  "ovn.enabled": "restart",
  "ovn.localDatabase": "restart",
  "ovn.southbound": "restart",
  "ovn.privateKey": "restart",
  "ovn.certificate": "restart",
  "ovn.caCertificate": "restart",
  controlSocket: "restart",
  "http.enabled": "restart",
  "http.address": "restart",
  "http.port": "restart",
  "log.level": "live",
  "log.pretty": "restart",
  takeOver: "restart",
  splitChildren: "restart",
};

const CONTROLLER_CLASSES: Readonly<Record<ControllerKey, KeyClass>> = {
  ...BUS_CLASSES,
  documents: "restart",
  stateDirectory: "restart",
  controlSocket: "restart",
  "http.enabled": "restart",
  "http.address": "restart",
  "http.port": "restart",
  "log.level": "live",
  "log.pretty": "restart",
};

const liveOf = (classes: Readonly<Record<string, KeyClass>>): readonly string[] =>
  Object.keys(classes).filter((key) => classes[key] === "live");

/** What is in force with a reload; what the README says of it is compared with this. */
export const LIVE_KEYS: { readonly agent: readonly string[]; readonly controller: readonly string[] } = {
  agent: liveOf(AGENT_CLASSES),
  controller: liveOf(CONTROLLER_CLASSES),
};

/** Of a map each entry is a change of its own. Undefined: it is not there. */
export type ConfigChange = {
  readonly key: string;
  readonly from: unknown;
  readonly to: unknown;
  readonly isLive: boolean;
};

export type RereadConfig<Config> =
  | { readonly kind: "invalid"; readonly file: string; readonly problems: readonly string[] }
  | {
      readonly kind: "ok";
      readonly file: string;
      /** What was in force, with everything that needs no restart as it was read. */
      readonly value: Config;
      readonly changes: readonly ConfigChange[];
    };

export const rereadAgentConfig = (inForce: AgentConfig, source: ConfigSource): RereadConfig<AgentConfig> =>
  compared(AGENT_CLASSES, inForce, readAgentConfig(source));

export const rereadControllerConfig = (
  inForce: ControllerConfig,
  source: ConfigSource,
): RereadConfig<ControllerConfig> => compared(CONTROLLER_CLASSES, inForce, readControllerConfig(source));

type Values = Readonly<Record<string, unknown>>;

function compared<Config extends { readonly warnings: readonly string[] }>(
  classes: Readonly<Record<string, KeyClass>>,
  inForce: Config,
  read: ConfigResult<Config>,
): RereadConfig<Config> {
  if (read.kind === "invalid") return read;
  let value: Values = { ...inForce, warnings: read.value.warnings };
  const changes: ConfigChange[] = [];
  for (const [key, keyClass] of Object.entries(classes)) {
    const at = key.split(".");
    const isLive = keyClass === "live";
    const from = valueAt(inForce, at);
    const to = valueAt(read.value, at);
    if (isSame(from, to)) continue;
    changes.push(...differences(key, from, to).map((difference) => ({ ...difference, isLive })));
    if (isLive) value = withValue(value, at, to);
  }
  return { kind: "ok", file: read.file, value: value as Config, changes };
}

const valueAt = (config: unknown, at: readonly string[]): unknown =>
  at.reduce<unknown>((value, name) => (value as Values | undefined)?.[name], config);

const withValue = (config: Values, [name = "", ...below]: readonly string[], value: unknown): Values => ({
  ...config,
  [name]: below.length === 0 ? value : withValue((config[name] ?? {}) as Values, below, value),
});

const isObject = (value: unknown): value is Values => typeof value === "object" && value !== null;

function isSame(one: unknown, other: unknown): boolean {
  if (one instanceof Secret && other instanceof Secret) return one.reveal() === other.reveal();
  if (!isObject(one) || !isObject(other)) return Object.is(one, other);
  return [...namesOf(one, other)].every((name) => isSame(one[name], other[name]));
}

const namesOf = (...all: readonly Values[]): ReadonlySet<string> => new Set(all.flatMap((one) => Object.keys(one)));

type Difference = Pick<ConfigChange, "key" | "from" | "to">;

function differences(key: string, from: unknown, to: unknown): Difference[] {
  // It holds a password, and there is no other that is no plain value.
  if (key === "transportUrl") return [{ key, from: "[secret]", to: "[secret]" }];
  if (!isObject(from) || !isObject(to)) return [{ key, from, to }];
  return [...namesOf(from, to)]
    .filter((name) => !isSame(from[name], to[name]))
    .map((name) => ({ key: `${key}.${name}`, from: from[name], to: to[name] }));
}
