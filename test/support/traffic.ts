// Constant traffic between two hosts of a world, and what became of it.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { expect } from "vitest";
import type { World } from "../../scripts/world.ts";

export type TrafficCounts = {
  readonly sent: number;
  readonly received: number;
  /** Unanswered ones of which a later one was answered; the others were on their way when it was stopped. */
  readonly lost: readonly number[];
  /** From the last answer before a lost packet to the first one after it, at its longest; 0 when none was lost. */
  readonly longestGapMs: number;
};

export type Traffic = {
  /** Answers so far. */
  readonly answered: () => number;
  /** Those that are lost so far. */
  readonly lost: () => readonly number[];
  /** Number of the last packet that was answered so far. */
  readonly lastSeq: () => number;
  /** Ends it and counts; losses only of packets after the one of that number. */
  readonly stop: (afterSeq?: number) => Promise<TrafficCounts>;
};

type Answer = { readonly seq: number; readonly atMs: number };

/** Pings, every 10 ms unless asked otherwise, until stopped. `from` is the name of a host, or of a namespace. */
export function startTraffic(world: World, from: string, to: string, perSecond = 100): Traffic {
  const namespace = world.hostNamespaces.get(from) ?? from;
  const pace = ["-i", String(1 / perSecond), "-W", "1"];
  const ping = spawn("ip", ["netns", "exec", namespace, "ping", "-n", "-D", ...pace, to], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  const ended = once(ping, "close");
  const answers: Answer[] = [];
  let counts: readonly string[] = [];
  createInterface({ input: ping.stdout }).on("line", (line) => {
    const [, at, seq] = /^\[(\d+\.\d+)\] \d+ bytes from .*icmp_seq=(\d+) /.exec(line) ?? [];
    if (at !== undefined && seq !== undefined) answers.push({ seq: Number(seq), atMs: 1000 * Number(at) });
    else counts = /(\d+) packets transmitted, (\d+) received/.exec(line)?.slice(1) ?? counts;
  });
  return {
    answered: () => answers.length,
    lost: () => lossOf(answers).lost,
    lastSeq: () => Math.max(0, ...answers.map(({ seq }) => seq)),
    stop: async (afterSeq) => {
      ping.kill("SIGINT");
      await ended;
      return { sent: Number(counts[0] ?? 0), received: Number(counts[1] ?? 0), ...lossOf(answers, afterSeq) };
    },
  };
}

function lossOf(answers: readonly Answer[], afterSeq = 0): Pick<TrafficCounts, "lost" | "longestGapMs"> {
  // One that was overtaken is no loss.
  const bySeq = answers.filter(({ seq }) => seq >= afterSeq).sort((a, b) => a.seq - b.seq);
  const lost: number[] = [];
  let longestGapMs = 0;
  let before: Answer = { seq: afterSeq, atMs: bySeq[0]?.atMs ?? 0 };
  for (const answer of bySeq) {
    if (answer.seq > before.seq + 1) {
      for (let seq = before.seq + 1; seq < answer.seq; seq++) lost.push(seq);
      longestGapMs = Math.max(longestGapMs, Math.round(answer.atMs - before.atMs));
    }
    before = answer;
  }
  return { lost, longestGapMs };
}

/**
 * How many of each direction a make-before-break may cost: the gateway that answers uses the new SA before the one that
 * asked has computed its keys, and the one that ends the old SA uses it until the other has confirmed. A packet sent in
 * either moment finds no SA: one or two where a processor is free, seven
 * were seen with eight processes running on two processors, and more in the kernel lab's guest, where either moment lasts
 * some 20 ms.
 */
export const MOST_IN_FLIGHT = process.env["KERNEL_LAB"] === undefined ? 10 : 20;

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
