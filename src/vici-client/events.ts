// Events as a union (VICI README, "Server-issued events").
import { MalformedMessageError } from "./errors.ts";
import { readInteger, readSection, readText, readYes, requireInteger, requireText, sectionsOf } from "./fields.ts";
import type { Section } from "./message.ts";
import { type ChildSa, decodeChildSa, decodeIkeSa, type IkeSa } from "./sas.ts";

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
  /** From 6.0.3. `type` is one of the README's list, e.g. peer-auth-failed. */
  | { readonly kind: "alert"; readonly type: string; readonly ikeSa: IkeSa | undefined }
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
    case "alert": {
      const found = sectionsOf(readSection(message, "ike-sa"))[0];
      return {
        kind: "alert",
        type: requireText(message, "type"),
        ikeSa: found === undefined ? undefined : decodeIkeSa(...found),
      };
    }
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

function onlySection(what: string, message: Section): readonly [string, Section] {
  const [found, ...more] = sectionsOf(message);
  if (found === undefined || more.length > 0) {
    throw new MalformedMessageError(
      `${what} holds ${more.length + (found === undefined ? 0 : 1)} sections, expected one`,
    );
  }
  return found;
}

function onlyIkeSa(what: string, message: Section): IkeSa {
  return decodeIkeSa(...onlySection(what, message));
}
