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
  /** From 6.1.0 on; undefined before. */
  readonly proposals: readonly Proposal[] | undefined;
  readonly localAuth: readonly AuthRound[];
  readonly remoteAuth: readonly AuthRound[];
  readonly children: readonly ChildConfig[];
};

/**
 * Algorithms to choose from by kind of transform: encr, integ, prf, ke, sn, …, with the names that get-algorithms and
 * list-sas have. Key lengths are part of them here, as in AES_CBC_256.
 */
export type Proposal = ReadonlyMap<string, readonly string[]>;

export type AuthRound = {
  /** E.g. "pre-shared key", "public key". */
  readonly class: string | undefined;
  readonly id: string | undefined;
  readonly eapType: string | undefined;
  /** Of eapType, where it is a vendor's. */
  readonly eapVendorId: number | undefined;
  /** Plugin that answers for XAuth. */
  readonly xauthBackend: string | undefined;
  /** What a revocation check has to say: GOOD, SKIPPED, STALE, FAILED. */
  readonly revocation: string | undefined;
  readonly caId: string | undefined;
  readonly aaaId: string | undefined;
  readonly eapId: string | undefined;
  readonly xauthId: string | undefined;
  readonly groups: readonly string[];
  /** OIDs. */
  readonly certPolicies: readonly string[];
  /** Subjects. */
  readonly certs: readonly string[];
  readonly caCerts: readonly string[];
};

export type ChildConfig = {
  readonly name: string;
  readonly mode: string | undefined;
  /** SELinux label, in hex. */
  readonly label: string | undefined;
  /** 0: never. */
  readonly rekeySeconds: number;
  readonly rekeyBytes: number;
  readonly rekeyPackets: number;
  /** As those of the connection. */
  readonly espProposals: readonly Proposal[] | undefined;
  readonly ahProposals: readonly Proposal[] | undefined;
  readonly dpdAction: string | undefined;
  readonly closeAction: string | undefined;
  readonly localTs: readonly string[];
  readonly remoteTs: readonly string[];
  /** Network interface that policies are bound to. */
  readonly interface: string | undefined;
  /** Of its policies, where it was set by hand. */
  readonly priority: number | undefined;
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
    proposals: decodeProposals(section, "proposals"),
    localAuth: decodeRounds(section, "local-"),
    remoteAuth: decodeRounds(section, "remote-"),
    children: sectionsOf(readSection(section, "children")).map(([child, config]) => decodeChild(child, config)),
  };
}

function decodeProposals(section: Section, key: string): readonly Proposal[] | undefined {
  if (!section.has(key)) return undefined;
  // Numbered from 0, in their order of preference.
  return sectionsOf(readSection(section, key)).map(
    ([, proposal]) => new Map([...proposal.keys()].map((kind) => [kind, readList(proposal, kind)])),
  );
}

function decodeRounds(section: Section, prefix: string): readonly AuthRound[] {
  return sectionsOf(section)
    .filter(([key]) => key.startsWith(prefix))
    .map(([, round]) => ({
      class: readText(round, "class"),
      id: readText(round, "id"),
      eapType: readText(round, "eap-type"),
      eapVendorId: readInteger(round, "eap-vendor"),
      xauthBackend: readText(round, "xauth"),
      revocation: readText(round, "revocation"),
      caId: readText(round, "ca_id"),
      aaaId: readText(round, "aaa_id"),
      eapId: readText(round, "eap_id"),
      xauthId: readText(round, "xauth_id"),
      groups: readList(round, "groups"),
      certPolicies: readList(round, "cert_policy"),
      certs: readList(round, "certs"),
      caCerts: readList(round, "cacerts"),
    }));
}

function decodeChild(name: string, section: Section): ChildConfig {
  return {
    name,
    mode: readText(section, "mode"),
    label: readText(section, "label"),
    rekeySeconds: readInteger(section, "rekey_time") ?? 0,
    rekeyBytes: readInteger(section, "rekey_bytes") ?? 0,
    rekeyPackets: readInteger(section, "rekey_packets") ?? 0,
    espProposals: decodeProposals(section, "esp_proposals"),
    ahProposals: decodeProposals(section, "ah_proposals"),
    dpdAction: readText(section, "dpd_action"),
    closeAction: readText(section, "close_action"),
    localTs: readList(section, "local-ts"),
    remoteTs: readList(section, "remote-ts"),
    interface: readText(section, "interface"),
    priority: readInteger(section, "priority"),
  };
}
