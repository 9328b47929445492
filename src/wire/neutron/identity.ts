// Neutron's identities -> strongSwan's notation, with the server's '@' rule undone. The server puts one '@' before both
// ids as soon as one of them is no IP address (neutron-vpnaas, service_drivers/base_ipsec.py); strongSwan's parser is
// identification.c, which takes a typed prefix first.
import { readAddress, isUnspecified } from "../../core/read-address.ts";

/**
 * How far the '@' rule is undone. `recommended` keeps the identity type that the stock agent ends up with where it can
 * work, and repairs what cannot; `compatible` repairs nothing; `smart` reads what the user typed.
 */
export type IdentityReading = "recommended" | "compatible" | "smart";

export type DecodedIdentity =
  { readonly kind: "identity"; readonly value: string } | { readonly kind: "refused"; readonly why: string };

// vici_cred.c copies the owner of a shared key into a buffer of 256 bytes.
const MAX_IDENTITY_BYTES = 255;

const identity = (value: string): DecodedIdentity =>
  Buffer.byteLength(value) > MAX_IDENTITY_BYTES
    ? refused(`is too long for charon (${MAX_IDENTITY_BYTES} bytes)`)
    : { kind: "identity", value };
const refused = (why: string): DecodedIdentity => ({ kind: "refused", why });

const isPrintableAscii = (text: string): boolean => /^[\x20-\x7e]*$/.test(text);

// After a typed prefix '#' starts hex (identification.c), and a VICI string has to be printable ASCII (vici_message.c,
// vici_stringify): both kinds of text keep their bytes by going as hex.
const typed = (prefix: "fqdn" | "email" | "keyid", text: string): DecodedIdentity =>
  identity(
    isPrintableAscii(text) && !text.startsWith("#")
      ? `${prefix}:${text}`
      : `${prefix}:#${Buffer.from(text, "utf8").toString("hex")}`,
  );

const looksLikeDn = (text: string): boolean => /^\/?\s*[A-Za-z][A-Za-z0-9.]*\s*=/.test(text);

function anyPeer(side: "local" | "peer"): DecodedIdentity {
  return side === "peer" ? identity("%any") : refused("stands for any identity, which only a peer's may");
}

function decodeUnmarked(text: string, side: "local" | "peer", reading: IdentityReading): DecodedIdentity {
  const address = readAddress(text);
  if (address !== undefined) return isUnspecified(text) ? anyPeer(side) : identity(address);
  if (text === "%any") return anyPeer(side);
  return decodeName(text, text, reading);
}

/** `text` is without the rule's '@', `wire` as it came. */
function decodeName(text: string, wire: string, reading: IdentityReading): DecodedIdentity {
  if (text.includes("=")) {
    // A DN with an '@' before it does not parse, and becomes a KEY_ID of the whole text.
    if (reading === "compatible") return typed("keyid", wire);
    if (!looksLikeDn(text)) return typed("keyid", text);
    return isPrintableAscii(text) ? identity(text) : refused("is a distinguished name with characters outside ASCII");
  }
  return typed("fqdn", text);
}

function decodeMarked(wire: string, side: "local" | "peer", reading: IdentityReading): DecodedIdentity {
  const text = wire.slice(1);
  // identification.c: '@#' and hex is a KEY_ID of those bytes.
  if (/^#(?:[0-9a-fA-F]{2})+$/.test(text)) return identity(`keyid:${text}`);
  if (text.startsWith("@")) return typed(reading === "smart" ? "fqdn" : "email", text.slice(1));
  if (reading === "compatible") return decodeName(text, wire, reading);
  const address = readAddress(text);
  // The user's IP id got its '@' from the other id being a name. "Any" addresses stay literal: nobody asked for a wildcard.
  if (address !== undefined && !isUnspecified(text)) return identity(address);
  if (text === "%any" && side === "peer") return identity("%any");
  if (reading === "smart" && text.includes("@") && !text.includes("=")) return typed("email", text);
  return decodeName(text, wire, reading);
}

/** One identity of the wire, in strongSwan's notation or refused with the reason. */
export function decodeIdentity(wire: string, side: "local" | "peer", reading: IdentityReading): DecodedIdentity {
  // eslint-disable-next-line no-control-regex -- control characters are what is refused
  if (/[\x00-\x1f\x7f]/.test(wire)) return refused("contains a control character");
  if (Buffer.byteLength(wire) > MAX_IDENTITY_BYTES) return refused(`is longer than ${MAX_IDENTITY_BYTES} bytes`);
  const bare = wire.replace(/^@{1,2}/, "");
  if (bare === "") return refused("is empty");
  // With a typed prefix '*' is a wildcard and ^…$ a regular expression (strongSwan ≥ 6.0.2): the shared key would then
  // belong to more peers than one.
  if (bare.includes("*")) return refused("contains '*', which would match other peers too");
  if (bare.startsWith("^") && bare.endsWith("$"))
    return refused("is a regular expression, which would match other peers too");
  return wire.startsWith("@") ? decodeMarked(wire, side, reading) : decodeUnmarked(wire, side, reading);
}
