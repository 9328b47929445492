// The configuration of the agent and of the controller: what may be set, its units, bounds and defaults.
// The only reader of the environment and of the configuration file. It refuses to know what a value is used for.
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { hostname as machineName } from "node:os";
import path from "node:path";
import { isMap, LineCounter, parseDocument, type Document } from "yaml";
import { z } from "zod";
import { errnoOf, modeForAll, tlsWarnings, unreadableTlsFiles, withAbsoluteFiles } from "./config-files.ts";
import { ConfigError } from "./core/errors.ts";
import { Secret } from "./core/secret.ts";
import { parseEndpoints } from "./ovsdb-client/endpoint.ts";
import { readQueryOptions, type SettingValue } from "./wire/oslo/rabbit-options.ts";
import { parseTransportUrl, type TransportUrl } from "./wire/oslo/transport-url.ts";

const wholeNumber = (min: number, max: number) =>
  z
    .int({ error: wanted(`a whole number from ${min} to ${max}`) })
    .min(min)
    .max(max);
const number = (min: number, max: number) =>
  z
    .number({ error: wanted(`a number from ${min} to ${max}`) })
    .min(min)
    .max(max);
const flag = () => z.boolean({ error: wanted("true or false") });
const text = () => z.string({ error: wanted("a text") }).min(1);
const absolutePath = () => text().startsWith("/", { error: "must be an absolute path" });
/** sun_path of a unix socket holds 107 bytes and a NUL (unix(7)). */
const socketPath = () =>
  absolutePath().refine((value) => Buffer.byteLength(value) <= 107, "must not be longer than 107 bytes (unix(7))");

const ovsdbEndpoints = () =>
  text().refine(
    (value) => value === "auto" || parseEndpoints(value).kind === "ok",
    "must be unix:PATH, tcp:HOST:PORT or ssl:HOST:PORT, or several with commas between them (ovsdb(7))",
  );

/** The raw value is left out of every message: it may be a secret in the wrong place. */
function wanted(what: string) {
  return (issue: { readonly input?: unknown }): string =>
    issue.input === undefined ? `is missing: wants ${what}` : `wants ${what}`;
}

/** A secret as it stands in the file; `readSecret` gives its value. */
const secretReference = z.union(
  [z.string().min(1), z.strictObject({ file: z.string().min(1) }), z.strictObject({ env: z.string().min(1) })],
  { error: wanted("a text, {file: PATH} or {env: NAME}") },
);
type SecretReference = z.infer<typeof secretReference>;

const fileOrNone = () =>
  z
    .string({ error: wanted("a path or null") })
    .min(1)
    .nullable()
    .default(null);

const bus = {
  transportUrl: secretReference,
  exchange: text().default("neutron"),
  amqp: z
    .strictObject({
      durableQueues: flag().default(false),
      autoDelete: flag().default(false),
      quorumQueue: flag().default(false),
      transientQuorumQueue: flag().default(false),
      transientQueuesTtlSeconds: wholeNumber(0, 604_800).default(1800),
      streamFanout: flag().default(false),
      heartbeatSeconds: wholeNumber(0, 3600).default(60),
      failoverStrategy: z.enum(["round-robin", "shuffle"]).default("round-robin"),
      loginMethod: z.enum(["PLAIN", "AMQPLAIN", "EXTERNAL"]).default("PLAIN"),
      tls: z
        .strictObject({
          enabled: flag().default(false),
          caFile: fileOrNone(),
          certFile: fileOrNone(),
          keyFile: fileOrNone(),
          verify: z.enum(["full", "chain", "none"]).default("full"),
        })
        .refine((value) => value.certFile === null || value.keyFile !== null, {
          path: ["certFile"],
          error: "wants keyFile as well, its private key",
        })
        .refine((value) => value.keyFile === null || value.certFile !== null, {
          path: ["keyFile"],
          error: "wants certFile as well, its certificate",
        })
        .prefault({}),
    })
    .refine((value) => value.loginMethod !== "EXTERNAL" || (value.tls.enabled && value.tls.certFile !== null), {
      path: ["loginMethod"],
      error: "EXTERNAL wants tls.enabled: true and tls.certFile: the certificate is the login",
    })
    // As oslo.messaging does: what is a stream on one side must be one on the other.
    .refine((value) => !value.streamFanout || value.transientQuorumQueue, {
      path: ["streamFanout"],
      error: "wants transientQuorumQueue: true, as rabbit_stream_fanout wants rabbit_transient_quorum_queue",
    })
    .prefault({}),
};

const log = z
  .strictObject({
    level: z.enum(["fatal", "error", "warn", "info", "debug", "trace"]).default("info"),
    pretty: z.enum(["auto", "on", "off"]).default("auto"),
  })
  .prefault({});

const http = (defaultPort: number) =>
  z
    .strictObject({
      enabled: flag().default(true),
      address: text()
        .refine((value) => isIP(value) !== 0, "must be an IP address")
        .default("127.0.0.1"),
      port: wholeNumber(1, 65_535).default(defaultPort),
    })
    .prefault({});

/** Bounds of an exponential backoff; the cap must not lie below the base. */
const backoff = (defaultBaseMs: number, defaultCapMs: number) =>
  z
    .strictObject({
      baseMs: wholeNumber(50, 60_000).default(defaultBaseMs),
      capMs: wholeNumber(50, 3_600_000).default(defaultCapMs),
    })
    .refine((value) => value.capMs >= value.baseMs, { path: ["capMs"], error: "must not be below baseMs" })
    .prefault({});

const hasId = (value: string): boolean => value.split("{id}").length === 2;
const ID_ONCE = "must contain {id} once, where the router's id goes";
const routerNamespace = () =>
  text()
    .refine(hasId, ID_ONCE)
    .refine((value) => !value.includes("/"), "must be a namespace name, without a slash");

const agentFields = z.strictObject({
  ...bus,
  host: text().max(255),
  rpcTimeoutSeconds: wholeNumber(1, 600).default(60),
  topology: z.enum(["transit", "router"]).default("transit"),
  attachment: z
    .strictObject({
      kind: z.enum(["bridge", "ovs"]).default("bridge"),
      // IFNAMSIZ is 16 with its NUL (linux/if.h).
      bridges: z.record(z.string(), text().max(15)).default({}),
      routerNamespace: routerNamespace().default("qrouter-{id}"),
      integrationBridge: text().max(15).default("br-int"),
    })
    .prefault({}),
  routerTopology: z
    .strictObject({
      namespace: routerNamespace().default("qrouter-{id}"),
      snatNamespace: routerNamespace().default("snat-{id}"),
      haStateFile: absolutePath()
        .refine(hasId, ID_ONCE)
        .refine((value) => path.dirname(value).includes("{id}"), "must have {id} in the name of a directory")
        .default("/var/lib/neutron/ha_confs/{id}/state"),
    })
    .prefault({}),
  reportState: z
    .strictObject({
      enabled: flag().default(false),
      intervalSeconds: wholeNumber(1, 600).default(30),
      agentMode: z.enum(["legacy", "dvr_snat"]).default("legacy"),
      availabilityZone: text().default("nova"),
    })
    .prefault({}),
  espBackEnd: z.enum(["auto", "kernel", "userland"]).default("auto"),
  stateDirectory: absolutePath().default("/var/lib/swanherd"),
  runDirectory: absolutePath().default("/run/swanherd"),
  charonSocketDirectory: absolutePath().default("/run"),
  charonPath: absolutePath().default("/usr/sbin/charon-systemd"),
  supervisor: z.enum(["auto", "systemd", "process"]).default("auto"),
  charonUnit: text()
    .refine(
      (value) => /^[A-Za-z0-9:_.\\-]+@\.service$/.test(value),
      "must be the name of a template, like name@.service",
    )
    .default("swanherd-charon@.service"),
  passIntervalSeconds: wholeNumber(5, 3600).default(60),
  fetchIntervalSeconds: wholeNumber(30, 86_400).default(600),
  listSasIntervalSeconds: wholeNumber(0, 3600).default(15),
  retry: backoff(500, 30_000),
  initiateRetry: backoff(1000, 60_000),
  retransmit: z
    .strictObject({
      tries: wholeNumber(1, 100).optional(),
      timeoutSeconds: number(0.1, 600).optional(),
      base: number(1, 10).optional(),
    })
    .prefault({}),
  pskReauthTimeoutSeconds: wholeNumber(1, 300).default(5),
  removal: z
    .strictObject({
      absenceConfirmSeconds: wholeNumber(1, 3600).default(10),
      massCount: wholeNumber(0, 100_000).default(3),
      massPercent: wholeNumber(0, 100).default(25),
    })
    .prefault({}),
  ovn: z
    .strictObject({
      enabled: flag().default(false),
      localDatabase: ovsdbEndpoints()
        .refine((value) => value !== "auto", "must say where the local database is")
        .default("unix:/var/run/openvswitch/db.sock"),
      southbound: ovsdbEndpoints().default("auto"),
      privateKey: absolutePath().default("/etc/swanherd/ovn-key.pem"),
      certificate: absolutePath().default("/etc/swanherd/ovn-cert.pem"),
      caCertificate: absolutePath().default("/etc/swanherd/ovn-ca.pem"),
    })
    .prefault({}),
  controlSocket: socketPath().default("/run/swanherd/agent.sock"),
  http: http(9720),
  log,
  splitChildren: flag().default(false),
  takeOver: flag().default(false),
});

const agentSchema = agentFields
  .refine((value) => value.topology === "transit" || value.supervisor !== "systemd", {
    path: ["supervisor"],
    error: "systemd cannot run charons of topology router: NetworkNamespacePath of its unit is a name of ours",
  })
  .refine((value) => value.topology === "transit" || !value.ovn.enabled, {
    path: ["topology"],
    error: "router is of Neutron's L3 agent, and ovn.enabled announces an agent of OVN",
  })
  .refine((value) => value.topology === "router" || !value.reportState.enabled, {
    path: ["reportState", "enabled"],
    error: "is for topology router: an agent of OVN is announced by ovn.enabled",
  })
  .refine((value) => value.topology === "transit" || value.attachment.kind !== "ovs", {
    path: ["attachment", "kind"],
    error: "ovs is for the links of topology transit: topology router has none to plug",
  });

const controllerSchema = z.strictObject({
  ...bus,
  documents: absolutePath().default("/etc/swanherd/documents"),
  stateDirectory: absolutePath().default("/var/lib/swanherd-controller"),
  controlSocket: socketPath().default("/run/swanherd/controller.sock"),
  http: http(9721),
  log,
});

type Immutable<T> = T extends (infer Item)[]
  ? readonly Immutable<Item>[]
  : T extends Secret
    ? T
    : T extends object
      ? { readonly [Key in keyof T]: Immutable<T[Key]> }
      : T;

/** The dotted names of all keys of a configuration; what is a map to its user is one key. */
type KeysOf<T> = {
  readonly [Name in keyof T & string]-?: IsGroup<NonNullable<T[Name]>> extends true
    ? `${Name}.${KeysOf<NonNullable<T[Name]>>}`
    : Name;
}[keyof T & string];
type IsGroup<T> = [T] extends [object] ? (string extends keyof T ? false : true) : false;

export type AgentKey = KeysOf<z.output<typeof agentSchema>>;
export type ControllerKey = KeysOf<z.output<typeof controllerSchema>>;

/** What the service manager tells us in the environment. Absent without one. */
export type ServiceManager = { readonly notifySocket?: string; readonly watchdogMs?: number };

type Finished<Raw> = Immutable<Omit<Raw, "transportUrl">> & {
  readonly transportUrl: TransportUrl;
  readonly serviceManager: ServiceManager;
  /** Of this program. */
  readonly version: string;
  /** What is usable, but wants to be looked at. */
  readonly warnings: readonly string[];
};

export type AgentConfig = Finished<z.output<typeof agentSchema>>;
export type ControllerConfig = Finished<z.output<typeof controllerSchema>>;

export type ConfigResult<Config> =
  | { readonly kind: "ok"; readonly file: string; readonly value: Config }
  | { readonly kind: "invalid"; readonly file: string; readonly problems: readonly string[] };

type Environment = Readonly<Record<string, string | undefined>>;
export type ConfigSource = {
  readonly env?: Environment;
  readonly file?: string | undefined;
  readonly hostname?: string;
};

export const readAgentConfig = (source: ConfigSource = {}): ConfigResult<AgentConfig> =>
  readConfig(agentSchema, "/etc/swanherd/agent.yaml", source, { host: source.hostname ?? machineName() });

export const readControllerConfig = (source: ConfigSource = {}): ConfigResult<ControllerConfig> =>
  readConfig(controllerSchema, "/etc/swanherd/controller.yaml", source, {});

/** The configuration; all its problems as a ConfigError when there are any. */
export function validConfig<Config>(result: ConfigResult<Config>): Config {
  if (result.kind === "invalid") throw new ConfigError(result.problems);
  return result.value;
}

/** The version of package.json, which lies beside both `src` and `dist`. */
export function programVersion(): string {
  const text = readFileSync(new URL("../package.json", import.meta.url), "utf8");
  return z.object({ version: z.string() }).parse(JSON.parse(text)).version;
}

/** The control socket that a command asks when no option names one. */
export const controlSocketOf = (env: Environment = process.env): string =>
  env["SWANHERD_SOCKET"] ?? "/run/swanherd/agent.sock";

type BusSettings = { transportUrl: SecretReference; amqp: z.output<typeof bus.amqp> };

function readConfig<Schema extends z.ZodType<BusSettings>>(
  schema: Schema,
  defaultFile: string,
  { env = process.env, file = env["SWANHERD_CONFIG"] ?? defaultFile }: ConfigSource,
  machineDefaults: Readonly<Record<string, unknown>>,
): ConfigResult<Finished<z.output<Schema>>> {
  const invalid = (problems: readonly string[]) => ({ kind: "invalid", file, problems }) as const;
  let source: string;
  try {
    source = readFileSync(file, "utf8");
  } catch (err) {
    return invalid([`${file}: cannot be read (${errnoOf(err)}); --config or SWANHERD_CONFIG names another file`]);
  }
  const lines = new LineCounter();
  const document = parseDocument(source, { lineCounter: lines, prettyErrors: false });
  if (document.errors.length > 0) {
    return invalid(document.errors.map((err) => `${file}:${lines.linePos(err.pos[0]).line}: ${err.message}`));
  }
  if (document.contents !== null && !isMap(document.contents)) {
    return invalid([`${file}:1: wants a map of keys and values`]);
  }
  const found = plainOf(document);
  if (typeof found === "string") return invalid([`${file}:1: ${found}`]);
  // Looked up even when other keys are wrong: every problem is told at once.
  const reference = secretReference.safeParse(found["transportUrl"]);
  const url = reference.success ? readTransportUrl(reference.data, env, path.dirname(file)) : undefined;
  const { settings, problems: ofQuery } = readQueryOptions(
    url === undefined || typeof url === "string" ? new Map<string, string>() : url.options,
  );
  const parsed = schema.safeParse(withSettings({ ...machineDefaults, ...found }, settings));
  const explained = parsed.success ? [] : parsed.error.issues.flatMap((issue) => explain(issue, schema));
  if (typeof url === "string") explained.push({ at: ["transportUrl"], says: url });
  for (const says of ofQuery) explained.push({ at: ["transportUrl"], says });
  const amqp = parsed.success
    ? { ...parsed.data.amqp, tls: withAbsoluteFiles(parsed.data.amqp.tls, path.dirname(file)) }
    : undefined;
  if (amqp !== undefined) explained.push(...unreadableTlsFiles(amqp.tls).map(ofTls));
  const problems = explained
    .map(({ at, says }) => {
      const key = at.map(String).join(".");
      if (!settings.has(key)) return { line: lineOf(document, lines, at), says: `${key} ${says}` };
      return { line: lineOf(document, lines, ["transportUrl"]), says: `transportUrl sets ${key}, which ${says}` };
    })
    .sort((one, other) => one.line - other.line)
    .map(({ line, says }) => `${file}:${line}: ${says}`);
  if (!parsed.success || amqp === undefined || url === undefined || typeof url === "string" || problems.length > 0) {
    return invalid(problems);
  }
  const warned: Explained[] = [
    ...exposures(found["transportUrl"] as SecretReference, file).map((says) => ({ at: ["transportUrl"], says })),
    ...tlsWarnings(amqp.tls).map(ofTls),
  ];
  return {
    kind: "ok",
    file,
    value: {
      ...parsed.data,
      amqp,
      transportUrl: url,
      serviceManager: serviceManagerOf(env),
      version: programVersion(),
      warnings: warned.map(
        ({ at, says }) => `${file}:${lineOf(document, lines, at)}: ${at.map(String).join(".")} ${says}`,
      ),
    } as Finished<z.output<Schema>>,
  };
}

/** The values of the file under those of the transport URL, which oslo.messaging lets override it, too. */
function withSettings(
  found: Readonly<Record<string, unknown>>,
  settings: ReadonlyMap<string, SettingValue>,
): Readonly<Record<string, unknown>> {
  let value = found;
  for (const [key, setting] of settings) value = withSetting(value, key.split("."), setting);
  return value;
}

function withSetting(
  found: Readonly<Record<string, unknown>>,
  [name = "", ...below]: readonly string[],
  setting: SettingValue,
): Readonly<Record<string, unknown>> {
  if (below.length === 0) return { ...found, [name]: setting };
  const group = found[name] ?? {};
  // What is no map is told by the schema; it must not be hidden by what is put into its place.
  if (typeof group !== "object" || Array.isArray(group)) return found;
  return { ...found, [name]: withSetting(group as Readonly<Record<string, unknown>>, below, setting) };
}

/** The values, or why there are none: an alias without its anchor is found only now. */
function plainOf(document: Document): Record<string, unknown> | string {
  try {
    return (document.toJS() ?? {}) as Record<string, unknown>;
  } catch (err) {
    return err instanceof Error ? err.message : "cannot be resolved";
  }
}

/** Gives the secret, or what is wrong with it. */
function readSecret(reference: SecretReference, env: Environment, directory: string): Secret | string {
  let value: string;
  if (typeof reference === "string") {
    value = reference;
  } else if ("env" in reference) {
    const found = env[reference.env];
    if (found === undefined) return `wants the environment variable ${reference.env}, which is not set`;
    value = found;
  } else {
    const file = path.resolve(directory, reference.file);
    try {
      value = readFileSync(file, "utf8").trim();
    } catch (err) {
      return `names the file ${file}, which cannot be read (${errnoOf(err)})`;
    }
  }
  return new Secret(value);
}

/** Where everybody on the machine may read the secret. */
function exposures(reference: SecretReference, configuration: string): string[] {
  if (typeof reference === "string") {
    const mode = modeForAll(configuration);
    return mode === undefined
      ? []
      : [`is a text in a file that everybody may read (mode ${mode}): chmod 600 it, or move the text to {file: PATH}`];
  }
  if ("env" in reference) return [];
  const file = path.resolve(path.dirname(configuration), reference.file);
  const mode = modeForAll(file);
  return mode === undefined ? [] : [`names the file ${file}, which everybody may read (mode ${mode}): chmod 600 it`];
}

/** Gives the URL taken apart, or what is wrong with it. */
function readTransportUrl(reference: SecretReference, env: Environment, directory: string): TransportUrl | string {
  const secret = readSecret(reference, env, directory);
  if (typeof secret === "string") return secret;
  const parsed = parseTransportUrl(secret.reveal());
  if (parsed.kind === "invalid") {
    return `must look like rabbit://user:password@host:5672/vhost: ${parsed.problem}`;
  }
  return parsed.url;
}

function serviceManagerOf(env: Environment): ServiceManager {
  const { NOTIFY_SOCKET: notifySocket, WATCHDOG_USEC: watchdog, WATCHDOG_PID: watchdogPid } = env;
  // sd_watchdog_enabled(3): the interval is meant for the process named, if one is.
  const isOurs = watchdogPid === undefined || watchdogPid === String(process.pid);
  const watchdogMs = isOurs && watchdog !== undefined ? Number(watchdog) / 1000 : Number.NaN;
  return {
    ...(notifySocket === undefined || notifySocket === "" ? {} : { notifySocket }),
    ...(watchdogMs > 0 ? { watchdogMs } : {}),
  };
}

const ofTls = ({ key, says }: { readonly key: string | undefined; readonly says: string }): Explained => ({
  at: key === undefined ? ["amqp", "tls"] : ["amqp", "tls", key],
  says,
});

type Explained = { readonly at: readonly PropertyKey[]; readonly says: string };

function explain(issue: z.core.$ZodIssue, schema: z.ZodType): Explained[] {
  if (issue.code === "unrecognized_keys") {
    const known = keysAt(schema, issue.path);
    return issue.keys.map((key) => ({ at: [...issue.path, key], says: `is not a key here${suggestion(key, known)}` }));
  }
  return [{ at: issue.path, says: sentence(issue) }];
}

function sentence(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case "too_small":
      return issue.origin === "string" ? "must not be empty" : `must be at least ${issue.minimum}`;
    case "too_big":
      return `must be at most ${issue.maximum}${issue.origin === "string" ? " characters" : ""}`;
    case "invalid_value":
      return `must be ${issue.values.map(String).join(" or ")}`;
    case "invalid_type":
      return issue.message.startsWith("Invalid input") ? `wants a map of keys and values` : issue.message;
    default:
      return issue.message;
  }
}

/** The line of the deepest part of the path that stands in the file. */
function lineOf(document: Document, lines: LineCounter, at: readonly PropertyKey[]): number {
  for (let depth = at.length; depth > 0; depth--) {
    const parent: unknown = depth === 1 ? document.contents : document.getIn(at.slice(0, depth - 1), true);
    if (!isMap(parent)) continue;
    const pair = parent.items.find((item) => String(item.key) === String(at[depth - 1]));
    const range = (pair?.key as { range?: readonly [number, number, number] } | undefined)?.range;
    if (range) return lines.linePos(range[0]).line;
  }
  return 1;
}

function unwrapped(schema: unknown): unknown {
  let inner = schema;
  while (inner instanceof z.ZodDefault || inner instanceof z.ZodPrefault || inner instanceof z.ZodOptional) {
    inner = inner.unwrap();
  }
  return inner;
}

function keysAt(schema: unknown, at: readonly PropertyKey[]): readonly string[] {
  let inner = unwrapped(schema);
  for (const key of at) {
    inner = inner instanceof z.ZodObject ? unwrapped((inner.shape as Record<PropertyKey, unknown>)[key]) : undefined;
  }
  return inner instanceof z.ZodObject ? Object.keys(inner.shape) : [];
}

/** Every key that may be set, dotted; what stands in the sample file is compared with it. */
function keysOf(schema: unknown): readonly string[] {
  const inner = unwrapped(schema);
  if (!(inner instanceof z.ZodObject)) return [];
  return Object.entries(inner.shape).flatMap(([key, value]) => {
    const below = keysOf(value);
    return below.length === 0 ? [key] : below.map((name) => `${key}.${name}`);
  });
}

export const AGENT_KEYS: readonly string[] = keysOf(agentSchema);
export const CONTROLLER_KEYS: readonly string[] = keysOf(controllerSchema);

/** A problem of a setting, by the first part of its dotted name that it is about. */
export type SettingProblem = { readonly key: string; readonly says: string };

/** What an agent's configuration of these values would be told, but for files and secrets, which are not looked at. */
export const problemsOfSettings = (values: Readonly<Record<string, unknown>>): readonly SettingProblem[] => {
  const parsed = agentSchema.safeParse({ host: "any", ...values });
  if (parsed.success) return [];
  return parsed.error.issues
    .flatMap((issue) => explain(issue, agentSchema))
    .map(({ at, says }) => ({ key: at.map(String).join("."), says }));
};

const plain = (key: string): string => key.toLowerCase().replaceAll(/[^a-z0-9]/g, "");

function suggestion(key: string, known: readonly string[]): string {
  const ranked = known
    .map((name) => ({ name, distance: editDistance(plain(key), plain(name)) }))
    .sort((a, b) => a.distance - b.distance);
  const [best] = ranked;
  if (best === undefined) return "";
  // Beyond two letters in five it would suggest what nobody meant.
  if (best.distance <= Math.max(1, key.length * 0.4)) return `; did you mean ${best.name}?`;
  return known.length <= 8 ? `; known here: ${known.join(", ")}` : "";
}

/** How many letters are put in, taken out, changed or swapped with their neighbour (Damerau and Levenshtein). */
function editDistance(a: string, b: string): number {
  let beforeLast: readonly number[] = [];
  let last: readonly number[] = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (last[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const isSwap = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const swap = isSwap ? (beforeLast[j - 2] ?? 0) + 1 : Number.POSITIVE_INFINITY;
      row.push(Math.min((row[j - 1] ?? 0) + 1, (last[j] ?? 0) + 1, change, swap));
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length] ?? 0;
}
