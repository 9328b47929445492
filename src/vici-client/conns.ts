// Loaded connections as charon reports them in list-conn (VICI README, "list-conn"; vici_query.c). Proposals, start
// actions and lifetimes beside the rekey times are not in it.
import {
  readInteger,
  readList,
  readSection,
  readText,
  readYes,
  requireInteger,
  requireText,
  sectionsOf,
} from "./fields.ts";
import type { Section } from "./message.ts";

export type ConnConfig = {
  readonly name: string;
  /** IKEv1, IKEv2, or IKEv1/2 for any. */
  readonly version: string;
  readonly localAddrs: readonly string[];
  readonly remoteAddrs: readonly string[];
  /** From 6.0.2 on. */
  readonly localPort: number | undefined;
  readonly remotePort: number | undefined;
  readonly reauthSeconds: number;
  readonly rekeySeconds: number;
  readonly uniquePolicy: string | undefined;
  /** Undefined when DPD is off. */
  readonly dpdDelaySeconds: number | undefined;
  readonly dpdTimeoutSeconds: number | undefined;
  readonly ppkId: string | undefined;
  readonly isPpkRequired: boolean;
  readonly localAuth: readonly AuthRound[];
  readonly remoteAuth: readonly AuthRound[];
  readonly children: readonly ChildConfig[];
};

export type AuthRound = {
  /** E.g. "pre-shared key", "public key". */
  readonly class: string | undefined;
  readonly id: string | undefined;
  readonly eapType: string | undefined;
  readonly eapId: string | undefined;
  readonly xauthId: string | undefined;
  readonly certs: readonly string[];
  readonly caCerts: readonly string[];
};

export type ChildConfig = {
  readonly name: string;
  readonly mode: string | undefined;
  /** 0: never. */
  readonly rekeySeconds: number;
  readonly rekeyBytes: number;
  readonly rekeyPackets: number;
  readonly dpdAction: string | undefined;
  readonly closeAction: string | undefined;
  readonly localTs: readonly string[];
  readonly remoteTs: readonly string[];
};

export function decodeConn(name: string, section: Section): ConnConfig {
  return {
    name,
    version: requireText(section, "version"),
    localAddrs: readList(section, "local_addrs"),
    remoteAddrs: readList(section, "remote_addrs"),
    localPort: readInteger(section, "local_port"),
    remotePort: readInteger(section, "remote_port"),
    reauthSeconds: requireInteger(section, "reauth_time"),
    rekeySeconds: requireInteger(section, "rekey_time"),
    uniquePolicy: readText(section, "unique"),
    dpdDelaySeconds: readInteger(section, "dpd_delay"),
    dpdTimeoutSeconds: readInteger(section, "dpd_timeout"),
    ppkId: readText(section, "ppk_id"),
    isPpkRequired: readYes(section, "ppk_required"),
    localAuth: decodeRounds(section, "local-"),
    remoteAuth: decodeRounds(section, "remote-"),
    children: sectionsOf(readSection(section, "children")).map(([child, config]) => decodeChild(child, config)),
  };
}

function decodeRounds(section: Section, prefix: string): readonly AuthRound[] {
  return sectionsOf(section)
    .filter(([key]) => key.startsWith(prefix))
    .map(([, round]) => ({
      class: readText(round, "class"),
      id: readText(round, "id"),
      eapType: readText(round, "eap-type"),
      eapId: readText(round, "eap_id"),
      xauthId: readText(round, "xauth_id"),
      certs: readList(round, "certs"),
      caCerts: readList(round, "cacerts"),
    }));
}

function decodeChild(name: string, section: Section): ChildConfig {
  return {
    name,
    mode: readText(section, "mode"),
    rekeySeconds: readInteger(section, "rekey_time") ?? 0,
    rekeyBytes: readInteger(section, "rekey_bytes") ?? 0,
    rekeyPackets: readInteger(section, "rekey_packets") ?? 0,
    dpdAction: readText(section, "dpd_action"),
    closeAction: readText(section, "close_action"),
    localTs: readList(section, "local-ts"),
    remoteTs: readList(section, "remote-ts"),
  };
}
