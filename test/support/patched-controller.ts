// A control plane whose answers can say what documents cannot: the controller within this process, on the real bus, with
// the last word about each connection left to the test.
import { mkdtempSync, rmSync } from "node:fs";
import path from "node:path";
import { pino } from "pino";
import { startControllerService } from "../../src/controller/service.ts";
import { GET_SERVICES } from "../../src/wire/neutron/rpc.ts";
import { createBroker } from "../../src/io/rabbit/broker.ts";
import { createCleanup, transportUrl } from "./broker.ts";
import { eventually } from "./eventually.ts";
import type { TestLab } from "./lab.ts";

export type WireObject = Readonly<Record<string, unknown>>;
/** One connection as the controller would send it, to what is sent. */
export type Patch = (connection: WireObject, host: string) => WireObject;

export type PatchedController = {
  /** From now on; the agents of all routers are told to look. */
  readonly patch: (patch: Patch) => void;
  readonly close: () => Promise<void>;
};

/** For a lab without a controller of its own (`startsController: false`). */
export async function startPatchedController(lab: TestLab): Promise<PatchedController> {
  const cleanup = createCleanup();
  let patch: Patch = (connection) => connection;
  const patched = (answer: unknown, host: string): unknown =>
    (answer as readonly WireObject[]).map((service) => ({
      ...service,
      ipsec_site_connections: (service["ipsec_site_connections"] as readonly WireObject[]).map((connection) =>
        patch(connection, host),
      ),
    }));
  const stateDirectory = mkdtempSync(path.join(lab.directory, "patched-controller-"));
  cleanup.add(() => rmSync(stateDirectory, { recursive: true }));
  const log = pino({ level: "silent" });
  const broker = createBroker({ url: transportUrl(lab.rabbitmq.url), log });
  cleanup.add(() => broker.close());
  const service = await startControllerService({
    bus: {
      cast: (target, method, args) => broker.cast(target, method, args),
      serve: (topic, methods) =>
        broker.serve(topic, {
          ...methods,
          [GET_SERVICES]: async (args) => patched(await methods[GET_SERVICES]?.(args), String(args["host"])),
        }),
    },
    documents: lab.documentsDirectory,
    stateDirectory,
    environment: {},
    log,
  });
  cleanup.add(() => service.close());
  broker.start();
  await eventually(() => broker.isConnected, { what: "the controller is connected" });
  service.begin();
  return {
    patch(next) {
      patch = next;
      service.announceAll();
    },
    close: () => cleanup.run(),
  };
}
