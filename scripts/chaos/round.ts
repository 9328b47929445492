// One round: documents change and faults happen for a few seconds; then it is quiet, and everything has to come right.
import { setTimeout as sleep } from "node:timers/promises";
import { randomChange, type ChangeKind } from "./changes.ts";
import type { Finding } from "./check/subject.ts";
import type { Applied, Scene } from "./faults/fault.ts";
import type { FaultKind } from "./faults/kinds.ts";
import type { Random } from "./random.ts";

export type Happened = {
  readonly kind: FaultKind;
  readonly text: string;
  /** Unix time in ms: when it was done, and when it was undone, or had ended by itself. */
  readonly atMs: number;
  readonly overMs: number;
};

export type Round = {
  readonly number: number;
  readonly changes: readonly string[];
  readonly faults: readonly Happened[];
  /** From when nobody did anything any more. */
  readonly quietMs: number;
  /** When everything was found right; undefined: never. */
  readonly rightMs: number | undefined;
  /** What was wrong the last time that anything was. */
  readonly findings: readonly Finding[];
};

/** Kinds in the order in which they are tried, and when. */
export type Planned = { readonly kinds: readonly FaultKind[]; readonly afterMs: number };

/** A few faults at random moments; mostly one, so that its repair is its own. */
export function planFaults(kinds: readonly FaultKind[], random: Random, most: number): readonly Planned[] {
  const many = random.next();
  const count = Math.min(most, many < 0.6 ? 1 : many < 0.85 ? 2 : 3);
  return Array.from({ length: count }, () => ({ kinds: random.shuffled(kinds), afterMs: random.whole(200, 2_000) }));
}

/** Changes the documents at random moments until `isOver`. */
export async function changeUntil(
  scene: Scene,
  kinds: readonly ChangeKind[],
  noteChange: () => void,
  isOver: () => boolean,
): Promise<readonly string[]> {
  const { world, random } = scene;
  const done: string[] = [];
  while (!isOver()) {
    const many = random.chance(0.2) ? random.whole(2, 5) : 1;
    let { model } = world;
    for (let index = 0; index < many; index += 1) {
      const change = randomChange(model, random, kinds);
      model = change.model;
      done.push(change.text);
    }
    world.write(model);
    noteChange();
    // In small steps: when the faults are over, it shall be quiet at once.
    for (let steps = random.whole(2, 15); steps > 0 && !isOver(); steps -= 1) await sleep(100);
  }
  return done;
}

/** The first kind that can be done to something now; undefined: none can. */
export async function inflict({ kinds, afterMs }: Planned, scene: Scene): Promise<Happened | undefined> {
  await sleep(afterMs);
  for (const kind of kinds) {
    const atMs = Date.now();
    const applied: Applied | undefined = await scene.world.place.faults[kind]?.(scene);
    if (applied === undefined) continue;
    await sleep(applied.holdMs ?? 0);
    await applied.lift?.();
    return { kind, text: applied.text, atMs, overMs: Date.now() };
  }
  return undefined;
}
