// Every kind of fault by its name.
import * as broker from "./broker.ts";
import type { Fault } from "./fault.ts";
import * as files from "./files.ts";
import * as messages from "./messages.ts";
import * as network from "./network.ts";
import * as programs from "./programs.ts";
import * as swanctl from "./swanctl.ts";

export const FAULTS = {
  "agent-kill": programs.agentKill,
  "agent-restart": programs.agentRestart,
  "controller-restart": programs.controllerRestart,
  "charon-kill": programs.charonKill,
  "vici-slow": programs.viciSlow,
  "netlink-fails": programs.netlinkFails,
  "broker-restart": broker.restart,
  "broker-cut": broker.cut,
  "broker-slow": broker.slow,
  "message-duplicate": messages.duplicate,
  "message-reordered": messages.reordered,
  "message-stale": messages.stale,
  "message-malformed": messages.malformed,
  "disk-full": files.diskFull,
  "file-edited": files.fileEdited,
  "file-removed": files.fileRemoved,
  "namespace-delete": network.namespaceDelete,
  "link-delete": network.linkDelete,
  "link-down": network.linkDown,
  "link-moved": network.linkMoved,
  "address-delete": network.addressDelete,
  "route-delete": network.routeDelete,
  "rule-delete": network.ruleDelete,
  "nft-delete": network.nftDelete,
  "nft-rule-delete": network.nftRuleDelete,
  "swanctl-unload-conn": swanctl.unloadConns,
  "swanctl-terminate": swanctl.terminate,
  "swanctl-clear-creds": swanctl.clearCreds,
} satisfies Readonly<Record<string, Fault>>;

export type FaultKind = keyof typeof FAULTS;
export const FAULT_KINDS = Object.keys(FAULTS) as readonly FaultKind[];
export const isFaultKind = (text: string): text is FaultKind => text in FAULTS;
