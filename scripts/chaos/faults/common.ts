// What can be done to a run in every place.
import * as broker from "./broker.ts";
import type { Fault } from "./fault.ts";
import * as files from "./files.ts";
import * as ipsec from "./ipsec.ts";
import type { FaultKind } from "./kinds.ts";
import * as messages from "./messages.ts";
import * as network from "./network.ts";
import * as programs from "./programs.ts";
import * as swanctl from "./swanctl.ts";

export const COMMON_FAULTS = {
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
  "nft-delete": network.nftDelete,
  "nft-flush": network.nftFlush,
  "nft-rule-delete": network.nftRuleDelete,
  "ipsec-state-delete": ipsec.stateDelete,
  "ipsec-policy-delete": ipsec.policyDelete,
  "ipsec-flush": ipsec.flush,
  "swanctl-unload-conn": swanctl.unloadConns,
  "swanctl-terminate": swanctl.terminate,
  "swanctl-clear-creds": swanctl.clearCreds,
} satisfies Readonly<Partial<Record<FaultKind, Fault>>>;
