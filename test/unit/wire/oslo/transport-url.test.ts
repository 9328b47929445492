// oslo.messaging's grammar of broker URLs, with its corners.
import { inspect } from "node:util";
import { describe, expect, test } from "vitest";
import { parseTransportUrl, type TransportUrl } from "../../../../src/wire/oslo/transport-url.ts";

function valid(text: string): TransportUrl {
  const parsed = parseTransportUrl(text);
  if (parsed.kind === "invalid") throw new Error(parsed.problem);
  return parsed.url;
}

const shown = (text: string) =>
  valid(text).hosts.map(({ host, port, credentials }) => ({
    host,
    port,
    username: credentials?.username,
    password: credentials?.password.reveal(),
  }));

test("several hosts each have their own credentials and port", () => {
  expect(shown("rabbit://a:1@h1:5671,b:2@h2,h3:5673/v")).toEqual([
    { host: "h1", port: 5671, username: "a", password: "1" },
    { host: "h2", port: 5672, username: "b", password: "2" },
    { host: "h3", port: 5673, username: undefined, password: undefined },
  ]);
});

test("the last @ ends the credentials and the first : the user name", () => {
  expect(shown("rabbit://us@er:pa:ss@w@h/")).toEqual([
    { host: "h", port: 5672, username: "us@er", password: "pa:ss@w" },
  ]);
});

test("user, password and virtual host are percent-decoded", () => {
  const url = "rabbit://u%40x:p%2F%3A%25@h/a%2Fb";
  expect(shown(url)).toEqual([{ host: "h", port: 5672, username: "u@x", password: "p/:%" }]);
  expect(valid(url).virtualHost).toBe("a/b");
});

test("IPv6 addresses stand in brackets", () => {
  expect(shown("rabbit://u:p@[2001:db8::1]:5673,[::1]/")).toEqual([
    { host: "2001:db8::1", port: 5673, username: "u", password: "p" },
    { host: "::1", port: 5672, username: undefined, password: undefined },
  ]);
});

test.each([
  ["rabbit://h", "/"],
  ["rabbit://h/", "/"],
  ["rabbit://h//", "/"],
  ["rabbit://h/openstack", "openstack"],
  ["rabbit://h/%2F", "/"],
  ["rabbit://h//openstack", "/openstack"],
])("the virtual host of %s is %s", (text, expected) => {
  expect(valid(text).virtualHost).toBe(expected);
});

test.each(["rabbit://", "rabbit:///", "rabbit://,/"])("%s means the broker on this machine", (text) => {
  expect(shown(text)).toEqual([{ host: "localhost", port: 5672, username: undefined, password: undefined }]);
});

test("options of the query are kept, repeated ones joined", () => {
  const { options } = valid("kombu://h/v?ssl=1&rabbit_quorum_queue=true&a=1&a=2");
  expect([...options]).toEqual([
    ["ssl", "1"],
    ["rabbit_quorum_queue", "true"],
    ["a", "1,2"],
  ]);
});

describe("what is refused is told without quoting it", () => {
  test.each([
    "hunter2",
    "amqp://u:hunter2@h/",
    "rabbit://u:hunter2@h:port/",
    "rabbit://u:hunter2@h:0/",
    "rabbit://u:hunter2@h:65536/",
    "rabbit://u:hunter2%zz@h/",
    "rabbit://u:hunter2@[::1/",
    "rabbit://u:hunter2@[::1]x/",
    "rabbit://u:hunter2@/",
    "rabbit://u:hunter2@h/%zz",
  ])("%s", (text) => {
    const parsed = parseTransportUrl(text);
    expect(parsed.kind).toBe("invalid");
    expect(JSON.stringify(parsed)).not.toContain("hunter2");
  });
});

test("a parsed URL shows its password to nobody", () => {
  const url = valid("rabbit://u:hunter2@h/v");
  expect(inspect(url, { depth: 9 }) + JSON.stringify(url)).not.toContain("hunter2");
});
