// What charon raises an alert for: the words of vici_query.c, from 6.0.3 on.

export const ALERT_TYPES = [
  /** A RADIUS server did not answer. */
  "radius-not-responding",
  /** charon was told to end; the socket goes soon. */
  "shutdown-signal",
  /** We could not prove who we are, in our or in the peer's opinion. */
  "local-auth-failed",
  /** The peer could not prove who it is. */
  "peer-auth-failed",
  /** The peer's name has no address. */
  "peer-addr-failed",
  /** The peer never answered the first message. */
  "peer-init-unreachable",
  /** A message for an IKE SA that is not there. */
  "invalid-ike-spi",
  "parse-error-header",
  "parse-error-body",
  /** A request was sent again. */
  "retransmit-send",
  /** The answer came after all. */
  "retransmit-send-cleared",
  /** It did not, and the IKE SA is given up. */
  "retransmit-send-timeout",
  /** The peer sent a request again. */
  "retransmit-receive",
  /** The peer began and did not go on. */
  "half-open-timeout",
  "proposal-mismatch-ike",
  "proposal-mismatch-child",
  "ts-mismatch",
  /** Agreed on less than what was asked for, by either side. */
  "ts-narrowed",
  "install-child-sa-failed",
  "install-child-policy-failed",
  /** Another IKE SA of the same peer won, or lost, by the policy `unique`. */
  "unique-replace",
  "unique-keep",
  /** The child failed, the IKE SA stays. */
  "keep-on-child-sa-failure",
  /** No virtual address could be given out, or none was given. */
  "vip-failure",
  "authorization-failed",
  /** The hard lifetime came before the rekeying. */
  "ike-sa-expired",
  "cert-expired",
  "cert-revoked",
  "cert-validation-failed",
  "cert-no-issuer",
  "cert-untrusted-root",
  "cert-exceeded-path-len",
  "cert-policy-violation",
] as const;

export type AlertType = (typeof ALERT_TYPES)[number];
