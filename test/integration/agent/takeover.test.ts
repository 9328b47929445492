// A router's namespace that another agent has left with its charon in it: Neutron's stock agent calls it the same.
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { baseDocuments, connectionPair } from "../../../scripts/lab-documents.ts";
import { until } from "../../../scripts/lab.ts";
import { patiently } from "../../../scripts/patience.ts";
import { areActive, areSettled, connectionIs, labForThisFile } from "../../support/lab.ts";
import { startTraffic } from "../../support/traffic.ts";

const lab = await labForThisFile({
  documents: (routers) => [
    ...baseDocuments(routers),
    ...connectionPair({ name: "site", left: ["10.1.0.0/24"], right: ["10.2.0.0/24"] }),
  ],
  agentConfig: { supervisor: "process" },
});
const namespace = lab.namespaces.left;
const directory = mkdtempSync(path.join(tmpdir(), "swanherd-test-stock-"));
const socket = path.join(directory, "charon.vici");
let stock: ChildProcess | undefined;
afterAll(() => {
  stock?.kill("SIGKILL");
  rmSync(directory, { recursive: true, force: true });
});

/** As another agent would: another configuration and socket, and no alias on any link. */
async function startStock(strongswanConf: string, connections: string, child: string): Promise<void> {
  const file = path.join(directory, "strongswan.conf");
  writeFileSync(file, strongswanConf.replaceAll(`/run/charon.${namespace}.vici`, socket));
  const swanctlConf = path.join(directory, "swanctl.conf");
  writeFileSync(swanctlConf, connections, { mode: 0o600 });
  stock = spawn("nsenter", [`--net=/run/netns/${namespace}`, "--", "/usr/sbin/charon-systemd"], {
    env: { STRONGSWAN_CONF: file, PATH: "/usr/sbin:/usr/bin" },
    stdio: "ignore",
  });
  const swanctl = (...args: readonly string[]): string =>
    execFileSync("swanctl", [...args, "--uri", `unix://${socket}`], {
      stdio: "pipe",
      encoding: "utf8",
      timeout: patiently(20_000),
    });
  await until("the other charon has its connection", 10_000, () => {
    try {
      swanctl("--load-creds", "--file", swanctlConf);
      return swanctl("--load-conns", "--file", swanctlConf) !== "";
    } catch {
      return false;
    }
  });
  swanctl("--initiate", "--child", child);
  const links = JSON.parse(execFileSync("ip", ["-j", "-n", namespace, "link"], { encoding: "utf8" })) as {
    readonly ifname: string;
  }[];
  for (const { ifname } of links) execFileSync("ip", ["-n", namespace, "link", "set", ifname, "alias", ""]);
}

const answers = async (): Promise<boolean> => (await lab.world.ping("left", "10.2.0.9")).received > 0;

test("another IKE daemon is told of and left alone, and with takeOver it is ended and replaced", async () => {
  await areActive(lab, "site");
  await areSettled(lab);
  const child = (await lab.left.connection("site"))?.children[0]?.name ?? "";
  const ours = path.join(lab.left.runDirectory, namespace);
  const conf = readFileSync(path.join(ours, "strongswan.conf"), "utf8");
  const files = readdirSync(path.join(ours, "swanctl", "conf.d"));
  const connections = readFileSync(path.join(ours, "swanctl", "conf.d", files[0] ?? ""), "utf8");
  const charon = lab.left.runningCharon(lab.routers.left);
  await lab.left.stop();
  process.kill(charon.pid, "SIGKILL");
  await until("our charon has ended", 5_000, () => lab.left.charon(lab.routers.left) === undefined);
  await startStock(conf, connections, child);
  await until("its tunnel is up", 20_000, answers);

  await lab.left.start();
  const { reason } = await connectionIs(lab.left, "site", "ERROR");
  expect(reason?.code).toBe("ike-ports-taken");
  expect(reason?.text).toContain(`charon-systemd (pid ${String(stock?.pid)}) of somebody else has UDP 500 and 4500`);
  expect(await answers()).toBe(true);

  await lab.left.stop();
  appendFileSync(lab.left.configFile, "takeOver: true\n");
  const traffic = startTraffic(lab.world, "left", "10.2.0.9");
  await until("traffic flows", 5_000, answers);
  await lab.left.start();
  await areActive(lab, "site");
  await until("the host answers", 5_000, answers);
  // Half a second: the other one's end, charon's start, and a negotiation.
  expect((await traffic.stop()).longestGapMs).toBeLessThan(patiently(10_000));
  expect(stock?.exitCode ?? stock?.signalCode).not.toBeNull();
  expect(lab.left.log()).toContain("ends another IKE daemon, taking over");
});
