// What carries the packets of CHILD SAs, as the kernel has it: charon gives it once, with the SA, and does not look again.
import { familyOf } from "./address.ts";
import type { Finding } from "./finding.ts";
import type { Cidr } from "./model.ts";
import { readCidr } from "./read-address.ts";
import type { Values } from "./views.ts";

export type UserlandPlane = {
  readonly kind: "userland";
  /** charon makes it when it starts. */
  readonly hasLink: boolean;
  /** Of charon's routes over it. */
  readonly destinations: ReadonlySet<Cidr>;
};

export type KernelPlane = {
  readonly kind: "kernel";
  /** Of its IPsec states, the peers' among them, as list-sas writes them. */
  readonly spis: ReadonlySet<string>;
  /** As `policyKey` has them. */
  readonly policies: ReadonlySet<string>;
  /** All that may be charon's; not the states without keys that stand for a negotiation. */
  readonly entries: readonly IpsecEntry[];
};

/** A state or policy by what it is taken away by; `addedAtMs` is Unix time, in whole seconds. */
export type IpsecEntry = { readonly addedAtMs: number } & (
  | {
      readonly kind: "state";
      readonly spi: string;
      /** Of IP: 50 is ESP, 51 AH. */
      readonly protocol: number;
      readonly source: string;
      readonly destination: string;
    }
  | {
      readonly kind: "policy";
      readonly direction: PolicyDirection;
      readonly source: Cidr;
      readonly destination: Cidr;
    }
);

export type DataPlane = UserlandPlane | KernelPlane;

/** `atMs`: before it was looked at. */
export type SeenDataPlane = DataPlane & { readonly atMs: number };

export type PolicyDirection = "in" | "out" | "forward";

export const policyKey = (direction: PolicyDirection, source: Cidr, destination: Cidr): string =>
  `${direction} from ${source} to ${destination}`;

/** Of a CHILD SA, what says what it needs. */
type Needy = {
  readonly name: string;
  readonly spiIn: string;
  readonly spiOut: string;
  readonly localSubnets: readonly Cidr[];
  readonly peerSubnets: readonly Cidr[];
  readonly values: Values;
};

/** What a CHILD SA needs and has not; undefined when it has all. */
export function lackOf(sa: Needy, dataPlane: DataPlane): Finding | undefined {
  if (dataPlane.kind === "userland") {
    const missing = cidrsOf(sa.peerSubnets).filter((subnet) => !dataPlane.destinations.has(subnet));
    return missing.length === 0 ? undefined : { kind: "route", what: `a route to ${missing.join(", ")} is missing` };
  }
  // While it gets another address list-sas tells no SPIs of it (vici_query.c, CHILD_UPDATING).
  const spi = [sa.spiIn, sa.spiOut].find((one) => one !== "" && !dataPlane.spis.has(one));
  if (spi !== undefined) return { kind: "sa", what: `the kernel's state of ${sa.name} with SPI ${spi} is missing` };
  // charon chooses the selectors of transport mode itself.
  if (sa.values.get("mode") === "transport") return undefined;
  const policy = policiesOf(sa).find((one) => !dataPlane.policies.has(one));
  return policy === undefined ? undefined : { kind: "policy", what: `the kernel's policy ${policy} is missing` };
}

/** Another SA may share them, or have them at the moment: then they lead to that one. */
export function policiesOf(sa: Pick<Needy, "localSubnets" | "peerSubnets">): readonly string[] {
  const peers = cidrsOf(sa.peerSubnets);
  return cidrsOf(sa.localSubnets).flatMap((local) =>
    peers
      .filter((peer) => familyOf(peer) === familyOf(local))
      .flatMap((peer) => [
        policyKey("out", local, peer),
        policyKey("in", peer, local),
        policyKey("forward", peer, local),
      ]),
  );
}

/** What a peer has narrowed to a range, or to a protocol, has no route or policy that would be equal to it. */
const cidrsOf = (subnets: readonly Cidr[]): readonly Cidr[] => subnets.flatMap((subnet) => readCidr(subnet) ?? []);
