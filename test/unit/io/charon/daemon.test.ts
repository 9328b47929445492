// How the events of a charon are heard, with a VICI server of the test.
import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { namespaceName } from "../../../../src/core/names.ts";
import type { CharonEvent } from "../../../../src/core/ports.ts";
import { Daemon } from "../../../../src/io/charon/daemon.ts";
import { processSupervisor } from "../../../../src/io/charon/process-supervisor.ts";
import type { CharonProcess } from "../../../../src/io/charon/process.ts";
import type { Supervisor } from "../../../../src/io/charon/supervisor.ts";
import { ownId } from "../../../../scripts/processes.ts";
import { FakeVici } from "../../../support/fake-vici.ts";
import { ROUTER } from "../../../support/network-builders.ts";

/** A VICI server that is reached where the router's charon would be, from `reach` on, and a Daemon that looks there. */
async function aDaemon(supervisor: Supervisor) {
  const directory = mkdtempSync(join(tmpdir(), "daemon-"));
  const vici = await new FakeVici({
    commands: {
      version: (_request, peer) => peer.respond({ daemon: "charon" }),
      "unload-conn": (_request, peer) => peer.respond({ success: "yes" }),
    },
    events: ["ike-updown", "ike-rekey", "ike-update", "child-updown", "child-rekey", "log"],
  }).start();
  const options = {
    key: Buffer.alloc(32),
    supervisor,
    runDirectory: directory,
    socketDirectory: directory,
    espBackEnd: "kernel",
    retransmission: {},
    namespaceInode: () => undefined,
    onCommand: () => undefined,
    onTakeOver: () => undefined,
    takesOver: false,
    onLog: () => undefined,
    nowMs: () => 0,
  } as const;
  const daemon = new Daemon(
    ROUTER,
    options,
    () => undefined,
    () => [],
  );
  onTestFinished(async () => {
    await daemon.close();
    await vici.dispose();
    rmSync(directory, { recursive: true });
  });
  const events: CharonEvent["kind"][] = [];
  daemon.watch(({ kind }) => events.push(kind));
  const reach = (): void => symlinkSync(vici.path, join(directory, `charon.${namespaceName(ROUTER)}.vici`));
  return { daemon, vici, events, reach };
}

test("a charon that was slow to answer is heard before anything is loaded into it", async () => {
  const { pid, startTime } = ownId();
  const running: CharonProcess = { pid, startTime, strongswanConf: "", namespaceInode: 1, unit: undefined };
  const { daemon, events, reach } = await aDaemon({
    kind: "process",
    start: () => Promise.resolve(running),
    stop: () => Promise.resolve(),
  });
  // Later than several attempts of a client that waits longer each time.
  setTimeout(reach, 400);
  await daemon.start(new AbortController().signal);
  expect(events).toEqual(["connected"]);
});

test("an event of a form that is not known is a reason to look, and ends no subscription", async () => {
  const { daemon, vici, events, reach } = await aDaemon(
    processSupervisor({ executable: "/nowhere/charon", namespacePath: (name) => name }),
  );
  reach();
  await daemon.apply({ kind: "unloadPeer", name: "peer-000000000000" }, new AbortController().signal);
  await expect.poll(() => events).toEqual(["connected"]);
  vici.raise("child-updown", { up: "yes" });
  await expect.poll(() => events).toEqual(["connected", "sasChanged"]);
  vici.raise("ike-updown", {});
  await expect.poll(() => events).toEqual(["connected", "sasChanged", "sasChanged"]);
});
