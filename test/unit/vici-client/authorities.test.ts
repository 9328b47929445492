// Authorities with made-up answers.
import { expect, test } from "vitest";
import {
  getAuthorities,
  listAuthorities,
  loadAuthority,
  unloadAuthority,
} from "../../../src/vici-client/authorities.ts";
import { aCharon } from "./requesters.ts";

test("the certificate may be in a file or on a token", async () => {
  const { vici, sent } = aCharon({ success: "yes" });
  await loadAuthority(vici, "ca", { caCertFile: "/etc/swanctl/x509ca/ca.pem", crlUris: [] });
  await loadAuthority(vici, "ca", { caCertHandle: "0a", slot: 1, module: "softhsm" });
  expect(sent.map(({ args }) => Object.fromEntries(args.get("ca") as Map<string, unknown>))).toEqual([
    { file: "/etc/swanctl/x509ca/ca.pem", crl_uris: [] },
    { handle: "0a", slot: "1", module: "softhsm" },
  ]);
});

test("a certificate that cannot be read is a refusal", async () => {
  const { vici } = aCharon({ success: "no", errmsg: "CA certificate missing: ca" });
  await expect(loadAuthority(vici, "ca", { caCert: "no certificate" })).rejects.toThrow(
    "charon refused load-authority: CA certificate missing: ca",
  );
});

test("an authority without its certificate is refused", async () => {
  await expect(listAuthorities(aCharon({}, [{ ca: { crl_uris: [] } }]).vici)).rejects.toThrow(/cacert is missing/);
});

test("a name that charon would read as absent is refused", async () => {
  const { vici, sent } = aCharon({ success: "yes" });
  await expect(unloadAuthority(vici, "größe")).rejects.toThrow(/charon would ignore it/);
  await expect(listAuthorities(vici, { name: "" })).rejects.toThrow(/charon would ignore it/);
  expect(sent).toEqual([]);
});

test("no list is an empty list", async () => {
  expect(await getAuthorities(aCharon({}).vici)).toEqual([]);
});
