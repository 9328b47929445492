// A running agent and controller whose configuration files are changed: what SIGHUP puts in force, and what it does not.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { parse, stringify } from "yaml";
import { demoDocuments } from "../../../scripts/lab-documents.ts";
import { NETWORK, until, type Program } from "../../../scripts/lab.ts";
import { areSettled, connectionIs, labForThisFile } from "../../support/lab.ts";

type Values = Record<string, unknown>;
type Line = { readonly level: string; readonly msg: string } & Readonly<Values>;

const PROGRAM = fileURLToPath(new URL("../../../dist/main.js", import.meta.url));

const lab = await labForThisFile({ documents: demoDocuments, agentConfig: { listSasIntervalSeconds: 0 } });
const { left, controller } = lab;
const NAMESPACE = lab.namespaces.left;

const linesOf = (program: Program): readonly Line[] =>
  program
    .log()
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as Line);

/** Writes the file anew, sends SIGHUP, and gives what the log says of the configuration until `isLast`. */
async function reload(
  program: Program,
  text: string,
  isLast = (line: Line): boolean => line.msg.startsWith("configuration"),
): Promise<readonly Line[]> {
  const before = linesOf(program).length;
  writeFileSync(program.configFile, text);
  program.signal("SIGHUP");
  const told = (): readonly Line[] =>
    linesOf(program)
      .slice(before)
      .filter(({ msg }) => msg.startsWith("configuration"));
  await until("the configuration was read again", 5_000, () => told().some(isLast));
  return told();
}

const reads = (program: Program): string => readFileSync(program.configFile, "utf8");
/** The file with some keys changed. */
const changedBy = (program: Program, changes: Values): string =>
  stringify({ ...(parse(reads(program)) as Values), ...changes });

const spis = async (): Promise<string> => {
  const sas = await left.ikeSas(lab.routers.left);
  return JSON.stringify(sas.map((sa) => [sa.initiatorSpi, sa.responderSpi, sa.childSas.map((child) => child.spiIn)]));
};

const passes = async (): Promise<number> => {
  const text = await left.metric("swanherd_passes_total{");
  return [...text.matchAll(/ (\d+)$/gm)].reduce((sum, [, count]) => sum + Number(count), 0);
};

const masterOf = (link: string): string | undefined => {
  const [found] = JSON.parse(execFileSync("ip", ["-j", "link", "show", link], { encoding: "utf8" })) as {
    master?: string;
  }[];
  return found?.master;
};

/** The agent's port of the internet bridge: the other end of the veth in the router's VPN namespace. */
const portOf = (): string => {
  const text = execFileSync("ip", ["-n", NAMESPACE, "-j", "link"], { encoding: "utf8" });
  const link = (JSON.parse(text) as { ifname: string }[]).find(({ ifname }) => ifname.startsWith("vg"));
  return (link?.ifname ?? "none").replace(/^vg/, "hg");
};

test("a shorter interval is in force at once, and the SAs stay", async () => {
  await connectionIs(left, "to-right", "ACTIVE");
  await areSettled(lab);
  const before = await spis();
  const changed = changedBy(left, { passIntervalSeconds: 5 });
  expect(await reload(left, changed)).toEqual([
    expect.objectContaining({
      level: "info",
      key: "passIntervalSeconds",
      from: 60,
      to: 5,
      msg: "configuration changed, in force now",
    }),
  ]);
  const start = await passes();
  await until("two more passes came by time", 14_000, async () => (await passes()) >= start + 2);
  expect(await spis()).toBe(before);
});

test("the level of the log is in force at once", async () => {
  await reload(left, changedBy(left, { log: { level: "warn", pretty: "off" } }));
  const quiet = linesOf(left).length;
  await left.order("sync");
  const start = await passes();
  await until("a pass came", 10_000, async () => (await passes()) > start);
  expect(linesOf(left).slice(quiet)).toEqual([]);
  const told = await reload(left, changedBy(left, { log: { level: "debug", pretty: "off" } }));
  expect(told).toEqual([expect.objectContaining({ key: "log.level", from: "warn", to: "debug" })]);
  await left.order("sync");
  await until("it tells of steps again", 5_000, () =>
    linesOf(left)
      .slice(quiet)
      .some(({ level }) => level === "debug"),
  );
});

test("another bridge of the network takes the port over, and the SAs stay", async () => {
  const bridge = lab.world.bridge;
  const other = bridge.replace(/-inet$/, "-oth");
  execFileSync("ip", ["link", "add", other, "type", "bridge"]);
  onTestFinished(() => void execFileSync("ip", ["link", "delete", other]));
  const before = await spis();
  const port = portOf();
  expect(masterOf(port)).toBe(bridge);
  const told = await reload(left, changedBy(left, { attachment: { bridges: { [NETWORK]: other } } }));
  expect(told).toEqual([
    expect.objectContaining({ key: `attachment.bridges.${NETWORK}`, from: bridge, to: other, level: "info" }),
  ]);
  await until("the port has moved", 10_000, () => masterOf(port) === other);
  await reload(left, changedBy(left, { attachment: { bridges: { [NETWORK]: bridge } } }));
  await until("the port is back", 10_000, () => masterOf(port) === bridge);
  expect(await spis()).toBe(before);
  expect((await lab.world.ping("left", "10.2.0.9", { count: 2 })).received).toBe(2);
});

test("a file that cannot be used is told with every problem, and changes nothing", async () => {
  const good = reads(left);
  onTestFinished(() => {
    writeFileSync(left.configFile, good);
  });
  const bad = `${changedBy(left, { passIntervalSeconds: 1 })}hots: gw-9\n`;
  const told = await reload(left, bad, ({ problem }) => String(problem).includes("hots"));
  expect(told.map(({ level, problem }) => `${level}: ${String(problem).replace(/^.*:\d+: /, "")}`)).toEqual([
    "error: passIntervalSeconds must be at least 5",
    "error: hots is not a key here; did you mean host?",
  ]);
  expect((await connectionIs(left, "to-right", "ACTIVE")).inSync).toBe(true);
  // Compared with what is in force, not with the bad one.
  expect((await reload(left, good)).map(({ msg }) => msg)).toEqual(["configuration read again, nothing differs"]);
});

test("a file with the broker's URL that everybody may read is warned of, and used", async () => {
  const directories = [lab.directory, left.directory];
  onTestFinished(() => {
    chmodSync(left.configFile, 0o600);
    for (const directory of directories) chmodSync(directory, 0o700);
  });
  for (const directory of directories) chmodSync(directory, 0o755);
  chmodSync(left.configFile, 0o644);
  const told = await reload(left, reads(left), ({ warning }) => warning !== undefined);
  expect(told.map(({ level, msg }) => `${level}: ${msg}`)).toEqual([
    "info: configuration read again, nothing differs",
    "warn: configuration is used, but look at this",
  ]);
  expect(told[1]?.["warning"]).toMatch(/transportUrl is a text in a file that everybody may read \(mode 0644\)/);
});

test("what needs a restart is named, the broker's URL without its text, and stays as it was", async () => {
  const good = reads(left);
  const url = "rabbit://guest:correct-horse@127.0.0.1:1/";
  const told = await reload(
    left,
    changedBy(left, { transportUrl: url, host: "elsewhere" }),
    ({ key }) => key === "host",
  );
  expect(told.map(({ level, key, from, to, msg }) => [level, key, from, to, msg])).toEqual(
    [
      ["transportUrl", "[secret]", "[secret]"],
      ["host", left.host, "elsewhere"],
    ].map((change) => ["warn", ...change, "configuration changed, in force after a restart only"]),
  );
  expect(left.log()).not.toContain("correct-horse");
  expect(await left.status()).toMatchObject({ host: left.host, brokerConnected: true });
  await reload(left, good);
});

test("SIGHUP ends a command that is no daemon", async () => {
  const args = [PROGRAM, "status", "--watch", "--socket", left.socket];
  const watching = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "ignore"] });
  onTestFinished(() => void watching.kill("SIGKILL"));
  await once(watching.stdout, "data");
  watching.kill("SIGHUP");
  const [code] = (await once(watching, "exit")) as [number | null];
  expect(code).toBe(0);
});

test("a controller takes up the level of its log, and goes on serving", async () => {
  const told = await reload(controller, changedBy(controller, { log: { level: "info", pretty: "off" } }));
  expect(told).toEqual([expect.objectContaining({ key: "log.level", from: "debug", to: "info" })]);
  const before = (await left.status()).lastFetchAtMs ?? 0;
  await left.order("sync");
  await until("the agent has fetched", 5_000, async () => ((await left.status()).lastFetchAtMs ?? 0) > before);
});
