// Who watches all along: a capture of what crosses the internet in clear, and pings through tunnels and beside them.
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import type { World } from "../world.ts";
import type { Finding } from "./check/subject.ts";
import { bondOf, hostAddressOf, octetsOf, type Model, type SiteRouter } from "./model.ts";

/** Everything inside is in 10.0.0.0/8, and nothing outside is: such a packet on the internet is a leak. */
const INSIDE = "ip and net 10.0.0.0/8";
/** No LAN has these: a packet to them is one that we send on purpose. */
const PROBE_PREFIX = "10.250.";

/** Packets in clear on the internet's bridge, and whether one would be seen. */
export class ClearText {
  readonly #onPacket: (line: string) => void;
  readonly #tcpdump: ChildProcess;
  #probes = 0;
  readonly #seen = new Set<string>();
  readonly #isListening: Promise<void>;

  /** `onPacket` gets tcpdump's line of each as it comes. */
  constructor(bridge: string, onPacket: (line: string) => void) {
    this.#onPacket = onPacket;
    const args = ["--immediate-mode", "-l", "-n", "-tt", "-i", bridge, INSIDE];
    this.#tcpdump = spawn("tcpdump", args, { stdio: ["ignore", "pipe", "pipe"], detached: true });
    onLines(this.#tcpdump, (line) => this.#note(line));
    this.#isListening = new Promise((resolve, reject) => {
      let heard = "";
      this.#tcpdump.stderr?.on("data", (chunk: Buffer) => {
        heard += chunk.toString();
        if (heard.includes("listening on")) resolve();
      });
      this.#tcpdump.once("exit", () => reject(new Error(`tcpdump ended: ${heard}`)));
    });
  }

  #note(line: string): void {
    const [, probe] = / > (10\.250\.\d+\.\d+)[:.]/.exec(line) ?? [];
    if (probe !== undefined) this.#seen.add(probe);
    else if (!line.includes(PROBE_PREFIX)) this.#onPacket(line);
  }

  /** One packet in clear, which no guard is there for: a watch that does not see it is no watch. */
  async prove(world: World, router: SiteRouter): Promise<readonly Finding[]> {
    await this.#isListening;
    this.#probes += 1;
    const probe = `${PROBE_PREFIX}0.${this.#probes}`;
    const namespace = world.hostNamespaces.get(`h${router.number}`) ?? "";
    for (let attempt = 0; attempt < 3 && !this.#seen.has(probe); attempt += 1) {
      const ping = ["netns", "exec", namespace, "ping", "-n", "-c", "1", "-W", "1", probe];
      await once(spawn("ip", ping, { stdio: "ignore" }), "exit");
    }
    if (this.#seen.has(probe)) return [];
    return [{ invariant: "clear-text", about: probe, text: "a packet in clear was sent on purpose, and not seen" }];
  }

  async stop(): Promise<void> {
    await end(this.#tcpdump);
  }
}

/** Pings without end; what was answered is told by sequence number. */
export class Pings {
  readonly name: string;
  readonly #process: ChildProcess;
  readonly #answered = new Set<number>();
  #lastAnswerAt = performance.now();

  constructor(
    world: World,
    of: { readonly from: string; readonly to: string; readonly source?: string; readonly everyMs: number },
  ) {
    this.name = `${of.source ?? of.from} > ${of.to}`;
    const namespace = world.hostNamespaces.get(of.from) ?? of.from;
    const source = of.source === undefined ? [] : ["-I", of.source];
    const ping = [
      "netns",
      "exec",
      namespace,
      "ping",
      "-n",
      "-i",
      String(of.everyMs / 1000),
      "-W",
      "2",
      ...source,
      of.to,
    ];
    this.#process = spawn("ip", ping, { stdio: ["ignore", "pipe", "ignore"], detached: true });
    onLines(this.#process, (line) => {
      const [, sequence] = /^\d+ bytes from .*icmp_seq=(\d+) /.exec(line) ?? [];
      if (sequence === undefined) return;
      this.#answered.add(Number(sequence));
      this.#lastAnswerAt = performance.now();
    });
  }

  /** Sequence numbers without an answer, of which a later one was answered. */
  lost(): readonly number[] {
    const last = Math.max(0, ...this.#answered);
    return Array.from({ length: last }, (_, index) => index + 1).filter((sequence) => !this.#answered.has(sequence));
  }

  get silentMs(): number {
    return performance.now() - this.#lastAnswerAt;
  }

  get received(): number {
    return this.#answered.size;
  }

  async stop(): Promise<void> {
    await end(this.#process);
  }
}

/** A ping to and fro in every pair: what would be seen in clear if a tunnel that is down were no barrier. */
export const tunnelPings = (world: World, model: Model): readonly Pings[] =>
  model.pairs.flatMap((pair) => {
    const { left, right } = bondOf(model, pair);
    const of = (from: SiteRouter, to: SiteRouter): Pings =>
      new Pings(world, {
        from: `h${from.number}`,
        source: hostAddressOf(from, pair.slot),
        to: hostAddressOf(to, pair.slot),
        everyMs: 1000,
      });
    return [of(left, right), of(right, left)];
  });

export const unrelatedPings = (world: World, router: SiteRouter): Pings =>
  new Pings(world, { from: `h${router.number}`, to: "203.0.113.1", everyMs: 200 });

/** What was translated goes on being translated: whether something new is, only something new tells. */
export async function checkNewTraffic(world: World, routers: readonly SiteRouter[]): Promise<readonly Finding[]> {
  const found = await Promise.all(
    routers.map(async (router): Promise<readonly Finding[]> => {
      const pings = unrelatedPings(world, router);
      if (await isAnswered(pings)) return [];
      return [{ invariant: "unrelated-traffic", about: router.id, text: `nothing new gets through, ${pings.name}` }];
    }),
  );
  return found.flat();
}

/** Hosts of tunnels that have to be up reach each other, from the first subnet to the first and from the last to the last. */
export async function checkTunnelTraffic(
  world: World,
  model: Model,
  isUp: (connectionId: string) => boolean,
): Promise<readonly Finding[]> {
  const up = model.pairs.filter(({ ends }) => isUp(ends.left.id) && isUp(ends.right.id));
  const found = await Promise.all(
    up.map(async (pair): Promise<readonly Finding[]> => {
      const { left, right } = bondOf(model, pair);
      const last = (octets: readonly number[]): number => octets.at(-1) ?? pair.slot;
      const source = hostAddressOf(left, last(octetsOf(pair, "left")));
      const target = hostAddressOf(right, last(octetsOf(pair, "right")));
      const pings = new Pings(world, { from: `h${left.number}`, source, to: target, everyMs: 200 });
      return (await isAnswered(pings))
        ? []
        : [{ invariant: "tunnel-traffic", about: pair.ends.left.id, text: `no answer, ${pings.name}` }];
    }),
  );
  return found.flat();
}

async function isAnswered(pings: Pings): Promise<boolean> {
  const isSo = await within(2_000, () => pings.received > 0);
  await pings.stop();
  return isSo;
}

async function within(ms: number, isSo: () => boolean): Promise<boolean> {
  const deadline = performance.now() + ms;
  while (!isSo() && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 50));
  return isSo();
}

function onLines(process: ChildProcess, note: (line: string) => void): void {
  let rest = "";
  process.stdout?.on("data", (chunk: Buffer) => {
    const lines = (rest + chunk.toString()).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) note(line);
  });
}

async function end(process: ChildProcess): Promise<void> {
  if (process.exitCode !== null || process.signalCode !== null) return;
  process.kill("SIGINT");
  await once(process, "close");
}
