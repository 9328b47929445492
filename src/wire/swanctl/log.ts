// charon's log messages that say why a negotiation failed. The texts are those of strongSwan 5.9.8 and 6.0.1; the VICI
// event `alert`, which says the same in codes, exists from 6.0.3 only.
import type { Failure } from "../../core/observed.ts";

type Told = Omit<Failure, "atMs">;
type Rule = Omit<Told, "text"> & { readonly pattern: RegExp; readonly advice: string };

const MAX_IKE_SAS = 1_000;

// sa/ikev1/tasks/informational.c
const REFUSED = /^received (?:INVALID_ID_INFORMATION|NO_PROPOSAL_CHOSEN) error notify$/;
const UNREADABLE = /^received (?:PAYLOAD_MALFORMED|INVALID_HASH_INFORMATION) error notify$/;

const SUBNETS_DIFFER = "the subnets differ; what is local here must be the peer's on the other side, and the reverse";

const RULES: readonly Rule[] = [
  {
    // IKEv1 says "error notify".
    pattern: /received AUTHENTICATION_FAILED (?:error )?notify/,
    code: "authentication-failed",
    advice: "the peer refused our identity or pre-shared key; compare psk, local_id and peer_id on both sides",
  },
  {
    pattern: /but MAC mismatched/,
    code: "authentication-failed",
    advice: "the peer proved another pre-shared key than ours; compare psk on both sides",
  },
  {
    pattern: /no shared key found for|authentication of .* failed/,
    code: "authentication-failed",
    advice: "the peer's identity does not fit; compare local_id and peer_id on both sides",
  },
  {
    // IKEv1 main mode encrypts the third exchange with keys made from the PSK (RFC 2409 5.4).
    pattern:
      /could not decrypt payloads|decryption failed, invalid length|invalid HASH_V1 payload|calculated HASH does not match/,
    code: "authentication-failed",
    advice: "a message of the peer cannot be decrypted: in IKEv1 that means different pre-shared keys",
  },
  {
    // After the lines of the rule above, which it replaces: the key is right.
    pattern: /^QUICK_MODE \w+ with message ID \d+ processing failed$/,
    code: "negotiating",
    advice: "a message about a CHILD SA could not be read; whoever asked has to ask anew",
  },
  {
    pattern: /constraint check failed|peer requested .* but we|no matching peer config found/,
    code: "authentication-failed",
    advice: "no connection fits the identities that the peer gave; compare local_id and peer_id on both sides",
  },
  {
    pattern:
      /received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built|no acceptable proposal found|no CHILD_SA proposal|mode requested by responder is unacceptable/,
    code: "no-proposal-chosen",
    advice: "the IPsec policies have nothing in common; compare ipsecpolicy (algorithms, pfs, mode) on both sides",
  },
  {
    pattern:
      /received NO_PROPOSAL_CHOSEN|received proposals unacceptable|no IKE config found|received INVALID_KE_PAYLOAD.*not acceptable/,
    code: "no-proposal-chosen",
    advice: "the IKE policies have nothing in common; compare ikepolicy (version, algorithms, pfs) on both sides",
  },
  {
    pattern:
      /traffic selectors .* inacceptable|traffic selectors .* unacceptable|no acceptable traffic selectors found|no matching CHILD_SA config found/,
    code: "selectors-refused",
    refuses: "the peer's selectors",
    advice: SUBNETS_DIFFER,
  },
  {
    pattern: /received TS_UNACCEPTABLE notify|INVALID_ID_INFORMATION/,
    code: "selectors-refused",
    advice: SUBNETS_DIFFER,
  },
  {
    pattern:
      /^retransmit [2-9] of request|giving up after \d+ retransmits|peer not responding|establishing IKE_SA failed, peer not responding/,
    code: "peer-unreachable",
    advice: "no answer from the peer; check peer_address, its gateway, and UDP 500 and 4500 on the way",
  },
  {
    pattern: /unable to install|failed to install|unable to add SAD entry|could not install/,
    code: "child-refused",
    advice: "charon could not install the SA or its policy; its log has the cause",
  },
];

/** The failure that one log message tells of; undefined for all others. */
export function failureFromLog(message: string): Told | undefined {
  const rule = RULES.find(({ pattern }) => pattern.test(message));
  if (rule === undefined) return undefined;
  const { code, advice, refuses } = rule;
  const text = `${advice} (charon: ${message})`;
  return refuses === undefined ? { code, text } : { code, text, refuses };
}

/**
 * The SPIs of CHILD SAs that a peer ends and charon does not know. IKEv2 says so in one line (child_delete.c), IKEv1 in two
 * of the same thread (quick_delete.c).
 */
export class UnknownDeletes {
  readonly #askedByThread = new Map<number | undefined, string>();

  /** Takes each line of the log; an SPI, as list-sas writes it, when it is one more that is not known. */
  hear({ threadId, text }: { readonly threadId: number | undefined; readonly text: string }): string | undefined {
    const [, unknown, spi] =
      /^received DELETE for (unknown )?(?:ESP|AH) CHILD_SA with SPI ([0-9a-f]{8})$/.exec(text) ?? [];
    if (unknown !== undefined) return spi;
    const asked = this.#askedByThread.get(threadId);
    if (spi !== undefined) this.#askedByThread.set(threadId, spi);
    else this.#askedByThread.delete(threadId);
    return text === "CHILD_SA not found, ignored" ? asked : undefined;
  }
}

/**
 * charon forgets every Quick Mode that it has begun to answer when it refuses another one of the same IKE SA (quick_mode.c,
 * send_notify; 5.9.8 and 6.0.1): the peer has a CHILD SA then that charon has not.
 */
export class ForgottenQuickModes {
  readonly #underWay = new LatestIkeSas<{ readonly answered: Set<string>; forgotten: number }>();

  /** Takes each line of the log; how many an IKE SA has forgotten and not made since, when that is another number now. */
  hear({ ikeSaUniqueId: ikeSa, text }: { readonly ikeSaUniqueId: number | undefined; readonly text: string }) {
    if (ikeSa === undefined) return undefined;
    const [, answered] = /^generating QUICK_MODE response (\d+) /.exec(text) ?? [];
    if (answered !== undefined) {
      this.#underWay.getOrSet(ikeSa, () => ({ answered: new Set(), forgotten: 0 })).answered.add(answered);
      return undefined;
    }
    const of = this.#underWay.get(ikeSa);
    if (of === undefined) return undefined;
    const [, continued] = /^parsed QUICK_MODE request (\d+) /.exec(text) ?? [];
    if (continued !== undefined) of.answered.delete(continued);
    else if (/^generating INFORMATIONAL_V1 request \d+ \[ HASH N\((?:INVAL_|NO_PROP|CRIT)/.test(text)) {
      const { size } = of.answered;
      of.answered.clear();
      if (size > 0) return (of.forgotten += size);
    } else if (of.forgotten > 0 && /^CHILD_SA .* established with SPIs /.test(text)) return (of.forgotten -= 1);
    return undefined;
  }
}

/**
 * A Quick Mode of ours whose retransmission the peer answers by saying that it cannot read it. charon reads one wrongly that has
 * overtaken the last message of Main Mode, and those that follow with the same message ID as long as it remembers that one
 * (iv_manager.c, 5.9.8 and 6.0.1). Until the retransmissions are over (165 s) the IKE SA begins no other exchange.
 */
export class UnreadableQuickModes {
  readonly #retransmitted = new LatestIkeSas<{ readonly messageId: string; isUnreadable: boolean }>();

  /** Takes each line of the log; whether an IKE SA has one: true with each answer that says so, false when it is over. */
  hear({ ikeSaUniqueId: ikeSa, text }: { readonly ikeSaUniqueId: number | undefined; readonly text: string }) {
    if (ikeSa === undefined) return undefined;
    const of = this.#retransmitted.get(ikeSa);
    // Main Mode has the message ID 0.
    const [, messageId] = /^sending retransmit \d+ of request message ID ([1-9]\d*), seq /.exec(text) ?? [];
    if (messageId !== undefined && of === undefined) {
      this.#retransmitted.getOrSet(ikeSa, () => ({ messageId, isUnreadable: false }));
    }
    if (of === undefined) return undefined;
    if (UNREADABLE.test(text)) return (of.isUnreadable = true);
    // Whatever charon asks next: it has one of its own at a time.
    const [, next] = /^generating QUICK_MODE request (\d+) /.exec(text) ?? [];
    const isOver =
      (next !== undefined && next !== of.messageId) ||
      REFUSED.test(text) ||
      text.startsWith(`parsed QUICK_MODE response ${of.messageId} `);
    if (!isOver) return undefined;
    this.#retransmitted.delete(ikeSa);
    return of.isUnreadable ? false : undefined;
  }
}

/** By unique id. Nothing tells reliably when one is gone; the oldest are. */
class LatestIkeSas<T> {
  readonly #all = new Map<number, T>();

  get(ikeSa: number): T | undefined {
    return this.#all.get(ikeSa);
  }

  getOrSet(ikeSa: number, make: () => T): T {
    const known = this.#all.get(ikeSa);
    if (known !== undefined) return known;
    const [oldest] = this.#all.keys();
    if (oldest !== undefined && this.#all.size >= MAX_IKE_SAS) this.#all.delete(oldest);
    const made = make();
    this.#all.set(ikeSa, made);
    return made;
  }

  delete(ikeSa: number): void {
    this.#all.delete(ikeSa);
  }
}

/** IKEv1: the peer cannot place a message of ours, which may be the last one of a Quick Mode that it has forgotten. */
export const tellsOfUnknownMessage = (message: string): boolean =>
  /^received (?:UNSUPPORTED_CRITICAL_PAYLOAD|PAYLOAD_MALFORMED) error notify$/.test(message);

/**
 * charon says so when configs or secrets change. When no command of ours caused it, somebody else did, and what was
 * loaded must be loaded again (vici_config.c, vici_cred.c).
 */
export function changeFromLog(message: string): "config" | "secret" | undefined {
  if (/^(?:added|updated|replaced|removed|unloaded|loaded) vici connection/.test(message)) return "config";
  const isSecret =
    /^(?:added|updated|replaced|removed|unloaded|loaded) (?:IKE|EAP|XAUTH|NTLM|PPK) (?:shared )?(?:secret|key)|^unloaded shared key|^loaded \w+ shared key/;
  return isSecret.test(message) ? "secret" : undefined;
}
