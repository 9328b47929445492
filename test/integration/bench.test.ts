// The benchmark in its quick mode: that it runs, tells every figure and cleans up. What the figures are is nobody's test.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { expect, onTestFinished, test } from "vitest";
import { until } from "../../scripts/lab.ts";

const BENCH = fileURLToPath(new URL("../../scripts/bench.ts", import.meta.url));

type Made = { readonly prefix: string; readonly routers: readonly string[] };

const directoryOf = (pid: number | undefined): string | undefined =>
  readdirSync(tmpdir()).find((name) => name.startsWith(`swanherd-lab-${String(pid)}-`));

/** What there is of it by name: namespaces, links and the VICI sockets of charons. */
const tracesOf = ({ prefix, routers }: Made): readonly string[] =>
  ["/run/netns", "/sys/class/net", "/run"]
    .flatMap((directory) => readdirSync(directory))
    .filter((name) => name.startsWith(`${prefix}-`) || routers.some((id) => name.includes(id)));

// In the kernel lab's guest its figures would say nothing, and take minutes.
test.skipIf(process.env["KERNEL_LAB"] !== undefined)(
  "the quick benchmark prints and writes every figure, and leaves nothing behind",
  async () => {
    const directory = mkdtempSync(path.join(tmpdir(), "swanherd-test-bench-"));
    onTestFinished(() => {
      rmSync(directory, { recursive: true });
    });
    const file = path.join(directory, "figures.json");
    const bench = execa(process.execPath, ["--import", "tsx", BENCH, "--quick", "--json", file], {
      forceKillAfterDelay: false, // what is killed in mid-course takes nothing away
    });
    // Also when the test has failed; it takes away what it has made.
    onTestFinished(async () => {
      bench.kill("SIGTERM");
      await bench.catch(() => undefined);
    });
    const made = await until("its lab is there", 20_000, () => {
      const lab = directoryOf(bench.pid);
      const record = path.join(tmpdir(), lab ?? "none", "made.json");
      return existsSync(record) && (JSON.parse(readFileSync(record, "utf8")) as Made);
    });
    await until("its routers are there", 20_000, () => made.routers.length > 0 && tracesOf(made).length > 3);
    const { stdout } = await bench;
    const { rows } = JSON.parse(readFileSync(file, "utf8")) as { rows: { name: string; value: number }[] };
    expect(rows.map(({ name }) => name)).toMatchInlineSnapshot(`
    [
      "VICI codec, list-sas: decode",
      "VICI codec, list-sas: decode, time / JSON.parse",
      "VICI codec, list-sas: encode",
      "VICI codec, list-sas: encode, time / JSON.stringify",
      "VICI codec, list-conns: decode",
      "VICI codec, list-conns: decode, time / JSON.parse",
      "VICI codec, list-conns: encode",
      "VICI codec, list-conns: encode, time / JSON.stringify",
      "cold start, 1 router: floor",
      "cold start, 1 router: agent, list fetched to all loaded",
      "cold start, 1 router: agent, process started to all loaded",
      "cold start, 1 router: list fetched to all loaded / floor",
      "cold start, 1 router: process started to all loaded / floor",
      "cold start, 3 routers: floor",
      "cold start, 3 routers: agent, list fetched to all loaded",
      "cold start, 3 routers: agent, process started to all loaded",
      "cold start, 3 routers: list fetched to all loaded / floor",
      "cold start, 3 routers: process started to all loaded / floor",
      "idle, 3 routers: CPU of one pass over one router",
      "idle, 3 routers: processes started",
      "idle, 3 routers: resident memory of the agent",
      "update among 3 routers, cast to read back from charon: p50",
      "update among 3 routers, cast to read back from charon: p99",
    ]
  `);
    for (const { name, value } of rows) {
      expect(stdout).toContain(name);
      expect(Number.isFinite(value), `${name}: ${String(value)}`).toBe(true);
    }
    expect(rows.find(({ name }) => name.endsWith("processes started"))?.value).toBe(0);
    expect(tracesOf(made)).toEqual([]);
    expect(directoryOf(bench.pid)).toBe(undefined);
    expect(readdirSync(directory)).toEqual(["figures.json"]);
  },
);
