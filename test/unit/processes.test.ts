// Processes as /proc shows them, on this one and on one that it starts.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, onTestFinished, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { argumentsOf, isRunning, ownId, readProcess, readProcesses } from "../../scripts/processes.ts";

test("this process runs since its own start time, and since no other", () => {
  const own = ownId();
  expect(own.pid).toBe(process.pid);
  expect([isRunning(own), isRunning({ ...own, startTime: "1" })]).toEqual([true, false]);
  expect(readProcesses()).toContainEqual(expect.objectContaining(own));
});

test("a child is known by its parent and arguments while it runs, and is gone afterwards", async () => {
  const child = spawn("sleep", ["600"], { stdio: "ignore" });
  onTestFinished(() => void child.kill("SIGKILL"));
  await once(child, "spawn");
  const pid = child.pid ?? 0;
  const found = readProcess(pid);
  expect(found?.parent).toBe(process.pid);
  // "spawn" is told when the files of before are closed, a moment before the kernel shows the new arguments.
  await eventually(() => argumentsOf(pid).includes("600"), { what: "its arguments" });
  child.kill("SIGKILL");
  await once(child, "exit");
  expect([readProcess(pid), argumentsOf(pid)]).toEqual([undefined, [""]]);
});
