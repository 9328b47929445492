// strongswan.conf of one router's charon (strongswan.conf(5)).
import type { EspBackEnd } from "../../core/guard.ts";
import { sectionText, type Section } from "./section.ts";

export type Retransmission = {
  readonly timeoutSeconds?: number | undefined;
  readonly base?: number | undefined;
  readonly tries?: number | undefined;
};

export type CharonSettings = {
  readonly viciSocket: string;
  readonly espBackEnd: EspBackEnd;
  readonly retransmission: Retransmission;
};

// Kernel ESP is content with few threads; kernel-libipsec takes so many of them that with 8 none is left for VICI,
// which then accepts and never answers (5.9.8).
const THREADS = { kernel: 8, userland: 16 } as const;

const CRYPTO_PLUGINS = "random nonce aes sha1 sha2 hmac kdf gcm ccm ctr cmac xcbc openssl gmp curve25519 counters";

/** kernel-libipsec must come before kernel-netlink, which would take ESP for itself. */
const kernelPlugins = (backEnd: EspBackEnd): string =>
  backEnd === "userland" ? "kernel-libipsec kernel-netlink" : "kernel-netlink";

export function strongswanConf(settings: CharonSettings): string {
  const { timeoutSeconds, base, tries } = settings.retransmission;
  const charon: Section = {
    load: `${CRYPTO_PLUGINS} ${kernelPlugins(settings.espBackEnd)} socket-default vici`,
    threads: String(THREADS[settings.espBackEnd]),
    // kernel-libipsec routes into its TUN device; with kernel ESP the routes are ours alone.
    install_routes: settings.espBackEnd === "userland" ? "yes" : "no",
    install_virtual_ip: "no",
    make_before_break: "yes",
    // One refused child must not take the other connections to that peer down.
    close_ike_on_child_failure: "no",
    // Without it no responder takes part in aggressive mode (aggressive_mode.c). It opens nothing by itself: a peer gets
    // aggressive mode only where its own connection asks for it.
    i_dont_care_about_security_and_use_aggressive_mode_psk: "yes",
    ...(timeoutSeconds === undefined ? {} : { retransmit_timeout: String(timeoutSeconds) }),
    ...(base === undefined ? {} : { retransmit_base: String(base) }),
    ...(tries === undefined ? {} : { retransmit_tries: String(tries) }),
    plugins: { vici: { socket: `unix://${settings.viciSocket}` } },
    journal: { default: "1" },
    syslog: {},
  };
  return sectionText({ "charon-systemd": charon });
}
