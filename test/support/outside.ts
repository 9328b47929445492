// What an observer on the internet's bridge sees of a lab.
import { setTimeout as sleep } from "node:timers/promises";
import { startCapture, type Capture, type World } from "../../scripts/world.ts";
import type { EspBackEnd } from "../../src/core/guard.ts";

/** `esp` and `ah` are protocols 50 and 51 of IP, `esp-in-udp` is RFC 3948's on port 4500. */
export type PacketKind = "esp" | "esp-in-udp" | "ah" | "clear";

export type Seen = {
  /** Every kind that was seen, in alphabetical order. */
  readonly kinds: readonly PacketKind[];
  /** tcpdump's lines. */
  readonly clear: readonly string[];
  readonly count: number;
};

/** How each back end sends ESP where no NAT is between the gateways. */
export const ESP_OUTSIDE: Readonly<Record<EspBackEnd, PacketKind>> = { kernel: "esp", userland: "esp-in-udp" };

// Not asked for: IKE, its errors, what neighbours need to find each other, and what the internet's own machine says.
const IKE = /isakmp/;
/** Of a gateway whose charon is away: they quote what came in, which is ESP. */
const NOBODY_LISTENS = /ICMP .*udp port 4?500 unreachable|ICMP6, .*unreachable port, .* udp port 4?500/;
const NEIGHBOURS = /ICMP6, (neighbor|router|multicast listener)/;
const FILTER = "(ip or ip6) and not host 203.0.113.1 and not host 2001:db8:ff::1";

const LOOK_EVERY_MS = 250;
/** With traffic that never ends. */
const MAX_LOOKS = 8;

/** What crosses the bridge while `during` runs: packets that carry something. */
export async function seenOutside(world: World, during: () => Promise<unknown>): Promise<Seen> {
  const capture = await startCapture({ interface: world.bridge, filter: FILTER });
  try {
    await during();
  } finally {
    // tcpdump leaves out what it has not read yet when it is ended.
    await becomesQuiet(capture);
  }
  const lines = (await capture.stop()).filter(
    (line) => ![IKE, NOBODY_LISTENS, NEIGHBOURS].some((kind) => kind.test(line)),
  );
  const kinds = lines.map(kindOf);
  return {
    kinds: [...new Set(kinds)].sort(),
    clear: lines.filter((_, index) => kinds[index] === "clear"),
    count: lines.length,
  };
}

async function becomesQuiet(capture: Capture): Promise<void> {
  for (let seen = -1, looks = 0; seen !== capture.seen().length && looks < MAX_LOOKS; looks += 1) {
    seen = capture.seen().length;
    await sleep(LOOK_EVERY_MS);
  }
}

function kindOf(line: string): PacketKind {
  if (/: UDP-encap: ESP\(/.test(line)) return "esp-in-udp";
  if (/: ESP\(/.test(line)) return "esp";
  if (/: AH\(/.test(line)) return "ah";
  return "clear";
}
