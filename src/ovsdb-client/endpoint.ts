// Where a database server is, in the words of ovsdb(7), section "Connection Methods". Pure; refuses to connect.

export type Endpoint =
  | { readonly kind: "unix"; readonly path: string }
  | { readonly kind: "tcp" | "ssl"; readonly host: string; readonly port: number };

export type ParsedEndpoints =
  | { readonly kind: "ok"; readonly endpoints: readonly [Endpoint, ...Endpoint[]] }
  | { readonly kind: "invalid"; readonly problem: string };

/** What IANA has assigned (RFC 7047, section 7). */
const DEFAULT_PORT = 6640;
/** sun_path of a unix socket holds 107 bytes and a NUL (unix(7)). */
const MAX_PATH_BYTES = 107;

/** One endpoint, or several with commas between them, such as `ssl:192.0.2.1:6642,ssl:[2001:db8::1]:6642`. */
export function parseEndpoints(text: string): ParsedEndpoints {
  const parts = text.split(",").map((part) => part.trim());
  const endpoints: Endpoint[] = [];
  for (const part of parts) {
    const found = parseOne(part);
    if (typeof found === "string") return { kind: "invalid", problem: found };
    endpoints.push(found);
  }
  const [first, ...others] = endpoints;
  return first === undefined
    ? { kind: "invalid", problem: "names no endpoint" }
    : { kind: "ok", endpoints: [first, ...others] };
}

function parseOne(text: string): Endpoint | string {
  const [, kind, rest = ""] = /^(unix|tcp|ssl):(.*)$/s.exec(text) ?? [];
  switch (kind) {
    case "unix":
      if (!rest.startsWith("/")) return `"${text}" must have an absolute path after unix:`;
      if (Buffer.byteLength(rest) > MAX_PATH_BYTES) {
        return `"${text}" has a path of more than ${MAX_PATH_BYTES} bytes (unix(7))`;
      }
      return { kind, path: rest };
    case "tcp":
    case "ssl": {
      const [, bracketed, plain, digits] = /^(?:\[([0-9a-fA-F:.]+)\]|([^[\]:\s]+))(?::(\d{1,5}))?$/.exec(rest) ?? [];
      const host = bracketed ?? plain;
      const port = digits === undefined ? DEFAULT_PORT : Number(digits);
      if (host === undefined || port < 1 || port > 65_535) {
        return `"${text}" must have HOST:PORT after ${kind}:, an IPv6 address in brackets`;
      }
      return { kind, host, port };
    }
    default:
      return `"${text}" must begin with unix:, tcp: or ssl:`;
  }
}

export function endpointText(endpoint: Endpoint): string {
  if (endpoint.kind === "unix") return `unix:${endpoint.path}`;
  const host = endpoint.host.includes(":") ? `[${endpoint.host}]` : endpoint.host;
  return `${endpoint.kind}:${host}:${endpoint.port}`;
}
