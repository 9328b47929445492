// Constant traffic between two hosts of a world, and what became of it.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect } from "vitest";
import type { World } from "../../scripts/world.ts";

export type Traffic = {
  /** Ends it and counts. */
  readonly stop: () => Promise<{
    readonly sent: number;
    readonly received: number;
    /** Unanswered ones of which a later one was answered; the others were on their way when it was stopped. */
    readonly lost: readonly number[];
  }>;
};

/** Pings every 10 ms until stopped. */
export function startTraffic(world: World, from: string, to: string): Traffic {
  const namespace = world.hostNamespaces.get(from) ?? from;
  const ping = spawn("ip", ["netns", "exec", namespace, "ping", "-n", "-i", "0.01", "-W", "1", to], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  let output = "";
  ping.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  return {
    stop: async () => {
      if (ping.exitCode === null) {
        ping.kill("SIGINT");
        await once(ping, "close");
      }
      const counts = /(\d+) packets transmitted, (\d+) received/.exec(output);
      const answered = new Set(
        [...output.matchAll(/^\d+ bytes from .*icmp_seq=(\d+) /gm)].map(([, seq]) => Number(seq)),
      );
      const last = Math.max(0, ...answered);
      const lost = Array.from({ length: last }, (_, index) => index + 1).filter((seq) => !answered.has(seq));
      return { sent: Number(counts?.[1] ?? 0), received: Number(counts?.[2] ?? 0), lost };
    },
  };
}

/** Ends it. None was lost; as many as fit into half a second may have been on their way. */
export const expectNothingLost = (traffic: Traffic, leastReceived?: number): Promise<void> =>
  expectLostAtMost(traffic, 0, leastReceived);

/** Likewise, with a few that may be lost. */
export async function expectLostAtMost(traffic: Traffic, mostLost: number, leastReceived = 50): Promise<void> {
  const { sent, received, lost } = await traffic.stop();
  expect(lost.slice(mostLost)).toEqual([]);
  expect(received).toBeGreaterThan(leastReceived);
  expect(sent - received).toBeLessThan(50);
}
