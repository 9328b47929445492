// Implements the port Inspection: what is meant and what the conf files say, in the words that charon's views have.
import { decodeMarker, peerOfSecretId, pskFingerprint, type NodeKey } from "../../core/fingerprint.ts";
import type { EspBackEnd } from "../../core/guard.ts";
import type { ConnectionId } from "../../core/ids.ts";
import { namespaceName } from "../../core/names.ts";
import type { Inspection, WrittenFile } from "../../core/ports.ts";
import { parseSection, sectionsOf } from "../../wire/swanctl/section.ts";
import { equalVerdict, loadedVerdict, negotiatedVerdict, valuesOfSection } from "../../wire/swanctl/views.ts";
import { charonPaths, ConnectionFiles } from "./files.ts";
import { wantedValues } from "./texts.ts";

export type InspectionOptions = {
  readonly key: NodeKey;
  readonly espBackEnd: EspBackEnd;
  readonly runDirectory: string;
  readonly socketDirectory: string;
};

export const createInspection = ({
  key,
  espBackEnd,
  runDirectory,
  socketDirectory,
}: InspectionOptions): Inspection => ({
  desired: (peer, member) => wantedValues({ ...peer, members: [member] }, espBackEnd),
  judges: { written: equalVerdict, loaded: loadedVerdict, negotiated: negotiatedVerdict },
  readFiles(router) {
    const paths = charonPaths(runDirectory, socketDirectory, namespaceName(router));
    return new ConnectionFiles(paths, key).texts((connection, text) => readFileText(key, connection, text));
  },
});

/** What a conf file says; undefined when it is none of ours any more. */
function readFileText(key: NodeKey, connection: ConnectionId, text: string): WrittenFile | undefined {
  const { connections, secrets } = parseSection(text) ?? {};
  const [name, peer] = sectionsOf(connections)[0] ?? [];
  if (name === undefined || peer === undefined) return undefined;
  const values = valuesOfSection(peer);
  const idOf = (side: string): string => values.get(`${side}.id`) ?? "";
  const psks = sectionsOf(secrets).flatMap(([id, secret]) => {
    const data = secret["secret"];
    if (peerOfSecretId(id) !== name || typeof data !== "string") return [];
    const psk = Buffer.from(data.slice("0s".length), "base64").toString("utf8");
    return [pskFingerprint(key, idOf("local"), idOf("remote"), psk)];
  });
  const markers = sectionsOf(secrets).flatMap(([id]) => decodeMarker(id) ?? []);
  return { values, secrets: psks, marker: markers.find((marker) => marker.connection === connection) };
}
