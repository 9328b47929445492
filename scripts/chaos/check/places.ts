// What is looked at in one place and not in another: a router's network and packet filter, and what is left of one that is not
// wanted. One file a place.
import { ovs } from "./ovs.ts";
import { router } from "./router.ts";
import type { Finding, Subject, SubjectRouter } from "./subject.ts";
import { transit } from "./transit.ts";
import type { WantedRouter } from "./wanted.ts";

export type PlaceCheck = {
  /** Where charon is. */
  readonly namespaceOf: (routerId: string) => string;
  /** Whether the namespace is the program's, and goes with the router. */
  readonly isOwnNamespace: boolean;
  /** Ports that the program has on the internet's bridge for each router. */
  readonly bridgePorts: number;
  readonly checkNetwork: (wanted: WantedRouter, of: SubjectRouter, subject: Subject) => Promise<readonly Finding[]>;
  readonly checkGuard: (wanted: WantedRouter) => Promise<readonly Finding[]>;
  /** Of a router that is not wanted. */
  readonly checkLeft: (of: SubjectRouter, subject: Subject) => Promise<readonly Finding[]>;
};

const CHECKS: Readonly<Record<SubjectRouter["place"], PlaceCheck>> = { transit, router, ovs };

export const checkOf = ({ place }: SubjectRouter): PlaceCheck => CHECKS[place];
