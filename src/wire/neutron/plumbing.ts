// The answer of get_vpn_transit_network_details, with the subnets it names, -> the plumbing of a router.
import { readAddress, readFamily, readPrefixLength } from "../../core/read-address.ts";
import { isUuid, portId, type PortId } from "../../core/ids.ts";
import type { DesiredRouter, InterfaceAddress, IpFamily } from "../../core/model.ts";
import { subnetSchema, transitDetailsSchema, type WirePort, type WireSubnet } from "./schema.ts";
import { describeIssue, shown } from "./words.ts";

// neutron-vpnaas, service_drivers/ovn_ipsec.py: the transit network is 169.254.0.0/28.
const DEFAULT_TRANSIT_PREFIX_LENGTH = 28;
const DEFAULT_MTU_BYTES = 1500;
// Of a veth (ETH_MAX_MTU).
const MAX_MTU_BYTES = 65_535;

/** Answers of get_subnet_info by subnet id; null is "no such subnet". */
export type SubnetAnswers = ReadonlyMap<string, unknown>;

const problem = (why: string): Extract<DesiredRouter["plumbing"], { kind: "unknown" }> => ({ kind: "unknown", why });

/**
 * Subnets to ask get_subnet_info for. Without those of `external` there is no plumbing; those of `transit` only tell
 * the prefix length. Empty when the details are not readable.
 */
export function subnetIdsOf(details: unknown): {
  readonly external: readonly string[];
  readonly transit: readonly string[];
} {
  const parsed = transitDetailsSchema.safeParse(details);
  const idsOf = (port: WirePort): string[] => [...new Set(port.fixed_ips.map((fixed) => fixed.subnet_id))];
  return parsed.success
    ? { external: idsOf(parsed.data.gw_port), transit: idsOf(parsed.data.transit_port) }
    : { external: [], transit: [] };
}

export function decodePlumbing(details: unknown, subnets: SubnetAnswers): DesiredRouter["plumbing"] {
  const parsed = transitDetailsSchema.safeParse(details);
  if (!parsed.success) return problem(`transit network details: ${describeIssue(parsed.error, details)}`);
  const { gw_port: gateway, transit_port: transit, external_network: network } = parsed.data;

  const external = decodePort("gw_port", gateway, subnets, undefined);
  if (external.kind === "unknown") return external;
  const inner = decodePort("transit_port", transit, subnets, DEFAULT_TRANSIT_PREFIX_LENGTH);
  if (inner.kind === "unknown") return inner;
  const gatewayAddress = readAddress(parsed.data.transit_gateway_ip);
  if (gatewayAddress === undefined) {
    return problem(`transit_gateway_ip ${shown(parsed.data.transit_gateway_ip)} is no IP address`);
  }
  if (network.mtu > MAX_MTU_BYTES) {
    return problem(`mtu ${network.mtu} of external network ${shown(network.name)} is above ${MAX_MTU_BYTES}`);
  }
  return {
    kind: "known",
    value: {
      external: {
        port: external.port,
        macAddress: external.macAddress,
        mtuBytes: network.mtu === 0 ? DEFAULT_MTU_BYTES : network.mtu,
        addresses: external.addresses,
        gateways: external.gateways,
        network: { id: network.id, name: network.name },
      },
      transit: { port: inner.port, macAddress: inner.macAddress, addresses: inner.addresses, gatewayAddress },
    },
  };
}

type DecodedPort = {
  readonly kind: "port";
  readonly port: PortId;
  readonly macAddress: string;
  readonly addresses: readonly InterfaceAddress[];
  readonly gateways: readonly string[];
};

function decodePort(
  key: string,
  wire: WirePort,
  subnets: SubnetAnswers,
  defaultPrefixLength: number | undefined,
): DecodedPort | ReturnType<typeof problem> {
  if (!isUuid(wire.id)) return problem(`${key}.id ${shown(wire.id)} is no lower-case UUID`);
  const macAddress = wire.mac_address.toLowerCase();
  if (!/^(?:[0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(macAddress)) {
    return problem(`${key}.mac_address ${shown(wire.mac_address)} is no MAC address`);
  }
  if (wire.fixed_ips.length === 0) return problem(`${key} has no address yet`);
  const addresses: InterfaceAddress[] = [];
  const gateways = new Map<number, string>();
  for (const fixed of wire.fixed_ips) {
    const address = readAddress(fixed.ip_address);
    if (address === undefined) return problem(`${key} address ${shown(fixed.ip_address)} is no IP address`);
    const subnet = decodeSubnet(subnets.get(fixed.subnet_id));
    if (subnet !== undefined && subnet.family !== readFamily(address)) {
      return problem(`subnet ${fixed.subnet_id} of address ${address} is IPv${subnet.family}`);
    }
    const prefixLength = subnet?.prefixLength ?? defaultPrefixLength;
    if (prefixLength === undefined) {
      return problem(
        `subnet ${fixed.subnet_id} of address ${address} is not known to the server: its prefix length is missing`,
      );
    }
    addresses.push({ address, prefixLength });
    const family = readFamily(address);
    if (subnet?.gateway !== undefined && family === readFamily(subnet.gateway) && !gateways.has(family ?? 0)) {
      gateways.set(family ?? 0, subnet.gateway);
    }
  }
  return { kind: "port", port: portId(wire.id), macAddress, addresses, gateways: [...gateways.values()] };
}

type DecodedSubnet = { readonly family: IpFamily; readonly prefixLength: number; readonly gateway: string | undefined };

function decodeSubnet(answer: unknown): DecodedSubnet | undefined {
  const parsed = subnetSchema.safeParse(answer);
  if (!parsed.success) return undefined;
  const wire: WireSubnet = parsed.data;
  const family = readFamily(wire.cidr);
  const prefixLength = readPrefixLength(wire.cidr);
  // A subnet without gateway_ip gives no default route: traffic then stays on the link.
  if (family === undefined || prefixLength === undefined) return undefined;
  return { family, prefixLength, gateway: readAddress(wire.gateway_ip ?? "") };
}
