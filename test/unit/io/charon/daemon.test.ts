// How the events of a charon are heard, with a VICI server of the test.
import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { namespaceName } from "../../../../src/core/names.ts";
import type { CharonEvent } from "../../../../src/core/ports.ts";
import { Daemon } from "../../../../src/io/charon/daemon.ts";
import { processSupervisor } from "../../../../src/io/charon/process-supervisor.ts";
import { FakeVici } from "../../../support/fake-vici.ts";
import { ROUTER } from "../../../support/network-builders.ts";

test("an event of a form that is not known is a reason to look, and ends no subscription", async () => {
  const directory = mkdtempSync(join(tmpdir(), "daemon-"));
  const vici = await new FakeVici({
    commands: { "unload-conn": (_request, peer) => peer.respond({ success: "yes" }) },
    events: ["ike-updown", "ike-rekey", "ike-update", "child-updown", "child-rekey", "log"],
  }).start();
  symlinkSync(vici.path, join(directory, `charon.${namespaceName(ROUTER)}.vici`));
  const options = {
    key: Buffer.alloc(32),
    supervisor: processSupervisor({ executable: "/nowhere/charon", namespacePath: (name) => name }),
    runDirectory: directory,
    socketDirectory: directory,
    espBackEnd: "kernel",
    retransmission: {},
    namespaceInode: () => undefined,
    onCommand: () => undefined,
    onLog: () => undefined,
    nowMs: () => 0,
  } as const;
  const daemon = new Daemon(ROUTER, options, () => undefined);
  onTestFinished(async () => {
    await daemon.close();
    await vici.dispose();
    rmSync(directory, { recursive: true });
  });
  const events: CharonEvent["kind"][] = [];
  daemon.watch(({ kind }) => events.push(kind));

  await daemon.apply({ kind: "unloadPeer", name: "peer-000000000000" }, new AbortController().signal);
  await expect.poll(() => events).toEqual(["connected"]);
  vici.raise("child-updown", { up: "yes" });
  await expect.poll(() => events).toEqual(["connected", "sasChanged"]);
  vici.raise("ike-updown", {});
  await expect.poll(() => events).toEqual(["connected", "sasChanged", "sasChanged"]);
});
