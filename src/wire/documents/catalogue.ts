// What all documents together say, with every reference followed. It refuses to know who is told.
import type { IpFamily } from "../../core/model.ts";
import type { Secret } from "../../core/secret.ts";

export type Origin = { readonly file: string; readonly line: number };

/** Where a pre-shared key is; only `literal` is one. A `file` is relative to the documents' directory. */
export type PskReference =
  | { readonly kind: "literal"; readonly secret: Secret }
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "env"; readonly name: string }
  | { readonly kind: "credential"; readonly name: string };

/** The reference of a connection, which may have other problems. */
export type CataloguePsk = {
  readonly connectionId: string;
  readonly connectionName: string;
  readonly reference: PskReference;
  readonly origin: Origin;
};

export type Identified = {
  readonly id: string;
  readonly project: string;
  readonly name: string;
  readonly description: string;
};

export type CatalogueSubnet = Identified & {
  readonly networkId: string;
  readonly cidr: string;
  readonly family: IpFamily;
  readonly gatewayAddress: string | null;
};

export type CatalogueNetwork = Identified & {
  readonly mtuBytes: number;
  readonly subnets: readonly CatalogueSubnet[];
};

export type CataloguePolicy = Identified & {
  readonly encryption: string;
  readonly authentication: string;
  readonly dhGroup: string;
  readonly lifetimeSeconds: number;
};

export type CatalogueIkePolicy = CataloguePolicy & { readonly ikeVersion: string; readonly mode: string };
export type CatalogueIpsecPolicy = CataloguePolicy & { readonly protocol: string; readonly encapsulation: string };

export type CatalogueConnection = Identified & {
  readonly origin: Origin;
  readonly enabled: boolean;
  readonly peerAddress: string;
  readonly peerId: string;
  /** Empty: the external address. */
  readonly localId: string;
  readonly initiator: string;
  readonly mtuBytes: number;
  readonly dpd: { readonly action: string; readonly intervalSeconds: number; readonly timeoutSeconds: number };
  readonly ikePolicy: CatalogueIkePolicy;
  readonly ipsecPolicy: CatalogueIpsecPolicy;
  /** Ids of the endpoint groups; null in the older form. */
  readonly localGroupId: string | null;
  readonly peerGroupId: string | null;
  readonly localCidrs: readonly string[];
  readonly peerCidrs: readonly string[];
  readonly localFamily: IpFamily;
};

export type ExternalAddress = { readonly address: string; readonly family: IpFamily; readonly subnet: CatalogueSubnet };

export type CatalogueService = Identified & {
  readonly origin: Origin;
  readonly enabled: boolean;
  readonly host: string;
  readonly routerId: string;
  readonly external: { readonly network: CatalogueNetwork; readonly addresses: readonly ExternalAddress[] };
  /** The older form's subnet; undefined with endpoint groups. */
  readonly subnet: CatalogueSubnet | undefined;
  readonly connections: readonly CatalogueConnection[];
};

export type Catalogue = { readonly services: readonly CatalogueService[] };
