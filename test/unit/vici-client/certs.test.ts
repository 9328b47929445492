// Certificates with made-up answers: what no recording has.
import { expect, test } from "vitest";
import { decodeCert, flushCerts, listCerts, loadCert } from "../../../src/vici-client/certs.ts";
import { MalformedMessageError } from "../../../src/vici-client/errors.ts";
import { decodeMessage, encodeMessage, type SectionInput } from "../../../src/vici-client/message.ts";
import { aCharon } from "./requesters.ts";

const cert = (message: SectionInput) => decodeCert(decodeMessage(encodeMessage(message)));
const der = Buffer.from([0x30, 0x03, 0x02, 0x01, 0x05]);

test("a public key may have a subject and a validity", () => {
  const message = {
    type: "PUBKEY",
    data: der,
    subject: "gw.example",
    "not-before": "20260101000000Z",
    "not-after": "99991231235959Z",
  };
  expect(cert(message)).toEqual({
    kind: "publicKey",
    hasPrivateKey: false,
    der,
    subject: "gw.example",
    notBefore: new Date("2026-01-01T00:00:00Z"),
    notAfter: new Date("9999-12-31T23:59:59Z"),
  });
});

test.each(["2026-01-01", "20261301000000Z", "20260101000000", ""])("a validity of %j is refused", (time) => {
  expect(() => cert({ type: "PUBKEY", data: der, "not-after": time })).toThrow(/not-after is not a time/);
});

test.each([
  ["X509_AC", "x509Ac"],
  ["OCSP_RESPONSE", "ocspResponse"],
])("a certificate of type %s", (type, kind) => {
  expect(cert({ type, data: der, has_privkey: "yes" })).toEqual({ kind, hasPrivateKey: true, der });
});

test("a type of a newer charon is told, with its bytes", () => {
  expect(cert({ type: "PGP", data: der })).toEqual({ kind: "other", type: "PGP", hasPrivateKey: false, der });
});

test("a flag of a newer charon is refused, because it may mean anything", () => {
  expect(() => cert({ type: "X509", flag: "ROBOT", data: der })).toThrow(
    new MalformedMessageError('flag is "ROBOT", not NONE, CA, AA, OCSP'),
  );
});

test("bytes that happen to be text are bytes all the same", () => {
  const text = Buffer.from("größe", "utf8");
  expect(cert({ type: "X509_CRL", data: text }).der).toEqual(text);
});

test("a certificate without bytes is refused", () => {
  expect(() => cert({ type: "X509", flag: "CA" })).toThrow(/data is missing/);
});

test("a subject that charon would read as absent is refused: it would list everything", async () => {
  const { vici, sent } = aCharon({});
  await expect(listCerts(vici, { subject: "CN=größe" })).rejects.toThrow(/charon would ignore it/);
  expect(sent).toEqual([]);
});

test("bytes go out as they are, and a certificate beyond a value's limit is refused before anything is sent", async () => {
  const { vici, sent } = aCharon({ success: "yes" });
  await loadCert(vici, { type: "X509_CRL", data: Buffer.from([0x30, 0xff]) });
  expect(sent[0]?.args.get("data")).toEqual(Buffer.from([0x30, 0xff]));
  await expect(loadCert(vici, { type: "X509_CRL", data: Buffer.alloc(65_536) })).rejects.toThrow(
    /value of data is 65536 bytes/,
  );
});

test("all caches are flushed without a type", async () => {
  const { vici, sent } = aCharon({ success: "yes" });
  await flushCerts(vici);
  await flushCerts(vici, "OCSP_RESPONSE");
  expect(sent.map(({ args }) => args.get("type"))).toEqual([undefined, "OCSP_RESPONSE"]);
});
