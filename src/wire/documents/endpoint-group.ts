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
  const report = (at: number, text: string): void =>
    index.report(raw, ["endpoints", at], `EndpointGroup ${value.name}: ${text}`);
  const cidrs = value.endpoints.map((endpoint, at): string | undefined => {
    if (value.type === "subnet") return index.find("Subnet", endpoint, group, ["endpoints", at])?.value.cidr;
    const cidr = readCidr(endpoint);
    const hasHostBits = readAddress(endpoint.replace(/\/\d+$/, "")) !== cidr?.replace(/\/\d+$/, "");
    if (cidr !== undefined && !hasHostBits) return cidr;
    const hint = cidr === undefined ? "expected a CIDR such as 10.1.0.0/24" : `which has host bits set: write ${cidr}`;
    report(at, `endpoints has ${shown(endpoint)}, ${hint}`);
    return undefined;
  });
  for (const [at, cidr] of cidrs.entries()) {
    if (cidr !== undefined && cidrs.indexOf(cidr) !== at) report(at, `endpoints has ${cidr} twice: remove one`);
  }
  const usable = cidrs.filter((cidr) => cidr !== undefined);
  return usable.length === cidrs.length ? usable : undefined;
}
