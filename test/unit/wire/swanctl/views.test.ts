import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Tunnel } from "../../../../src/core/model.ts";
import { groupPeers, type Peer } from "../../../../src/core/peers.ts";
import { ahProposalOf, espProposalOf, ikeProposalOf } from "../../../../src/wire/swanctl/algorithms.ts";
import { peerSection } from "../../../../src/wire/swanctl/peer.ts";
import { parseSection, sectionText, type Section } from "../../../../src/wire/swanctl/section.ts";
import {
  loadedDifferences,
  negotiatedDifferences,
  negotiatedVerdict,
  valuesOfSection,
} from "../../../../src/wire/swanctl/views.ts";
import { aConnectionId, anIkePolicy, aTunnel } from "../../../support/builders.ts";

function peerOf(...tunnels: readonly Tunnel[]): Peer {
  const [peer] = groupPeers(tunnels, { committed: new Set(), leaders: new Set() }, false).peers;
  if (peer === undefined) throw new Error("a tunnel without a peer");
  return peer;
}
const wantedOf = (tunnel: Tunnel) => valuesOfSection(peerSection(peerOf(tunnel), "kernel"));
const CHILD = `children.${aConnectionId(1)}`;

describe("a conf file", () => {
  const name = fc.stringMatching(/^[a-z][a-z0-9_-]{0,8}$/).filter((text) => text !== "__proto__");
  const section: fc.Arbitrary<Section> = fc.letrec<{ section: Section }>((tie) => ({
    section: fc.dictionary(
      name,
      fc.oneof(
        { maxDepth: 3 },
        fc.string({ unit: "binary" }).filter((t) => !t.includes("\0")),
        tie("section"),
      ),
      {
        maxKeys: 4,
        noNullPrototype: true,
      },
    ),
  })).section;

  test("is read back as it was written, whatever a value holds", () => {
    fc.assert(
      fc.property(section, (written) => {
        expect(parseSection(sectionText(written))).toEqual(written);
      }),
    );
  });

  test.each(["connections {", "}", 'a = "b', "include /etc/x", "a {\n  b = c\n}"])(
    "that is not ours is none: %j",
    (text) => {
      expect(parseSection(text)).toBeUndefined();
    },
  );
});

describe("a loaded connection", () => {
  const wanted = wantedOf(aTunnel());

  test("that shows what is wanted, or less, has no difference", () => {
    const shown = new Map([...wanted].filter(([key]) => !/proposals|_time$|keyingtries/.test(key)));
    expect(loadedDifferences(wanted, shown)).toEqual([]);
    expect(loadedDifferences(wanted, new Map([...shown, ["rekey_packets", "0"]]))).toEqual([]);
  });

  test.each([
    ["dpd_delay", "77s"],
    ["local_addrs", "203.0.113.99"],
    [`${CHILD}.remote_ts`, "10.9.0.0/16"],
    [`${CHILD}.mode`, "transport"],
  ])("that shows another %s has one", (key, found) => {
    expect(loadedDifferences(wanted, new Map([...wanted, [key, found]]))).toEqual([
      { key, wanted: wanted.get(key), found },
    ]);
  });

  test("that lacks a child, or has one more, has one", () => {
    const without = new Map([...wanted].filter(([key]) => !key.startsWith("children.")));
    expect(loadedDifferences(wanted, without)).toMatchObject([{ key: `${CHILD}.local_ts`, found: "nothing" }]);
    const more = new Map([...wanted, ["children.x.local_ts", "10.9.0.0/24"]]);
    expect(loadedDifferences(wanted, more)).toMatchObject([{ key: "children.x.local_ts", wanted: "nothing" }]);
  });

  test.each([
    ["fqdn:left.example.org", "left.example.org", []],
    ["email:me@example.org", "me@example.org", []],
    ["fqdn:left.example.org", "right.example.org", ["local.id"]],
    // What charon prints in another form proves nothing.
    ["C=CH, O=acme", "C=CH,O=acme", []],
    ["keyid:#0a0b", "\n\v", []],
  ])("with identity %s, printed %j", (localId, printed, keys) => {
    const ids = wantedOf(aTunnel(1, { localId }));
    const found = loadedDifferences(ids, new Map([...ids, ["local.id", printed]]));
    expect(found.map(({ key }) => key)).toEqual(keys);
  });

  test("of any address, which clears when a peer is dead, is as charon has it", () => {
    const any = wantedOf(
      aTunnel(1, { peerAddress: "%any", dpd: { action: "clear", intervalSeconds: 5, timeoutSeconds: 20 } }),
    );
    const shown = new Map([...any, ["remote_addrs", "0.0.0.0/0, ::/0"], [`${CHILD}.dpd_action`, "none"]]);
    expect(loadedDifferences(any, shown)).toEqual([]);
  });
});

describe("a negotiated value", () => {
  test.each([
    // The first child has no key exchange of its own (RFC 7296 1.2).
    ["esp_proposals", "aes256-sha256-modp2048", "aes256-sha256", "same"],
    ["esp_proposals", "aes256-sha256-modp2048", "aes256-sha256-modp2048", "same"],
    ["esp_proposals", "aes256-sha256-modp2048", "aes128-sha256", "differs"],
    ["esp_proposals", "aes256-sha256-modp2048", "aes256", "differs"],
    ["life_time", "3600s", "7200s", "pending"],
    ["local_ts", "10.1.0.0/24, 10.2.0.0/24", "10.1.0.0/24", "narrowed"],
    ["local_ts", "10.1.0.0/24", "10.1.0.0/24, 10.2.0.0/24", "differs"],
    ["mode", "tunnel", "transport", "differs"],
    ["remote_addrs", "%any", "203.0.113.20", "same"],
  ] as const)("%s: wanted %s, found %s: %s", (key, wanted, found, verdict) => {
    expect(negotiatedVerdict(`${CHILD}.${key}`, wanted, found)).toBe(verdict);
  });

  test("is told only where it has to be mended", () => {
    const found = new Map([
      ["mode", "tunnel"],
      ["life_time", "1s"],
      ["esp_proposals", "3des-sha1"],
    ]);
    expect(negotiatedDifferences(wantedOf(aTunnel()), `${CHILD}.`, found).map(({ key }) => key)).toEqual([
      `${CHILD}.esp_proposals`,
    ]);
  });
});

test("proposals are written as charon was given them", () => {
  const none = { encryptionKeyBits: undefined, integrity: undefined, prf: undefined, dhGroup: undefined };
  const sa = {
    encryption: "AES_CBC",
    encryptionKeyBits: 256,
    integrity: "HMAC_SHA2_256_128",
    prf: "PRF_HMAC_SHA2_256",
    dhGroup: "MODP_2048",
  };
  expect(ikeProposalOf(sa)).toBe("aes256-sha256-prfsha256-modp2048");
  expect(
    wantedOf(
      aTunnel(1, { ike: anIkePolicy({ encryption: "aes-256", authentication: "sha256", dhGroup: "group14" }) }),
    ).get("proposals"),
  ).toBe(ikeProposalOf(sa));
  expect(espProposalOf({ ...sa, encryption: "AES_GCM_16", encryptionKeyBits: 128, integrity: undefined })).toBe(
    "aes128gcm16-modp2048",
  );
  expect(espProposalOf({ ...none, encryption: "3DES_CBC", integrity: "HMAC_SHA1_96" })).toBe("3des-sha1");
  expect(ahProposalOf({ ...none, encryption: undefined, integrity: "SOMETHING_NEW" })).toBe("SOMETHING_NEW");
});
