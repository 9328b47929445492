// What planning a charon needs to know, with a fixed node key and the real texts of files and sections.
import type { CharonPlanOptions } from "../../src/core/charon-step.ts";
import { encodeMarker, secretFingerprint, textFingerprint } from "../../src/core/fingerprint.ts";
import type { EspBackEnd } from "../../src/core/guard.ts";
import { memberFile, peerSection } from "../../src/wire/swanctl/peer.ts";
import { sectionText } from "../../src/wire/swanctl/section.ts";

export const NODE_KEY = new Uint8Array(32).fill(7);

export function charonOptions(
  more: Partial<CharonPlanOptions> = {},
  backEnd: EspBackEnd = "kernel",
): CharonPlanOptions {
  const key = more.key ?? NODE_KEY;
  return {
    key,
    splitChildren: false,
    updateWindowMs: 5_000,
    differingGraceMs: 30_000,
    connectTimeoutMs: 30_000,
    yieldMs: 1_000,
    duplicateGraceMs: 3_000,
    sectionFingerprint: (peer) => textFingerprint(key, sectionText(peerSection(peer, backEnd))),
    fileFingerprint: (peer, member, marker) =>
      textFingerprint(
        key,
        sectionText(
          memberFile(peer, member, {
            secret: secretFingerprint(key, peer.leader),
            marker,
            markerData: textFingerprint(key, encodeMarker(marker)),
            backEnd,
          }),
        ),
      ),
    ...more,
  };
}
