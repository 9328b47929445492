// What a fault is: done to a world at one moment, and undone at a later one if it does not end by itself.
import type { Random } from "../random.ts";
import type { Casts } from "./casts.ts";
import type { ChaosWorld } from "../world.ts";

export type Scene = {
  readonly world: ChaosWorld;
  readonly random: Random;
  readonly casts: Casts;
  /**
   * Takes a thing for the rest of a round. False: another fault has it, and two of them together would be more than any
   * gateway can stand, such as a route and the barrier behind it.
   */
  readonly claim: (thing: string) => boolean;
  /** For the rest of the round packets of this router's LAN may be seen in clear: its guard itself was taken away. */
  readonly exempt: (routerId: string) => void;
  /** Of these routers unrelated traffic is not looked at from now on until what this resolves to is called. */
  readonly suspend: (routerIds: readonly string[]) => Promise<() => void>;
};

export type Applied = {
  readonly text: string;
  /** How long it lasts; `lift` ends it. */
  readonly holdMs?: number;
  readonly lift?: () => Promise<void>;
};

/** Undefined: there is nothing that it could be done to now. */
export type Fault = (scene: Scene) => Promise<Applied | undefined>;
