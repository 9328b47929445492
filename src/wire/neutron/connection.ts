// One connection of the wire -> a Tunnel, or why it cannot be one. The texts are for operators: which value, what to do.
import { readAddress, readCidr, readFamily, isUnspecified } from "../../core/read-address.ts";
import type { ConnectionId } from "../../core/ids.ts";
import type { Cidr, DesiredConnection, IkePolicy, IpFamily, IpsecPolicy, Lifetime, Tunnel } from "../../core/model.ts";
import type { ReasonCode } from "../../core/reason.ts";
import { Secret } from "../../core/secret.ts";
import { decodeIdentity, type IdentityReading } from "./identity.ts";
import { connectionSchema, type WireConnection, type WireIkePolicy, type WireIpsecPolicy } from "./schema.ts";
import { AUTH_ALGORITHMS, DH_GROUPS, DPD_ACTIONS, ENCRYPTION_ALGORITHMS, INITIATORS } from "../../core/algorithms.ts";
import { describeIssue, shown } from "./words.ts";

const DEFAULT_MTU_BYTES = 1500;
// RFC 791 and RFC 8200; the API's own bounds.
const MIN_MTU_BYTES = { 4: 68, 6: 1280 } as const;
// The longest packet of both. The API has no upper bound; the packet filter refuses such a segment size, and with it the
// rules of the whole router.
const MAX_MTU_BYTES = 65_535;
// A value's length is a u16 in VICI.
const MAX_PSK_BYTES = 65_535;

type Unusable = Pick<Extract<DesiredConnection, { kind: "unusable" }>, "kind" | "reason">;
type Usable = Pick<Extract<DesiredConnection, { kind: "usable" }>, "kind" | "tunnel">;

export const unusable = (code: ReasonCode, text: string): Unusable => ({ kind: "unusable", reason: { code, text } });

/** Stops the reading of one connection; never leaves this file. */
class Refusal extends Error {
  readonly code: ReasonCode;

  constructor(code: ReasonCode, text: string) {
    super(text);
    this.code = code;
  }
}

const invalid = (text: string): Refusal => new Refusal("invalid-value", text);
const unsupported = (text: string): Refusal => new Refusal("unsupported", text);

export function decodeTunnel(json: unknown, id: ConnectionId, reading: IdentityReading): Usable | Unusable {
  const parsed = connectionSchema.safeParse(json);
  if (!parsed.success) return unusable("invalid-value", describeIssue(parsed.error, json));
  try {
    return { kind: "usable", tunnel: tunnelOf(parsed.data, id, reading) };
  } catch (error) {
    if (error instanceof Refusal) return unusable(error.code, error.message);
    throw error;
  }
}

function tunnelOf(wire: WireConnection, id: ConnectionId, reading: IdentityReading): Tunnel {
  if (wire.auth_mode !== "psk") throw unsupported(`auth_mode is ${shown(wire.auth_mode)}: only psk can be used`);
  if (wire.psk === "") throw invalid("psk is empty: give the connection a pre-shared key");
  const pskBytes = Buffer.byteLength(wire.psk);
  if (pskBytes > MAX_PSK_BYTES) {
    throw invalid(`psk is ${pskBytes} bytes long, charon takes ${MAX_PSK_BYTES} at most: choose a shorter one`);
  }
  const peerAddress = peerAddressOf(wire);
  const localAddress = localAddressOf(wire, peerAddress);
  const localSubnets = subnetsOf("local_cidrs", wire.local_cidrs);
  const peerSubnets = subnetsOf("peer_cidrs", wire.peer_cidrs);
  const family = innerFamily(wire, localSubnets, peerSubnets);
  return {
    id,
    localAddress,
    peerAddress,
    localId: wire.local_id === "" ? localAddress : identityOf("local", wire.local_id, reading),
    peerId: identityOf("peer", wire.peer_id, reading),
    psk: new Secret(wire.psk),
    localSubnets,
    peerSubnets,
    ike: ikePolicyOf(wire.ikepolicy),
    ipsec: ipsecPolicyOf(wire.ipsecpolicy),
    initiator: oneOf("initiator", wire.initiator, INITIATORS),
    dpd: {
      action: oneOf("dpd_action", wire.dpd_action, DPD_ACTIONS),
      intervalSeconds: wire.dpd_interval,
      timeoutSeconds: wire.dpd_timeout,
    },
    mtuBytes: mtuOf(wire.mtu, family),
  };
}

function peerAddressOf(wire: WireConnection): string {
  const address = readAddress(wire.peer_address);
  if (address === undefined) {
    // Current servers resolve names when the connection is created or updated; only old rows hold one.
    const hint = "is no IP address: update the connection's peer address, the server resolves a name then";
    throw invalid(`peer_address ${shown(wire.peer_address)} ${hint}`);
  }
  return isUnspecified(address) ? "%any" : address;
}

function localAddressOf(wire: WireConnection, peerAddress: string): string {
  if (wire.external_ip === null || wire.external_ip === undefined || wire.external_ip === "") {
    const family = readFamily(wire.peer_address) ?? 4;
    const hint =
      "give the router's gateway one and recreate the VPN service, which keeps the addresses of its creation";
    throw new Refusal(
      "no-external-address",
      `the router has no external IPv${family} address to reach ${peerAddress} from: ${hint}`,
    );
  }
  const address = readAddress(wire.external_ip);
  if (address === undefined || isUnspecified(address)) {
    throw invalid(`external_ip ${shown(wire.external_ip)} is no usable IP address`);
  }
  if (readFamily(address) !== readFamily(wire.peer_address)) {
    throw invalid(`external_ip ${address} and peer_address ${wire.peer_address} are of different IP versions`);
  }
  return address;
}

function subnetsOf(key: string, values: readonly string[]): Cidr[] {
  if (values.length === 0) throw invalid(`${key} is empty: give the connection at least one`);
  return [
    ...new Set(
      values.map((value) => {
        const cidr = readCidr(value);
        if (cidr === undefined) throw invalid(`${key} has ${shown(value)}: expected a CIDR such as 10.1.0.0/24`);
        return cidr;
      }),
    ),
  ];
}

function innerFamily(wire: WireConnection, local: readonly Cidr[], peer: readonly Cidr[]): IpFamily {
  const families = new Set([...local, ...peer].map(readFamily));
  const family = readFamily(local[0] ?? "");
  if (families.size > 1 || family === undefined) {
    throw invalid(
      `local_cidrs and peer_cidrs mix IPv4 and IPv6 (${[...local, ...peer].join(", ")}): make one connection for each`,
    );
  }
  if (wire.local_ip_vers !== null && wire.local_ip_vers !== undefined && wire.local_ip_vers !== family) {
    throw invalid(`local_ip_vers is ${wire.local_ip_vers}, but local_cidrs are IPv${family}`);
  }
  return family;
}

function identityOf(side: "local" | "peer", wire: string, reading: IdentityReading): string {
  const decoded = decodeIdentity(wire, side, reading);
  if (decoded.kind === "identity") return decoded.value;
  throw invalid(`${side}_id ${shown(wire)} ${decoded.why}: change it`);
}

function mtuOf(mtu: number, family: IpFamily): number {
  // `0` passes the API unchecked and means that nobody chose one.
  if (mtu === 0) return DEFAULT_MTU_BYTES;
  if (mtu < MIN_MTU_BYTES[family])
    throw invalid(`mtu ${mtu} is below IPv${family}'s minimum of ${MIN_MTU_BYTES[family]}`);
  if (mtu > MAX_MTU_BYTES) throw invalid(`mtu ${mtu} is above ${MAX_MTU_BYTES}, and no IP packet is longer`);
  return mtu;
}

function oneOf<const Value extends string>(key: string, value: string, allowed: readonly Value[]): Value {
  const found = allowed.find((candidate) => candidate === value);
  if (found === undefined) throw unsupported(`${key} ${shown(value)} is not supported: use ${allowed.join(", ")}`);
  return found;
}

type Algorithms = Pick<WireIkePolicy, "encryption_algorithm" | "auth_algorithm" | "pfs">;

function algorithmsOf(policy: string, wire: Algorithms): Pick<IkePolicy, "encryption" | "authentication" | "dhGroup"> {
  const known = (key: string, value: string, words: ReadonlySet<string>): string => {
    if (words.has(value)) return value;
    throw unsupported(`${policy} ${key} ${shown(value)} is not supported: choose another policy`);
  };
  return {
    encryption: known("encryption_algorithm", wire.encryption_algorithm, ENCRYPTION_ALGORITHMS),
    authentication: known("auth_algorithm", wire.auth_algorithm, AUTH_ALGORITHMS),
    dhGroup: known("pfs", wire.pfs, DH_GROUPS),
  };
}

function lifetimeOf(policy: string, wire: Pick<WireIkePolicy, "lifetime_units" | "lifetime_value">): Lifetime {
  switch (wire.lifetime_units) {
    case "seconds":
      return { kind: "seconds", seconds: wire.lifetime_value };
    case "kilobytes":
      return { kind: "kilobytes", kilobytes: wire.lifetime_value };
    default:
      throw unsupported(`${policy} lifetime_units ${shown(wire.lifetime_units)} is not supported: use seconds`);
  }
}

function ikePolicyOf(wire: WireIkePolicy): IkePolicy {
  const lifetime = lifetimeOf("ikepolicy", wire);
  if (lifetime.kind === "kilobytes") {
    throw unsupported("ikepolicy lifetime_units kilobytes is not supported: an IKE SA's lifetime is in seconds");
  }
  return {
    version: oneOf("ikepolicy ike_version", wire.ike_version, ["v1", "v2"]) === "v1" ? 1 : 2,
    mode: oneOf("ikepolicy phase1_negotiation_mode", wire.phase1_negotiation_mode, ["main", "aggressive"]),
    ...algorithmsOf("ikepolicy", wire),
    lifetime,
  };
}

function ipsecPolicyOf(wire: WireIpsecPolicy): IpsecPolicy {
  return {
    // ah-esp passes the OVN driver's validator, but one child SA cannot be both.
    protocol: oneOf("ipsecpolicy transform_protocol", wire.transform_protocol, ["esp", "ah"]),
    mode: oneOf("ipsecpolicy encapsulation_mode", wire.encapsulation_mode, ["tunnel", "transport"]),
    ...algorithmsOf("ipsecpolicy", wire),
    lifetime: lifetimeOf("ipsecpolicy", wire),
  };
}
