// The texts of conf files and sections, and their fingerprints, by which the plan knows whether they are as wanted.
import { encodeMarker, secretFingerprint, textFingerprint } from "../../core/fingerprint.ts";
import type { Fingerprint, Marker, NodeKey } from "../../core/fingerprint.ts";
import type { EspBackEnd } from "../../core/guard.ts";
import type { Member, Peer } from "../../core/peers.ts";
import { memberFile, peerSection } from "../../wire/swanctl/peer.ts";
import { sectionText } from "../../wire/swanctl/section.ts";

/** The text fingerprints that the plan compares with files and loaded sections. */
export const fingerprintsOfTexts = (
  key: NodeKey,
  espBackEnd: EspBackEnd,
): {
  readonly fileFingerprint: (peer: Peer, member: Member, marker: Marker) => Fingerprint;
  readonly sectionFingerprint: (peer: Peer) => Fingerprint;
} => ({
  fileFingerprint: (peer, member, marker) => textFingerprint(key, fileText(key, espBackEnd, peer, member, marker)),
  sectionFingerprint: (peer) => textFingerprint(key, sectionText(peerSection(peer, espBackEnd))),
});

/** The marker's secret is never used, only listed: any text that nobody else knows will do. */
export const markerData = (key: NodeKey, marker: Marker): string => textFingerprint(key, encodeMarker(marker));

export const fileText = (key: NodeKey, backEnd: EspBackEnd, peer: Peer, member: Member, marker: Marker): string =>
  sectionText(
    memberFile(peer, member, {
      secret: secretFingerprint(key, peer.leader),
      marker,
      markerData: markerData(key, marker),
      backEnd,
    }),
  );
