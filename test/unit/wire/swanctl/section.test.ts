// Texts of swanctl.conf and strongswan.conf, and that their parser gives every value back.
import fc from "fast-check";
import { expect, test } from "vitest";
import { sectionText } from "../../../../src/wire/swanctl/section.ts";
import { strongswanConf } from "../../../../src/wire/swanctl/strongswan-conf.ts";

test("sections nest, lists become one value", () => {
  expect(sectionText({ a: { b: ["x", "y"], c: { d: "1" } } })).toBe(`a {
  b = "x, y"
  c {
    d = "1"
  }
}
`);
});

test.each([
  ['say "x"', String.raw`k = "say \"x\""`],
  [String.raw`back\slash`, String.raw`k = "back\\slash"`],
  ["a\nb\rc\td", String.raw`k = "a\nb\rc\td"`],
  ["# } { = .", 'k = "# } { = ."'],
  ["Grüße, 世界", 'k = "Grüße, 世界"'],
  ["", 'k = ""'],
])("%j is quoted so that the settings parser gives it back", (value, line) => {
  expect(sectionText({ k: value })).toBe(`${line}\n`);
});

/** Reads a quoted string as libstrongswan's settings/settings_lexer.l does in its state `str`. */
function lexed(text: string): string {
  expect(text.startsWith('k = "')).toBe(true);
  const parts = /^k = "((?:[^\\\r"]|\\.)*)"\n$/su.exec(text)?.[1];
  if (parts === undefined) throw new Error(`not one quoted string: ${text}`);
  const special: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t" };
  return parts.replace(/\\(.)/gsu, (_, escaped: string) => special[escaped] ?? escaped);
}

test("B-20: any value comes back through the rules of the lexer", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (value) => {
      expect(lexed(sectionText({ k: value }))).toBe(value);
    }),
  );
});

test("strongswan.conf with ESP in the kernel", () => {
  const text = strongswanConf({
    viciSocket: "/run/charon.qvpn-x.vici",
    espBackEnd: "kernel",
    retransmission: { timeoutSeconds: 2, base: 1.5, tries: 3 },
  });
  expect(text).toBe(`charon-systemd {
  load = "random nonce aes sha1 sha2 hmac kdf gcm ccm ctr cmac xcbc openssl gmp curve25519 counters kernel-netlink socket-default vici"
  threads = "8"
  install_routes = "no"
  install_virtual_ip = "no"
  make_before_break = "yes"
  close_ike_on_child_failure = "no"
  i_dont_care_about_security_and_use_aggressive_mode_psk = "yes"
  retransmit_timeout = "2"
  retransmit_base = "1.5"
  retransmit_tries = "3"
  plugins {
    vici {
      socket = "unix:///run/charon.qvpn-x.vici"
    }
  }
  journal {
    default = "1"
  }
  syslog {
  }
}
`);
});

test("with ESP in userland: its plugin before the kernel's, its routes, and threads left for VICI", () => {
  const text = strongswanConf({ viciSocket: "/run/x", espBackEnd: "userland", retransmission: {} });
  expect(text).toContain("kernel-libipsec kernel-netlink socket-default vici");
  expect(text).toContain('threads = "16"');
  expect(text).toContain('install_routes = "yes"');
  expect(text).not.toContain("retransmit");
});
