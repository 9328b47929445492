// What charon reports, in the core's words.
import { decodeMarker, type Fingerprint, type Marker } from "../../core/fingerprint.ts";
import type { CharonAlgorithms } from "../../core/algorithms.ts";
import type { ConnectionId } from "../../core/ids.ts";
import { canonicalCidr } from "../../core/address.ts";
import type { ChildSa, IkeSa, RunningCharon } from "../../core/observed.ts";
import { getShared, listConns, listSas } from "../../vici-client/commands.ts";
import type { ChildSa as ViciChildSa, IkeSa as ViciIkeSa } from "../../vici-client/sas.ts";
import type { CommandOptions, ViciRequester } from "../../vici-client/session.ts";
import { valuesOfChildSa, valuesOfConn, valuesOfIkeSa } from "./values.ts";

/** Sends one command; whoever counts commands does it there. */
type Run = <T>(command: string, run: () => Promise<T>) => Promise<T>;

/** Reads all that VICI tells of configs, secrets and SAs. */
export async function observeCharon(
  vici: ViciRequester,
  { instance, startedAtMs }: Pick<RunningCharon, "instance" | "startedAtMs">,
  algorithms: CharonAlgorithms,
  files: ReadonlyMap<ConnectionId, Fingerprint>,
  options: CommandOptions,
  run: Run,
): Promise<RunningCharon> {
  const [conns, shared, sas] = await Promise.all([
    run("list-conns", () => listConns(vici, {}, options)),
    run("get-shared", () => getShared(vici, options)),
    run("list-sas", () => listSas(vici, {}, options)),
  ]);
  const markers = shared.flatMap((id) => decodeMarker(id) ?? []);
  return {
    kind: "up",
    instance,
    startedAtMs,
    algorithms,
    peers: new Map(conns.map((conn) => [conn.name, new Set(conn.children.map((child) => child.name))])),
    loaded: new Map(conns.map((conn) => [conn.name, valuesOfConn(conn)])),
    secretIds: new Set(shared),
    markers: new Map(markers.map((marker): [ConnectionId, Marker] => [marker.connection, marker])),
    ikeSas: sas.map(ikeSa),
    files,
  };
}

function ikeSa(sa: ViciIkeSa): IkeSa {
  return {
    peer: sa.name,
    uniqueId: String(sa.uniqueId),
    state: ikeState(sa.state),
    spis: `${sa.initiatorSpi}:${sa.responderSpi}`,
    values: valuesOfIkeSa(sa),
    children: sa.childSas.map(childSa),
  };
}

function ikeState(state: string): IkeSa["state"] {
  switch (state) {
    case "CREATED":
    case "CONNECTING":
      return "connecting";
    case "ESTABLISHED":
    case "REKEYING":
      return "established";
    case "REKEYED":
    case "DELETING":
    case "DESTROYING":
      return "ending";
    default:
      return "other";
  }
}

function childState(state: string): ChildSa["state"] {
  switch (state) {
    case "INSTALLED":
    case "UPDATING":
      return "installed";
    // RETRYING asks for the rekeying again.
    case "REKEYING":
    case "RETRYING":
      return "rekeying";
    case "REKEYED":
      return "rekeyed";
    case "DELETING":
    case "DELETED":
    case "DESTROYING":
      return "ending";
    default:
      return "other";
  }
}

/** charon prints a selector without port or protocol as a CIDR; one with them stays as it is printed. */
const subnet = (selector: string): string => {
  try {
    return canonicalCidr(selector);
  } catch {
    return selector;
  }
};

const childSa = (sa: ViciChildSa): ChildSa => ({
  name: sa.name,
  uniqueId: String(sa.uniqueId),
  state: childState(sa.state),
  reqId: sa.reqId,
  localSubnets: sa.localTs.map(subnet),
  peerSubnets: sa.remoteTs.map(subnet),
  ageSeconds: sa.installSeconds ?? 0,
  spiIn: sa.spiIn ?? "",
  spiOut: sa.spiOut ?? "",
  bytesIn: sa.bytesIn,
  bytesOut: sa.bytesOut,
  packetsIn: sa.packetsIn,
  packetsOut: sa.packetsOut,
  values: valuesOfChildSa(sa),
});
