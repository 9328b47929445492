// Faults of the bus itself: messages twice, in another order, from long ago, and such as no server would send.
import { randomUUID } from "node:crypto";
import { encodeReply } from "../../../src/wire/oslo/reply.ts";
import { SIDES } from "../model.ts";
import { agentQueue, type Cast } from "./casts.ts";
import type { Fault, Scene } from "./fault.ts";

const EXCHANGE = "neutron";
/** Another fault may have stopped the broker. */
const onBus =
  (send: Fault): Fault =>
  (scene) =>
    send(scene).catch(() => undefined);
const RECENT = 20;

async function sendAgain(scene: Scene, casts: readonly Cast[]): Promise<void> {
  for (const { host, body } of casts) await scene.casts.publish(EXCHANGE, agentQueue(host), body);
}

export const duplicate = onBus(async (scene) => {
  const recent = scene.casts.kept.slice(-RECENT);
  if (recent.length === 0) return undefined;
  const cast = scene.random.pick(recent);
  await sendAgain(scene, [cast, cast, cast]);
  return { text: `a cast to ${cast.host} three times more` };
});

export const reordered = onBus(async (scene) => {
  const recent = scene.casts.kept.slice(-RECENT);
  if (recent.length < 2) return undefined;
  await sendAgain(scene, scene.random.shuffled(recent));
  return { text: `the last ${recent.length} casts once more, in another order` };
});

export const stale = onBus(async (scene) => {
  const { kept } = scene.casts;
  const old = kept.slice(0, Math.ceil(kept.length / 2));
  if (old.length === 0 || scene.random.chance(0.5)) return staleReplies(scene);
  const cast = scene.random.pick(old);
  await sendAgain(scene, [cast]);
  return { text: `an old cast to ${cast.host}` };
});

/** Answers that nobody waits for, and which say that the list is empty. */
const staleReplies: Fault = async (scene) => {
  const listing = await scene.world.lab.rabbitmq?.ctl("list_queues", "--silent", "name").catch(() => undefined);
  const queues = (listing ?? "").split("\n").filter((name) => name.startsWith("reply_"));
  for (const queue of queues) {
    const reply = { messageId: randomUUID().replaceAll("-", ""), uniqueId: randomUUID().replaceAll("-", "") };
    await scene.casts.publish("", queue, encodeReply({ ...reply, result: [], failure: null, ending: true }));
  }
  return queues.length === 0 ? undefined : { text: `empty lists that nobody asked for, to ${queues.length} queues` };
};

const envelope = (inner: string): string => JSON.stringify({ "oslo.version": "2.0", "oslo.message": inner });
const MALFORMED: readonly ((body: string) => string)[] = [
  () => "",
  () => "\u0000\u0001\ufffd not JSON",
  (body) => body.slice(0, Math.floor(body.length / 2)),
  () => "[]",
  () => "null",
  () => envelope("{"),
  () => envelope(JSON.stringify({ method: 7, args: [] })),
  () =>
    envelope(
      JSON.stringify({ method: "no_such_method", args: {}, _unique_id: randomUUID(), namespace: null, version: "1.0" }),
    ),
  () =>
    envelope(
      JSON.stringify({
        method: "vpnservice_updated",
        args: { router: { id: 7 } },
        _unique_id: randomUUID(),
        version: "1.0",
      }),
    ),
  () =>
    envelope(JSON.stringify({ method: "vpnservice_updated", args: null, _unique_id: randomUUID(), version: "9.0" })),
  (body) => body.replace("oslo.message", "oslo.massage"),
  () => "x".repeat(200_000),
];

export const malformed = onBus(async (scene) => {
  const host = scene.world.model.hosts[scene.random.pick(SIDES)];
  const original = scene.casts.kept.at(-1)?.body.toString() ?? "{}";
  const count = scene.random.whole(1, 8);
  for (let sent = 0; sent < count; sent += 1) {
    const body = scene.random.pick(MALFORMED)(original);
    await scene.casts.publish(EXCHANGE, agentQueue(host), Buffer.from(body));
  }
  return { text: `${count} malformed messages to ${host}` };
});
