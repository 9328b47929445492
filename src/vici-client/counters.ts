// How often what happened to IKE: get-counters, reset-counters. Both are refused without the plugin `counters`.
import { readSection, requireInteger, sectionsOf } from "./fields.ts";
import type { Section } from "./message.ts";
import { printable, run } from "./run.ts";
import type { CommandOptions, ViciRequester } from "./session.ts";

/**
 * Since charon's start or the last reset (vici_query.c, vici_counter_type_names). "In" is what this charon received,
 * "out" what it sent. Of IKEv1 only invalid and informational messages are counted (counters_listener.c).
 */
export type Counters = {
  /** IKE SAs rekeyed by us, and by the peer. */
  readonly ikeRekeyInitiatedCount: number;
  readonly ikeRekeyRespondedCount: number;
  readonly childRekeyCount: number;
  /** Messages that could not be parsed or verified. */
  readonly invalidMessageCount: number;
  /** Messages with an SPI that no IKE SA has. */
  readonly invalidSpiCount: number;
  readonly ikeInitRequestInCount: number;
  readonly ikeInitResponseInCount: number;
  readonly ikeInitRequestOutCount: number;
  readonly ikeInitResponseOutCount: number;
  readonly ikeAuthRequestInCount: number;
  readonly ikeAuthResponseInCount: number;
  readonly ikeAuthRequestOutCount: number;
  readonly ikeAuthResponseOutCount: number;
  readonly createChildRequestInCount: number;
  readonly createChildResponseInCount: number;
  readonly createChildRequestOutCount: number;
  readonly createChildResponseOutCount: number;
  readonly informationalRequestInCount: number;
  readonly informationalResponseInCount: number;
  readonly informationalRequestOutCount: number;
  readonly informationalResponseOutCount: number;
};

/** Of all connections together. */
export async function getCounters(vici: ViciRequester, options?: CommandOptions): Promise<Counters> {
  const answer = await run(vici, "get-counters", {}, options);
  // charon calls them by a name of no bytes.
  return decodeCounters(readSection(readSection(answer, "counters"), ""));
}

/** Of one connection. Refused when nothing was ever counted for it, also where it exists. */
export async function getConnCounters(vici: ViciRequester, name: string, options?: CommandOptions): Promise<Counters> {
  const answer = await run(vici, "get-counters", { name: printable("name", name) }, options);
  return decodeCounters(readSection(readSection(answer, "counters"), name));
}

/** By connection, for each that something was counted for; without those of all together. */
export async function getAllConnCounters(
  vici: ViciRequester,
  options?: CommandOptions,
): Promise<ReadonlyMap<string, Counters>> {
  const answer = await run(vici, "get-counters", { all: "yes" }, options);
  return new Map(sectionsOf(readSection(answer, "counters")).map(([name, section]) => [name, decodeCounters(section)]));
}

/** Those of all connections together; those of each connection go on. */
export async function resetCounters(vici: ViciRequester, options?: CommandOptions): Promise<void> {
  await run(vici, "reset-counters", {}, options);
}

/** charon accepts any name, also of a connection that is not there. */
export async function resetConnCounters(vici: ViciRequester, name: string, options?: CommandOptions): Promise<void> {
  await run(vici, "reset-counters", { name: printable("name", name) }, options);
}

/** Those of each connection; those of all together go on. */
export async function resetAllConnCounters(vici: ViciRequester, options?: CommandOptions): Promise<void> {
  await run(vici, "reset-counters", { all: "yes" }, options);
}

export function decodeCounters(section: Section): Counters {
  return {
    ikeRekeyInitiatedCount: requireInteger(section, "ike-rekey-init"),
    ikeRekeyRespondedCount: requireInteger(section, "ike-rekey-resp"),
    childRekeyCount: requireInteger(section, "child-rekey"),
    invalidMessageCount: requireInteger(section, "invalid"),
    invalidSpiCount: requireInteger(section, "invalid-spi"),
    ikeInitRequestInCount: requireInteger(section, "ike-init-in-req"),
    ikeInitResponseInCount: requireInteger(section, "ike-init-in-resp"),
    ikeInitRequestOutCount: requireInteger(section, "ike-init-out-req"),
    ikeInitResponseOutCount: requireInteger(section, "ike-init-out-resp"),
    ikeAuthRequestInCount: requireInteger(section, "ike-auth-in-req"),
    ikeAuthResponseInCount: requireInteger(section, "ike-auth-in-resp"),
    ikeAuthRequestOutCount: requireInteger(section, "ike-auth-out-req"),
    ikeAuthResponseOutCount: requireInteger(section, "ike-auth-out-resp"),
    createChildRequestInCount: requireInteger(section, "create-child-in-req"),
    createChildResponseInCount: requireInteger(section, "create-child-in-resp"),
    createChildRequestOutCount: requireInteger(section, "create-child-out-req"),
    createChildResponseOutCount: requireInteger(section, "create-child-out-resp"),
    informationalRequestInCount: requireInteger(section, "info-in-req"),
    informationalResponseInCount: requireInteger(section, "info-in-resp"),
    informationalRequestOutCount: requireInteger(section, "info-out-req"),
    informationalResponseOutCount: requireInteger(section, "info-out-resp"),
  };
}
