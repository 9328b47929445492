// Connection methods of ovsdb(7) as operators write them.
import { expect, test } from "vitest";
import { endpointText, parseEndpoints } from "../../../src/ovsdb-client/endpoint.ts";

test.each([
  ["unix:/var/run/openvswitch/db.sock", { kind: "unix", path: "/var/run/openvswitch/db.sock" }],
  ["tcp:192.0.2.1:6642", { kind: "tcp", host: "192.0.2.1", port: 6642 }],
  ["ssl:sb.example:6642", { kind: "ssl", host: "sb.example", port: 6642 }],
  ["ssl:[2001:db8::1]:6642", { kind: "ssl", host: "2001:db8::1", port: 6642 }],
])("%s is read and written the same", (text, endpoint) => {
  const parsed = parseEndpoints(text);
  expect(parsed).toEqual({ kind: "ok", endpoints: [endpoint] });
  expect(parsed.kind === "ok" && endpointText(parsed.endpoints[0])).toBe(text);
});

test("a port that is left out is the one that IANA has assigned", () => {
  expect(parseEndpoints("tcp:192.0.2.1")).toMatchObject({ endpoints: [{ port: 6640 }] });
  expect(parseEndpoints("ssl:[::1]")).toMatchObject({ endpoints: [{ host: "::1", port: 6640 }] });
});

test("several keep their order, with or without a space between them", () => {
  const parsed = parseEndpoints("ssl:a:1, ssl:b:2,tcp:[::1]:3");
  expect(parsed.kind === "ok" && parsed.endpoints.map(endpointText)).toEqual(["ssl:a:1", "ssl:b:2", "tcp:[::1]:3"]);
});

test.each([
  "",
  "a:1",
  "tcp:",
  "tcp::1",
  "tcp:a:0",
  "tcp:a:65536",
  "tcp:2001:db8::1:6642",
  "tcp:a:1,",
  "unix:db.sock",
  `unix:/${"x".repeat(107)}`,
  "ptcp:6640",
  "ssl:a b:1",
])("%j is refused with a reason", (text) => {
  expect(parseEndpoints(text)).toEqual({
    kind: "invalid",
    problem: expect.stringMatching(/^".*" (must|has)/s) as string,
  });
});
