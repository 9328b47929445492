// Brokers of ours and bare AMQP channels for the integration tests, all closed again whatever happens.
import { connect, type Channel, type ChannelModel } from "amqplib";
import { pino } from "pino";
import { type Broker, type BrokerOptions, createBroker } from "../../src/io/rabbit/broker.ts";
import { parseTransportUrl, type TransportUrl } from "../../src/wire/oslo/transport-url.ts";
import { eventually } from "./eventually.ts";

export type LogLine = { readonly level: number; readonly msg: string } & Readonly<Record<string, unknown>>;

/** A logger that remembers; 40 is warn, 50 error. */
export function rememberingLog() {
  const lines: LogLine[] = [];
  const log = pino({ level: "debug" }, { write: (line) => lines.push(JSON.parse(line) as LogLine) });
  return { log, lines };
}

export function transportUrl(text: string): TransportUrl {
  const parsed = parseTransportUrl(text);
  if (parsed.kind === "invalid") throw new Error(parsed.problem);
  return parsed.url;
}

export type Cleanup = {
  add(undo: () => unknown): void;
  /** Runs everything, the last added first, and fails with the first failure only then. */
  run(): Promise<void>;
};

export function createCleanup(): Cleanup {
  const undos: (() => unknown)[] = [];
  return {
    add: (undo) => undos.push(undo),
    async run() {
      const failures: unknown[] = [];
      for (let undo = undos.pop(); undo !== undefined; undo = undos.pop()) {
        try {
          await undo();
        } catch (error) {
          failures.push(error);
        }
      }
      if (failures.length > 0) throw failures[0];
    },
  };
}

/** A started broker that is closed by the clean-up; resolves once it is connected. */
export async function startBroker(
  cleanup: Cleanup,
  url: string,
  prepare: (broker: Broker) => void = () => undefined,
  options: Partial<BrokerOptions> = {},
): Promise<{ readonly broker: Broker; readonly lines: readonly LogLine[] }> {
  const { log, lines } = rememberingLog();
  const broker = createBroker({ url: transportUrl(url), log, ...options });
  cleanup.add(() => broker.close());
  prepare(broker);
  broker.start();
  await eventually(() => broker.isConnected, { what: "our broker is connected" });
  return { broker, lines };
}

/** A bare AMQP connection, to do to the broker what peers and operators do. */
export async function openChannel(
  cleanup: Cleanup,
  url: string,
): Promise<{ readonly model: ChannelModel; readonly channel: Channel }> {
  const model = await connect(url.replace(/^rabbit:/, "amqp:"));
  model.on("error", () => undefined);
  cleanup.add(() => model.close().catch(() => undefined));
  const channel = await model.createChannel();
  channel.on("error", () => undefined);
  return { model, channel };
}
