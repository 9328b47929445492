// Events as a union (VICI README, "Server-issued events").
import { ALERT_TYPES, type AlertType } from "./alerts.ts";
import { type Authority, decodeAuthorities } from "./authorities.ts";
import { type Cert, decodeCert } from "./certs.ts";
import { type ConnConfig, decodeConn } from "./conns.ts";
import { MalformedMessageError } from "./errors.ts";
import { readInteger, readSection, readText, readYes, requireInteger, requireText, sectionsOf } from "./fields.ts";
import type { Section } from "./message.ts";
import { decodePolicies, type Policy } from "./policies.ts";
import { type ChildSa, decodeChildSa, decodeIkeSa, type IkeSa } from "./sas.ts";

/** Those that anything can raise: worth a subscription. `alert` is there from 6.0.3 on. */
export const SUBSCRIBABLE_EVENTS = [
  "log",
  "ike-updown",
  "ike-rekey",
  "ike-update",
  "child-updown",
  "child-rekey",
  "alert",
] as const;

/** Those with which a command tells its answer, or what it does: charon sends them to the session of the command only. */
export const COMMAND_EVENTS = [
  "control-log",
  "list-sa",
  "list-policy",
  "list-conn",
  "list-cert",
  "list-authority",
] as const;

export type EventName = (typeof SUBSCRIBABLE_EVENTS)[number] | (typeof COMMAND_EVENTS)[number];

export type ViciEvent =
  | { readonly kind: "ikeUpdown"; readonly isUp: boolean; readonly ikeSa: IkeSa }
  | { readonly kind: "ikeRekey"; readonly name: string; readonly old: IkeSa; readonly new: IkeSa }
  /** `ikeSa` still has the old addresses. */
  | {
      readonly kind: "ikeUpdate";
      readonly localHost: string;
      readonly localPort: number;
      readonly remoteHost: string;
      readonly remotePort: number;
      readonly ikeSa: IkeSa;
    }
  /** `ikeSa.childSas` is `[childSa]`. */
  | { readonly kind: "childUpdown"; readonly isUp: boolean; readonly ikeSa: IkeSa; readonly childSa: ChildSa }
  | { readonly kind: "childRekey"; readonly ikeSa: IkeSa; readonly old: ChildSa; readonly new: ChildSa }
  /** Level 0 and 1 of everything charon logs. */
  | ({ readonly kind: "log" } & LogLine)
  /** What an initiate or terminate of the same session does. */
  | ({ readonly kind: "controlLog" } & LogLine)
  | { readonly kind: "listSa"; readonly ikeSa: IkeSa }
  | { readonly kind: "listPolicy"; readonly policy: Policy }
  | { readonly kind: "listConn"; readonly conn: ConnConfig }
  | { readonly kind: "listCert"; readonly cert: Cert }
  | { readonly kind: "listAuthority"; readonly authority: Authority }
  /** From 6.0.3 on. `ikeSa` where charon knows one that it is about. */
  | { readonly kind: "alert"; readonly type: AlertType; readonly ikeSa: IkeSa | undefined }
  /** An alert of a charon newer than this library. */
  | { readonly kind: "unknownAlert"; readonly type: string; readonly ikeSa: IkeSa | undefined }
  /** An event of a name that is none of the above. */
  | { readonly kind: "other"; readonly name: string; readonly message: Section };

export type LogLine = {
  /** Subsystem: IKE, CFG, NET, KNL, … */
  readonly group: string;
  readonly level: number;
  readonly threadId: number | undefined;
  readonly ikeSaName: string | undefined;
  readonly ikeSaUniqueId: number | undefined;
  readonly text: string;
};

export function decodeEvent(name: string, message: Section): ViciEvent {
  switch (name) {
    case "ike-updown":
      return { kind: "ikeUpdown", isUp: readYes(message, "up"), ikeSa: onlyIkeSa(name, message) };
    case "ike-rekey": {
      const [ike, pair] = onlySection(name, message);
      return {
        kind: "ikeRekey",
        name: ike,
        old: decodeIkeSa(ike, readSection(pair, "old")),
        new: decodeIkeSa(ike, readSection(pair, "new")),
      };
    }
    case "ike-update":
      return {
        kind: "ikeUpdate",
        localHost: requireText(message, "local-host"),
        localPort: requireInteger(message, "local-port"),
        remoteHost: requireText(message, "remote-host"),
        remotePort: requireInteger(message, "remote-port"),
        ikeSa: onlyIkeSa(name, message),
      };
    case "child-updown": {
      const ikeSa = onlyIkeSa(name, message);
      const childSa = ikeSa.childSas[0];
      if (childSa === undefined) throw new MalformedMessageError("child-updown without a child");
      return { kind: "childUpdown", isUp: readYes(message, "up"), ikeSa, childSa };
    }
    case "child-rekey": {
      const [ike, section] = onlySection(name, message);
      const [, pair] = onlySection("child-sas of child-rekey", readSection(section, "child-sas"));
      return {
        kind: "childRekey",
        ikeSa: decodeIkeSa(ike, section),
        old: decodeChildSa(readSection(pair, "old")),
        new: decodeChildSa(readSection(pair, "new")),
      };
    }
    case "log":
      return { kind: "log", ...decodeLogLine(message) };
    case "control-log":
      return { kind: "controlLog", ...decodeLogLine(message) };
    case "list-sa":
      return { kind: "listSa", ikeSa: onlyIkeSa(name, message) };
    case "list-policy":
      return { kind: "listPolicy", policy: only(name, decodePolicies(message)) };
    case "list-conn":
      return { kind: "listConn", conn: decodeConn(...onlySection(name, message)) };
    case "list-cert":
      return { kind: "listCert", cert: decodeCert(message) };
    case "list-authority":
      return { kind: "listAuthority", authority: only(name, decodeAuthorities(message)) };
    case "alert":
      return decodeAlert(message);
    default:
      return { kind: "other", name, message };
  }
}

export function decodeLogLine(message: Section): LogLine {
  return {
    group: requireText(message, "group"),
    level: requireInteger(message, "level"),
    threadId: readInteger(message, "thread"),
    ikeSaName: readText(message, "ikesa-name"),
    // The README spells it ikesa-uniqued; charon (5.9.8 and 6.0.1) sends ikesa-uniqueid.
    ikeSaUniqueId: readInteger(message, "ikesa-uniqueid"),
    text: requireText(message, "msg"),
  };
}

function decodeAlert(message: Section): ViciEvent {
  const text = requireText(message, "type");
  const type = ALERT_TYPES.find((known) => known === text);
  const found = sectionsOf(readSection(message, "ike-sa"))[0];
  const ikeSa = found === undefined ? undefined : decodeIkeSa(...found);
  return type === undefined ? { kind: "unknownAlert", type: text, ikeSa } : { kind: "alert", type, ikeSa };
}

function only<Member>(what: string, members: readonly Member[]): Member {
  const [found] = members;
  if (found === undefined || members.length > 1) {
    throw new MalformedMessageError(`${what} holds ${members.length} sections, expected one`);
  }
  return found;
}

function onlySection(what: string, message: Section): readonly [string, Section] {
  return only(what, sectionsOf(message));
}

function onlyIkeSa(what: string, message: Section): IkeSa {
  return decodeIkeSa(...onlySection(what, message));
}
