// The control plane of documents, without its surroundings: answers the four methods of the VPN driver, tells agents of
// changes, keeps what they report. It refuses to know which broker, which sockets and which signals there are.
import path from "node:path";
import type { Logger } from "pino";
import type { DocumentNote, DocumentProblem } from "../wire/documents/problem.ts";
import {
  decodeHostArgs,
  decodeRouterArgs,
  decodeStatusArgs,
  decodeSubnetArgs,
  GET_SERVICES,
  GET_SUBNET,
  GET_TRANSIT_DETAILS,
  SERVER_TOPIC,
  UPDATE_STATUS,
} from "../wire/neutron/rpc.ts";
import { createAnnouncer, planAnnouncements } from "./announce.ts";
import type { Bus, ServedMethod } from "./bus.ts";
import { createCatalogueKeeper } from "./catalogue.ts";
import type { Environment } from "./directory.ts";
import { NoDocumentsError, UnknownRouterError } from "./errors.ts";
import { servicesOnHost, subnetInfo, transitDetails, type Payloads } from "./payload.ts";
import { statusRows, type StatusRow } from "./rows.ts";
import { openStatuses } from "./statuses.ts";
import { watchDocuments } from "./watch.ts";

export type ControllerServiceOptions = {
  readonly bus: Bus;
  readonly documents: string;
  readonly stateDirectory: string;
  /** For pre-shared keys: {env: NAME}, and CREDENTIALS_DIRECTORY for {credential: NAME}. */
  readonly environment: Environment;
  readonly log: Logger;
  readonly debounceMs?: number;
  readonly rereadMs?: number;
  readonly castRetryMs?: number;
  readonly nowMs?: () => number;
};

export type ControllerService = {
  /** One row a connection, by host, router and name. */
  statusRows(): readonly StatusRow[];
  /** Documents without problems are in force. */
  readonly hasDocuments: boolean;
  /** Of the documents as they are now; the state in force is older when there are any. */
  readonly problems: readonly DocumentProblem[];
  readonly notes: readonly DocumentNote[];
  /** The bus is ours from now on: what is reported is written, too. Until then nothing on disk is touched. */
  begin(): void;
  /** Tells the agents of every router to look, after somebody else has served them. */
  announceAll(): void;
  close(): Promise<void>;
};

const DEBOUNCE_MS = 200;
const REREAD_MS = 60_000;
const CAST_RETRY_MS = 2000;

/** Reads the documents, registers the methods, and keeps both true until it is closed. Before the bus is started. */
export async function startControllerService(options: ControllerServiceOptions): Promise<ControllerService> {
  const { bus, documents: directory, environment, log, nowMs = Date.now } = options;
  const file = path.join(options.stateDirectory, "statuses.json");
  const statuses = await openStatuses({ file, log, nowMs });
  const announcer = createAnnouncer({ bus, log, retryMs: options.castRetryMs ?? CAST_RETRY_MS });
  const keeper = createCatalogueKeeper({
    directory,
    environment,
    log,
    onChange(before, now) {
      statuses.setKnown(idsOf(now));
      const announcements = planAnnouncements(before, now);
      if (before === undefined || announcements.length > 0) {
        const [services, routers] = [now.services.length, now.routers.size];
        log.info({ directory, services, routers, changes: announcements.length }, "documents in force");
      }
      announcer.announce(announcements);
    },
  });

  const inForce = (): Payloads => {
    if (keeper.inForce === undefined) throw new NoDocumentsError();
    return keeper.inForce;
  };
  const statusOf = (id: string): string => statuses.of(id).status;
  const method = (answer: (args: unknown) => unknown): ServedMethod => {
    // In a promise, so that what it throws rejects.
    return (args) => Promise.resolve().then(() => answer(args));
  };
  const methods: Readonly<Record<string, ServedMethod>> = {
    [GET_SERVICES]: method((args) => servicesOnHost(inForce(), decodeHostArgs(args), statusOf)),
    [UPDATE_STATUS]: method(async (args) => {
      statuses.take(decodeStatusArgs(args));
      await statuses.written();
      return null;
    }),
    [GET_TRANSIT_DETAILS]: method((args) => {
      const router = decodeRouterArgs(args);
      const details = transitDetails(inForce(), router);
      if (details === undefined) throw new UnknownRouterError(router);
      return details;
    }),
    [GET_SUBNET]: method((args) => subnetInfo(inForce(), decodeSubnetArgs(args))),
  };
  bus.serve(SERVER_TOPIC, methods, { isAlone: true });

  const reload = async (): Promise<void> => {
    await keeper.reload();
    watch.follow(keeper.outsideFiles);
  };
  const watch = await watchDocuments({
    directory,
    debounceMs: options.debounceMs ?? DEBOUNCE_MS,
    rereadMs: options.rereadMs ?? REREAD_MS,
    log,
    onWake: () => void reload().catch((err: unknown) => log.error({ directory, err }, "reading the documents broke")),
  });
  await reload();

  return {
    statusRows: () => (keeper.inForce === undefined ? [] : statusRows(keeper.inForce, statuses)),
    get hasDocuments() {
      return keeper.inForce !== undefined;
    },
    get problems() {
      return keeper.problems;
    },
    get notes() {
      return keeper.notes;
    },
    begin: () => statuses.begin(),
    announceAll() {
      if (keeper.inForce !== undefined) announcer.announce(planAnnouncements(undefined, keeper.inForce));
    },
    async close() {
      await watch.close();
      announcer.close();
      await statuses.written();
    },
  };
}

const idsOf = ({ services }: Payloads): ReadonlySet<string> =>
  new Set(services.flatMap(({ id, connections }) => [id, ...connections.map((connection) => connection.id)]));
