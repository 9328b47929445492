// What planning a charon needs to know, with texts of files and sections that are cheap to make: as much depends on them
// as on the real ones, which other tests compare with strongSwan.
import type { CharonPlanOptions } from "../../../src/core/charon-step.ts";
import { encodeMarker, type Fingerprint } from "../../../src/core/fingerprint.ts";
import type { Peer } from "../../../src/core/peers.ts";
import type { Difference, Values } from "../../../src/core/views.ts";
import { charonOptions } from "../charon-options.ts";

const sectionText = (peer: Peer): string => {
  const { leader, members, hasOwnIdentities } = peer;
  const children = members.map(({ tunnel, children: all }) => [all, tunnel.ipsec, tunnel.dpd, tunnel.initiator]);
  return JSON.stringify([peer.name, leader.id, leader.ike, leader.dpd, leader.initiator, hasOwnIdentities, children]);
};

/** The fake's charon tells only of what somebody changed. */
const differencesIn = (values: Values): readonly Difference[] =>
  [...values].map(([key, found]) => ({ key, wanted: "as loaded", found }));

export const cheapCharonOptions = (): CharonPlanOptions =>
  charonOptions({
    sectionFingerprint: (peer) => sectionText(peer) as Fingerprint,
    fileFingerprint: (peer, member, marker) =>
      [sectionText(peer), peer.leader.psk.reveal(), member.tunnel.id, encodeMarker(marker)].join("\n") as Fingerprint,
    compare: {
      loaded: (_, loaded) => differencesIn(loaded),
      ikeSa: (_, negotiated) => differencesIn(negotiated),
      childSa: (_, __, negotiated) => differencesIn(negotiated),
    },
  });
