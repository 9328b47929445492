// The agent's configuration in the words of its parts: milliseconds, paths and functions.
import type { AgentConfig } from "./config.ts";
import type { NodeKey } from "./core/fingerprint.ts";
import type { EspBackEnd } from "./core/guard.ts";
import type { RouterId } from "./core/ids.ts";
import type { Plumbing } from "./core/model.ts";
import { ovsAttachment, type Attachment } from "./core/network.ts";
import { ownerAlias, ownerChain, routerOfNamespace } from "./core/names.ts";
import type { RouterHost } from "./core/ports.ts";
import type { IkeOptions } from "./io/charon/ike.ts";
import type { InspectionOptions } from "./io/charon/inspection.ts";
import type { ChoiceOptions } from "./io/charon/supervisor-choice.ts";
import type { Supervisor } from "./io/charon/supervisor.ts";
import { comparisons } from "./io/charon/texts.ts";
import type { RouterNamespaces } from "./io/kernel/network.ts";
import { namespaceInode, NAMESPACE_DIRECTORY } from "./io/kernel/netns.ts";
import type { AnnouncerOptions } from "./io/ovn/announcer.ts";
import { routerOfName, routerPlace, type RouterHostOptions } from "./io/l3-agent/router-host.ts";
import type { SwitchOptions } from "./io/ovn/switch.ts";
import type { LoopOptions } from "./reconcile/loop.ts";
import type { ReconcileOptions } from "./reconcile/memory.ts";

const PASSES_AT_ONCE = 16;
const DIFFERING_GRACE_MS = 30_000;
const CONNECT_TIMEOUT_MS = 30_000;
const YIELD_MS = 1_000;
// Longer than the 10 s after which charon deletes the older of two IKE SAs that it takes for a re-authentication
// (ike_sa_manager.c, check_uniqueness): ending the other one meanwhile would leave none.
const DUPLICATE_GRACE_MS = 12_000;

/** What charons are called by, in files, sockets and units, whatever namespace they are in. */
const namespaceOfCharon =
  ({ topology, routerTopology }: AgentConfig) =>
  (name: string): string => {
    const router = topology === "router" ? routerOfNamespace(name) : undefined;
    return router === undefined ? name : routerPlace(router, { ...routerTopology, exists }).namespace;
  };

const exists = (namespace: string): boolean => namespaceInode(namespace) !== undefined;

export const supervisorOptions = (config: AgentConfig): ChoiceOptions => ({
  wanted: config.topology === "router" ? "process" : config.supervisor,
  template: config.charonUnit,
  executable: config.charonPath,
  runDirectory: config.runDirectory,
  socketDirectory: config.charonSocketDirectory,
  namespacePath: (name) => `${NAMESPACE_DIRECTORY}/${namespaceOfCharon(config)(name)}`,
});

export const ikeOptions = (
  config: AgentConfig,
  key: NodeKey,
  espBackEnd: EspBackEnd,
  supervisor: Supervisor,
  hooks: Pick<IkeOptions, "onCommand" | "onLog" | "onTakeOver">,
): IkeOptions => ({
  key,
  executable: config.charonPath,
  supervisor,
  runDirectory: config.runDirectory,
  socketDirectory: config.charonSocketDirectory,
  espBackEnd,
  retransmission: config.retransmit,
  takesOver: config.takeOver,
  namespaceInode: (name) => namespaceInode(namespaceOfCharon(config)(name)),
  nowMs: () => Date.now(),
  ...hooks,
});

export const inspectionOptions = (config: AgentConfig, key: NodeKey, espBackEnd: EspBackEnd): InspectionOptions => ({
  key,
  espBackEnd,
  runDirectory: config.runDirectory,
  socketDirectory: config.charonSocketDirectory,
});

export const announcerOptions = (
  { ovn: { enabled, ...ovn }, host }: AgentConfig,
  parts: Omit<AnnouncerOptions, keyof AgentConfig["ovn"] | "host">,
): AnnouncerOptions | undefined => (enabled ? { ...ovn, host, ...parts } : undefined);

/** Undefined in a topology whose namespaces are ours. */
export const routerNamespaces = ({ topology, routerTopology, host }: AgentConfig): RouterNamespaces | undefined =>
  topology === "router"
    ? { routerOf: (name) => routerOfName(name, routerTopology), ownerChain: ownerChain(ownerAlias(host)) }
    : undefined;

export const routerHostOptions = ({ routerTopology }: AgentConfig): RouterHostOptions => ({
  ...routerTopology,
  exists,
});

/** Undefined: nothing is plugged into a switch. */
export const switchOptions = (
  { attachment, ovn: { localDatabase, privateKey, certificate, caCertificate } }: AgentConfig,
  parts: Pick<SwitchOptions, "clock" | "log">,
): SwitchOptions | undefined =>
  attachment.kind === "ovs" ? { localDatabase, privateKey, certificate, caCertificate, ...parts } : undefined;

export const loopOptions = (config: AgentConfig, reconcile: ReconcileOptions): LoopOptions => ({
  reconcile,
  retry: config.retry,
  fetchIntervalMs: config.fetchIntervalSeconds * 1000,
  passIntervalMs: config.passIntervalSeconds * 1000,
  listSasIntervalMs: config.listSasIntervalSeconds * 1000,
  removal: {
    confirmMs: config.removal.absenceConfirmSeconds * 1000,
    massCount: config.removal.massCount,
    massPercent: config.removal.massPercent,
  },
  passesAtOnce: PASSES_AT_ONCE,
});

export function reconcileOptions(
  config: AgentConfig,
  key: NodeKey,
  { espBackEnd, kernelEsp }: Pick<ReconcileOptions, "espBackEnd" | "kernelEsp">,
  routerHost: RouterHost,
): ReconcileOptions {
  return {
    host: config.host,
    espBackEnd,
    kernelEsp,
    initiateRetry: config.initiateRetry,
    restart: config.retry,
    ...(config.topology === "router"
      ? { topology: config.topology, routerHost }
      : {
          topology: config.topology,
          attachment: (router: RouterId, network: Plumbing["external"]["network"] | undefined) =>
            attachmentOf(config, router, network),
        }),
    charonPlan: {
      espBackEnd,
      key,
      splitChildren: config.splitChildren,
      updateWindowMs: config.pskReauthTimeoutSeconds * 1000,
      differingGraceMs: DIFFERING_GRACE_MS,
      connectTimeoutMs: CONNECT_TIMEOUT_MS,
      yieldMs: YIELD_MS,
      duplicateGraceMs: DUPLICATE_GRACE_MS,
      ...comparisons(key, espBackEnd),
    },
  };
}

/** Without a network, for a removal, the bridge does not matter. */
function attachmentOf(
  { attachment }: AgentConfig,
  router: RouterId,
  network: Plumbing["external"]["network"] | undefined,
): Attachment | string {
  if (attachment.kind === "ovs") return ovsAttachment(attachment.integrationBridge);
  const attachedBy = "bridge";
  const routerNamespace = attachment.routerNamespace.replace("{id}", router);
  if (network === undefined) return { attachedBy, bridge: "", routerNamespace };
  const bridge = attachment.bridges[network.name] ?? attachment.bridges[network.id];
  if (bridge !== undefined) return { attachedBy, bridge, routerNamespace };
  return `attachment.bridges names no bridge for external network "${network.name}" (${network.id}); add one and reload`;
}
