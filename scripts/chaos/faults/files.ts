// Faults of the disk: no room on it, and files that somebody edits or removes.
import {
  appendFileSync,
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import path from "node:path";
import { SIDES } from "../model.ts";
import { DISKS } from "../world.ts";
import type { Fault, Scene } from "./fault.ts";

const BLOCK = Buffer.alloc(4096);

export const diskFull: Fault = ({ world, random, claim }) => {
  const side = random.pick(SIDES);
  const disks = random.chance(0.4) ? DISKS : [random.pick(DISKS)];
  if (!disks.every((disk) => claim(`disk ${side} ${disk}`))) return Promise.resolve(undefined);
  const fillers = disks.map((disk) => path.join(world.agents[side].directory, disk, "filler"));
  for (const filler of fillers) fill(filler);
  const lift = (): Promise<void> => {
    for (const filler of fillers) rmSync(filler, { force: true });
    return Promise.resolve();
  };
  return Promise.resolve({ text: `${disks.join(" and ")} of the ${side}`, holdMs: random.whole(1_000, 6_000), lift });
};

function fill(file: string): void {
  const descriptor = openSync(file, "w", 0o600);
  try {
    for (;;) writeSync(descriptor, BLOCK);
  } catch {
    // No space left: that is what it is for.
  } finally {
    closeSync(descriptor);
  }
}

/** What the agent has written of one router, or its list of all. */
function someFile({ world, random }: Scene): string | undefined {
  const { stateDirectory, runDirectory } = world.agents[random.pick(SIDES)];
  if (random.chance(0.2)) return path.join(stateDirectory, "snapshot");
  const written = namesBelow(runDirectory).filter((name) => name.endsWith(".conf"));
  return written.length === 0 ? undefined : path.join(runDirectory, random.pick([...written].sort()));
}

function namesBelow(directory: string): readonly string[] {
  try {
    return readdirSync(directory, { recursive: true, encoding: "utf8" });
  } catch {
    return []; // the agent removes a router's files in this moment
  }
}

const onFile =
  (act: (file: string, scene: Scene) => string): Fault =>
  (scene) => {
    const file = someFile(scene);
    if (file === undefined || !existsSync(file)) return Promise.resolve(undefined);
    const text = act(file, scene);
    return Promise.resolve({ text: `${path.basename(file)} ${text}` });
  };

export const fileEdited = onFile((file, { random }) => {
  if (random.chance(0.5)) {
    writeFileSync(file, "");
    return "emptied";
  }
  // A full disk may refuse it; then the file is as it was.
  appendFileSync(file, "\nedited = by hand\n");
  return "edited";
});

export const fileRemoved = onFile((file, { world, random }) => {
  const keys = SIDES.map((side) => path.join(world.agents[side].stateDirectory, "node.key"));
  const target = random.chance(0.1) ? random.pick(keys) : file;
  rmSync(target, { force: true });
  return target === file ? "removed" : "spared, a node's key removed instead";
});
