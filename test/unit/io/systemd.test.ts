// What a service manager would hear, on a socket that stands for it.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import koffi from "koffi";
import { afterAll, expect, onTestFinished, test, vi } from "vitest";
import { createNotifier, encodeUnixAddress, keepWatchdog } from "../../../src/io/systemd.ts";

const directory = mkdtempSync(path.join(tmpdir(), "swanherd-notify-"));
afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});

const libc = koffi.load("libc.so.6");
const socket = libc.func("int socket(int, int, int)") as unknown as (...args: unknown[]) => number;
const bind = libc.func("int bind(int, void *, uint32_t)") as unknown as (...args: unknown[]) => number;
const recv = libc.func("intptr_t recv(int, void *, size_t, int)") as unknown as (...args: unknown[]) => number;
const close = libc.func("int close(int)") as unknown as (...args: unknown[]) => number;
const MSG_DONTWAIT = 0x40;

function listenOn(name: string) {
  const fd = socket(1, 2, 0);
  const address = encodeUnixAddress(name);
  if (bind(fd, address, address.length) !== 0) throw new Error("bind");
  const receive = (): string => {
    const bytes = Buffer.alloc(512);
    const size = recv(fd, bytes, bytes.length, MSG_DONTWAIT);
    return size < 0 ? "nothing" : bytes.subarray(0, size).toString();
  };
  return { receive, close: () => close(fd) };
}

const fail = (err: Error): void => {
  throw err;
};

test.each([
  ["a socket in the file system", path.join(directory, "notify")],
  ["an abstract socket", `@swanherd-test-${process.pid}`],
])("%s gets each state as one datagram", (_kind, name) => {
  const manager = listenOn(name);
  const notifier = createNotifier(name, fail);
  notifier.ready();
  expect(manager.receive()).toBe("READY=1");
  notifier.watchdog();
  expect(manager.receive()).toBe("WATCHDOG=1");
  notifier.status("3 routers\n2 up");
  expect(manager.receive()).toBe("STATUS=3 routers 2 up");
  notifier.stopping();
  expect(manager.receive()).toBe("STOPPING=1");
  manager.close();
});

test("without a socket nothing happens", () => {
  createNotifier(undefined, fail).ready();
  createNotifier("", fail).stopping();
});

test("a manager that is not there is told of once and stops nothing", () => {
  const failures: string[] = [];
  const notifier = createNotifier(path.join(directory, "absent"), (err) =>
    failures.push(`${err.message}: ${(err.cause as Error).message}`),
  );
  notifier.ready();
  notifier.watchdog();
  expect(failures).toEqual(["tell the service manager: sendto: ENOENT"]);
});

test("the watchdog hears from us twice in each interval, and only while the work goes on", () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  let isAlive = true;
  let heard = 0;
  const notifier = { ...createNotifier(undefined, fail), watchdog: () => void (heard += 1) };
  const stop = keepWatchdog(notifier, 10_000, () => isAlive);
  vi.advanceTimersByTime(20_000);
  expect(heard).toBe(4);
  isAlive = false;
  vi.advanceTimersByTime(20_000);
  expect(heard).toBe(4);
  isAlive = true;
  stop();
  vi.advanceTimersByTime(20_000);
  expect(heard).toBe(4);
});
