// The packet layer of VICI: what a frame holds, one union per direction with only what that peer may legally send.
import { MalformedMessageError } from "./errors.ts";
import { decodeMessage, encodeMessage, type Section, type SectionInput } from "./message.ts";

const CMD_REQUEST = 0;
const CMD_RESPONSE = 1;
const CMD_UNKNOWN = 2;
const EVENT_REGISTER = 3;
const EVENT_UNREGISTER = 4;
const EVENT_CONFIRM = 5;
const EVENT_UNKNOWN = 6;
const EVENT = 7;

const MAX_NAME_BYTES = 0xff; // u8 length prefix
// charon logs "invalid vici request message" over any other name and never answers (5.9.8, vici_dispatcher.c).
const PACKET_NAME = /^[\x20-\x7e]+$/;

export type ClientPacket =
  | { readonly kind: "commandRequest"; readonly name: string; readonly message: SectionInput }
  | { readonly kind: "eventRegister"; readonly name: string }
  | { readonly kind: "eventUnregister"; readonly name: string };

export type CharonPacket =
  | { readonly kind: "commandResponse"; readonly message: Section }
  | { readonly kind: "commandUnknown" }
  | { readonly kind: "eventConfirm" }
  | { readonly kind: "eventUnknown" }
  | { readonly kind: "event"; readonly name: string; readonly message: Section };

/** Named packet: type, u8 name length, name, then the message if the type has one. */
export function encodeClientPacket(packet: ClientPacket): Buffer {
  switch (packet.kind) {
    case "commandRequest":
      return Buffer.concat([named(CMD_REQUEST, packet.name), encodeMessage(packet.message)]);
    case "eventRegister":
      return named(EVENT_REGISTER, packet.name);
    case "eventUnregister":
      return named(EVENT_UNREGISTER, packet.name);
  }
}

function named(type: number, name: string): Buffer {
  if (name.length > MAX_NAME_BYTES || !PACKET_NAME.test(name)) {
    throw new MalformedMessageError(
      `packet name ${JSON.stringify(name)} is not 1..${MAX_NAME_BYTES} printable ASCII bytes`,
    );
  }
  return Buffer.concat([Buffer.from([type, name.length]), Buffer.from(name, "latin1")]);
}

export function decodeCharonPacket(frame: Buffer): CharonPacket {
  const type = frame[0];
  switch (type) {
    case undefined:
      throw new MalformedMessageError("empty packet");
    case CMD_RESPONSE:
      return { kind: "commandResponse", message: decodeMessage(frame.subarray(1)) };
    case CMD_UNKNOWN:
      return bare(frame, { kind: "commandUnknown" });
    case EVENT_CONFIRM:
      return bare(frame, { kind: "eventConfirm" });
    case EVENT_UNKNOWN:
      return bare(frame, { kind: "eventUnknown" });
    case EVENT: {
      const nameEnd = 2 + (frame[1] ?? frame.length);
      if (nameEnd > frame.length) throw new MalformedMessageError("event name truncated");
      const name = frame.toString("latin1", 2, nameEnd);
      return { kind: "event", name, message: decodeMessage(frame.subarray(nameEnd)) };
    }
    default:
      throw new MalformedMessageError(`packet type ${type} is not one that charon sends`);
  }
}

function bare(frame: Buffer, packet: CharonPacket): CharonPacket {
  if (frame.length > 1) throw new MalformedMessageError(`${frame.length - 1} trailing bytes after ${packet.kind}`);
  return packet;
}
