// How fast VICI messages are read and written, beside JSON of the same data in the same process.
import { readFileSync } from "node:fs";
import { emptyFramer, feed } from "../../src/vici-client/framing.ts";
import { decodeMessage, encodeMessage, type Section, type Value } from "../../src/vici-client/message.ts";
import { decodeCharonPacket } from "../../src/vici-client/packet.ts";
import { median, type Row } from "./figures.ts";

/** Recorded from charon: one message for each SA, one for each connection. */
const RECORDED = { "list-sas": "list-sas-reply.hex", "list-conns": "list-conns-reply.hex" } as const;

export type CodecEffort = { readonly rounds: number; readonly roundMs: number };

export const measureCodec = (effort: CodecEffort): readonly Row[] =>
  Object.entries(RECORDED).flatMap(([command, file]) => measureMessages(command, eventsOf(file), effort));

function eventsOf(file: string): readonly Section[] {
  const text = readFileSync(new URL(`../../test/golden/vici/${file}`, import.meta.url), "utf8");
  const bytes = Buffer.from(text.replace(/#.*$/gm, "").replace(/\s+/g, ""), "hex");
  return feed(emptyFramer, bytes).frames.flatMap((frame) => {
    const packet = decodeCharonPacket(frame);
    return packet.kind === "event" ? [packet.message] : [];
  });
}

const plainOf = (value: Value): unknown => {
  if (typeof value === "string") return value;
  if (value instanceof Map)
    return Object.fromEntries([...(value as Section)].map(([key, item]) => [key, plainOf(item)]));
  if (Array.isArray(value)) return value.map((item: Value) => plainOf(item));
  throw new Error("a recorded message holds bytes that are no text");
};

function measureMessages(command: string, sections: readonly Section[], { rounds, roundMs }: CodecEffort): Row[] {
  const messages = sections.map((section) => encodeMessage(section));
  const plains = sections.map(plainOf);
  const texts = plains.map((plain) => JSON.stringify(plain));
  const bytes = messages.reduce((sum, message) => sum + message.length, 0);
  const works = {
    decode: () => messages.forEach((message) => decodeMessage(message)),
    parse: () => texts.forEach((text) => void JSON.parse(text)),
    encode: () => sections.forEach((section) => encodeMessage(section)),
    stringify: () => plains.forEach((plain) => void JSON.stringify(plain)),
  };
  for (const work of Object.values(works)) nsPerRun(work, roundMs); // compiled by then
  const taken = { decode: [], parse: [], encode: [], stringify: [] } as Record<keyof typeof works, number[]>;
  // By turns, so that whatever slows the machine down slows all of them.
  for (let round = 0; round < rounds; round += 1) {
    for (const name of Object.keys(works) as (keyof typeof works)[]) taken[name].push(nsPerRun(works[name], roundMs));
  }
  const ns = (name: keyof typeof works): number => median(taken[name]);
  const row = (what: string, value: number, unit: Row["unit"]): Row => ({
    name: `VICI codec, ${command}: ${what}`,
    value,
    unit,
    samples: rounds,
  });
  return [
    row("decode", (bytes / ns("decode")) * 1000, "MB/s"),
    row("decode, time / JSON.parse", ns("decode") / ns("parse"), "×"),
    row("encode", (bytes / ns("encode")) * 1000, "MB/s"),
    row("encode, time / JSON.stringify", ns("encode") / ns("stringify"), "×"),
  ];
}

function nsPerRun(work: () => void, forMs: number): number {
  const startedAt = performance.now();
  let runs = 0;
  let nowMs = startedAt;
  while (nowMs - startedAt < forMs) {
    for (let batch = 0; batch < 50; batch += 1) work();
    runs += 50;
    nowMs = performance.now();
  }
  return ((nowMs - startedAt) * 1e6) / runs;
}
