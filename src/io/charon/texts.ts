// The texts of conf files and sections, and their fingerprints, by which the plan knows whether they are as wanted.
import type { CharonPlanOptions } from "../../core/charon-step.ts";
import { encodeMarker, secretFingerprint, textFingerprint } from "../../core/fingerprint.ts";
import type { Marker, NodeKey } from "../../core/fingerprint.ts";
import type { EspBackEnd } from "../../core/guard.ts";
import type { Tunnel } from "../../core/model.ts";
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
  const section = ofEachPeer((peer) => textFingerprint(key, sectionText(peerSection(peer, espBackEnd))));
  const wanted = ofEachPeer((peer) => wantedValues(peer, espBackEnd));
  return {
    fileFingerprint: (peer, member, marker) => textFingerprint(key, fileText(key, espBackEnd, peer, member, marker)),
    sectionFingerprint: section,
    compare: {
      loaded: (peer, loaded) => loadedDifferences(wanted(peer), loaded),
      ikeSa: (peer, negotiated) => negotiatedDifferences(wanted(peer), "", negotiated),
      childSa: (peer, child, negotiated) => negotiatedDifferences(wanted(peer), `children.${child.name}.`, negotiated),
    },
  };
};

/**
 * Made once for as long as nothing else is wanted of a peer: every pass groups the same tunnels anew, and with a thousand
 * connections their texts would be most of what a pass with nothing to do costs.
 */
function ofEachPeer<T>(make: (peer: Peer) => T): (peer: Peer) => T {
  const known = new WeakMap<Tunnel, { readonly peer: Peer; readonly made: T }>();
  return (peer) => {
    const held = known.get(peer.leader);
    if (held !== undefined && isSame(held.peer, peer)) return held.made;
    const made = make(peer);
    known.set(peer.leader, { peer, made });
    return made;
  };
}

const isSame = (a: Peer, b: Peer): boolean =>
  a.hasOwnIdentities === b.hasOwnIdentities &&
  a.members.length === b.members.length &&
  a.members.every(({ tunnel, children }, index) => {
    const other = b.members[index];
    return tunnel === other?.tunnel && children.length === other.children.length;
  });

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
