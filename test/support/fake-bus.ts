// A bus that keeps what it was told and refuses what a real one would: a second server of a topic, a call nobody serves.
import type { Bus, ServedMethod } from "../../src/controller/bus.ts";

export type FakeCast = {
  readonly server: string;
  readonly topic: string;
  readonly method: string;
  readonly args: unknown;
};

export class FakeBus implements Bus {
  readonly casts: FakeCast[] = [];
  isConnected = true;
  readonly #topics = new Map<string, Readonly<Record<string, ServedMethod>>>();

  serve(topic: string, methods: Readonly<Record<string, ServedMethod>>): void {
    if (this.#topics.has(topic)) throw new Error(`${topic} is served already`);
    this.#topics.set(topic, methods);
  }

  cast(
    target: { topic: string; server: string },
    method: string,
    args: Readonly<Record<string, unknown>>,
  ): Promise<void> {
    if (!this.isConnected) return Promise.reject(new Error("not connected"));
    this.casts.push({ ...target, method, args });
    return Promise.resolve();
  }

  /** As an agent would: what goes over the wire is JSON. */
  async call(topic: string, method: string, args: Readonly<Record<string, unknown>>): Promise<unknown> {
    const served = this.#topics.get(topic)?.[method];
    if (served === undefined) throw new Error(`nobody serves ${topic} ${method}`);
    const answer = await served(JSON.parse(JSON.stringify(args)) as Record<string, unknown>);
    return JSON.parse(JSON.stringify(answer)) as unknown;
  }
}
