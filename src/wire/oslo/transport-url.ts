// oslo.messaging's transport_url: rabbit://[user:password@]host[:port][,…]/vhost[?option=value]. Problems never quote it.
import { Secret } from "../../core/secret.ts";

export type Credentials = { readonly username: string; readonly password: Secret };

export type BrokerHost = {
  readonly host: string;
  readonly port: number;
  /** Credentials belong to one host: the next host of the list does not inherit them. Null: the broker's guest. */
  readonly credentials: Credentials | null;
};

export type TransportUrl = {
  readonly hosts: readonly [BrokerHost, ...BrokerHost[]];
  readonly virtualHost: string;
  /** Options of [oslo_messaging_rabbit] may be given as query parameters; there they override the file. */
  readonly options: ReadonlyMap<string, string>;
};

export type ParsedTransportUrl =
  { readonly kind: "valid"; readonly url: TransportUrl } | { readonly kind: "invalid"; readonly problem: string };

class Refusal extends Error {}

const DRIVERS = new Set(["rabbit", "kombu"]);
const DEFAULT_PORT = 5672;
const MAX_PORT = 65_535;

function unquote(text: string, what: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new Refusal(`${what} has a broken percent escape`);
  }
}

function parsePort(text: string): number {
  if (text === "") return DEFAULT_PORT;
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port < 1 || port > MAX_PORT) throw new Refusal("a port is not a number from 1 to 65535");
  return port;
}

function parseAddress(text: string): { host: string; port: number } {
  if (text.startsWith("[")) {
    const end = text.indexOf("]");
    if (end < 0) throw new Refusal("an IPv6 address lacks its closing bracket");
    const rest = text.slice(end + 1);
    if (rest !== "" && !rest.startsWith(":")) throw new Refusal("something other than a port follows an IPv6 address");
    return { host: text.slice(1, end), port: parsePort(rest.slice(1)) };
  }
  const colon = text.indexOf(":");
  if (colon < 0) return { host: text, port: DEFAULT_PORT };
  return { host: text.slice(0, colon), port: parsePort(text.slice(colon + 1)) };
}

function parseHost(text: string): BrokerHost {
  // The last @ ends the credentials, the first : in them ends the user name.
  const at = text.lastIndexOf("@");
  const { host, port } = parseAddress(text.slice(at + 1));
  if (host === "") throw new Refusal("a host has no name");
  if (at < 0) return { host, port, credentials: null };
  const userInfo = text.slice(0, at);
  const colon = userInfo.indexOf(":");
  const username = unquote(colon < 0 ? userInfo : userInfo.slice(0, colon), "a user name");
  const password = colon < 0 ? "" : unquote(userInfo.slice(colon + 1), "a password");
  return { host, port, credentials: { username, password: new Secret(password) } };
}

/** kombu takes an empty virtual host for "/", and `//` is the path of the virtual host "/". */
function parseVirtualHost(path: string): string {
  const name = unquote(path.replace(/^\//, ""), "the virtual host");
  return name === "" ? "/" : name;
}

function parseOptions(query: string): ReadonlyMap<string, string> {
  const options = new Map<string, string>();
  for (const [key, value] of new URLSearchParams(query)) {
    const before = options.get(key);
    options.set(key, before === undefined ? value : `${before},${value}`);
  }
  return options;
}

export function parseTransportUrl(text: string): ParsedTransportUrl {
  const match = /^([^:/?#]+):\/\/([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#.*)?$/s.exec(text);
  if (match === null) return { kind: "invalid", problem: "is not of the form rabbit://user:password@host:port/vhost" };
  const [, driver = "", netloc = "", path = "", query = ""] = match;
  if (!DRIVERS.has(driver.toLowerCase())) return { kind: "invalid", problem: "does not begin with rabbit://" };
  try {
    const given = netloc.split(",").filter((host) => host !== "");
    const [first, ...others] = given.map(parseHost);
    // impl_rabbit: a URL without a host means guest:guest at localhost.
    const hosts: TransportUrl["hosts"] =
      first === undefined ? [{ host: "localhost", port: DEFAULT_PORT, credentials: null }] : [first, ...others];
    return { kind: "valid", url: { hosts, virtualHost: parseVirtualHost(path), options: parseOptions(query) } };
  } catch (error) {
    if (error instanceof Refusal) return { kind: "invalid", problem: error.message };
    throw error;
  }
}
