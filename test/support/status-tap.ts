// Listens in on what agents report: a queue of our own beside the control plane's.
import { connect, type ConsumeMessage } from "amqplib";

export type TappedReport = {
  /** performance.now() of the arrival. */
  readonly atMs: number;
  /** By id, of services and of connections. */
  readonly statuses: ReadonlyMap<string, string>;
};

export type StatusTap = {
  readonly reports: readonly TappedReport[];
  readonly close: () => Promise<void>;
};

type Envelope = { readonly "oslo.message": string };
type Message = { readonly method: string; readonly args: { readonly status: readonly WireService[] } };
type WireService = {
  readonly id: string;
  readonly status: string;
  readonly ipsec_site_connections: Readonly<Record<string, { readonly status: string }>>;
};

/** Taps the requests to topic `ipsec_driver` of exchange `neutron`. */
export async function tapStatusReports(url: string): Promise<StatusTap> {
  const model = await connect(url.replace(/^rabbit:/, "amqp:"));
  const channel = await model.createChannel();
  const reports: TappedReport[] = [];
  const { queue } = await channel.assertQueue("", { exclusive: true });
  await channel.bindQueue(queue, "neutron", "ipsec_driver");
  const take = (message: ConsumeMessage | null): void => {
    const atMs = performance.now();
    if (message === null) return;
    const envelope = JSON.parse(message.content.toString()) as Envelope;
    const { method, args } = JSON.parse(envelope["oslo.message"]) as Message;
    if (method !== "update_status") return;
    const statuses = args.status.flatMap((service) => [
      [service.id, service.status] as const,
      ...Object.entries(service.ipsec_site_connections).map(([id, { status }]) => [id, status] as const),
    ]);
    reports.push({ atMs, statuses: new Map(statuses) });
  };
  await channel.consume(queue, take, { noAck: true });
  return { reports, close: () => model.close() };
}
