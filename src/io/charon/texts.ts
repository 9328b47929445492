// The texts of conf files and sections, and their fingerprints, by which the plan knows whether they are as wanted.
import type { CharonPlanOptions } from "../../core/charon-step.ts";
import { encodeMarker, secretFingerprint, textFingerprint } from "../../core/fingerprint.ts";
import type { Marker, NodeKey } from "../../core/fingerprint.ts";
import type { EspBackEnd } from "../../core/guard.ts";
import type { Member, Peer } from "../../core/peers.ts";
import type { Values } from "../../core/views.ts";
import { memberFile, peerSection } from "../../wire/swanctl/peer.ts";
import { sectionText } from "../../wire/swanctl/section.ts";
import { loadedDifferences, negotiatedDifferences, valuesOfSection } from "../../wire/swanctl/views.ts";

/** What the plan compares files, loaded sections and SAs with. */
export const comparisons = (
  key: NodeKey,
  espBackEnd: EspBackEnd,
): Pick<CharonPlanOptions, "fileFingerprint" | "sectionFingerprint" | "compare"> => {
  const wanted = (peer: Peer): Values => wantedValues(peer, espBackEnd);
  return {
    fileFingerprint: (peer, member, marker) => textFingerprint(key, fileText(key, espBackEnd, peer, member, marker)),
    sectionFingerprint: (peer) => textFingerprint(key, sectionText(peerSection(peer, espBackEnd))),
    compare: {
      loaded: (peer, loaded) => loadedDifferences(wanted(peer), loaded),
      ikeSa: (peer, negotiated) => negotiatedDifferences(wanted(peer), "", negotiated),
      childSa: (peer, child, negotiated) => negotiatedDifferences(wanted(peer), `children.${child.name}.`, negotiated),
    },
  };
};

export const wantedValues = (peer: Peer, backEnd: EspBackEnd): Values => valuesOfSection(peerSection(peer, backEnd));

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
