// A configuration file that was changed under a running agent or controller: what is told of it, and what is taken up.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { rereadAgentConfig, rereadControllerConfig } from "../../src/config-changes.ts";
import { readAgentConfig, readControllerConfig, validConfig, type AgentConfig } from "../../src/config.ts";

const directory = mkdtempSync(path.join(tmpdir(), "swanherd-changes-"));
afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});
const file = path.join(directory, "config.yaml");
const source = { env: {}, file, hostname: "gw-1" };
const URL_LINE = "transportUrl: rabbit://user:correct-horse@mq1\n";

function agentOf(text: string): AgentConfig {
  writeFileSync(file, URL_LINE + text);
  return validConfig(readAgentConfig(source));
}

/** The file holds `after` while an agent runs that was started with `before`. */
function changed(before: string, after: string, urlLine = URL_LINE) {
  const inForce = agentOf(before);
  writeFileSync(file, urlLine + after);
  const read = rereadAgentConfig(inForce, source);
  if (read.kind === "invalid") throw new Error(read.problems.join("\n"));
  return { inForce, ...read };
}

const told = ({ changes }: ReturnType<typeof changed>): string[] =>
  changes.map(({ key, from, to, isLive }) => `${key}: ${String(from)} -> ${String(to)}, ${isLive ? "now" : "restart"}`);

test("a file that says the same in other words changes nothing", () => {
  const read = changed("passIntervalSeconds: 60\n", "# the default\nexchange: neutron\n");
  expect(read.changes).toEqual([]);
  expect(read.value).toEqual(read.inForce);
});

test("each changed key is told with both values, and whether it takes a restart", () => {
  const after = [
    "passIntervalSeconds: 30",
    "retry: {capMs: 10000}",
    "log: {level: debug, pretty: off}",
    "host: gw-2",
    "retransmit: {tries: 3}",
  ];
  expect(told(changed("passIntervalSeconds: 20\n", after.join("\n")))).toMatchInlineSnapshot(`
    [
      "host: gw-1 -> gw-2, restart",
      "passIntervalSeconds: 20 -> 30, now",
      "retry.capMs: 30000 -> 10000, now",
      "retransmit.tries: undefined -> 3, restart",
      "log.level: info -> debug, now",
      "log.pretty: auto -> off, restart",
    ]
  `);
});

test("what needs no restart is taken up, and the rest stays as it was", () => {
  const { value, inForce } = changed(
    "attachment: {bridges: {internet: br-a}}\n",
    "host: gw-2\nattachment: {routerNamespace: 'r-{id}', bridges: {internet: br-b}}\nremoval: {massCount: 9}\n",
  );
  expect(value).toEqual({
    ...inForce,
    attachment: { ...inForce.attachment, bridges: { internet: "br-b" } },
    removal: { ...inForce.removal, massCount: 9 },
  });
});

test("of the bridges each network is told by itself", () => {
  const read = changed(
    "attachment: {bridges: {same: br-s, moved: br-a, gone: br-g}}\n",
    "attachment: {bridges: {same: br-s, moved: br-b, new: br-n}}\n",
  );
  expect(told(read)).toEqual([
    "attachment.bridges.moved: br-a -> br-b, now",
    "attachment.bridges.gone: br-g -> undefined, now",
    "attachment.bridges.new: undefined -> br-n, now",
  ]);
});

test("a restart that is due is told again at the next time, until the file says what is in force", () => {
  const { value } = changed("", "host: gw-2\n");
  const again = rereadAgentConfig(value, source);
  expect(again).toMatchObject({ changes: [{ key: "host", from: "gw-1", to: "gw-2", isLive: false }] });
  writeFileSync(file, URL_LINE);
  expect(rereadAgentConfig(value, source)).toMatchObject({ changes: [] });
});

test.each([
  ["another password", "transportUrl: rabbit://user:wrong-horse@mq1\n"],
  ["another host", "transportUrl: rabbit://user:correct-horse@mq2\n"],
  ["another one in a file", "transportUrl: {file: url}\n"],
])("of the broker's URL only is told that it is another: %s", (_what, urlLine) => {
  writeFileSync(path.join(directory, "url"), "rabbit://user:battery-horse@mq1\n");
  const read = changed("", "", urlLine);
  expect(told(read)).toEqual(["transportUrl: [secret] -> [secret], restart"]);
  expect(read.value.transportUrl).toBe(read.inForce.transportUrl);
});

test("an option of its query is told as the key that it sets", () => {
  const read = changed("", "", URL_LINE.replace("mq1", "mq1/?heartbeat_timeout_threshold=30"));
  expect(told(read)).toEqual(["amqp.heartbeatSeconds: 60 -> 30, restart"]);
  expect(read.value.amqp).toEqual(read.inForce.amqp);
});

test("a URL that stands in a file now, and is the same, is no change", () => {
  writeFileSync(path.join(directory, "url"), "rabbit://user:correct-horse@mq1\n");
  expect(changed("", "", "transportUrl: {file: url}\n").changes).toEqual([]);
});

test("a file that cannot be used gives all its problems and changes nothing", () => {
  const inForce = agentOf("");
  writeFileSync(file, `${URL_LINE}hots: gw-2\npassIntervalSeconds: 1\n`);
  expect(rereadAgentConfig(inForce, source)).toEqual({
    kind: "invalid",
    file,
    problems: [
      `${file}:2: hots is not a key here; did you mean host?`,
      `${file}:3: passIntervalSeconds must be at least 5`,
    ],
  });
});

test("of a controller the level of the log is taken up", () => {
  writeFileSync(file, URL_LINE);
  const inForce = validConfig(readControllerConfig(source));
  writeFileSync(file, `${URL_LINE}log: {level: debug}\ndocuments: /srv/documents\n`);
  expect(rereadControllerConfig(inForce, source)).toMatchObject({
    value: { documents: "/etc/swanherd/documents", log: { level: "debug" } },
    changes: [
      { key: "documents", from: "/etc/swanherd/documents", to: "/srv/documents", isLive: false },
      { key: "log.level", from: "info", to: "debug", isLive: true },
    ],
  });
});
