// Every algorithm that can be configured has strongSwan's keyword, and every mix a proposal.
import { describe, expect, test } from "vitest";
import { AUTH_ALGORITHMS, DH_GROUPS, ENCRYPTION_ALGORITHMS } from "../../../../src/core/algorithms.ts";
import {
  ahProposal,
  computedBy,
  espProposal,
  ikeProposal,
  UnknownAlgorithmError,
} from "../../../../src/wire/swanctl/algorithms.ts";

// strongSwan's keywords, from libstrongswan/crypto/proposal/proposal_keywords_static.txt.
const CIPHERS: Readonly<Record<string, string>> = {
  "3des": "3des",
  "aes-128": "aes128",
  "aes-192": "aes192",
  "aes-256": "aes256",
  "aes-128-ctr": "aes128ctr",
  "aes-192-ctr": "aes192ctr",
  "aes-256-ctr": "aes256ctr",
};
const AEADS: Readonly<Record<string, string>> = {
  "aes-128-ccm-8": "aes128ccm8",
  "aes-128-ccm-12": "aes128ccm12",
  "aes-128-ccm-16": "aes128ccm16",
  "aes-192-ccm-8": "aes192ccm8",
  "aes-192-ccm-12": "aes192ccm12",
  "aes-192-ccm-16": "aes192ccm16",
  "aes-256-ccm-8": "aes256ccm8",
  "aes-256-ccm-12": "aes256ccm12",
  "aes-256-ccm-16": "aes256ccm16",
  "aes-128-gcm-8": "aes128gcm8",
  "aes-128-gcm-12": "aes128gcm12",
  "aes-128-gcm-16": "aes128gcm16",
  "aes-192-gcm-8": "aes192gcm8",
  "aes-192-gcm-12": "aes192gcm12",
  "aes-192-gcm-16": "aes192gcm16",
  "aes-256-gcm-8": "aes256gcm8",
  "aes-256-gcm-12": "aes256gcm12",
  "aes-256-gcm-16": "aes256gcm16",
};
const AUTHS: Readonly<Record<string, readonly [string, string]>> = {
  sha1: ["sha1", "prfsha1"],
  sha256: ["sha256", "prfsha256"],
  sha384: ["sha384", "prfsha384"],
  sha512: ["sha512", "prfsha512"],
  "aes-xcbc": ["aesxcbc", "prfaesxcbc"],
  "aes-cmac": ["aescmac", "prfaescmac"],
};
const GROUPS: Readonly<Record<string, string>> = {
  group2: "modp1024",
  group5: "modp1536",
  group14: "modp2048",
  group15: "modp3072",
  group16: "modp4096",
  group17: "modp6144",
  group18: "modp8192",
  group19: "ecp256",
  group20: "ecp384",
  group21: "ecp521",
  group22: "modp1024s160",
  group23: "modp2048s224",
  group24: "modp2048s256",
  group25: "ecp192",
  group26: "ecp224",
  group27: "ecp224bp",
  group28: "ecp256bp",
  group29: "ecp384bp",
  group30: "ecp512bp",
  group31: "curve25519",
};
const every = Object.entries(AUTHS).flatMap(([authentication, [integrity, prf]]) =>
  Object.entries(GROUPS).map(([dhGroup, group]) => ({ authentication, integrity, prf, dhGroup, group })),
);

test("the tables are of every algorithm and group that can be configured", () => {
  const names = [...Object.keys(CIPHERS), ...Object.keys(AEADS)];
  expect(new Set(names)).toEqual(ENCRYPTION_ALGORITHMS);
  expect(new Set(Object.keys(AUTHS))).toEqual(AUTH_ALGORITHMS);
  expect(new Set(Object.keys(GROUPS))).toEqual(DH_GROUPS);
});

describe("with every auth algorithm and group", () => {
  test.each(Object.entries(CIPHERS))("%s has integrity, and in IKE a PRF", (encryption, keyword) => {
    for (const { authentication, integrity, prf, dhGroup, group } of every) {
      const suite = { encryption, authentication, dhGroup };
      expect(ikeProposal(suite)).toBe(`${keyword}-${integrity}-${prf}-${group}`);
      expect(espProposal(suite)).toBe(`${keyword}-${integrity}-${group}`);
    }
  });

  test.each(Object.entries(AEADS))("%s has no integrity, and in IKE a PRF", (encryption, keyword) => {
    for (const { authentication, prf, dhGroup, group } of every) {
      const suite = { encryption, authentication, dhGroup };
      expect(ikeProposal(suite)).toBe(`${keyword}-${prf}-${group}`);
      expect(espProposal(suite)).toBe(`${keyword}-${group}`);
    }
  });

  test("AH has integrity only", () => {
    for (const { authentication, integrity, dhGroup, group } of every) {
      expect(ahProposal({ encryption: "aes-128", authentication, dhGroup })).toBe(`${integrity}-${group}`);
    }
  });
});

test.each([
  [{ encryption: "des" }, 'encryption algorithm "des"'],
  [{ encryption: "aes-128-gcm-9" }, 'encryption algorithm "aes-128-gcm-9"'],
  [{ authentication: "md5" }, 'auth algorithm "md5"'],
  [{ dhGroup: "group1" }, 'pfs group "group1"'],
])("%o is refused by name", (wrong, text) => {
  const suite = { encryption: "aes-128", authentication: "sha256", dhGroup: "group14", ...wrong };
  expect(() => ikeProposal(suite)).toThrow(UnknownAlgorithmError);
  expect(() => ikeProposal(suite)).toThrow(text);
});

test("what charon's plugins compute, by our words", () => {
  const loaded = {
    encryption: new Set(["AES_CBC", "AES_CTR"]),
    aead: new Set(["AES_GCM_16"]),
    integrity: new Set(["HMAC_SHA2_256_128", "AES_XCBC_96"]),
    prf: new Set(["PRF_HMAC_SHA2_256", "PRF_AES128_CMAC"]),
    keyExchange: new Set(["MODP_2048", "CURVE_25519"]),
  };
  const bits = ["128", "192", "256"];
  expect(computedBy(loaded)).toEqual({
    encryption: new Set(bits.flatMap((size) => [`aes-${size}`, `aes-${size}-ctr`, `aes-${size}-gcm-16`])),
    authentication: new Set(["sha256", "aes-xcbc"]),
    prf: new Set(["sha256", "aes-cmac"]),
    dhGroups: new Set(["group14", "group31"]),
  });
});
