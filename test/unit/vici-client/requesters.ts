// Charons for tests that need no socket: one plays back what a real one said, one says what the test wants.
import { emptyFramer, feed } from "../../../src/vici-client/framing.ts";
import { decodeMessage, encodeMessage, type Section, type SectionInput } from "../../../src/vici-client/message.ts";
import { type CharonPacket, decodeCharonPacket } from "../../../src/vici-client/packet.ts";
import type { CommandOptions, OnEvent, ViciRequester } from "../../../src/vici-client/session.ts";
import { readHexFile } from "../../support/hex.ts";

export const golden = (name: string): Buffer => readHexFile(new URL(`../../golden/vici/${name}.hex`, import.meta.url));

export function frames(name: string): readonly Buffer[] {
  const fed = feed(emptyFramer, golden(name));
  if (fed.framer.pendingBytes > 0) throw new Error(`${name} ends inside a frame`);
  return fed.frames;
}

export const replyPackets = (name: string): readonly CharonPacket[] =>
  frames(`${name}-reply`).map((frame) => decodeCharonPacket(frame));

/** The events of a recording with their names. */
export const recordedEvents = (name: string): readonly { readonly name: string; readonly message: Section }[] =>
  replyPackets(name).flatMap((packet) => (packet.kind === "event" ? [packet] : []));

/** Answers the first command with the first answer that was recorded, the second with the second, and so on. */
export function recorded(name: string): ViciRequester {
  const answers = replyPackets(name).flatMap((packet) => (packet.kind === "commandResponse" ? [packet.message] : []));
  const answer = () => {
    const next = answers.shift();
    if (next === undefined) throw new Error(`${name} holds no further answer`);
    return Promise.resolve(next);
  };
  return {
    request: answer,
    stream: async (_command, event, _args, onEvent) => {
      for (const raised of recordedEvents(name)) if (raised.name === event) await onEvent(raised.message);
      return answer();
    },
  };
}

export type Asked = { readonly command: string; readonly event: string | undefined; readonly args: Section };
export type Sent = Asked & { readonly options: CommandOptions | undefined };

/** Answers every command alike and keeps what was asked, as it would have arrived. */
export function aCharon(answer: SectionInput, events: readonly SectionInput[] = []) {
  const sent: Sent[] = [];
  const note = (
    command: string,
    event: string | undefined,
    args: SectionInput,
    options: CommandOptions | undefined,
  ) => {
    sent.push({ command, event, args: decodeMessage(encodeMessage(args)), options });
    return Promise.resolve(decodeMessage(encodeMessage(answer)));
  };
  const vici: ViciRequester = {
    request: (command, args = {}, options) => note(command, undefined, args, options),
    stream: async (command, event, args, onEvent: OnEvent, options) => {
      for (const message of events) await onEvent(decodeMessage(encodeMessage(message)));
      return note(command, event, args, options);
    },
  };
  return { vici, sent };
}

/** One that has just begun: no proposal, no times, no children. */
export const anIkeSa = {
  uniqueid: "3",
  version: "2",
  state: "CONNECTING",
  "local-host": "192.0.2.1",
  "local-port": "500",
  "local-id": "192.0.2.1",
  "remote-host": "192.0.2.2",
  "remote-port": "500",
  "remote-id": "%any",
  "initiator-spi": "0011223344556677",
  "responder-spi": "0000000000000000",
};

const CMD_REQUEST = 0;
const EVENT_REGISTER = 3;

/** What swanctl asked, each command with the event that it registered for before it. */
export function askedBySwanctl(name: string): readonly Asked[] {
  const asked: Asked[] = [];
  let event: string | undefined;
  for (const frame of frames(`${name}-request`)) {
    const nameEnd = 2 + (frame[1] ?? 0);
    const word = frame.toString("latin1", 2, nameEnd);
    if (frame[0] === EVENT_REGISTER) event = word;
    if (frame[0] !== CMD_REQUEST) continue;
    asked.push({ command: word, event, args: decodeMessage(frame.subarray(nameEnd)) });
    event = undefined;
  }
  return asked;
}
