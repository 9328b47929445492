// A control plane in the process of the benchmark, so that it knows to the millisecond when it casts.
import { pino } from "pino";
import { startControllerService, type ControllerService } from "../../src/controller/service.ts";
import { createBroker } from "../../src/io/rabbit/broker.ts";
import { parseTransportUrl } from "../../src/wire/oslo/transport-url.ts";
import { NETWORK, type LabDocument } from "../lab.ts";

export type BenchRouter = { readonly id: string; readonly number: number };

export type ControlPlane = {
  readonly service: ControllerService;
  /** When the next cast is handed to the broker, by `performance.now()`; undefined: none was in time. */
  readonly nextCast: (withinMs: number) => Promise<number | undefined>;
  readonly close: () => Promise<void>;
};

const DEBOUNCE_MS = 5;
const NEVER_MS = 3_600_000;

export async function startControlPlane(of: {
  readonly url: string;
  readonly documents: string;
  readonly stateDirectory: string;
}): Promise<ControlPlane> {
  const log = pino({ level: "silent" });
  const parsed = parseTransportUrl(of.url);
  if (parsed.kind === "invalid") throw new Error(parsed.problem);
  const broker = createBroker({ url: parsed.url, log, programName: "swanherd-bench" });
  const waiting: ((castAt: number) => void)[] = [];
  const service = await startControllerService({
    bus: {
      serve: (topic, methods, options) => broker.serve(topic, methods, options),
      cast(target, method, args) {
        const castAt = performance.now();
        for (const tell of waiting.splice(0)) tell(castAt);
        return broker.cast(target, method, args);
      },
    },
    documents: of.documents,
    stateDirectory: of.stateDirectory,
    environment: {},
    log,
    debounceMs: DEBOUNCE_MS,
    rereadMs: NEVER_MS,
  });
  const isConnected = new Promise<void>((resolve) => {
    broker.onConnected(resolve);
  });
  broker.start();
  await isConnected;
  service.begin();
  return {
    service,
    nextCast: (withinMs) =>
      new Promise((resolve) => {
        const late = setTimeout(() => resolve(undefined), withinMs);
        waiting.push((castAt) => {
          clearTimeout(late);
          resolve(castAt);
        });
      }),
    async close() {
      await service.close();
      await broker.close();
    },
  };
}

export const INITIAL_DPD_SECONDS = 30;

/**
 * One service with one connection for each router. Their peers are nowhere, and nobody initiates: what is measured ends
 * with what is loaded.
 */
export function benchDocuments(
  routers: readonly BenchRouter[],
  host: string,
  dpdSeconds: ReadonlyMap<number, number> = new Map(),
): readonly LabDocument[] {
  const project = "bench";
  return [
    { kind: "Network", name: NETWORK, mtu: 1500, subnets: [{ cidr: "203.0.113.0/24", gateway_ip: "203.0.113.1" }] },
    {
      kind: "IkePolicy",
      project,
      name: "ike",
      ike_version: "v2",
      encryption_algorithm: "aes-256",
      auth_algorithm: "sha256",
      pfs: "group14",
    },
    {
      kind: "IpsecPolicy",
      project,
      name: "ipsec",
      encryption_algorithm: "aes-256",
      auth_algorithm: "sha256",
      pfs: "group14",
    },
    ...routers.flatMap(({ id, number }): readonly LabDocument[] => [
      { kind: "Router", project, name: `router-${number}`, id },
      { kind: "Subnet", project, name: `lan-${number}`, cidr: `10.${number}.0.0/24` },
      { kind: "EndpointGroup", project, name: `local-${number}`, type: "subnet", endpoints: [`lan-${number}`] },
      {
        kind: "EndpointGroup",
        project,
        name: `peer-${number}`,
        type: "cidr",
        endpoints: [`10.${100 + number}.0.0/24`],
      },
      {
        kind: "VpnService",
        project,
        name: `service-${number}`,
        host,
        router: `router-${number}`,
        external: { network: NETWORK, fixed_ips: [`203.0.113.${100 + number}`] },
      },
      {
        kind: "IpsecSiteConnection",
        project,
        name: `site-${number}`,
        vpnservice: `service-${number}`,
        ikepolicy: "ike",
        ipsecpolicy: "ipsec",
        local_ep_group: `local-${number}`,
        peer_ep_group: `peer-${number}`,
        peer_address: `198.51.100.${number}`,
        peer_id: `198.51.100.${number}`,
        psk: `the secret of site ${number}`,
        initiator: "response-only",
        dpd: { action: "hold", interval: dpdSeconds.get(number) ?? INITIAL_DPD_SECONDS, timeout: 120 },
      },
    ]),
  ];
}
