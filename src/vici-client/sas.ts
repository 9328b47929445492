// IKE SAs and CHILD SAs as charon reports them in list-sa and in events (VICI README, "list-sa"; vici_query.c).
import {
  readHexInteger,
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

/** Names as strongSwan prints them, e.g. AES_CBC, HMAC_SHA2_256_128, PRF_HMAC_SHA2_256, MODP_2048. */
export type Algorithms = {
  readonly encryption: string | undefined;
  readonly encryptionKeyBits: number | undefined;
  readonly integrity: string | undefined;
  readonly integrityKeyBits: number | undefined;
  readonly prf: string | undefined;
  readonly dhGroup: string | undefined;
  /** ake1 to ake7 of RFC 9370, from 6.0. */
  readonly additionalKeyExchanges: readonly string[];
};

export type IkeSa = {
  /** Of the connection; several IKE SAs may have it, for instance while one replaces another. */
  readonly name: string;
  readonly uniqueId: number;
  readonly ikeVersion: number;
  /** CREATED, CONNECTING, ESTABLISHED, PASSIVE, REKEYING, REKEYED, DELETING, DESTROYING. */
  readonly state: string;
  readonly localHost: string;
  readonly localPort: number;
  readonly localId: string;
  readonly remoteHost: string;
  readonly remotePort: number;
  readonly remoteId: string;
  /** EAP or XAuth identity, where it differs from remoteId. */
  readonly remoteUserId: string | undefined;
  readonly isInitiator: boolean;
  readonly initiatorSpi: string;
  readonly responderSpi: string;
  readonly isNatLocal: boolean;
  readonly isNatRemote: boolean;
  readonly isNatFaked: boolean;
  readonly isNatAny: boolean;
  readonly hasPpk: boolean;
  /** XFRM interfaces that children get unless they have their own. */
  readonly interfaceIdIn: number | undefined;
  readonly interfaceIdOut: number | undefined;
  readonly algorithms: Algorithms;
  /** The three times are there in state ESTABLISHED only; one that has passed is negative. */
  readonly establishedSeconds: number | undefined;
  readonly rekeySeconds: number | undefined;
  readonly reauthSeconds: number | undefined;
  readonly localVirtualIps: readonly string[];
  readonly remoteVirtualIps: readonly string[];
  readonly tasksQueued: readonly string[];
  readonly tasksActive: readonly string[];
  readonly tasksPassive: readonly string[];
  /** Empty in events that are not about children. */
  readonly childSas: readonly ChildSa[];
};

/** Netfilter mark; the mask has a bit for each that counts. */
export type Mark = { readonly value: number; readonly mask: number };

export type ChildSa = {
  /** Of the child's configuration. */
  readonly name: string;
  readonly uniqueId: number;
  readonly reqId: number;
  /** CREATED, ROUTED, INSTALLING, INSTALLED, UPDATING, REKEYING, REKEYED, RETRYING, DELETING, DELETED, DESTROYING. */
  readonly state: string;
  /** TUNNEL, TRANSPORT, BEET, …; upper case, unlike in a configuration. */
  readonly mode: string;
  /** What follows, up to installSeconds, is reported from state INSTALLED on. */
  readonly protocol: string | undefined;
  readonly isEncapsulated: boolean;
  readonly spiIn: string | undefined;
  readonly spiOut: string | undefined;
  /** Of IPComp, in hex. */
  readonly cpiIn: string | undefined;
  readonly cpiOut: string | undefined;
  readonly markIn: Mark | undefined;
  readonly markOut: Mark | undefined;
  readonly interfaceIdIn: number | undefined;
  readonly interfaceIdOut: number | undefined;
  /** RFC 9611, from 6.0.2 on: whether there are SAs by CPU, and which CPU this one is for. */
  readonly hasPerCpuSas: boolean;
  readonly cpuId: number | undefined;
  /** SELinux label, in hex. */
  readonly label: string | undefined;
  readonly algorithms: Algorithms;
  readonly hasExtendedSequenceNumbers: boolean;
  readonly bytesIn: number;
  readonly packetsIn: number;
  readonly bytesOut: number;
  readonly packetsOut: number;
  /** Since the last packet; undefined before the first. */
  readonly usedInSeconds: number | undefined;
  readonly usedOutSeconds: number | undefined;
  /** Until; negative when it has passed, undefined when there is no such limit. */
  readonly rekeySeconds: number | undefined;
  readonly lifeSeconds: number | undefined;
  /** Since. */
  readonly installSeconds: number | undefined;
  readonly localTs: readonly string[];
  readonly remoteTs: readonly string[];
};

export function decodeIkeSa(name: string, section: Section): IkeSa {
  return {
    name,
    uniqueId: requireInteger(section, "uniqueid"),
    ikeVersion: requireInteger(section, "version"),
    state: requireText(section, "state"),
    localHost: requireText(section, "local-host"),
    localPort: requireInteger(section, "local-port"),
    localId: requireText(section, "local-id"),
    remoteHost: requireText(section, "remote-host"),
    remotePort: requireInteger(section, "remote-port"),
    remoteId: requireText(section, "remote-id"),
    remoteUserId: readText(section, "remote-eap-id") ?? readText(section, "remote-xauth-id"),
    isInitiator: readYes(section, "initiator"),
    initiatorSpi: requireText(section, "initiator-spi"),
    responderSpi: requireText(section, "responder-spi"),
    isNatLocal: readYes(section, "nat-local"),
    isNatRemote: readYes(section, "nat-remote"),
    isNatFaked: readYes(section, "nat-fake"),
    isNatAny: readYes(section, "nat-any"),
    hasPpk: readYes(section, "ppk"),
    interfaceIdIn: readHexInteger(section, "if-id-in"),
    interfaceIdOut: readHexInteger(section, "if-id-out"),
    algorithms: decodeAlgorithms(section),
    establishedSeconds: readInteger(section, "established"),
    rekeySeconds: readInteger(section, "rekey-time"),
    reauthSeconds: readInteger(section, "reauth-time"),
    localVirtualIps: readList(section, "local-vips"),
    remoteVirtualIps: readList(section, "remote-vips"),
    tasksQueued: readList(section, "tasks-queued"),
    tasksActive: readList(section, "tasks-active"),
    tasksPassive: readList(section, "tasks-passive"),
    // The keys are `<name>-<uniqueid>` and of no further use: both parts are inside.
    childSas: sectionsOf(readSection(section, "child-sas")).flatMap(([, child]) =>
      child.has("uniqueid") ? [decodeChildSa(child)] : [],
    ),
  };
}

export function decodeChildSa(section: Section): ChildSa {
  return {
    name: requireText(section, "name"),
    uniqueId: requireInteger(section, "uniqueid"),
    reqId: requireInteger(section, "reqid"),
    state: requireText(section, "state"),
    mode: requireText(section, "mode"),
    protocol: readText(section, "protocol"),
    isEncapsulated: readYes(section, "encap"),
    spiIn: readText(section, "spi-in"),
    spiOut: readText(section, "spi-out"),
    cpiIn: readText(section, "cpi-in"),
    cpiOut: readText(section, "cpi-out"),
    markIn: decodeMark(section, "in"),
    markOut: decodeMark(section, "out"),
    interfaceIdIn: readHexInteger(section, "if-id-in"),
    interfaceIdOut: readHexInteger(section, "if-id-out"),
    hasPerCpuSas: readYes(section, "per-cpu-sas"),
    cpuId: readInteger(section, "cpu"),
    label: readText(section, "label"),
    algorithms: decodeAlgorithms(section),
    hasExtendedSequenceNumbers: readText(section, "esn") === "1",
    bytesIn: readInteger(section, "bytes-in") ?? 0,
    packetsIn: readInteger(section, "packets-in") ?? 0,
    bytesOut: readInteger(section, "bytes-out") ?? 0,
    packetsOut: readInteger(section, "packets-out") ?? 0,
    usedInSeconds: readInteger(section, "use-in"),
    usedOutSeconds: readInteger(section, "use-out"),
    rekeySeconds: readInteger(section, "rekey-time"),
    lifeSeconds: readInteger(section, "life-time"),
    installSeconds: readInteger(section, "install-time"),
    localTs: readList(section, "local-ts"),
    remoteTs: readList(section, "remote-ts"),
  };
}

function decodeMark(section: Section, direction: "in" | "out"): Mark | undefined {
  const value = readHexInteger(section, `mark-${direction}`);
  if (value === undefined) return undefined;
  // charon leaves out the mask with which every bit counts.
  return { value, mask: readHexInteger(section, `mark-mask-${direction}`) ?? 0xffffffff };
}

function decodeAlgorithms(section: Section): Algorithms {
  return {
    encryption: readText(section, "encr-alg"),
    encryptionKeyBits: readInteger(section, "encr-keysize"),
    integrity: readText(section, "integ-alg"),
    integrityKeyBits: readInteger(section, "integ-keysize"),
    prf: readText(section, "prf-alg"),
    dhGroup: readText(section, "dh-group"),
    additionalKeyExchanges: [1, 2, 3, 4, 5, 6, 7].flatMap((nth) => readText(section, `ake${nth}`) ?? []),
  };
}
