// Entry of the package's subpath `swanherd/vici-client`; inside the project the files are imported themselves.
export * from "./client.ts";
export * from "./commands.ts";
export type { AuthRound, ChildConfig, ConnConfig } from "./conns.ts";
export * from "./errors.ts";
export { decodeEvent, type LogLine, type ViciEvent } from "./events.ts";
export { MAX_FRAME_BYTES } from "./framing.ts";
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
export type { Algorithms, ChildSa, IkeSa } from "./sas.ts";
export {
  type CommandOptions,
  openViciSession,
  type ViciRequester,
  type ViciSession,
  type ViciSessionOptions,
} from "./session.ts";
export { subscribe, type Subscription, type SubscriptionOptions } from "./subscription.ts";
