// The least that bringing routers up can take here: the kernel's and charon's steps of an agent, of which it has the plan
// beforehand, and nothing else. No broker, no observation, no comparison, nothing is read back, no files but charon's own.
// Run as a process of its own, as the agent is; takes its orders as JSON in the first argument, prints `{"ms": …}`.
import { setTimeout as sleep } from "node:timers/promises";
import { pino } from "pino";
import { secretFingerprint } from "../../src/core/fingerprint.ts";
import type { EspBackEnd } from "../../src/core/guard.ts";
import type { DesiredRouter } from "../../src/core/model.ts";
import { networkConfig } from "../../src/core/network.ts";
import { planNetwork, type NetworkStep } from "../../src/core/network-plan.ts";
import { namespaceName } from "../../src/core/names.ts";
import { groupPeers } from "../../src/core/peers.ts";
import { decodeSnapshot } from "../../src/core/snapshot.ts";
import { charonPaths, writeCharonFile, type CharonPaths } from "../../src/io/charon/files.ts";
import { processSupervisor } from "../../src/io/charon/process-supervisor.ts";
import { NAMESPACE_DIRECTORY } from "../../src/io/kernel/netns.ts";
import { KernelNetwork } from "../../src/io/kernel/network.ts";
import { applyGuardByNft } from "../../src/io/nft/nft.ts";
import { createSnapshotStore, loadNodeKey } from "../../src/io/state.ts";
import { loadConn, loadShared } from "../../src/vici-client/commands.ts";
import { openViciSession, type ViciSession } from "../../src/vici-client/session.ts";
import { peerSecret, peerSection } from "../../src/wire/swanctl/peer.ts";
import { strongswanConf } from "../../src/wire/swanctl/strongswan-conf.ts";

export type FloorOrders = {
  /** Of an agent that had these routers: its snapshot says what they are. */
  readonly stateDirectory: string;
  readonly runDirectory: string;
  readonly routers: readonly string[];
  readonly bridge: string;
  readonly host: string;
  readonly espBackEnd: EspBackEnd;
  readonly charonPath: string;
};

/** As many as an agent works at. */
const AT_ONCE = 16;
const ANSWER_POLL_MS = 5;

const orders = JSON.parse(process.argv[2] ?? "") as FloorOrders;
const { espBackEnd, charonPath: executable } = orders;
const never = new AbortController().signal;
const log = pino({ level: "silent" });
const key = loadNodeKey(orders.stateDirectory, log);
const network = new KernelNetwork(applyGuardByNft);
const supervisor = processSupervisor({ executable, namespacePath: (name) => `${NAMESPACE_DIRECTORY}/${name}` });

async function networkSteps(router: DesiredRouter): Promise<readonly NetworkStep[]> {
  if (router.plumbing.kind !== "known") throw new Error(`the plumbing of ${router.id} is not known`);
  const config = networkConfig({
    router,
    plumbing: router.plumbing.value,
    attachment: { attachedBy: "bridge", bridge: orders.bridge, routerNamespace: `qrouter-${router.id}` },
    host: orders.host,
    espBackEnd,
  });
  return planNetwork(config, await network.observe(config, never));
}

async function answering({ socket }: CharonPaths): Promise<ViciSession> {
  for (;;) {
    try {
      return await openViciSession({ path: socket });
    } catch {
      await sleep(ANSWER_POLL_MS);
    }
  }
}

async function bringUp(router: DesiredRouter, steps: readonly NetworkStep[]): Promise<void> {
  for (const step of steps) await network.apply(step, never);
  const namespace = namespaceName(router.id);
  const paths = charonPaths(orders.runDirectory, "/run", namespace);
  writeCharonFile(paths.strongswanConf, strongswanConf({ viciSocket: paths.socket, espBackEnd, retransmission: {} }));
  await supervisor.start({ namespace, strongswanConf: paths.strongswanConf, former: undefined }, never);
  const vici = await answering(paths);
  const tunnels = router.connections.flatMap((connection) => (connection.kind === "usable" ? [connection.tunnel] : []));
  for (const peer of groupPeers(tunnels, { committed: new Set(), leaders: new Set() }, false).peers) {
    const data = peer.leader.psk.reveal();
    await loadShared(vici, { ...peerSecret(peer, secretFingerprint(key, peer.leader)), data });
    await loadConn(vici, peer.name, peerSection(peer, espBackEnd));
  }
  await vici.close();
}

const snapshot = decodeSnapshot(createSnapshotStore(orders.stateDirectory, key, log).load() ?? "null");
const plans: { readonly router: DesiredRouter; readonly steps: readonly NetworkStep[] }[] = [];
for (const router of snapshot?.values() ?? []) {
  if (orders.routers.includes(router.id)) plans.push({ router, steps: await networkSteps(router) });
}
if (plans.length !== orders.routers.length) throw new Error("the snapshot lacks a router");

const startedAt = performance.now();
const waiting = [...plans];
const worker = async (): Promise<void> => {
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) await bringUp(next.router, next.steps);
};
await Promise.all(Array.from({ length: AT_ONCE }, worker));
process.stdout.write(`${JSON.stringify({ ms: performance.now() - startedAt })}\n`);
network.close();
