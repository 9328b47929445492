// Ending a charon: in peace, by force, and giving up. Processes of node pass for one.
import { once } from "node:events";
import { execa } from "execa";
import { expect, onTestFinished, test } from "vitest";
import { DeadlineError } from "../../../../src/core/errors.ts";
import { inspectCharon, isAlive, stopCharon, type CharonProcess } from "../../../../src/io/charon/process.ts";

const never = new AbortController().signal;

/** A process that passes for a charon; a deaf one does not end in peace. */
async function aProcess(isDeaf: boolean): Promise<CharonProcess> {
  const script = `process.on("SIGTERM", () => { if (!${String(isDeaf)}) process.exit() }); setInterval(() => {}, 1000); console.log("up")`;
  const child = execa(process.execPath, ["-e", script], { env: { STRONGSWAN_CONF: "/nowhere" }, reject: false });
  onTestFinished(() => void child.kill("SIGKILL"));
  await once(child.stdout, "data");
  const charon = inspectCharon(child.pid ?? 0, process.execPath);
  if (charon === undefined) throw new Error("the process is not seen");
  return charon;
}

test("a charon ends in peace", async () => {
  const charon = await aProcess(false);
  await stopCharon(charon, never, { killAfterMs: 15_000, giveUpAfterMs: 15_000 });
  expect(isAlive(charon)).toBe(false);
});

test("one that does not is ended by force", async () => {
  const charon = await aProcess(true);
  await stopCharon(charon, never, { killAfterMs: 50, giveUpAfterMs: 15_000 });
  expect(isAlive(charon)).toBe(false);
});

test("one that cannot be ended is waited for only so long", async () => {
  const charon = await aProcess(true);
  await expect(stopCharon(charon, never, { killAfterMs: 15_000, giveUpAfterMs: 50 })).rejects.toThrow(DeadlineError);
});

test("one that has ended already is no error", async () => {
  const charon = await aProcess(false);
  process.kill(charon.pid, "SIGKILL");
  await expect.poll(() => isAlive(charon)).toBe(false);
  await stopCharon(charon, never);
});
