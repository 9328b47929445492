// Faults of the broker and of the way to it.
import type { Fault, Scene } from "./fault.ts";

const WIRES = ["left", "right", "controller"] as const;

export const restart: Fault = async ({ world, random, claim }) => {
  const broker = world.lab.rabbitmq;
  if (broker === undefined || !claim("broker")) return undefined;
  await broker.stopBroker();
  return { text: "the broker", holdMs: random.whole(0, 4_000), lift: () => broker.startBroker() };
};

type Wired = { readonly name: string; readonly wires: readonly (typeof WIRES)[number][] };

function claimWires({ random, claim }: Scene): Wired | undefined {
  const wires = random.chance(0.3) ? WIRES : [random.pick(WIRES)];
  return wires.every((wire) => claim(`wire ${wire}`)) ? { name: wires.join(", "), wires } : undefined;
}

export const cut: Fault = (scene) => {
  const wired = claimWires(scene);
  if (wired === undefined) return Promise.resolve(undefined);
  for (const wire of wired.wires) scene.world.wires[wire].cut();
  const lift = (): Promise<void> => {
    for (const wire of wired.wires) scene.world.wires[wire].mend();
    return Promise.resolve();
  };
  return Promise.resolve({ text: `the wire of ${wired.name}`, holdMs: scene.random.whole(200, 6_000), lift });
};

export const slow: Fault = (scene) => {
  const wired = claimWires(scene);
  if (wired === undefined) return Promise.resolve(undefined);
  const delayMs = scene.random.whole(200, 2_000);
  for (const wire of wired.wires) scene.world.wires[wire].delay(delayMs);
  const lift = (): Promise<void> => {
    for (const wire of wired.wires) scene.world.wires[wire].delay(0);
    return Promise.resolve();
  };
  const text = `the wire of ${wired.name}, ${delayMs} ms`;
  return Promise.resolve({ text, holdMs: scene.random.whole(2_000, 6_000), lift });
};
