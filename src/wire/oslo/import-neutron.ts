// What a Neutron agent's configuration says, in our settings: which option is which of them, and why others are none.
// It refuses to know bounds and defaults of our settings, and how they are written down. It quotes no value but in settings.
import { whyLeftOut, whyNoDriver } from "./left-out.ts";
import { rabbitOption, readBoolean, readQueryOptions, readWholeNumber, type SettingValue } from "./rabbit-options.ts";
import { sectionKey, type Found, type FoundValue, type OsloSettings } from "./settings.ts";
import { parseTransportUrl } from "./transport-url.ts";

export type ImportedSetting = {
  /** Dotted, as in our configuration. */
  readonly key: string;
  readonly value: SettingValue | Readonly<Record<string, string>>;
  readonly from: Found;
  /** What the operator should know of it. */
  readonly note?: string;
};

/** Something that is not taken over. Without an option it stands for `count` options of a section. */
export type LeftOut = Omit<Found, "option"> & {
  readonly option?: string;
  readonly count?: number;
  readonly why: string;
};

export type Imported = {
  /** In no order; each key once. */
  readonly settings: readonly ImportedSetting[];
  readonly leftOut: readonly LeftOut[];
  /** Without these there is nothing to import. */
  readonly problems: readonly string[];
};

/** Takes over one option: gives what it becomes, or why it becomes nothing. */
type Take = (found: FoundValue) => readonly Omit<ImportedSetting, "from">[] | string;

const RABBIT = "oslo_messaging_rabbit";

const plainText =
  (key: string): Take =>
  ({ value }) =>
    value === "" ? "is empty" : [{ key, value }];
const seconds =
  (key: string, note?: string): Take =>
  ({ value }) => {
    const count = readWholeNumber(value);
    return count === undefined
      ? "is no whole number"
      : [{ key, value: count, ...(note === undefined ? {} : { note }) }];
  };

/** Options that become settings, by section and name. */
const TAKEN: ReadonlyMap<string, ReadonlyMap<string, Take>> = new Map([
  [
    "DEFAULT",
    new Map<string, Take>([
      ["transport_url", takeTransportUrl],
      ["host", plainText("host")],
      ["control_exchange", plainText("exchange")],
      ["rpc_response_timeout", seconds("rpcTimeoutSeconds")],
      ["debug", takeDebug],
    ]),
  ],
  [
    "ipsec",
    new Map<string, Take>([
      [
        "ipsec_status_check_interval",
        seconds(
          "passIntervalSeconds",
          "changes are told by charon's events in between; SAs have listSasIntervalSeconds",
        ),
      ],
    ]),
  ],
]);

/** The URL without its query: the options in there become settings of their own, see `takeQuery`. */
function takeTransportUrl({ value }: FoundValue): ReturnType<Take> {
  const parsed = parseTransportUrl(value.trim());
  if (parsed.kind === "invalid") return parsed.problem;
  return [{ key: "transportUrl", value: value.trim().replace(/[?#].*$/s, "") }];
}

function takeDebug({ value }: FoundValue): ReturnType<Take> {
  const isDebug = readBoolean(value);
  if (isDebug === undefined) return "is neither true nor false";
  return isDebug ? [{ key: "log.level", value: "debug" }] : "is the default of log.level: info and above is logged";
}

type Result = { readonly imported: Map<string, ImportedSetting>; readonly leftOut: LeftOut[] };

const placeOf = ({ file, line, section, option }: Found): Found => ({ file, line, section, option });
const isAt = (one: { readonly file: string; readonly line: number }, other: Found): boolean =>
  one.file === other.file && one.line === other.line;

/** Reads what the files say together. Pure; `settings` has resolved what stands for other options. */
export function importNeutron(settings: OsloSettings): Imported {
  const result: Result = { imported: new Map(), leftOut: [] };
  const { imported, leftOut } = result;
  const foreign = new Map<string, LeftOut & { readonly count: number }>();
  for (const found of settings.all) {
    const why = whyLeftOut(found.section, found.option);
    if (why !== undefined) {
      takeOne(settings, found, why, result);
      continue;
    }
    // One line for a section of other programs, whose options are many and none of our business.
    const key = `${found.file}\n${sectionKey(found.section)}`;
    const { file, line, section } = foreign.get(key) ?? found;
    const count = (foreign.get(key)?.count ?? 0) + 1;
    foreign.set(key, { file, line, section, count, why: "is not for an agent of VPNs" });
  }
  takeQuery(settings, result);
  takeExternalBridge(settings, result);
  takeTopology(settings, result);
  keepVerification(imported);
  return {
    settings: [...imported.values()],
    leftOut: [...leftOut, ...foreign.values()],
    problems: imported.has("transportUrl") ? [] : [whyNoUrl(settings)],
  };
}

function takeOne(settings: OsloSettings, found: Found, why: string, { imported, leftOut }: Result): void {
  const skip = (reason: string): void => void leftOut.push({ ...placeOf(found), why: reason });
  const own = settings.getAll(found.section, found.option).find((one) => isAt(one, found));
  const inForce = settings.get(found.section, found.option);
  if (found.option === "vpn_device_driver") {
    skip(whyNoDriver(own?.value ?? ""));
    return;
  }
  const take = takeOf(sectionKey(found.section), found.option);
  if (take === undefined || inForce === undefined) {
    skip(why);
  } else if (!isAt(inForce, found)) {
    skip(`is overridden by ${inForce.file}:${String(inForce.line)}`);
  } else if (inForce.unresolved.length > 0) {
    skip(whyUnresolved(inForce));
  } else {
    const taken = take(inForce);
    if (typeof taken === "string") skip(taken);
    else for (const one of taken) imported.set(one.key, { ...one, from: placeOf(found) });
  }
}

/** In a URL it may be a piece of the password that looks like a name, so that is not told. */
function whyUnresolved({ option, unresolved }: FoundValue): string {
  if (option === "transport_url") return "refers with a $ to an option that no file sets; a $ itself is written $$";
  const names = unresolved.map((name) => `$${name}`).join(", ");
  return `refers to ${names}, which no file sets: set it here by hand`;
}

function takeOf(section: string, name: string): Take | undefined {
  const taken = TAKEN.get(section)?.get(name);
  if (taken !== undefined) return taken;
  // Before they had a section of their own they stood in [DEFAULT], where oslo.messaging still finds them.
  const isRabbit = section === RABBIT || (section === "DEFAULT" && /^(?:rabbit|kombu|amqp)_/.test(name));
  const option = isRabbit ? rabbitOption(name) : undefined;
  if (option === undefined) return undefined;
  return ({ value }) => {
    const setting = option.read(value);
    return setting === undefined ? `wants ${option.wants}` : [{ key: option.setting, value: setting }];
  };
}

/** Options in the query of the URL override those of the section. */
function takeQuery(settings: OsloSettings, { imported, leftOut }: Result): void {
  const found = settings.get("DEFAULT", "transport_url");
  const parsed = found === undefined ? undefined : parseTransportUrl(found.value.trim());
  if (found === undefined || parsed?.kind !== "valid") return;
  const query = readQueryOptions(parsed.url.options);
  for (const [key, value] of query.settings) imported.set(key, { key, value, from: placeOf(found) });
  for (const why of query.problems) leftOut.push({ ...placeOf(found), why });
}

/** Before networks had bridges by provider, one external network had one bridge; with this driver a Linux bridge. */
function takeExternalBridge(settings: OsloSettings, { imported, leftOut }: Result): void {
  const bridge = settings.get("DEFAULT", "external_network_bridge");
  const network = settings.get("DEFAULT", "gateway_external_network_id");
  const driver = settings.get("DEFAULT", "interface_driver");
  if (bridge === undefined || network === undefined || driver === undefined) return;
  if (bridge.value === "" || network.value === "" || !/^linuxbridge$|BridgeInterfaceDriver$/.test(driver.value)) return;
  const key = "attachment.bridges";
  imported.set(key, { key, value: { [network.value]: bridge.value }, from: placeOf(bridge) });
  const used = leftOut.filter((one) => [bridge, network, driver].some((found) => isAt(one, found)));
  for (const one of used) leftOut.splice(leftOut.indexOf(one), 1);
}

/** A driver of the L3 agent's and none of OVN's: there is no doubt whose machine it is. */
function takeTopology(settings: OsloSettings, { imported }: Result): void {
  const drivers = settings.getAll("vpnagent", "vpn_device_driver").filter(({ value }) => value.trim() !== "");
  const [first] = drivers;
  if (first === undefined || drivers.some(({ value }) => /ovn/i.test(value))) return;
  imported.set("topology", { key: "topology", value: "router", from: placeOf(first) });
}

/** oslo.messaging verifies nothing where no ssl_ca_file is set, while our default would refuse most brokers then. */
function keepVerification(imported: Map<string, ImportedSetting>): void {
  const enabled = imported.get("amqp.tls.enabled");
  if (enabled?.value !== true || imported.has("amqp.tls.caFile")) return;
  imported.set("amqp.tls.verify", {
    key: "amqp.tls.verify",
    value: "none",
    from: enabled.from,
    note: "as oslo.messaging does without ssl_ca_file, the broker is not verified: give caFile, and take this out",
  });
}

function whyNoUrl(settings: OsloSettings): string {
  const found = settings.get("DEFAULT", "transport_url");
  if (found === undefined) {
    return "no file has [DEFAULT] transport_url: give the one that has it as well, mostly neutron.conf";
  }
  const parsed = parseTransportUrl(found.value.trim());
  const why = parsed.kind === "invalid" ? parsed.problem : whyUnresolved(found);
  return `${found.file}:${String(found.line)}: [DEFAULT] transport_url ${why}`;
}
