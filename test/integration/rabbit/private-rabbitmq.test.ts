// The private broker itself: nothing of it may stay behind, whatever became of its owner.
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterEach, expect, test } from "vitest";
import { createCleanup } from "../../support/broker.ts";
import { eventually } from "../../support/eventually.ts";
import { reapStale, startPrivateRabbitmq } from "../../../scripts/private-rabbitmq.ts";

const cleanup = createCleanup();
afterEach(() => cleanup.run());

/** Live processes whose arguments or working directory name `directory`. */
function processesOf(directory: string): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(directory);
      } catch {
        return false; // gone
      }
    });
}

/** Local addresses of listening TCP sockets on `port`, as the kernel writes them. */
function listenersOn(port: number): string[] {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  return ["/proc/net/tcp", "/proc/net/tcp6"].flatMap((file) =>
    readFileSync(file, "utf8")
      .split("\n")
      .map((line) => line.trim().split(/\s+/))
      .filter(([, local, , state]) => local?.endsWith(`:${hex}`) === true && state === "0A")
      .map(([, local]) => local ?? ""),
  );
}

test("a private broker listens on 127.0.0.1 only, shows no cookie, and leaves nothing", async () => {
  const rabbit = await startPrivateRabbitmq();
  cleanup.add(() => rabbit.stop());
  const pids = processesOf(rabbit.directory);
  expect(pids).toHaveLength(1);
  expect(listenersOn(rabbit.port)).toEqual(["0100007F:" + rabbit.port.toString(16).toUpperCase().padStart(4, "0")]);
  const cookie = readFileSync(`${rabbit.directory}/home/.erlang.cookie`, "utf8");
  expect(readFileSync(`/proc/${pids[0] ?? ""}/cmdline`, "utf8")).not.toContain(cookie);
  await rabbit.stop();
  expect(processesOf(rabbit.directory)).toEqual([]);
  expect(existsSync(rabbit.directory)).toBe(false);
});

test("what a killed owner left is found and removed", async () => {
  const module = fileURLToPath(new URL("../../../scripts/private-rabbitmq.ts", import.meta.url));
  const program = `import(${JSON.stringify(module)}).then(async (m) => console.log((await m.startPrivateRabbitmq()).directory))`;
  const owner = spawn(process.execPath, ["--import", "tsx", "--eval", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  cleanup.add(() => reapStale());
  cleanup.add(() => owner.kill("SIGKILL"));
  let output = "";
  owner.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  await eventually(() => output.endsWith("\n"), { timeoutMs: 60_000, what: "the other owner's broker" });
  const directory = output.trim();
  expect(await reapStale()).not.toContain(directory);
  expect(processesOf(directory)).toHaveLength(1);

  const ended = new Promise((resolve) => owner.once("close", resolve));
  owner.kill("SIGKILL");
  await ended;
  expect(await reapStale()).toContain(directory);
  expect(processesOf(directory)).toEqual([]);
  expect(existsSync(directory)).toBe(false);
});
