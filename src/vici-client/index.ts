// Entry of the package's subpath `swanherd/vici-client`; inside the project the files are imported themselves.
export { ALERT_TYPES, type AlertType } from "./alerts.ts";
export { getAlgorithms, type Implementations, type LoadedAlgorithms } from "./algorithms.ts";
export {
  type Authority,
  type AuthorityConfig,
  getAuthorities,
  listAuthorities,
  loadAuthority,
  unloadAuthority,
} from "./authorities.ts";
export {
  type Cert,
  type CertFilter,
  clearCreds,
  flushCerts,
  listCerts,
  type LoadableCert,
  loadCert,
  type X509Flag,
} from "./certs.ts";
export * from "./client.ts";
export * from "./commands.ts";
export type { AuthRound, ChildConfig, ConnConfig, Proposal } from "./conns.ts";
export {
  type Counters,
  getAllConnCounters,
  getConnCounters,
  getCounters,
  resetAllConnCounters,
  resetConnCounters,
  resetCounters,
} from "./counters.ts";
export { type JobCounts, reloadSettings, type Stats, stats, type Version, version } from "./daemon.ts";
export * from "./errors.ts";
export {
  COMMAND_EVENTS,
  decodeEvent,
  type EventName,
  type LogLine,
  SUBSCRIBABLE_EVENTS,
  type ViciEvent,
} from "./events.ts";
export { followInitiate, type FollowOptions, followTerminate } from "./follow.ts";
export { MAX_FRAME_BYTES } from "./framing.ts";
export { getKeys, loadKey, loadToken, type PrivateKey, type TokenKey, unloadKey } from "./keys.ts";
export {
  type Atom,
  decodeMessage,
  encodeMessage,
  type List,
  MAX_DEPTH,
  MAX_NAME_BYTES,
  MAX_VALUE_BYTES,
  type Section,
  type SectionInput,
  type Value,
  type ValueInput,
} from "./message.ts";
export { install, listPolicies, type Policy, type PolicyFilter, type PolicyTarget, uninstall } from "./policies.ts";
export {
  getPoolLeases,
  getPools,
  loadPool,
  type Pool,
  type PoolAttribute,
  type PoolConfig,
  type PoolFilter,
  type PoolLease,
  unloadPool,
} from "./pools.ts";
export type { Algorithms, ChildSa, IkeSa, Mark } from "./sas.ts";
export {
  type CommandOptions,
  type OnEvent,
  openViciSession,
  type ViciRequester,
  type ViciSession,
  type ViciSessionOptions,
} from "./session.ts";
export { subscribe, type Subscription, type SubscriptionOptions } from "./subscription.ts";
