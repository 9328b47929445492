// Endpoint groups -> the CIDRs they stand for. Each group is read once, so that its problems are told once.
import { readAddress, readCidr } from "../../core/read-address.ts";
import type { Entry, NameIndex } from "./index-of-names.ts";
import { shown } from "./problem.ts";

/** Undefined for a group that has problems of its own. */
export type GroupCidrs = ReadonlyMap<Entry<"EndpointGroup">, readonly string[] | undefined>;

export const readGroups = (index: NameIndex): GroupCidrs =>
  new Map(index.all("EndpointGroup").map((group) => [group, cidrsOf(group, index)]));

function cidrsOf(group: Entry<"EndpointGroup">, index: NameIndex): readonly string[] | undefined {
  const { value, raw } = group;
  const cidrs = value.endpoints.flatMap((endpoint, at): string[] => {
    if (value.type === "subnet") {
      const subnet = index.find("Subnet", endpoint, group, ["endpoints", at]);
      return subnet === undefined ? [] : [subnet.value.cidr];
    }
    const cidr = readCidr(endpoint);
    const hasHostBits = readAddress(endpoint.replace(/\/\d+$/, "")) !== cidr?.replace(/\/\d+$/, "");
    if (cidr !== undefined && !hasHostBits) return [cidr];
    const hint = cidr === undefined ? "expected a CIDR such as 10.1.0.0/24" : `which has host bits set: write ${cidr}`;
    index.report(raw, ["endpoints", at], `EndpointGroup ${value.name}: endpoints has ${shown(endpoint)}, ${hint}`);
    return [];
  });
  return cidrs.length === value.endpoints.length ? cidrs : undefined;
}
